"""The rows kept beside a version: they come back to the bit, and no word of a prompt is among them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import rows, ruled

from features.errors import ArtifactError
from pipeline import held_out
from pipeline.held_out import FILE, HeldOut
from pipeline.observed import Observed, observe
from pipeline.router import Router
from pipeline.traces import Traces
from pipeline.usage import COLUMNS

SECRET = "xyzzyplugh"
Load = Callable[[Sequence[dict[str, Any]]], Traces]


def same(one: Observed, other: Observed) -> None:
    for item in fields(Observed):
        ours, theirs = getattr(one, item.name), getattr(other, item.name)
        if item.name == "usage":
            for name in COLUMNS:
                assert np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True), name
                assert getattr(theirs, name).dtype == np.float32, name
        else:
            assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind in "fM"), item.name
            assert theirs.dtype == ours.dtype, item.name


def back(folder: Path, held: HeldOut) -> HeldOut:
    return held_out.read(folder, held_out.write(folder, held))


cell = st.floats(0, 1e6, width=32) | st.just(float("nan"))
amounts = st.dictionaries(st.sampled_from(COLUMNS), st.tuples(cell, cell))
probability = st.floats(0, 1)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), probability), min_size=1, max_size=6), amounts, st.data())
def test_rows_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[Any, ...]], known: dict[str, Any], data: st.DataObject
) -> None:
    values = np.array(table, float)
    times = data.draw(st.lists(st.integers(-(2**40), 2**60) | st.none(), min_size=len(table), max_size=len(table)))
    one = rows(values[:, :2], gain=values[:, 2], groups=np.arange(len(table)) // 2, **known)
    one = replace(
        one,
        time=np.array([np.datetime64("NaT") if each is None else each for each in times], "datetime64[us]"),
        category=np.array(data.draw(st.lists(st.text(max_size=3), min_size=len(table), max_size=len(table))), object),
        features=np.random.default_rng(0).normal(size=(len(table), 10)).astype(np.float32),
    )
    other = rows([[1, 0], [0, 1]], gain=[0.1, 0.2])
    found = back(tmp_path_factory.mktemp("held"), HeldOut(one, other, ruled([0.25, 0.5], 0.1)))
    same(one, found.tune)
    same(other, found.test)


def test_rules_come_back_to_the_bit(tmp_path: Path) -> None:
    seen, rules = rows([[1, 0]]), ruled(np.random.default_rng(0).random(50).astype(np.float32).astype(float), 0.3)
    found = back(tmp_path, HeldOut(seen, seen, rules)).rules
    assert found.thresholds.tolist() == rules.thresholds.tolist()
    assert found.evidence_floor == rules.evidence_floor


def test_what_no_row_knows_takes_no_column(tmp_path: Path) -> None:
    seen = rows([[1, 0]], time="2026-01-01", output_tokens=(5, np.nan))
    held_out.write(tmp_path, HeldOut(seen, seen, ruled([])))
    names = set(pq.read_schema(tmp_path / FILE).names)
    assert {"time", "flash_output_tokens"} <= names
    assert not {"pro_output_tokens", "flash_latency_s"} & names


def test_rows_of_a_trained_version_come_back(small_router: Router, small_traces: Traces, tmp_path: Path) -> None:
    part = observe(small_router, small_traces, 0).observed
    same(part, back(tmp_path, HeldOut(part, part, ruled([0.0]))).tune)


def test_manifest_counts_the_rows_and_the_rules(trained: Any) -> None:
    manifest, held = trained.manifest, held_out.read(trained.folder, trained.manifest["held_out"])
    assert manifest["held_out"]["rows"] == {"tune": len(held.tune), "test": len(held.test)}
    assert manifest["held_out"]["rows"] == {name: manifest["data"]["split_sizes"][name] for name in ("tune", "test")}
    assert manifest["held_out"]["rules"] == len(held.rules)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "of another version", "not told of"])
def test_file_that_is_not_the_manifest_s_is_refused(tmp_path: Path, damage: str) -> None:
    seen = rows([[1, 0], [0, 1]])
    stated = held_out.write(tmp_path, HeldOut(seen, seen, ruled([0.0])))
    path, content = tmp_path / FILE, (tmp_path / FILE).read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "altered":
        path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    elif damage == "of another version":
        held_out.write(tmp_path, HeldOut(seen, seen, ruled([0.5])))
    else:
        stated = {}
    with pytest.raises(ArtifactError, match=rf"{FILE}.*restore it, or train again"):
        held_out.read(tmp_path, stated)


def test_file_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = rows([[1, 0]])
    with monkeypatch.context() as later:
        later.setattr(held_out, "FORMAT", 2)
        stated = held_out.write(tmp_path, HeldOut(seen, seen, ruled([])))
    with pytest.raises(ArtifactError, match="expected format 1, found 2: train again"):
        held_out.read(tmp_path, stated)


def test_no_word_of_a_prompt_is_kept(
    tmp_path: Path, small_router: Router, loaded: Load, generated: Callable[..., list[dict[str, Any]]]
) -> None:
    written = [row | {"prompt": f"{row['prompt']} {SECRET}", "system": SECRET} for row in generated(60, usage=True)]
    part = observe(small_router, loaded(written), 0).observed
    held_out.write(tmp_path, HeldOut(part, part, ruled([0.0])))
    plain = tmp_path / "plain.parquet"
    table = pq.read_table(tmp_path / FILE)
    pq.write_table(table, plain, compression="none", use_dictionary=False)
    kept = {str(cell) for name in table.column_names for cell in table[name].to_pylist()}
    for word in (SECRET, "prove", "capital"):
        assert word.encode() not in (tmp_path / FILE).read_bytes() + plain.read_bytes()
        assert not any(word in each for each in kept)
    texts = {name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)}
    assert texts == {"part", "category"}


def test_version_without_its_rows_still_routes(tmp_path: Path, trained: Any, tier_router: Any) -> None:
    copy = Path(shutil.copytree(trained.folder, tmp_path / "v1"))
    (copy / FILE).unlink()
    assert tier_router("route", copy, "city", cwd=tmp_path).returncode == 0
