"""A version with another threshold, chosen anew among the rules declared in training: the same coefficients."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from features.errors import InputError, LearningError
from features.graph import session
from pipeline import artifact, chosen_on, costs, diagnosis, export, held_out, manifest, parts, report
from pipeline.config import Aim
from pipeline.findings import Findings
from pipeline.held_out import HeldOut
from pipeline.money import WRONG_IS_FREE, money, remarks
from pipeline.objective import Objective
from pipeline.observed import Observed, observed
from pipeline.policies import served_policies
from pipeline.recorder import Made, Recorder
from pipeline.router import FEWEST_ROWS
from pipeline.sample import Priced
from pipeline.served import Files, Served
from pipeline.settings import Settings, restored
from pipeline.traces import digest, load
from pipeline.tune import Tuned, tune

Step = Callable[[str], None]
Models = Mapping[str, onnx.ModelProto]


def retune(
    folder: Path, paths: Sequence[Path], aim: Aim, settings: Settings, tracked: Recorder, step: Step = lambda _: None
) -> Made:
    """Write a sibling of a version that differs in its threshold alone.

    Args:
        folder: of the version.
        paths: files of traces to choose and measure on, by the split that the manifest states; where there are none, or
            the version was made from them, the rows that it was tuned and tested on.
        aim: what the threshold is to achieve.
        settings: prices and what else counts.
        tracked: records the sibling.
        step: called with the name of each step as it begins.

    Raises:
        InputError: version, traces, target or prices cannot be used: no version was written.
        StorageError: the version or the MLflow store cannot be written.
    """
    step("opening the version")
    folder = folder.resolve()
    known = artifact.read_whole(folder)
    models = {
        name: onnx.load_model_from_string(artifact.verified(folder, f"{name}.onnx", known["onnx"][name]))
        for name in ("router", "scorer")
    }
    learned_from = known["certificate"].get("learned_from", False)
    if learned_from and aim.certify:
        raise InputError(
            f"{folder} learned from the tasks of its tune part, so nothing can be certified on them: train with "
            "--certify, or have a retune show the claim on an audit"
        )
    held, rows = held_out.read(folder, known["held_out"]), known.get("retuned_on", stated(known["data"]))
    if paths and not (all(path.is_file() for path in paths) and digest(paths) == rows["sha256"]):
        held, rows = asked(models, known, held, paths, step)
        known = {name: value for name, value in known.items() if name != "chosen_on"}  # but on these traces
    step("tuning")
    tariff = costs.learn(settings, rows["models"], held.tune, aim.priced_at)
    priced = Priced.of(held, tariff, int(known["config"]["seed"]))
    tuned = tune(priced.tuned, held.rules, aim)
    if learned_from:
        tuned = replace(tuned, certificate=tuned.certificate.of_learned())
    step("evaluating")
    said = [
        *manifest.practice(rows), *manifest.other_models(known["data"], rows["models"]), *remarks(aim, tariff)
    ]  # fmt: skip
    before = [warning for warning in known["warnings"] if warning != WRONG_IS_FREE]
    findings = evaluate(priced, tuned, aim, list(dict.fromkeys([*before, *said])))
    step("exporting")
    with artifact.new_version(folder.parent) as new:
        origin = {"version": artifact.version_of(new), "retuned_from": known["version"], "retuned_on": rows}
        origin["fitted_in"] = known.get("fitted_in", known["version"])
        described = {
            **known, **origin, **manifest.made_now(), **manifest.choices(aim, priced, tuned, findings),
            "tiers": manifest.tiers(rows["models"], settings, tariff),
            "held_out": held_out.write(new, held),
        }  # fmt: skip
        if "chosen_on" in known:
            chosen_on.copy(folder, known["chosen_on"], new)
        described["config"] = {**known["config"], **aim.printed(), "settings": settings.printed()}
        complete = write(models, new, described, held, tuned)
        if (pickled := folder / "router.joblib").exists():
            shutil.copyfile(pickled, new / pickled.name)
        (new / "report.html").write_text(report.render(findings, complete), encoding="utf-8")
        version = artifact.publish(new, complete)
    step("recording in MLflow")
    return Made(version, complete, findings, tracked.record(version))


def standing(folder: Path) -> tuple[Aim, Settings]:
    """The aim and the settings that a version was tuned with; its prices are those of the day it is tuned again.

    Raises:
        ArtifactError: the folder is not a whole version.
    """
    config = artifact.read_whole(folder)["config"]
    aim = Aim(
        Objective(**config["objective"]),
        certify=config["certify"],
        max_loss=config["max_loss"],
        confidence_level=config["confidence_level"],
    )
    return aim, restored(config["settings"])


def asked(
    models: Models, known: Mapping[str, Any], held: HeldOut, paths: Sequence[Path], step: Step
) -> tuple[HeldOut, dict[str, Any]]:
    """Rows of other traces, as the version's own files see them, and what a manifest says of these traces.

    Raises:
        TraceError: the traces cannot be read.
        LearningError: too few traces of a part have outcomes of both tiers.
    """
    step("reading traces")
    traces = load(paths, lambda rows: step(f"reading traces: {rows:,}"))
    divided = parts.split(traces, known["data"]["split"])
    step("deciding")
    files, seed = Files(Served(models["router"]), session(models["scorer"])), int(known["config"]["seed"])
    found: dict[str, Observed] = {}
    for name in held_out.PARTS:
        rows = getattr(divided, name)
        rows = rows[traces.both_observed[rows]]
        if len(rows) < FEWEST_ROWS:
            raise LearningError(
                f"{traces.source}: only {len(rows)} traces of the {name} part have outcomes of both tiers, at least "
                f"{FEWEST_ROWS} are needed: give more traces, or tune on the version's own without --traces"
            )
        if name == "test":
            rows = rows[parts.drawn(len(rows), seed)]
        taken = traces.take(rows)
        found[name] = observed(taken, *files.see(taken), seed)
    models_now = {tier: name or known["data"]["models"][tier] for tier, name in traces.models.items()}
    rows_of = {
        "source": traces.source, "sha256": traces.sha256, "split_sizes": divided.sizes, "models": models_now,
        "simulated": traces.simulated,
    }  # fmt: skip
    return HeldOut(found["tune"], found["test"], held.rules), rows_of


def stated(data: Mapping[str, Any]) -> dict[str, Any]:
    """Which traces the rows are from."""
    kept = ("source", "sha256", "split_sizes", "models", "simulated")
    return {name: data[name] for name in kept if name in data}


def evaluate(priced: Priced, tuned: Tuned, aim: Aim, warnings: Sequence[str]) -> Findings:
    """What another threshold changes; what does not depend on it stands in the report of the version tuned from."""
    test = priced.test
    return Findings(
        policies=served_policies(test, tuned.point),
        reliability=diagnosis.reliability(test.rows),
        slices=diagnosis.slices(test.rows, tuned.point, test.seed),
        coefficients=(), helping={}, hurting={}, learning=(), splits=(),
        money=money(priced, tuned, aim),
        warnings=warnings,
    )  # fmt: skip


def write(models: Models, new: Path, described: Mapping[str, Any], held: HeldOut, tuned: Tuned) -> dict[str, Any]:
    """Write the sibling's models, compared with what it was tuned on; returns the manifest that describes them.

    Raises:
        ParityError: the file would decide otherwise than it was tuned to.
    """
    metadata = manifest.as_metadata(described)
    router, scorer = (export.with_threshold(models[name], tuned.point, metadata) for name in ("router", "scorer"))
    features, probabilities = (
        np.concatenate([getattr(rows, name) for rows in (held.tune, held.test)])
        for name in ("features", "probabilities")
    )
    parity = export.compare_scores(scorer, features, probabilities, tuned.point)
    for name, model in (("router", router), ("scorer", scorer)):
        (new / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return manifest.with_files(described, export.Export(router, scorer, parity))
