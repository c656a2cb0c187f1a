"""APGR by the protocol of the issue: one row per group, stratified folds, pooled scores, mean of five seeds."""

from __future__ import annotations

import numpy as np

from pipeline import baselines, router
from pipeline.metrics import Reals
from pipeline.router import Smoothing
from pipeline.traces import Traces
from tests.bench import goals
from tests.bench.crossing import Measured, apgr, crossed, measured, stratified
from tests.bench.data import Data
from tests.bench.table import Line

SEEDS = 5
BASELINE_SEEDS = 2
FEW_LABELS = 1500
FEW_LABELS_ON = "routellm_mmlu"

LABELS = {
    "chosen": "router, smoothing chosen in each fold as `train` does",
    "default": "router, default smoothing",
    "tfidf": "baseline: TF-IDF, two heads",
    "one_head": "baseline: one head",
    "prompt_length": "baseline: prompt length alone",
    "heuristic": "baseline: hand-written heuristic",
}


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    lines = []
    for name in data.names:
        data.say(f"quality: {name}")
        lines += _compared(name, data.one_per_group(name))
    data.say(f"quality: {FEW_LABELS} labels of {FEW_LABELS_ON}")
    return [*lines, *few_labels(data.one_per_group(FEW_LABELS_ON))]


def routers(inside: Traces, held: Traces, seed: int) -> dict[str, Reals]:
    """The router as `train` makes it, and without the choice."""
    ways = {"chosen": router.choose(inside, seed), "default": Smoothing()}
    return {name: router.fit(inside, way)[0].gain(held).astype(float) for name, way in ways.items()}


def rivals(inside: Traces, held: Traces, seed: int) -> dict[str, Reals]:
    """The baselines that the product itself shows."""
    fitted, left_out = router.fit(inside, Smoothing())
    held_features, _ = fitted.measure(held)
    fitted_rivals = baselines.fit_all(inside, left_out.features, seed)
    return {rival.name: rival.score(held, held_features) for rival in fitted_rivals}


def _compared(name: str, traces: Traces) -> list[Line]:
    ours = [crossed(traces, stratified(traces, seed), routers, seed) for seed in range(SEEDS)]
    theirs = [crossed(traces, stratified(traces, seed), rivals, seed) for seed in range(BASELINE_SEEDS)]
    found = {
        key: measured([scores[key] for scores in runs], traces.outcomes) for runs in (ours, theirs) for key in runs[0]
    }
    return [_line(name, key, found) for key in LABELS]


def _line(name: str, key: str, found: dict[str, Measured]) -> Line:
    what = f"APGR, {name}: {LABELS[key]}"
    if key == "chosen":
        return Line(what, found[key].value, found[key].behind(), goals.QUALITY[name])
    beyond = f"; router {found['chosen'].beyond(found[key])}"
    return Line(what, found[key].value, found[key].behind() + beyond)


def few_labels(traces: Traces) -> list[Line]:
    """Fitted on few rows, tested on all others."""
    values: dict[str, list[float]] = {"chosen": [], "default": [], "prompt_length": []}
    for seed in range(SEEDS):
        inside, held = (traces.take(np.sort(rows)) for rows in _drawn(len(traces), seed))
        scores = routers(inside, held, seed)
        fitted, left_out = router.fit(inside, Smoothing())
        length = baselines.prompt_length(inside, left_out.features)
        scores["prompt_length"] = length.score(held, fitted.measure(held)[0])
        for key, each in values.items():
            each.append(apgr(scores[key], held.outcomes))
    lines = []
    for key, each in values.items():
        what = f"APGR, {FEW_LABELS_ON} from {FEW_LABELS:,} labels: {LABELS[key]}"
        error = np.std(each, ddof=1) / np.sqrt(SEEDS)
        goal = goals.FEW_LABELS if key == "chosen" else None
        behind = f"± {error:.3f} ({SEEDS} seeds; published best {goals.PUBLISHED_FEW_LABELS})"
        lines.append(Line(what, float(np.mean(each)), behind, goal))
    return lines


def _drawn(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(size)
    return order[:FEW_LABELS], order[FEW_LABELS:]
