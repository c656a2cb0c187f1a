"""What policies cost above the best router there is, and the files that say so."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.beside import replacing
from pipeline.metrics import Reals
from pipeline.year.replay import BEST, Spent
from pipeline.year.world import MONTHS

COLUMNS = ("seed", "month", "policy", "cost_usd_per_1000", "accuracy", "pro_rate")
SIMULATED = "Real tasks and answers; what happens to them in the year is simulated."


@dataclass(frozen=True, slots=True)
class Regret:
    """Delivery cost above that of the best router, in USD per 1,000 requests.

    Attributes:
        policy: whose.
        monthly: float64[12], means over the seeds.
        value: mean over the year and the seeds.
        standard_error: of the value, over the seeds; NaN with one.
        seeds: how many.
    """

    policy: str
    monthly: Reals
    value: float
    standard_error: float
    seeds: int


def regrets(spent: Sequence[Spent]) -> list[Regret]:
    """The regret of every policy, in the order in which they first stand."""
    seeds = list(dict.fromkeys(each.seed for each in spent))
    costs = {(each.policy, each.seed, each.month): each.cost for each in spent}
    found = []
    for policy in dict.fromkeys(each.policy for each in spent if each.policy != BEST):
        above = np.array(
            [
                [costs[policy, seed, month] - costs[BEST, seed, month] for month in range(1, MONTHS + 1)]
                for seed in seeds
            ]
        )
        yearly = above.mean(axis=1)
        error = float(yearly.std(ddof=1) / len(seeds) ** 0.5) if len(seeds) > 1 else float("nan")
        found.append(Regret(policy, above.mean(axis=0), float(yearly.mean()), error, len(seeds)))
    return found


def told(found: Sequence[Regret]) -> list[str]:
    """The regrets in lines, by month and over the year."""
    count = f"{found[0].seeds} seed" + "s" * (found[0].seeds > 1)
    head = f"{'regret, USD per 1,000 requests, ' + count:44}" + "".join(f"{m:6}" for m in range(1, MONTHS + 1))
    lines = [SIMULATED, f"{head}    year"]
    for each in found:
        months = "".join(f"{value:6.2f}" for value in each.monthly)
        error = "" if np.isnan(each.standard_error) else f" ± {each.standard_error:.2f}"
        lines.append(f"{each.policy:44}{months}  {each.value:6.2f}{error}")
    return lines


def write(path: Path, spent: Sequence[Spent]) -> None:
    """Write all months as CSV, whole or not at all."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        for each in spent:
            numbers = (f"{value:.6f}" for value in (each.cost, each.accuracy, each.pro_rate))
            out.writerow([each.seed, each.month, each.policy, *numbers])
