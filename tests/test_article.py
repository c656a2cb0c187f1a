"""The worked example of the seed article: 15,000 conversations a day, and people who put wrong answers right.

All flash, all pro, and four fifths flash with the hard fifth at pro, whose conversations are half as long again there.
Figures are USD a day.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_up import price_file, rows, tariff
from numpy.typing import NDArray

from pipeline.metrics import FLASH, decision_metrics
from pipeline.observed import Observed
from pipeline.sample import Sample

CONVERSATIONS, INPUT, OUTPUT, LONGER = 15_000, 3_500, 800, 1.5
FLASH_WRONG, PRO_WRONG, HYBRID_WRONG = 0.12, 0.04, 0.05
PRINTED = {"all flash": (65, 13_565), "all pro": (780, 5_280), "hybrid": (286, 5_911)}
NEARLY = 0.015
SEED = price_file(
    (1, 0, 1),
    (12, 0, 12),
    "[delivery]\nescalation_rate = 1\nescalation_minutes = 15\nhourly_wage_usd = 30\n",
)
HARD = np.arange(CONVERSATIONS) >= 0.8 * CONVERSATIONS


def conversations(length: float) -> Observed:
    """A day; answers of pro to the hard fifth are so much longer than the others."""
    flash, pro = np.ones(CONVERSATIONS), np.ones(CONVERSATIONS)
    pro[HARD & (np.cumsum(HARD) <= 300)] = 0
    pro[~HARD & (np.cumsum(~HARD) <= round(CONVERSATIONS * PRO_WRONG) - 300)] = 0
    easy_wrong = round(CONVERSATIONS * HYBRID_WRONG) - 300
    flash[~HARD & (np.cumsum(~HARD) <= easy_wrong)] = 0
    flash[HARD & (np.cumsum(HARD) <= round(CONVERSATIONS * FLASH_WRONG) - easy_wrong)] = 0
    factor = np.stack([np.ones(CONVERSATIONS), np.where(HARD, length, 1.0)], 1)
    return rows(np.stack([flash, pro], 1), input_tokens=INPUT * factor, output_tokens=OUTPUT * factor)


def daily(share: NDArray[np.float64], length: float = 1.0) -> dict[str, float]:
    """What the product says of sending this share of each conversation to pro."""
    day = conversations(length)
    amounts = Sample(day, tariff(SEED, day).costs(day), 0).amounts
    found = decision_metrics(share, day.outcomes, amounts)(np.ones(CONVERSATIONS))
    return {name: found[name] * CONVERSATIONS / 1000 for name in ("cost", "delivery")} | {
        "wrong": 1 - found["accuracy"]
    }


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    ways = {"all flash": np.zeros(CONVERSATIONS), "all pro": np.ones(CONVERSATIONS)}
    return {name: daily(share) for name, share in ways.items()} | {"hybrid": daily(HARD.astype(float), LONGER)}


def test_wrong_answers_are_the_article_s(found: dict[str, dict[str, float]]) -> None:
    assert [found[name]["wrong"] for name in PRINTED] == pytest.approx([FLASH_WRONG, PRO_WRONG, HYBRID_WRONG])


def test_exact_figures_follow_from_its_tokens_and_prices(found: dict[str, dict[str, float]]) -> None:
    assert [found[name]["cost"] for name in PRINTED] == pytest.approx([64.50, 774.00, 283.80])
    assert [found[name]["delivery"] for name in PRINTED] == pytest.approx([13_564.50, 5_274.00, 5_908.80])


@pytest.mark.parametrize("name", PRINTED)
def test_every_printed_figure_is_met_within_one_and_a_half_percent(
    found: dict[str, dict[str, float]], name: str
) -> None:
    assert [found[name]["cost"], found[name]["delivery"]] == pytest.approx(PRINTED[name], rel=NEARLY)


def test_printed_780_and_234_follow_from_rounding_first(found: dict[str, dict[str, float]]) -> None:
    flash, pro = found["all flash"]["cost"], found["all pro"]["cost"]
    at_pro = found["hybrid"]["cost"] - 0.8 * flash
    rounded = math.floor(round(flash, 2) + 0.5)
    assert rounded == 65
    assert (pro / flash * rounded, at_pro / flash * rounded) == pytest.approx((780, 234))
    assert 0.8 * rounded + at_pro / flash * rounded == pytest.approx(PRINTED["hybrid"][0])


def test_with_people_paid_all_pro_is_cheaper_than_the_hybrid_that_the_article_calls_best(
    found: dict[str, dict[str, float]],
) -> None:
    assert found["all pro"]["delivery"] < found["hybrid"]["delivery"] < found["all flash"]["delivery"]


def test_cached_tokens_are_free_as_the_article_has_it() -> None:
    day = conversations(1.0)
    cached = rows(day.outcomes, input_tokens=(INPUT, INPUT), output_tokens=(0, 0), cached_tokens=(INPUT, INPUT))
    assert tariff(SEED, cached).costs(cached).api[:, FLASH].max() == 0
