"""`tier-router tune`: another threshold for the same coefficients, beside the version it came from."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from made_up import AT, CONFIG, FLASH_PRICE, PRICE, PRO_PRICE, WRONG, price_file, settings

from features.errors import ArtifactError, InputError, LearningError, TargetError
from features.request import Request
from pipeline import held_out, parts, sibling
from pipeline.anonymise import anonymise
from pipeline.config import Aim
from pipeline.held_out import HeldOut
from pipeline.metrics import FLASH, PRO
from pipeline.objective import Objective
from pipeline.observed import Observed
from pipeline.recorder import Made
from pipeline.served import Served
from pipeline.sibling import retune
from pipeline.traces import Traces, load

Row = dict[str, Any]
Write = Callable[[Path, Sequence[Row]], Path]
Generated = Callable[..., list[Row]]
WAIT_SECONDS = 60
TOTAL = Aim(Objective("total_cost", None), at=AT)
CHEAPER = price_file(FLASH_PRICE, [0.3 * usd for usd in PRO_PRICE], WRONG)
CHOSEN = ("threshold", "evidence_floor")


@dataclass(frozen=True)
class Desk:
    """A copy of the version with prices, and what re-tunes it without MLflow."""

    folder: Path
    traces: Path
    recorder: Any

    def tune(
        self, aim: Aim = TOTAL, text: str = CONFIG, paths: Sequence[Path] = (), folder: Path | None = None
    ) -> Made:
        return retune(folder or self.folder, paths, aim, settings(text), self.recorder)

    @property
    def versions(self) -> list[str]:
        return sorted(path.name for path in self.folder.parent.iterdir() if "mlflow" not in path.name)


@pytest.fixture
def desk(tmp_path: Path, priced: Any, unrecorded: Any) -> Desk:
    return Desk(Path(shutil.copytree(priced.folder, tmp_path / "v1")), priced.traces, unrecorded)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory, priced: Any, unrecorded: Any, write: Write) -> dict[str, Path]:
    """A copy of the version with prices, and its descendants by name."""
    desk = Desk(
        Path(shutil.copytree(priced.folder, tmp_path_factory.mktemp("family") / "v1")), priced.traces, unrecorded
    )
    # The same rows in another file, so that they are read.
    rows = [json.loads(line) for line in desk.traces.read_text(encoding="utf-8").splitlines()]
    copied = write(desk.folder.parent / "copied.jsonl", [dict(reversed(row.items())) for row in rows])
    cheaper, flash = desk.tune(text=CHEAPER).folder, desk.tune(Aim(Objective("pro_rate", 0.0))).folder
    return {
        "original": desk.folder,
        "cheaper": cheaper,
        "flash": flash,
        "back": desk.tune(folder=cheaper).folder,
        "back from flash": desk.tune(folder=flash).folder,
        "retraced": desk.tune(paths=[copied]).folder,
    }


def said(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def kept(folder: Path) -> HeldOut:
    return held_out.read(folder, said(folder)["held_out"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def model(folder: Path, name: str) -> onnx.ModelProto:
    return onnx.load_model(folder / f"{name}.onnx")


def known(path: Path, part: str, split: dict[str, object]) -> Traces:
    traces = load([path])
    rows = getattr(parts.split(traces, split), part)
    return traces.take(rows[traces.both_observed[rows]])


def same(one: Observed, other: Observed, *but: str) -> None:
    for item in fields(Observed):
        if item.name not in ("usage", *but):
            ours, theirs = getattr(one, item.name), getattr(other, item.name)
            assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind in "fM"), item.name


def test_cheaper_pro_lowers_the_threshold_without_training(family: dict[str, Path]) -> None:
    before, after = said(family["original"]), said(family["cheaper"])
    assert before["operating_point"]["policy"] == after["operating_point"]["policy"] == "router"
    assert after["threshold"] < before["threshold"]
    assert after["operating_point"]["pro_rate"] > before["operating_point"]["pro_rate"]
    assert after["vocabulary"] == before["vocabulary"]


@pytest.mark.parametrize("name", ["router", "scorer"])
def test_sibling_has_the_same_graph_and_coefficients_byte_for_byte(family: dict[str, Path], name: str) -> None:
    before, after = (model(family[each], name) for each in ("original", "cheaper"))
    ours, theirs = (
        {tensor.name: tensor.SerializeToString() for tensor in each.graph.initializer} for each in (before, after)
    )
    assert ours.keys() == theirs.keys()
    assert {key for key in ours if ours[key] != theirs[key]} == {"threshold"}
    for each in (before, after):
        del each.graph.initializer[:]
        del each.metadata_props[:]
    assert before.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)


def test_sibling_has_the_same_joblib_file(family: dict[str, Path]) -> None:
    assert len({(folder / "router.joblib").read_bytes() for folder in family.values()}) == 1


@pytest.mark.parametrize("name", ["router", "scorer"])
def test_new_threshold_stands_in_both_files_and_their_metadata(family: dict[str, Path], name: str) -> None:
    file, manifest = model(family["cheaper"], name), said(family["cheaper"])
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    assert values["threshold"] == np.float32(manifest["threshold"])
    carried = json.loads({each.key: each.value for each in file.metadata_props}["manifest"])
    for key in ("version", "retuned_from", "certificate", "tariff", *CHOSEN):
        assert carried[key] == manifest[key], key


@pytest.mark.parametrize("part", ["tune", "test"])
def test_file_decides_by_the_new_threshold(family: dict[str, Path], priced: Any, part: str) -> None:
    manifest = said(family["cheaper"])
    traces = known(priced.traces, part, manifest["data"]["split"])
    before, outputs = (
        Served.open(family[each])[0].run(list(traces.prompts), traces.tally) for each in ("original", "cheaper")
    )
    threshold, floor = (np.float32(manifest[name]) for name in CHOSEN)
    assert np.array_equal(outputs["use_pro"], (outputs["gain"] >= threshold) | (outputs["evidence"] < floor))
    assert np.array_equal(outputs["gain"], before["gain"])
    assert outputs["use_pro"].mean() > before["use_pro"].mean()
    measured = manifest["metrics"][part]
    assert outputs["use_pro"].mean() == pytest.approx(measured["pro_rate"]["value"], abs=1e-6)
    right = np.where(outputs["use_pro"], traces.outcomes[:, PRO], traces.outcomes[:, FLASH]).mean()
    assert right == pytest.approx(measured["accuracy"]["value"], abs=1e-6)


def test_sibling_is_a_whole_version_that_says_where_it_comes_from(family: dict[str, Path]) -> None:
    folder, manifest = family["cheaper"], said(family["cheaper"])
    assert {path.name for path in folder.iterdir()} == {path.name for path in family["original"].iterdir()}
    assert (manifest["version"], manifest["retuned_from"]) == ("v2", "v1")
    assert manifest["retuned_on"]["sha256"] == manifest["data"]["sha256"]
    assert manifest["parity"]["flipped"] == 0
    assert manifest["config"]["settings"]["price"][1]["input"] == pytest.approx(0.6)


def test_original_is_untouched(family: dict[str, Path], priced: Any) -> None:
    assert contents(family["original"]) == contents(priced.folder)


@pytest.mark.parametrize("name", ["back", "back from flash"])
def test_tuning_back_from_a_sibling_chooses_what_the_original_did(family: dict[str, Path], name: str) -> None:
    before, after = said(family["original"]), said(family[name])
    for key in (*CHOSEN, "operating_point", "certificate", "objective", "tariff", "costs", "cost_unit", "tiers"):
        assert after[key] == before[key], key
    for policy in ("always_flash", "always_pro", "oracle"):
        assert after["baselines"][policy] == before["baselines"][policy], policy
    assert after["metrics"] == before["metrics"]
    assert model(family[name], "router").graph == model(family["original"], "router").graph


def test_retuned_version_can_be_retuned(family: dict[str, Path]) -> None:
    assert (said(family["back"])["version"], said(family["back"])["retuned_from"]) == ("v4", "v2")
    for part in ("tune", "test"):
        same(getattr(kept(family["back"]), part), getattr(kept(family["original"]), part))


def test_always_flash_serves_no_floor(family: dict[str, Path]) -> None:
    assert said(family["flash"])["operating_point"]["policy"] == "always flash"
    served = Served.open(family["flash"])[0]
    assert (served.threshold, served.evidence_floor) == (2.0, 0.0)
    assert not served.decide(Request("zebra"))["use_pro"][0]


def test_same_traces_give_the_rows_that_the_version_kept(family: dict[str, Path]) -> None:
    for part in ("tune", "test"):
        one, other = (getattr(kept(family[each]), part) for each in ("original", "retraced"))
        same(one, other, "probabilities")
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
        assert np.array_equal(one.gain, other.gain)
    manifest = said(family["retraced"])
    assert manifest["threshold"] == said(family["original"])["threshold"]
    assert manifest["retuned_on"]["source"] == "copied.jsonl"
    assert manifest["retuned_on"]["split_sizes"] == manifest["data"]["split_sizes"]


def test_traces_that_the_version_was_made_from_are_not_read_again(desk: Desk) -> None:
    steps: list[str] = []
    retuned = retune(desk.folder, [desk.traces], TOTAL, settings(CONFIG), desk.recorder, steps.append)
    assert not any(step.startswith("reading traces") for step in steps)
    assert retuned.manifest["retuned_on"]["source"] == "traces.jsonl"
    assert retuned.manifest["threshold"] == said(desk.folder)["threshold"]


def test_rows_of_the_fit_part_have_no_part_in_tuning(
    family: dict[str, Path], desk: Desk, tmp_path: Path, write: Write
) -> None:
    split = said(desk.folder)["data"]["split"]
    rows = [json.loads(line) for line in desk.traces.read_text(encoding="utf-8").splitlines()]
    turned = [
        row | {"pro_correct": False, "flash_correct": True}
        if parts.part_of(row["group"], split["seed"]) == "fit"
        else row
        for row in rows
    ]
    honest, lying = said(family["retraced"]), desk.tune(paths=[write(tmp_path / "turned.jsonl", turned)]).manifest
    for key in (*CHOSEN, "operating_point", "certificate", "costs", "metrics", "baselines"):
        assert honest[key] == lying[key], key
    assert lying["held_out"]["rows"] == honest["held_out"]["rows"]


def test_new_traces_move_the_threshold(desk: Desk, tmp_path: Path, generated: Generated, write: Write) -> None:
    rows = [row | {"flash_correct": True} for row in generated(600, seed=1, usage=True)]
    retuned = desk.tune(paths=[write(tmp_path / "new.jsonl", rows)])
    assert retuned.manifest["operating_point"]["policy"] == "always flash"
    assert retuned.manifest["retuned_on"]["sha256"] != retuned.manifest["data"]["sha256"]


def test_anonymised_traces_tune_as_their_texts_do(family: dict[str, Path], desk: Desk, tmp_path: Path) -> None:
    anonymise([desk.traces], tmp_path / "figures.parquet")
    figures = desk.tune(paths=[tmp_path / "figures.parquet"])
    assert figures.manifest["operating_point"] == said(family["retraced"])["operating_point"]


def test_too_few_new_traces_are_refused(desk: Desk, tmp_path: Path, generated: Generated, write: Write) -> None:
    path = write(tmp_path / "few.jsonl", generated(100))
    with pytest.raises(LearningError, match=r"few\.jsonl: only \d+ traces of the tune part.*without --traces"):
        desk.tune(paths=[path])
    assert desk.versions == ["few.jsonl", "v1"]


def test_standing_aim_and_settings_are_the_version_s_own(family: dict[str, Path]) -> None:
    standing = {name: sibling.standing(family[name]) for name in ("original", "cheaper", "flash")}
    assert {name: aim.objective for name, (aim, _) in standing.items()} == {
        "original": TOTAL.objective, "cheaper": TOTAL.objective, "flash": Objective("pro_rate", 0.0),
    }  # fmt: skip
    assert {name: config for name, (_, config) in standing.items()} == {
        "original": settings(CONFIG), "cheaper": settings(CHEAPER), "flash": settings(CONFIG),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("aim", "text", "error"),
    [
        (Aim(Objective("min_quality", 1.9)), CONFIG, TargetError),
        (Aim(Objective("max_cost", 0.0)), CONFIG, TargetError),
        (TOTAL, "", InputError),
        (TOTAL, CONFIG.replace('"made-up/pro"\n\n', '"made-up/prow"\n\n'), InputError),
    ],
    ids=["quality", "cost", "no prices", "unknown price"],
)
def test_tuning_that_cannot_be_done_leaves_no_version(desk: Desk, aim: Aim, text: str, error: type[Exception]) -> None:
    before = contents(desk.folder)
    with pytest.raises(error):
        desk.tune(aim, text)
    assert desk.versions == ["v1"]
    assert contents(desk.folder) == before


@pytest.mark.parametrize("name", ["held_out.parquet", "router.onnx", "manifest.json"])
def test_version_that_is_not_whole_is_not_tuned(desk: Desk, name: str) -> None:
    path = desk.folder / name
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=name):
        desk.tune()
    assert desk.versions == ["v1"]


def test_scorer_that_was_altered_is_not_tuned(desk: Desk) -> None:
    path = desk.folder / "scorer.onnx"
    damaged = onnx.load_model(path)
    tensor = next(each for each in damaged.graph.initializer if each.name == "coefficients")
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 1.5, tensor.name))
    onnx.save_model(damaged, path)
    with pytest.raises(Exception, match=r"scorer|differ"):
        desk.tune()
    assert desk.versions == ["v1"]


def test_with_certify_nothing_but_always_pro_is_served_where_nothing_is_certified(desk: Desk) -> None:
    found = desk.tune(Aim(Objective("min_quality", 0.98), certify=True, confidence_level=0.999999999, at=AT)).manifest
    assert (found["operating_point"]["policy"], found["certificate"]["certified_step"]) == ("always pro", 0)
    assert found["objective"] == {"name": "min_quality", "value": 0.98, "certify": True}
    standing, _ = sibling.standing(desk.folder.parent / "v2")
    assert (standing.certify, standing.confidence_level, standing.at) == (True, 0.999999999, None)


def test_version_that_is_the_working_directory_gets_its_sibling_beside_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    retuned = desk.tune(folder=Path())
    assert retuned.folder.resolve().parent == desk.folder.parent


def test_interrupted_tune_leaves_no_version(desk: Desk, environment: Any) -> None:
    command = [str(Path(sys.executable).with_name("tier-router")), "tune", str(desk.folder)]
    process = subprocess.Popen(command, cwd=desk.folder.parent, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr.readline() == "opening the version\n"
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert desk.versions == ["v1"]


def test_version_in_relative_units_is_tuned_in_money_once_there_are_prices(
    tmp_path: Path, trained: Any, unrecorded: Any
) -> None:
    folder = Path(shutil.copytree(trained.folder, tmp_path / "v1"))
    retuned = retune(folder, (), TOTAL, settings(CONFIG), unrecorded).manifest
    assert said(folder)["metrics"]["test"]["cost_per_1k_usd"] is None
    assert retuned["metrics"]["test"]["cost_per_1k_usd"] is not None
    assert retuned["cost_unit"] == "USD per 1,000 requests, tokens estimated"
    assert retuned["tiers"]["pro"] == {"model": "large-1", "price": "made-up/pro"}


def test_own_prices_at_peak_hours_of_the_table_stand_for_the_next_tuning(desk: Desk) -> None:
    peak = PRICE.format(name="made-up/other", input=1, cached=0, output=2) + (
        '[price.peak]\nwhen = "deepseek"\ninput = 2\noutput = 3\n'
    )
    retuned = desk.tune(text=CONFIG + peak)
    assert sibling.standing(retuned.folder)[1] == settings(CONFIG + peak)
