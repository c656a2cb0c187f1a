"""What each of the ten features is worth, and what the two that were tried and dropped would be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.bags import Ints
from features.graph import FEATURES
from pipeline import heads, router
from pipeline.heads import Features
from pipeline.metrics import Reals
from pipeline.router import Smoothing
from pipeline.traces import Traces, load
from tests.bench import goals
from tests.bench.crossing import Measured, crossed, measured, stratified
from tests.bench.data import Data
from tests.bench.reasoning import occurrences
from tests.bench.table import Line

SEEDS = 2
ALL = "all ten"
VOCABULARY = ("flash_vocabulary", "pro_vocabulary")
LENGTH = ("prompt_size",)
LINE_BREAKS, REASONING = "line breaks", "reasoning words"
REPLACED = ("word_count", "distinct_share")


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    found: dict[str, dict[str, Measured]] = {}
    for name in data.names:
        data.say(f"ablation: {name}")
        found[name] = _measured(data.one_per_group(name))
    return [*_changes(found), *_at_work(data)]


def variants(traces: Traces) -> dict[str, tuple[str, ...]]:
    """Columns of each variant by its name; line breaks need the text of the prompts."""
    left_out = {f"without {name}": tuple(each for each in FEATURES if each != name) for name in FEATURES}
    structural = tuple(name for name in FEATURES if name not in VOCABULARY)
    kept = tuple(name for name in FEATURES if name not in REPLACED)
    swapped = f"{LINE_BREAKS}, {REASONING} instead of {', '.join(REPLACED)}"
    dropped = {swapped: (*kept, LINE_BREAKS, REASONING)} if traces.prompts is not None else {}
    return {
        ALL: FEATURES,
        **left_out,
        f"with {REASONING} as the eleventh": (*FEATURES, REASONING),
        **dropped,
        "vocabulary only": VOCABULARY,
        "structural only": structural,
        "length only": LENGTH,
    }


def columns(traces: Traces, features: Features) -> dict[str, Features]:
    """Every feature that a variant may have, float32[N] by name."""
    extra = {REASONING: np.log1p(occurrences(traces))}
    if traces.prompts is not None:
        extra[LINE_BREAKS] = np.log1p([prompt.count("\n") for prompt in traces.prompts])
    tried = {name: np.asarray(column, np.float32) for name, column in extra.items()}
    return dict(zip(FEATURES, features.T, strict=True)) | tried


def scorer(inside: Traces, held: Traces, seed: int) -> dict[str, Reals]:
    """Scores of each variant: the same vocabulary, other columns for the heads."""
    smoothing = Smoothing()
    fitted, left_out = router.fit(inside, smoothing)
    known, asked = columns(inside, left_out.features), columns(held, fitted.measure(held)[0])
    weights = router.category_weights(inside.category)
    scores = {}
    for name, chosen in variants(inside).items():
        ours, theirs = (np.stack([each[column] for column in chosen], 1) for each in (known, asked))
        pair = heads.fit(ours, inside.outcomes, smoothing.regularisation, weights)
        scores[name] = np.diff(pair.probabilities(theirs))[:, 0]
    return scores


def _measured(traces: Traces) -> dict[str, Measured]:
    runs = [crossed(traces, stratified(traces, seed), scorer, seed) for seed in range(SEEDS)]
    return {name: measured([scores[name] for scores in runs], traces.outcomes) for name in runs[0]}


def _changes(found: dict[str, dict[str, Measured]]) -> list[Line]:
    """A line per variant: its mean APGR, and its change against all ten on each data set."""
    names = dict.fromkeys(name for each in found.values() for name in each)
    lines = []
    for name in names:
        having = {data: each for data, each in found.items() if name in each}
        mean = float(np.mean([each[name].value for each in having.values()]))
        lines.append(Line(f"APGR, mean over data sets: {name}", mean, _behind(name, having)))
    return lines


def _behind(name: str, having: dict[str, dict[str, Measured]]) -> str:
    if name == ALL:
        each = [f"{data} {found[ALL].value:.3f} ± {found[ALL].error:.3f}" for data, found in having.items()]
        return f"({SEEDS} seeds): {', '.join(each)}"
    each = [f"{data} {found[name].beyond(found[ALL])}" for data, found in having.items()]
    return f"({SEEDS} seeds); against all ten: {', '.join(each)}"


def _at_work(data: Data) -> list[Line]:
    """On how many features the heads stand where contexts and tools differ."""
    if data.folder is None:
        return []
    sets = {"bfcl_v1": ("bfcl_v1",), "all data sets together": data.names}
    return [_counted(label, load([data.folder / f"{name}.parquet" for name in names])) for label, names in sets.items()]


def _counted(label: str, traces: Traces) -> Line:
    fitted, left_out = router.fit(traces, Smoothing())
    features = left_out.features
    weights = np.abs(fitted.heads.standardised).max(1)
    idle = [FEATURES[at] for at in np.flatnonzero((features.min(0) == features.max(0)) | (weights == 0))]
    behind = f"idle, because constant there: {', '.join(idle)}; " if idle else ""
    behind += f"largest weight in log-odds per standard deviation: {_listed(np.argsort(-weights), weights)}"
    return Line(f"features at work, {label}", len(FEATURES) - len(idle), behind, goals.FEATURES_AT_WORK, "d")


def _listed(order: Ints | Sequence[int], weights: Reals) -> str:
    return ", ".join(f"{FEATURES[at]} {weights[at]:.2f}" for at in order)
