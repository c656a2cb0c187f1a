"""A version measured on other traces, on the test part that its manifest's rule gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from features.errors import LearningError
from pipeline import costs, held_out, parts
from pipeline.costs import Costs
from pipeline.findings import Policy
from pipeline.manifest import other_models, practice
from pipeline.observed import observed
from pipeline.policies import served_policies
from pipeline.sample import Sample
from pipeline.served import Served
from pipeline.settings import Settings
from pipeline.traces import load
from pipeline.tune import OperatingPoint


def assess(
    folder: Path, paths: Sequence[Path], settings: Settings, at: datetime, step: Callable[[str], None]
) -> tuple[list[Policy], Costs, list[str]]:
    """The version beside the constants and the oracle; returns the policies, what the rows cost, and warnings.

    Args:
        folder: of the version.
        paths: files of traces.
        settings: prices and what else counts.
        at: moment whose prices apply.
        step: called with the name of each step.

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
    point = OperatingPoint(**manifest["operating_point"])
    step("measuring")
    seed = int(manifest["config"]["seed"])
    seen = observed(test, outputs["features"], outputs["evidence"], outputs["probabilities"].astype(float), seed)
    known = held_out.read(folder, manifest["held_out"]).tune  # so that costs are what the version says, where estimated
    trained = manifest["data"]["models"]
    models = {tier: name or trained[tier] for tier, name in traces.models.items()}
    tariff = costs.learn(settings, models, known, at)
    sample = Sample(seen, tariff.costs(seen), seed)
    stated = {"source": traces.source, "simulated": traces.simulated}
    said = [*practice(stated), *other_models(manifest["data"], models)]
    return served_policies(sample, point), sample.costs, said
