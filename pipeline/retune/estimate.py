"""What thresholds and other routers would have got on logged traffic, from the outcomes of what was served."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.errors import EvidenceError
from pipeline import costs, sibling
from pipeline.challenger import seen
from pipeline.frontier import ALWAYS_FLASH, ALWAYS_PRO
from pipeline.inferred import infer
from pipeline.ingest import clocks
from pipeline.retune.found import Policy
from pipeline.retune.judging import policies
from pipeline.retune.standing import Champion, opened
from pipeline.traces import load
from pipeline.tune import to_pro


def estimate(
    folder: Path, paths: Sequence[Path], thresholds: Sequence[float], others: Sequence[Path],
    step: Callable[[str], None] = lambda _: None,
) -> tuple[list[Policy], str, list[str]]:  # fmt: skip
    """Off-policy estimates; returns them, the unit of costs, and sentences that must not be missed.

    Args:
        folder: of a version.
        paths: evidence, as `ingest` writes it, and audited tasks.
        thresholds: of this version, to ask about besides its own.
        others: folders of other versions.
        step: called with the name of each step.

    Raises:
        ArtifactError: a folder is not a whole version.
        TraceError: the evidence cannot be read.
        EvidenceError: no row of it says anything about the tiers.
    """
    ours, rivals = opened(folder), [opened(other) for other in others]
    step("reading traces")
    traces = load(paths, waiting=True)
    seed = int(ours.manifest["config"]["seed"])
    evidence = seen(ours.contender.seer, traces, seed)
    usable = np.flatnonzero(evidence.usable)
    if not len(usable):
        raise EvidenceError(
            f"{traces.source}: no row says anything about the tiers: no propensity is known, and no task was asked of "
            "both: write the evidence with 'tier-router ingest', and log decisions with 'explore' above 0"
        )
    step("estimating")
    traces, evidence = traces.take(usable), evidence.take(usable)
    settings, models = sibling.standing(folder)[1], ours.manifest["data"]["models"]
    tariff = costs.learn(settings, models, ours.held.tune, datetime.now(UTC))
    amounts, own, rows = infer(evidence, tariff, seed), ours.contender.point, evidence.rows
    named = {"always flash": ALWAYS_FLASH, "always pro": ALWAYS_PRO, "as served": own.threshold}
    named |= {f"threshold {threshold:+.4f}": threshold for threshold in thresholds}
    decided = {name: to_pro(rows, replace(own, threshold=value)) for name, value in named.items()}
    decided["always flash"] = np.zeros(len(rows), np.bool_)  # the floor would keep some from it
    for rival in rivals:
        contender = rival.contender
        decided[rival.name] = to_pro(seen(contender.seer, traces, seed).rows, contender.point)
    notes = [note for each in (ours, *rivals) for note in _made_from(each, rows.time)]
    return list(policies(amounts, decided)), amounts.costs.told, notes


def _made_from(version: Champion, times: NDArray[np.datetime64]) -> Iterator[str]:
    """A sentence on requests that a version may have been made from: of these it knows the answers."""
    made = clocks.utc(datetime.fromisoformat(version.manifest["created_at"]))
    if before := int((~(times >= made)).sum()):
        yield (
            f"{version.name} was made later than {before:,} of these {len(times):,} requests were asked: where it "
            "learned from them, what is said of it is too good; a retune judges on others (its page has the numbers)"
        )
