"""Policies side by side: what no policy can claim, and what one that fails must not break."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline import heads, policies
from pipeline.baselines import heuristic
from pipeline.metrics import Estimate
from pipeline.policies import DIVIDED_BY_GAP, Observed, Terms, where_defined
from pipeline.router import Router
from pipeline.traces import Traces


@pytest.fixture
def observed(small_router: Router, small_traces: Traces) -> Observed:
    return policies.observe(small_router, small_traces)


@pytest.mark.parametrize(("low", "high", "defined"), [(0.01, 0.2, True), (-0.1, 0.1, False), (-0.3, -0.1, False)])
def test_what_the_gap_divides_is_defined_only_where_pro_is_better(low: float, high: float, defined: bool) -> None:
    measured = {"gap": Estimate((low + high) / 2, low, high), "apgr": Estimate(0.6, 0.5, 0.7)}
    assert (where_defined(measured)["apgr"].value == 0.6) is defined
    assert "apgr" in DIVIDED_BY_GAP


def test_baseline_that_cannot_reach_the_quality_becomes_always_pro_and_says_so(
    observed: Observed, small_traces: Traces
) -> None:
    rival = replace(heuristic(small_traces), threshold=None)
    policy = policies._rival(rival, observed, observed, Terms((1.0, 12.0), 1.9, 0))
    assert policy.metrics["pro_rate"].value == 1.0
    assert "cannot reach" in policy.note


def test_no_policy_beats_the_oracle(observed: Observed) -> None:
    best = policies.oracle(observed, Terms((1.0, 12.0), 0.98, 0)).metrics["accuracy"].value
    assert all(
        best >= policy.metrics["accuracy"].value for policy in policies.constants(observed, Terms((1.0, 12.0), 0.98, 0))
    )


def test_tier_that_was_never_observed_gets_an_even_chance() -> None:
    features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    outcomes = np.column_stack([features[:, 0] > 0, np.full(40, np.nan)]).astype(float)
    assert heads.fit(features, outcomes, 1.0).probabilities(features)[:, 1].tolist() == [0.5] * 40
