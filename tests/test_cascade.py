"""A cascade: flash first, and pro where flash is not sure; by brute force, and against routing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import costing, paths, rows, ruled, sampled, share, tables

from pipeline.cascade import BOUNDS, FEWEST_ROWS, contest, escalate_below, grid
from pipeline.findings import Contest
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.objective import Objective
from pipeline.sample import Sample

QUALITY = Objective("min_quality", 0.95)
HALF = np.arange(400) % 2 == 0
CHEAP = costing(np.tile([1.0, 12.0], (400, 1)))


def confident(sample: Sample, confidence: Any) -> Sample:
    """With what flash says of its own answers."""
    stated = np.full((len(sample.rows), 2), np.nan, np.float32)
    stated[:, FLASH] = confidence
    return replace(sample, rows=replace(sample.rows, usage=replace(sample.rows.usage, confidence=stated)))


def held(gain: Any, confidence: Any) -> Sample:
    """Rows on which flash fails half of the time and pro never."""
    seen = rows(np.stack([HALF, np.ones(400)], 1), gain=gain)
    return confident(Sample(seen, CHEAP, 0), confidence)


def fought(sample: Sample, thresholds: Any, objective: Objective = QUALITY) -> Contest:
    found = contest(sample, sample, ruled(thresholds), objective)
    assert found is not None
    return found


KNOWING = np.where(HALF, 0.9, 0.2)  # flash is right half of the time, and knows when


@pytest.mark.parametrize(
    ("threshold", "objective", "expected"),
    [
        (2.0, QUALITY, 0.9),
        (2.0, Objective("pro_rate", 0.5), 0.9),
        (2.0, Objective("pro_rate", 0.0), None),
        (-1.0, QUALITY, None),
    ],
)
def test_bound_beside_the_served_threshold_is_the_one_that_serves_the_objective(
    threshold: float, objective: Objective, expected: float | None
) -> None:
    found = escalate_below(held(np.zeros(400), KNOWING), ruled([0.5]), threshold, objective)
    assert found == (expected and pytest.approx(expected))


def test_no_bound_is_told_from_few_rows_or_from_what_tells_nothing() -> None:
    few = held(np.zeros(400), np.where(np.arange(400) < 40, KNOWING, np.nan))
    assert escalate_below(few, ruled([0.5]), 2.0, QUALITY) is None
    assert escalate_below(held(np.zeros(400), np.full(400, 0.5)), ruled([0.5]), 2.0, Objective("pro_rate", 0.4)) is None


def cost(found: Contest, name: str) -> float:
    return next(policy for policy in found.policies if policy.name == name).metrics["cost"].value


@given(tables, paths, share, st.lists(share, min_size=1, max_size=4, unique=True), st.data())
def test_grid_equals_every_rule_with_every_bound_tried_one_by_one(
    table: list[tuple[Any, ...]], path: list[float], floor: float, inner: list[float], data: st.DataObject
) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    confidence = data.draw(st.lists(share, min_size=len(table), max_size=len(table)))
    waiting = np.arange(2.0 * len(table)).reshape(-1, 2) / 8
    sample = confident(replace(sample, costs=replace(sample.costs, waiting=waiting)), confidence)
    bounds = np.array(sorted({0.0, *inner, np.nextafter(1.0, 2.0)}))
    found = grid(sample, rules, bounds)
    stated, outcomes, costs = np.array(confidence), sample.rows.outcomes, sample.costs
    for at, threshold in enumerate(rules.thresholds):
        forced = sample.rows.evidence < np.float32(rules.evidence_floor if at < len(rules) - 1 else 0)
        direct = (sample.rows.gain >= np.float32(threshold)) | forced
        for of, bound in enumerate(bounds):
            again = ~direct & (stated < bound)
            to_pro = direct | again
            expected: dict[str, Reals] = {
                "pro_rate": to_pro.astype(float),
                "accuracy": np.where(to_pro, outcomes[:, PRO], outcomes[:, FLASH]),
                "cost": np.where(to_pro, costs.api[:, PRO], costs.api[:, FLASH]) + again * costs.api[:, FLASH],
                "delivery": np.where(to_pro, costs.delivery[:, PRO], costs.delivery[:, FLASH])
                + again * (costs.api[:, FLASH] + waiting[:, FLASH]),
            }
            for name, column in expected.items():
                cell = getattr(found, name)[(at + 1) * len(bounds) - 1 - of]
                assert cell == pytest.approx(column.mean(), abs=1e-9), (name, at, of)


def test_there_is_no_contest_without_confidence() -> None:
    sample = held(np.zeros(400), np.nan)
    assert contest(sample, sample, ruled([0.0]), QUALITY) is None


@pytest.mark.parametrize(("known", "fought"), [(FEWEST_ROWS - 1, False), (FEWEST_ROWS, True)])
def test_contest_takes_a_few_rows_with_confidence_in_both_parts(known: int, fought: bool) -> None:
    whole = held(np.zeros(400), 0.5)
    few = confident(whole, np.where(np.arange(400) < known, 0.5, np.nan))
    for pair in ((whole, few), (few, whole)):
        assert (contest(*pair, ruled([0.0]), QUALITY) is not None) is fought


def test_contest_is_on_the_rows_with_confidence_alone() -> None:
    whole = held(np.zeros(400), np.where(np.arange(400) < 300, 0.5, np.nan))
    assert fought(whole, [0.0]).rows == 300


def test_confidence_that_is_always_right_makes_the_cascade_win() -> None:
    found = fought(held(np.zeros(400), HALF.astype(float)), [0.0])
    assert found.winner == "cascade"
    assert found.bounds["routing"] is None
    assert 0 < found.bounds["cascade"] <= 1
    assert cost(found, "cascade") == pytest.approx((0.1 * 1 + 0.9 * 13 + 1) / 2, rel=0.2)
    assert cost(found, "cascade") < cost(found, "routing") == 12


def test_confidence_that_says_nothing_lets_routing_win() -> None:
    found = fought(held(np.where(HALF, -0.5, 0.5), 0.5), [-0.5, 0.5])
    assert found.winner == "routing"
    assert cost(found, "routing") == pytest.approx(6.5)
    assert cost(found, "cascade") == pytest.approx(13)
    assert found.bounds["cascade"] == pytest.approx(1)


def test_both_together_are_never_worse_on_the_rows_they_were_tuned_on() -> None:
    random = np.random.default_rng(0)
    found = fought(
        held(random.random(400) - HALF / 2, np.clip(random.random(400) / 2 + HALF / 2, 0, 1)), np.arange(8) / 8
    )
    assert cost(found, "both") <= min(cost(found, "routing"), cost(found, "cascade")) + 1e-9


def test_answer_that_is_asked_again_costs_both_calls_and_both_waits() -> None:
    seen = rows([[0, 1]] * 60)
    spent = replace(costing([[1, 12]] * 60, [[9, 20]] * 60), waiting=np.tile([0.5, 4.0], (60, 1)))
    sample = confident(Sample(seen, spent, 0), 0.5)
    found = grid(sample, ruled([]), np.array([0.0, 0.75]))
    flash_then_pro = 2
    assert found.cost[flash_then_pro] == 13
    assert found.delivery[flash_then_pro] == 20 + 1 + 0.5
    assert found.pro_rate[flash_then_pro] == 1


def test_confidence_of_one_is_still_below_the_last_bound() -> None:
    found = fought(held(np.zeros(400), 1.0), [0.0])
    assert found.bounds["cascade"] > 1
    assert len(np.unique(np.linspace(0, 1, BOUNDS))) == BOUNDS


def test_objective_that_the_cascade_cannot_reach_leaves_no_contest() -> None:
    sample = held(np.zeros(400), 0.5)
    assert contest(sample, sample, ruled([0.0]), Objective("max_cost", 0.5)) is None


@pytest.mark.parametrize(
    "objective",
    [Objective("max_cost", 8.0), Objective("pro_rate", 0.5), Objective("total_cost", None)],
    ids=lambda objective: objective.name,
)
def test_every_objective_has_its_winner(objective: Objective) -> None:
    perfect, useless = held(np.zeros(400), HALF.astype(float)), held(np.where(HALF, -0.5, 0.5), 0.5)
    assert fought(perfect, [0.0], objective).winner == ("routing" if objective.name == "total_cost" else "cascade")
    assert fought(useless, [-0.5, 0.5], objective).winner == "routing"
