"""How likely each tier is right, and the best APGR that any router could reach.

The log-odds that a tier is right fall linearly with the logarithms of what makes a task hard; pro's start higher and
fall less. Nobody who sees requests alone is told these properties.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.simulate.made import uniforms

TIERS = ("flash", "pro")
# Log-odds of flash and of pro on the easiest task of a kind.
START = {
    "arithmetic": (14.0, 11.0),
    "steps": (12.2, 9.9),
    "extraction": (11.3, 9.8),
    "ordering": (17.4, 10.5),
    "record": (12.0, 11.3),
    "tools": (10.8, 11.0),
    "dialogue": (8.8, 8.4),
}
# What a doubling of each property takes from them.
TAKES = {
    "operands": (3.1, 1.6),
    "digits": (3.1, 1.6),
    "steps": (4.6, 2.3),
    "records": (2.2, 1.15),
    "hops": (2.2, 1.15),
    "clauses": (6.0, 2.4),
    "orders": (2.0, 1.3),
    "keys": (2.0, 1.3),
    "tools": (2.2, 1.3),
    "calls": (1.0, 0.6),
    "arguments": (2.2, 1.3),
    "turns": (3.0, 1.55),
    "fruit": (1.0, 0.5),
    "chinese": (1.5, 1.0),
}
# What a model that answers under another's name lacks, in log-odds.
WORSE = 4.0
BATCHES = 20


@dataclass(frozen=True, slots=True)
class Best:
    """The best APGR that any router could reach on such tasks.

    Attributes:
        value: that of the true gain, with probabilities for outcomes.
        error: its standard error over the draw of the tasks.
        tasks: that it was computed from.
    """

    value: float
    error: float
    tasks: int


def log_odds(kind: str, load: Mapping[str, float], tier: str) -> float:
    """Of a right answer of a tier, "flash" or "pro"."""
    at = TIERS.index(tier)
    return START[kind][at] - sum(TAKES[name][at] * math.log2(amount) for name, amount in load.items())


def probability(log_odds: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-log_odds))


def is_right(seed: int, task: str, tier: str, chance: float) -> bool:
    """Whether a tier is right on a task: drawn by the seed, the task and the tier, so the same however often asked."""
    return uniforms("right", seed, task, tier)[0] < chance


def best(chances: Sequence[tuple[float, float]]) -> Best:
    """The best APGR of a population.

    RouteLLM's APGR (arXiv 2406.18665, section 3) in expectation: requests go to pro in order of the gain, and each is
    as often right as its probability says. No score ranks better, because the area is a sum of gains by rank.

    Args:
        chances: P(flash right) and P(pro right) of tasks that were drawn one by one, at least `BATCHES`.
    """
    import numpy as np

    from pipeline.metrics import Ranking

    right = np.array(chances)
    apgrs = [Ranking.by(part[:, 1] - part[:, 0], part).curve().apgr() for part in np.array_split(right, BATCHES)]
    whole = Ranking.by(right[:, 1] - right[:, 0], right).curve().apgr()
    return Best(whole, float(np.std(apgrs, ddof=1) / math.sqrt(BATCHES)), len(right))
