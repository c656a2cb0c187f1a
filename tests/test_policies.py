"""Policies side by side: what no policy can claim, and what one that fails must not break."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up import costing, price_file, rows, tariff

from pipeline import heads, policies, rivals
from pipeline.baselines import heuristic
from pipeline.metrics import Estimate
from pipeline.objective import Objective
from pipeline.observed import Part, observe
from pipeline.policies import DIVIDED_BY_GAP, where_defined
from pipeline.router import Router
from pipeline.sample import Sample
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint


@pytest.fixture
def part(small_router: Router, small_traces: Traces) -> Part:
    return observe(small_router, small_traces, 0)


@pytest.fixture
def sample(part: Part) -> Sample:
    return Sample(part.observed, costing(np.tile([1.0, 12.0], (len(part.observed), 1)), in_usd=False), 0)


@pytest.mark.parametrize(("low", "high", "defined"), [(0.01, 0.2, True), (-0.1, 0.1, False), (-0.3, -0.1, False)])
def test_what_the_gap_divides_is_defined_only_where_pro_is_better(low: float, high: float, defined: bool) -> None:
    measured = {"gap": Estimate((low + high) / 2, low, high), "apgr": Estimate(0.6, 0.5, 0.7)}
    assert (where_defined(measured)["apgr"].value == 0.6) is defined
    assert "apgr" in DIVIDED_BY_GAP


def test_baseline_that_cannot_reach_the_quality_becomes_always_pro_and_says_so(
    part: Part, sample: Sample, small_traces: Traces
) -> None:
    rival = replace(heuristic(small_traces), threshold=None)
    policy = rivals._rival(rival, (part, part), sample, sample, Objective("min_quality", 1.9))
    assert policy.metrics["pro_rate"].value == 1.0
    assert "cannot reach" in policy.note


def test_coin_that_cannot_reach_the_quality_becomes_always_pro_and_says_so(sample: Sample) -> None:
    policy = rivals._random(sample, sample, Objective("min_quality", 1.9))
    assert policy.metrics["pro_rate"].value == 1.0
    assert "cannot reach" in policy.note


@pytest.mark.parametrize(("flash", "expected"), [(0.5, 0.8), (0.9, 0.0), (0.0, 0.9)])
def test_coin_keeps_the_quality_on_average(flash: float, expected: float) -> None:
    seen = rows(np.column_stack([np.arange(100) < 100 * flash, np.ones(100)]))
    sample = Sample(seen, costing(np.tile([1.0, 12.0], (100, 1)), in_usd=False), 0)
    policy = rivals._random(sample, sample, Objective("min_quality", 0.9))
    assert policy.metrics["pro_rate"].value == pytest.approx(expected)


def test_baseline_is_tuned_for_the_same_objective_as_the_router(
    part: Part, sample: Sample, small_traces: Traces
) -> None:
    rival = replace(heuristic(small_traces), threshold=None, score=lambda traces, _: np.arange(len(traces)) * 1.0)
    policy = rivals._rival(rival, (part, part), sample, sample, Objective("pro_rate", 0.25))
    assert 0.2 < policy.metrics["pro_rate"].value <= 0.25


def test_no_policy_beats_the_oracle(sample: Sample) -> None:
    best = policies.oracle(sample).metrics["accuracy"].value
    point = OperatingPoint(0.1, 0.0, "router", 0.5, 0.5, 0.5, 6.5, 6.5)
    assert all(best >= policy.metrics["accuracy"].value for policy in policies.served_policies(sample, point))


def test_served_policies_are_the_router_between_its_limits(sample: Sample) -> None:
    point = OperatingPoint(0.1, 0.0, "router", 0.5, 0.5, 0.5, 6.5, 6.5)
    found = policies.served_policies(sample, point)
    assert [policy.name for policy in found] == ["always_flash", "always_pro", "router", "oracle"]


def test_metrics_in_money_stand_where_there_is_money_alone(sample: Sample) -> None:
    text = price_file((1, 1, 1), (2, 2, 2))
    paid = Sample(sample.rows, tariff(text, sample.rows).costs(sample.rows), 0)
    in_money = {"delivery", "delivery_saved", "cost_per_correct", "settled"}
    for each, there in ((sample, set()), (paid, in_money)):
        metrics = policies.constants(each)[1].metrics
        assert in_money & set(metrics) == there
        assert metrics["saved"].value == 0


def test_curve_of_a_policy_says_what_its_points_cost(sample: Sample) -> None:
    curve = policies.oracle(sample).curve
    assert curve.cost == pytest.approx(1 + 11 * curve.pro_rate)


def test_tier_that_was_never_observed_gets_an_even_chance() -> None:
    features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    outcomes = np.column_stack([features[:, 0] > 0, np.full(40, np.nan)]).astype(float)
    assert heads.fit(features, outcomes, 1.0).probabilities(features)[:, 1].tolist() == [0.5] * 40
