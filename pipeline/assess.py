"""A version measured on other traces, on the test part that its manifest's rule gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from features.errors import LearningError
from pipeline import parts
from pipeline.findings import Policy
from pipeline.policies import Observed, Terms, served_policies
from pipeline.served import Served
from pipeline.traces import load
from pipeline.tune import OperatingPoint


def assess(folder: Path, paths: Sequence[Path], step: Callable[[str], None]) -> tuple[list[Policy], dict[str, Any]]:
    """The version beside the constants and the oracle; returns the policies and the version's manifest.

    Raises:
        ArtifactError: the folder is not a whole version.
        TraceError: the traces cannot be read.
        LearningError: no trace of the test part has outcomes of both tiers.
    """
    served, manifest = Served.open(folder)
    step("reading traces")
    traces = load(paths)
    rows = parts.split(traces, manifest["data"]["split"]).test
    test = traces.take(rows[traces.both_observed[rows]])
    if not len(test):
        raise LearningError(
            f"{traces.source}: no trace of the test part has outcomes of both tiers: nothing can be measured"
        )
    step("deciding")
    outputs = served.run(served.texts(test), test.tally)
    seen = Observed.of(test, outputs["features"], outputs["evidence"], outputs["probabilities"].astype(float))
    point = OperatingPoint(**manifest["operating_point"])
    step("measuring")
    terms = Terms(tuple(manifest["costs"]), manifest["objective"]["value"], int(manifest["config"]["seed"]))
    return served_policies(seen, point, terms), manifest
