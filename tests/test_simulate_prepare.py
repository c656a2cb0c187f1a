"""The files of a practice pair."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from features.errors import InputError, StorageError
from pipeline.prices import parsed
from pipeline.simulate import kinds
from pipeline.simulate.ability import Best
from pipeline.simulate.prepare import check, config, found_or_made, known, prepare, write_config
from pipeline.simulate.replies import PRICES


@pytest.fixture
def small_population(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.simulate.prepare.POPULATION", 400)


@pytest.mark.usefixtures("small_population")
def test_prepared_folder_holds_tasks_and_their_truth(tmp_path: Path) -> None:
    truth = prepare(tmp_path / "pair", 60, 3)
    files = sorted(path.name for path in (tmp_path / "pair").iterdir())
    assert files == ["tasks.jsonl", "truth.json"]
    text = (tmp_path / "pair" / "tasks.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines == [json.loads(json.dumps(task.line)) for task in kinds.tasks(60, 3)]
    known = json.loads((tmp_path / "pair" / "truth.json").read_text())
    assert known == json.loads(json.dumps(truth.printed()))
    assert known["simulated"] is True
    assert sum(each["count"] for each in known["by_kind"].values()) == known["count"] == 60
    right = [task.right("flash") for task in kinds.tasks(60, 3)]
    assert known["accuracy"]["flash"]["drawn"] == pytest.approx(np.mean(right))
    assert isinstance(truth.best_apgr, Best)


@pytest.mark.usefixtures("small_population")
def test_other_tasks_than_were_prepared_are_refused(tmp_path: Path) -> None:
    truth = prepare(tmp_path, 20, 3)
    assert check(tmp_path, 20, 3) == check(tmp_path, None, None) == truth
    with pytest.raises(InputError, match=r"20 tasks of seed 3 were prepared here, and not 21 tasks of seed 3"):
        check(tmp_path, 21, 3)
    with pytest.raises(InputError, match=r"and not seed 4"):
        check(tmp_path, None, 4)


@pytest.mark.usefixtures("small_population")
def test_tasks_that_are_there_are_kept(tmp_path: Path) -> None:
    made = found_or_made(tmp_path, 20, 3)
    before = (tmp_path / "tasks.jsonl").stat()
    assert found_or_made(tmp_path) == made
    assert (tmp_path / "tasks.jsonl").stat() == before


def test_truth_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text('{"count": 5}')
    with pytest.raises(InputError, match=r"truth\.json cannot be read"):
        known(tmp_path)


def test_no_tasks_cannot_be_prepared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least 1"):
        prepare(tmp_path, 0, 0)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        prepare(tmp_path / "file", 5, 0)


def test_configuration_names_both_tiers_and_prices_that_the_price_table_takes(tmp_path: Path) -> None:
    text = write_config(tmp_path, "http://127.0.0.1:8000").read_text(encoding="utf-8")
    assert text == config("http://127.0.0.1:8000")
    document = tomllib.loads(text)
    assert document["tiers"]["flash"]["base_url"] == "http://127.0.0.1:8000/flash/v1"
    assert document["tiers"]["pro"]["model"] == document["tiers"]["pro"]["price"] == "simulated-pro"
    prices = {price.deployment: price for price in parsed(document, "config")}
    assert set(prices) == {f"simulated-{tier}" for tier in PRICES}
    assert prices["simulated-pro"].output == PRICES["pro"]["output"]
