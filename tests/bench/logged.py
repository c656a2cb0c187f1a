"""Decision logs of a simulated router, of which the truth is known and which no regression fits exactly.

A request has ten features, each half its group's and half its own. Either tier's chance of being right is
logistic in them with products, squares and waves, and in a luck that the group shares and nobody sees. The router that
serves knows a part of that. Whether an outcome arrives is logistic in two features and the tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.bags import Ints
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.nuisance import Asked

Mask = NDArray[np.bool_]

FEATURES = 10
SIZES, OF_A_GROUP = (1, 1, 1, 2, 3, 8), 0.5
SLOPES = np.array([0.5, -0.4, 0.3, 0.6, -0.5, 0.2, 0.4, -0.3, 0.2, -0.6])
LUCK = 0.8
SERVED, LOWER, HIGHER, OTHER = 0.6, 0.0, 1.2, 0.3


@dataclass(frozen=True)
class Requests:
    """N requests, and what is true of them.

    Attributes:
        design: float64[N, F].
        groups: int64[N].
        right: float64[N, 2], each tier's chance of a right answer.
        arrival: float64[N, 2], chance that its outcome arrives.
        policies: whether each policy sends a request to pro, bool[N]; "logger" is the one that serves.
    """

    design: Reals
    groups: Ints
    right: Reals
    arrival: Reals
    policies: Mapping[str, Mask]

    def truth(self, amounts: Reals | None = None) -> dict[str, float]:
        """Mean amount of each policy; that of right answers where none is given."""
        amounts = self.right if amounts is None else amounts
        return {
            name: float(np.where(to_pro, amounts[:, PRO], amounts[:, FLASH]).mean())
            for name, to_pro in self.policies.items()
        }

    def outcomes(self, random: np.random.Generator) -> Reals:
        """1 right, 0 wrong, of both tiers, float64[N, 2]."""
        return np.asarray(random.random(self.right.shape) < self.right, float)

    def log(self, outcomes: Reals, explore: float | Reals, random: np.random.Generator) -> Asked:
        """Each request sent to one tier, to the one not chosen at its rate: `explore`, or float64[N]."""
        to_pro = np.where(self.policies["logger"], 1 - explore, explore)
        chances = np.stack([1 - to_pro, to_pro], 1)
        sent = random.random(len(to_pro)) < to_pro
        asked = np.stack([~sent, sent], 1)
        return Asked(self._arrived(outcomes, asked, random), asked, chances, self.groups, self.design)

    def audit(self, outcomes: Reals, random: np.random.Generator) -> Asked:
        """Each request sent to both tiers."""
        both = np.ones(self.right.shape, bool)
        return Asked(self._arrived(outcomes, both, random), both, np.ones(both.shape), self.groups, self.design)

    def _arrived(self, outcomes: Reals, asked: Mask, random: np.random.Generator) -> Reals:
        return np.where(asked & (random.random(asked.shape) < self.arrival), outcomes, np.nan)


def requests(rows: int, random: np.random.Generator, missing: float = 0.3, grouped: bool = True) -> Requests:
    """Requests of groups of one to eight rows; about the share `missing` of their outcomes never arrive."""
    sizes = random.choice(SIZES, rows) if grouped else np.ones(rows, np.int64)
    groups = np.repeat(np.arange(rows), sizes)[:rows]
    count = int(groups.max()) + 1
    temper = random.normal(size=(count, FEATURES))[groups]
    x = np.sqrt(OF_A_GROUP) * temper + np.sqrt(1 - OF_A_GROUP) * random.normal(size=(rows, FEATURES))
    ease, luck = x @ SLOPES, LUCK * random.normal(size=count)[groups]
    flash = 0.7 + ease + 0.6 * x[:, 0] * x[:, 1] - 0.5 * (x[:, 2] ** 2 - 1) + 0.5 * np.sin(2 * x[:, 3]) + luck
    pro = 1.7 + 0.6 * ease + 0.4 * x[:, 0] * x[:, 1] + 0.5 * np.tanh(x[:, 4]) + luck
    gain = -0.7 * ease + 0.4 * x[:, 5] + 0.3 * random.normal(size=rows)
    elsewhere = x[:, 1] - 0.5 * x[:, 2] + 0.2 * random.normal(size=rows)
    odds = np.log((1 - missing) / missing) if missing else np.inf
    return Requests(
        x,
        groups,
        expit(np.stack([flash, pro], 1)),
        expit(odds + 0.6 * x[:, [0]] + np.array([-0.2, 0.2])),
        {
            "logger": gain >= SERVED,
            "lower threshold": gain >= LOWER,
            "higher threshold": gain >= HIGHER,
            "another router": elsewhere >= OTHER,
            "always pro": np.ones(rows, bool),
            "always flash": np.zeros(rows, bool),
        },
    )
