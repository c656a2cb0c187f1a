"""The gate: its verdicts, and the tests that they rest on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from judging import Mask, evidence, mistaken, prices, requests, wasteful
from made_up import rows
from scipy.stats import t as student

from pipeline.evidence import Evidence
from pipeline.gate import FEWEST_IN_A_SLICE, LEVEL, MARGIN, OUT_OF_REACH, Judged, Verdict, judge
from pipeline.inferred import Amounts, infer
from pipeline.observed import Observed
from pipeline.off_policy import compare, pooled

ROWS, AUDITED = 6000, 600
# Kinds of request, the rarer a tenth of all.
KINDS = np.array(["common", "rare"], dtype=object)


def amounts_of(seen: Observed, logged: Evidence) -> Amounts:
    return infer(logged, prices(seen), seed=0)


@pytest.fixture(scope="module")
def world() -> tuple[Amounts, Mask, Mask]:
    """What logs and audits say, a poor router, by which they were made, and a good one."""
    seen, hard = requests(ROWS)
    kinds = KINDS[(np.arange(ROWS) % 10 == 0).astype(int)]
    poor = wasteful(hard)
    return amounts_of(seen, replaced(evidence(seen, poor, audited=AUDITED), category=kinds)), poor, hard


def replaced(logged: Evidence, **columns: Any) -> Evidence:
    return replace(logged, rows=replace(logged.rows, **columns))


def judged(world: tuple[Amounts, Mask, Mask], *, better: bool) -> Judged:
    amounts, poor, good = world
    return judge(amounts, poor, good) if better else judge(amounts, good, poor)


def test_better_challenger_is_promoted(world: tuple[Amounts, Mask, Mask]) -> None:
    found = judged(world, better=True)
    assert (found.verdict, found.audited, found.logged) == (Verdict.PROMOTE, AUDITED, ROWS - AUDITED)
    assert found.differing == pytest.approx(0.15, abs=0.02)


def test_worse_challenger_is_not_promoted_and_the_reason_is_told_in_points(world: tuple[Amounts, Mask, Mask]) -> None:
    amounts, poor, good = world
    whole = replace(amounts, evidence=replaced(amounts.evidence, category=np.full(ROWS, "", object)))
    found = judge(whole, good, poor)
    assert found.quality is not None
    lost = f"{100 * -found.quality.estimate.value:.2f}"
    assert found.verdict is Verdict.KEEP
    assert found.why == (f"the challenger is less accurate: \N{MINUS SIGN}{lost} points, \N{MINUS SIGN}1.00 allowed")


def test_challenger_that_buys_nothing_with_more_money_is_not_promoted(world: tuple[Amounts, Mask, Mask]) -> None:
    amounts, _, good = world
    found = judge(amounts, good, np.ones_like(good))
    assert found.verdict is Verdict.KEEP
    assert found.why.startswith("the challenger costs more: +4")
    assert "points of what always-pro costs, +1.00 allowed" in found.why


def test_challenger_that_gains_nothing_in_either_is_not_promoted() -> None:
    twins = twice(400)
    half = np.arange(len(twins[0])) % 2 == 0
    found = judge(amounts_of(*twins), half, ~half)
    assert found.verdict is Verdict.KEEP
    assert found.why.startswith("the challenger is no better")


def twice(count: int) -> tuple[Observed, Evidence]:
    """Audited requests, each of them two times running."""
    seen = requests(count)[0].take(np.repeat(np.arange(count), 2))
    seen = replace(seen, groups=np.arange(2 * count))
    return seen, evidence(seen, np.ones(2 * count, bool), audited=2 * count)


def test_equal_decisions_keep_the_champion_without_a_comparison(world: tuple[Amounts, Mask, Mask]) -> None:
    amounts, poor, _ = world
    found = judge(amounts, poor, poor.copy())
    assert (found.verdict, found.differing, found.quality, found.slices) == (Verdict.KEEP, 0.0, None, ())
    assert found.why == "both send every request to the same tier"


def test_too_few_requests_are_not_enough() -> None:
    seen, hard = requests(40)
    found = judge(amounts_of(seen, evidence(seen, hard)), hard, ~hard)
    assert (found.verdict, found.quality) == (Verdict.NOT_ENOUGH, None)
    assert "wait for outcomes, or ask both tiers a sample" in found.why


@pytest.mark.parametrize(("explore", "said"), [(0.0, "do not overlap"), (0.001, "hardly overlap")])
def test_logs_without_overlap_are_not_enough(explore: float, said: str) -> None:
    seen, hard = requests(1000)
    poor = wasteful(hard)
    found = judge(amounts_of(seen, evidence(seen, poor, explore)), poor, hard)
    assert found.verdict is Verdict.NOT_ENOUGH
    assert said in found.why


def test_audits_decide_alone_where_logs_do_not_overlap() -> None:
    seen, hard = requests(2000)
    poor = wasteful(hard)
    amounts = amounts_of(seen, evidence(seen, poor, explore=0.0, audited=400))
    found, first = judge(amounts, poor, hard), slice(400)
    alone = compare(amounts.asked.outcomes[first], hard[first], poor[first], np.arange(400))
    assert found.verdict is Verdict.PROMOTE
    assert found.quality is not None
    assert found.quality.estimate.value == pytest.approx(alone.value)
    assert found.quality.estimate == pooled([alone])


def test_few_rows_that_point_nowhere_are_not_known_well_enough() -> None:
    seen, hard = requests(300)
    poor = mistaken(hard, 0.05)
    found = judge(amounts_of(seen, evidence(seen, poor, audited=60)), poor, mistaken(hard, 0.05, seed=5))
    assert found.verdict is Verdict.NOT_ENOUGH
    assert "is not known well enough" in found.why


def test_accuracy_that_is_not_known_well_enough_is_not_enough_however_much_is_saved() -> None:
    seen, hard = requests(300, seed=1)
    found = judge(amounts_of(seen, evidence(seen, hard, audited=300)), np.ones_like(hard), hard)
    assert found.quality is not None
    assert found.quality.low < found.quality.bound < found.quality.estimate.value
    assert found.verdict is Verdict.NOT_ENOUGH
    assert found.why.startswith("accuracy is not known well enough: ")
    assert ", down to \N{MINUS SIGN}" in found.why
    assert re.search(r": \d+\.\d times the evidence would do: raise 'newest_days'", found.why)


def test_who_has_far_too_little_traffic_is_told_of_the_choice_there_is() -> None:
    seen, hard = requests(300)
    poor, other = mistaken(hard, 0.05), mistaken(hard, 0.05, seed=5)
    found = judge(amounts_of(seen, evidence(seen, poor, audited=60)), poor, other)
    times = re.search(r": (\d+)\.\d times the evidence", found.why)
    assert times is not None
    assert int(times[1]) >= OUT_OF_REACH
    assert found.why.endswith("; where that never comes, 'unsure' under [retune] is the choice")


def test_unsure_keeps_the_champion_or_promotes_as_asked() -> None:
    seen, hard = requests(300)
    poor, other = mistaken(hard, 0.05), mistaken(hard, 0.05, seed=5)
    amounts = amounts_of(seen, evidence(seen, poor, audited=60))
    kept, promoted = (judge(amounts, poor, other, promote_unsure=unsure) for unsure in (False, True))
    assert (kept.verdict, promoted.verdict) == (Verdict.NOT_ENOUGH, Verdict.PROMOTE)
    assert (kept.quality, kept.cost) == (promoted.quality, promoted.cost)
    assert promoted.why.startswith("not shown to be worse, and 'unsure' promotes")


@pytest.mark.parametrize(("explore", "verdict"), [(0.0, Verdict.NOT_ENOUGH), (0.001, Verdict.PROMOTE)])
def test_unsure_are_promoted_only_where_the_logs_ask_both_tiers(explore: float, verdict: Verdict) -> None:
    seen, hard = requests(1000)
    poor = wasteful(hard)
    amounts = amounts_of(seen, evidence(seen, poor, explore))
    assert judge(amounts, poor, hard, promote_unsure=True).verdict is verdict


def test_where_nothing_costs_anything_accuracy_alone_is_judged(world: tuple[Amounts, Mask, Mask]) -> None:
    amounts, poor, good = world
    free = [
        replace(costs, delivery=np.zeros_like(costs.delivery)) for costs in (amounts.costs, amounts.expected_costs)
    ]  # fmt: skip
    found = judge(replace(amounts, costs=free[0], expected_costs=free[1]), poor, good)
    assert found.cost is not None
    assert (found.cost.estimate.value, found.cost.high < found.cost.bound) == (0, True)


def test_number_that_is_none_promotes_nothing(world: tuple[Amounts, Mask, Mask]) -> None:
    amounts, poor, good = world
    unknown = replace(amounts.costs, delivery=np.full_like(amounts.costs.delivery, np.nan))
    assert judge(replace(amounts, costs=unknown), poor, good).verdict is not Verdict.PROMOTE


def test_what_is_shown_to_be_worse_is_kept_whatever_becomes_of_the_unsure(world: tuple[Amounts, Mask, Mask]) -> None:
    amounts, poor, good = world
    found = judge(amounts, good, poor, promote_unsure=True)
    assert found.verdict is Verdict.KEEP
    assert "is shown to" in found.why or "loses on" in found.why


def hidden_loss(seed: int, *, always_pro: bool) -> Judged:
    """Of a tenth of the traffic that flash answers 15 points worse, which no feature shows, and 2 % are explored."""
    draw, size = np.random.default_rng(seed), 2000
    cluster = draw.random(size) < 0.1
    champion = cluster | (draw.random(size) < 0.2) | always_pro
    chance = np.where(cluster, 0.75, 0.9)
    outcomes = (draw.random((size, 2)) < np.stack([chance, np.full(size, 0.9)], 1)).astype(float)
    seen = rows(outcomes)
    known = 0.9 + 0.01 * draw.normal(size=(size, 2)).clip(-3, 3)
    seen = replace(seen, features=draw.normal(size=seen.features.shape).astype(np.float32), probabilities=known)
    amounts = amounts_of(seen, evidence(seen, champion, explore=0.02, seed=seed))
    return judge(amounts, champion, champion & ~cluster)


@pytest.mark.parametrize("always_pro", [False, True])
def test_handful_of_explored_requests_that_went_well_promotes_nothing(always_pro: bool) -> None:
    verdicts = [hidden_loss(seed, always_pro=always_pro).verdict for seed in range(20)]
    assert verdicts.count(Verdict.PROMOTE) <= 1


def test_slice_that_loses_bars_a_challenger_that_gains_in_the_others(world: tuple[Amounts, Mask, Mask]) -> None:
    amounts, poor, good = world
    rare = amounts.evidence.rows.category == "rare"
    challenger = np.where(rare, ~good, good)
    found = judge(amounts, poor, challenger)
    assert found.quality is not None
    assert found.quality.estimate.value > -MARGIN
    assert found.slices[0].low > 0
    assert found.verdict is Verdict.KEEP
    assert found.why.startswith("the challenger loses on category rare: \N{MINUS SIGN}")


def test_slices_are_what_not_all_rows_share_and_enough_rows_have(world: tuple[Amounts, Mask, Mask]) -> None:
    amounts, poor, good = world
    assert [each.name for each in judge(amounts, poor, good).slices] == ["category common", "category rare"]
    kinds = amounts.evidence.rows.category.copy()
    kinds[FEWEST_IN_A_SLICE - 1 :] = "common"
    few = replace(amounts, evidence=replaced(amounts.evidence, category=kinds))
    assert [each.name for each in judge(few, poor, good).slices] == ["category common"]


@pytest.mark.parametrize("level", [LEVEL, 0.01])
def test_bounds_are_of_one_sided_t_tests(world: tuple[Amounts, Mask, Mask], level: float) -> None:
    amounts, poor, good = world
    found = judge(amounts, poor, good, level=level)
    for each in (found.quality, found.cost):
        assert each is not None
        reach = student.ppf(1 - level, each.estimate.freedom) * each.estimate.standard_error
        np.testing.assert_allclose([each.low, each.high], each.estimate.value + np.array([-reach, reach]))


def test_level_of_a_slice_is_divided_by_their_number(world: tuple[Amounts, Mask, Mask]) -> None:
    found = judged(world, better=True)
    assert len(found.slices) == 2
    for each in found.slices:
        reach = student.ppf(1 - LEVEL / 2, each.estimate.freedom) * each.estimate.standard_error
        assert each.high - each.estimate.value == pytest.approx(reach)


def test_swapping_champion_and_challenger_mirrors_the_estimates(world: tuple[Amounts, Mask, Mask]) -> None:
    one, other = judged(world, better=True), judged(world, better=False)
    for here, there in zip(
        (one.quality, one.cost, *one.slices), (other.quality, other.cost, *other.slices), strict=True
    ):
        assert here is not None
        assert there is not None
        np.testing.assert_allclose([here.low, here.high], [-there.high, -there.low], atol=1e-12)


def test_wider_margin_lets_through_what_a_narrow_one_leaves_open() -> None:
    seen, hard = requests(1500)
    one, other = mistaken(hard, 0.03, seed=3), mistaken(hard, 0.03, seed=4)
    amounts = amounts_of(seen, evidence(seen, one, audited=300))
    assert judge(amounts, one, other).verdict is not Verdict.PROMOTE
    assert judge(amounts, one, other, margin=10 * MARGIN).verdict is Verdict.PROMOTE
