"""Kinds of task that were never seen: whole categories held out, and what was tried so that the router does no harm.

A request is ranked among those of its own fold, which one router scored. Pooled as they are, scores of several
routers do not compare: a fold rich in gain leaves the others poor in it, so that a constant, the mean gain of the
other folds, falls far below one half. Both are measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from features.graph import FEATURES
from pipeline import frontier, heads, router, tune
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.parts import category_folds
from pipeline.router import Smoothing
from pipeline.traces import Traces
from tests.bench import goals
from tests.bench.crossing import FOLDS, Measured, crossed, measured, stratified
from tests.bench.data import BUNDLE_NAME, Data
from tests.bench.goals import Goal
from tests.bench.table import Line

SEEDS = 5
RANDOM_SEEDS = 2
BALANCES = (0.0, 0.5, 0.75, 1.0)
RULES = {"router": "router", "floor": "with the evidence floor", "shrunk": "vocabulary features times evidence"}
CHANCE = 0.5


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    lines = []
    for name in (*data.names, BUNDLE_NAME):
        traces = data.one_per_group(name)
        if len(set(traces.category)) > 1:
            data.say(f"unseen: {name}")
            lines += _lines(name, traces)
    return lines


@contextmanager
def balanced(power: float) -> Iterator[None]:
    """Heads fitted with another balance of categories."""
    shipped, router.CATEGORY_BALANCE = router.CATEGORY_BALANCE, power
    try:
        yield
    finally:
        router.CATEGORY_BALANCE = shipped


def scorer(inside: Traces, held: Traces, seed: int) -> dict[str, Reals]:
    """Scores of the held rows by the router, by each rule that was tried, by length, and by a constant."""
    smoothing = Smoothing()
    weights = router.category_weights(inside.category)
    fitted, left_out = router.fit(inside, smoothing)
    features, evidence = left_out.features, left_out.evidence
    held_features, held_evidence = fitted.measure(held)
    gain = np.diff(fitted.heads.probabilities(held_features))[:, 0]

    def gains(ours: Reals, theirs: Reals) -> Reals:
        pair = heads.fit(ours.astype(np.float32), inside.outcomes, smoothing.regularisation, weights)
        return np.diff(pair.probabilities(theirs.astype(np.float32)))[:, 0]

    return {
        "router": gain,
        "floor": tune.scores(gain, held_evidence, frontier.evidence_floor(evidence)),
        "shrunk": gains(shrunk(features, evidence), shrunk(held_features, held_evidence)),
        "length": gains(features[:, :1], held_features[:, :1]),
        "constant": np.full(len(held), (inside.outcomes[:, PRO] - inside.outcomes[:, FLASH]).mean()),
    }


def ranked(inside: Traces, held: Traces, seed: int) -> dict[str, Reals]:
    """The scores, and their ranks among the held rows, in (0, 1]."""
    scores = scorer(inside, held, seed)
    ranks = {name: rankdata(values) / len(values) for name, values in scores.items()}
    return ranks | {f"raw {name}": values for name, values in scores.items()}


def shrunk(features: Reals, evidence: Reals) -> Reals:
    """Vocabulary features pulled towards 0 where few words are known."""
    scale = np.ones_like(features)
    scale[:, [FEATURES.index("flash_vocabulary"), FEATURES.index("pro_vocabulary")]] = evidence[:, None]
    return features * scale


def _lines(name: str, traces: Traces) -> list[Line]:
    by_category = {power: _unseen(traces, power) for power in (*BALANCES, router.CATEGORY_BALANCE)}
    at_random = {power: _seen(traces, power) for power in by_category}
    shipped = by_category[router.CATEGORY_BALANCE]
    plain = at_random[0.0]["router"]
    length = shipped["length"]
    lines = [_verdict(name, shipped)]
    lines.append(_plain(f"{name}: baseline, prompt length alone", length))
    raw = ("router", "length", "constant")
    lines += [_plain(f"{name}: raw pooled scores, {key}", shipped[f"raw {key}"]) for key in raw]
    lines.append(_loss(name, f"balance {router.CATEGORY_BALANCE} (shipped)", at_random, router.CATEGORY_BALANCE))
    for power in sorted(by_category):
        for key, label in RULES.items():
            if key == "router" or power == router.CATEGORY_BALANCE:
                cost = plain.beyond(at_random[power][key])
                lines.append(_tried(name, f"balance {power}, {label}", by_category[power][key], length, cost))
    return lines


def _unseen(traces: Traces, power: float) -> dict[str, tuple[Measured, Measured]]:
    """APGR with whole categories held out, resampled by category and by row."""
    with balanced(power):
        runs = [crossed(traces, category_folds(traces.category, FOLDS, seed), ranked, seed) for seed in range(SEEDS)]
    clusters = pd.factorize(traces.category)[0]
    columns = {key: [scores[key] for scores in runs] for key in runs[0]}
    return {
        key: (measured(each, traces.outcomes, clusters), measured(each, traces.outcomes))
        for key, each in columns.items()
    }


def _seen(traces: Traces, power: float) -> dict[str, Measured]:
    """APGR in random folds, for the loss that a rule costs there."""
    with balanced(power):
        runs = [crossed(traces, stratified(traces, seed), scorer, seed) for seed in range(RANDOM_SEEDS)]
    return {key: measured([scores[key] for scores in runs], traces.outcomes) for key in RULES}


def _verdict(name: str, found: dict[str, tuple[Measured, Measured]]) -> Line:
    """The router against the better of length alone and chance, less the standard error of what lies between them."""
    (ours, ours_by_row), (length, length_by_row) = found["router"], found["length"]
    rival = length if length.value > CHANCE else Measured(CHANCE, np.full(SEEDS, CHANCE), np.full(1, CHANCE))
    error = float((ours.draws - rival.draws).std(ddof=1))
    behind = (
        f"{_errors(found['router'])}; beyond length alone {ours.beyond(length)} by categories,"
        f" {ours_by_row.beyond(length_by_row)} by rows; bar: {rival.value:.3f} less the error {error:.3f} by categories"
    )
    return Line(f"APGR, unseen, {name}: router", ours.value, behind, Goal(rival.value - error))


def _errors(pair: tuple[Measured, Measured]) -> str:
    by_category, by_row = pair
    seeds = f"± {by_row.seed_error:.3f} ({len(by_row.by_seed)} seeds)"
    return f"± {by_category.error:.3f} (categories), ± {by_row.error:.3f} (rows), {seeds}"


def _plain(what: str, pair: tuple[Measured, Measured]) -> Line:
    return Line(f"APGR, unseen, {what}", pair[0].value, _errors(pair))


def _loss(name: str, label: str, at_random: dict[float, dict[str, Measured]], power: float) -> Line:
    plain, ours = at_random[0.0]["router"], at_random[power]["router"]
    behind = f"({plain.beyond(ours)}, {RANDOM_SEEDS} seeds; without balance {plain.value:.3f})"
    return Line(
        f"APGR lost in the random split, {name}: {label}", plain.value - ours.value, behind, goals.RANDOM_SPLIT_LOSS
    )


def _tried(
    name: str, label: str, pair: tuple[Measured, Measured], length: tuple[Measured, Measured], cost: str
) -> Line:
    behind = f"{_errors(pair)}; beyond length {pair[1].beyond(length[1])}; lost in the random split {cost}"
    return Line(f"APGR, unseen, {name}, tried: {label}", pair[0].value, behind)
