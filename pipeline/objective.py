"""What an operating point is to achieve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError, TargetError
from pipeline.frontier import Frontier
from pipeline.metrics import Reals

DEFAULT_QUALITY = 0.98
# Sums of the same numbers in another order may differ by this share; that is no reason to choose otherwise.
ROUNDING = 1e-9

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Objective:
    """One of four objectives.

    Attributes:
        name: "min_quality", the least cost that keeps a share of always-pro's accuracy; "max_cost", the best accuracy
            within USD per 1,000 requests; "total_cost", the least total delivery cost; "pro_rate", the best
            accuracy with at most a share of requests sent to pro.
        value: the share in (0, 2], the USD >= 0, none, or the share in [0, 1].

    Raises:
        InputError: the value is out of its range.
    """

    name: str = "min_quality"
    value: float | None = DEFAULT_QUALITY

    def __post_init__(self) -> None:
        value = self.value if self.value is not None else float("nan")
        expected = {
            "min_quality": (0 < value <= 2, "a share of always-pro's accuracy, such as 0.98"),
            "max_cost": (0 <= value < float("inf"), "USD per 1,000 requests, such as 2.50"),
            "pro_rate": (0 <= value <= 1, "a share of the requests, such as 0.3"),
            "total_cost": (self.value is None, "no value"),
        }
        fits, told = expected[self.name]
        if not fits:
            raise InputError(f"{self.flag} {self.value}: expected {told}")

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def told(self) -> str:
        """The objective in words."""
        if self.name == "total_cost":
            return "least total delivery cost"
        value = f"{self.value:g}"
        return {
            "min_quality": f"least cost with a quality of {value}",
            "max_cost": f"best accuracy within {value} USD per 1,000 requests",
            "pro_rate": f"best accuracy with at most {value} of the requests at pro",
        }[self.name]

    def choose(self, frontier: Frontier, allowed: Mask | None = None) -> int:
        """The rule that serves the objective best, as its number in the frontier.

        Where several serve it equally, the one that sends fewest requests to pro.

        Args:
            frontier: of K rules, from always-pro to always-flash.
            allowed: bool[K], rules that may be chosen; all where not given.

        Raises:
            TargetError: no rule that may be chosen reaches it; names the best that can be reached.
            InputError: it is about money, and no prices are known.
        """
        allowed = np.ones(len(frontier.pro_rate), np.bool_) if allowed is None else allowed
        self._check_prices(frontier)
        if self.value is None:
            return _best_of(-frontier.delivery, allowed, frontier.pro_rate)
        if self.name == "min_quality":
            enough = frontier.accuracy >= self.value * frontier.accuracy[0] * (1 - ROUNDING)
            return _best_of(-frontier.cost, self._reached(allowed & enough, frontier, allowed), frontier.pro_rate)
        spent = frontier.cost if self.name == "max_cost" else frontier.pro_rate
        within = allowed & (spent <= self.value * (1 + ROUNDING))
        return _best_of(frontier.accuracy, self._reached(within, frontier, allowed), frontier.pro_rate)

    def _check_prices(self, frontier: Frontier) -> None:
        if self.name in ("max_cost", "total_cost") and not frontier.in_usd:
            raise InputError(
                f"{self.flag} needs prices of both tiers, and cost is in {frontier.unit}: "
                "name their entries of the price table under [tiers.flash] and [tiers.pro] of the --config file"
            )

    def _reached(self, reached: Mask, frontier: Frontier, allowed: Mask) -> Mask:
        if reached.any():
            return reached
        raise TargetError(f"{self.flag} {self.value:g} cannot be reached: {self._best(frontier, allowed)}")

    def _best(self, frontier: Frontier, allowed: Mask) -> str:
        """The best value that the rules which may be chosen reach."""
        among = "certified thresholds" if not allowed.all() else "thresholds"
        if self.name == "min_quality":
            best = frontier.accuracy[allowed].max() / frontier.accuracy[0] if frontier.accuracy[0] else float("nan")
            return (
                f"the best of the {among} keeps {best:.4f} of always-pro's accuracy ({frontier.accuracy[0]:.4f}) on "
                f"the tune part; ask for {np.floor(best * 1000) / 1000:g} or less"
            )
        if self.name == "max_cost":
            return f"the cheapest of the {among} costs {_rounded_up(frontier.cost[allowed].min()):g} {frontier.unit}"
        return f"the {among} send at least {_rounded_up(frontier.pro_rate[allowed].min()):g} of the requests to pro"


def _rounded_up(value: float) -> float:
    """To four significant digits, and never less: who asks for what is named gets it."""
    digits = 3 - int(np.floor(np.log10(value))) if value > 0 else 0
    rounded = round(value, digits)
    return rounded if rounded >= value else round(rounded + 10.0**-digits, digits)


def _best_of(value: Reals, among: Mask, pro_rate: Reals) -> int:
    """The rule in question whose value is the largest, up to rounding; of several the last with the least pro rate."""
    best = value[among].max()
    tied = np.flatnonzero(among & (value >= best - ROUNDING * abs(best)))
    return int(tied[pro_rate[tied] == pro_rate[tied].min()][-1])
