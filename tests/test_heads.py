"""The two heads: weights, clipping, constant tiers and constant features."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from pipeline import heads
from pipeline.heads import Heads

ROWS = 120
CONSTANT = 3


def sample(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Generated features, one of them constant, and outcomes that depend on the first two."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(ROWS, 10)).astype(np.float32) * np.arange(1, 11, dtype=np.float32)
    features[:, CONSTANT] = 0.7
    chance = expit(features[:, :2])
    return features, (random.random((ROWS, 2)) < chance).astype(float)


def same(one: Heads, other: Heads) -> bool:
    pairs = zip(one.coefficients, other.coefficients, strict=True)
    return all(np.allclose(a, b, rtol=1e-6, atol=1e-8) for a, b in pairs)


@given(st.integers(0, 20), st.data())
def test_duplicated_rows_equal_weights(seed: int, data: st.DataObject) -> None:
    features, outcomes = sample(seed)
    times = np.array(data.draw(st.lists(st.integers(1, 3), min_size=ROWS, max_size=ROWS)))
    repeated = np.repeat(np.arange(ROWS), times)
    weighted = heads.fit(features, outcomes, 1.0, times.astype(float))
    assert same(weighted, heads.fit(features[repeated], outcomes[repeated], 1.0))


def test_order_of_rows_changes_no_head() -> None:
    features, outcomes = sample()
    assert same(heads.fit(features, outcomes, 1.0), heads.fit(features[::-1], outcomes[::-1], 1.0))


def test_unobserved_outcomes_are_left_out_of_their_head() -> None:
    features, outcomes = sample()
    outcomes[::2, 0] = np.nan
    both = heads.fit(features, outcomes, 1.0)
    scaled = both.scale(features[1::2])
    assert both.models[0].predict_proba(scaled)[:, 1] == pytest.approx(both.probabilities(features[1::2])[:, 0])
    outcomes[::2, 0] = np.nan_to_num(outcomes[::2, 0])
    assert not same(both, heads.fit(features, outcomes, 1.0))


def test_coefficients_give_scikit_learns_probabilities() -> None:
    features, outcomes = sample()
    fitted = heads.fit(features, outcomes, 0.1)
    weights, intercepts = fitted.coefficients
    expected = expit(features.astype(float) @ weights + intercepts)
    assert fitted.probabilities(features) == pytest.approx(expected, abs=1e-12)


def test_constant_feature_has_coefficient_zero() -> None:
    features, outcomes = sample()
    fitted = heads.fit(features, outcomes, 1.0)
    assert fitted.coefficients[0][CONSTANT].tolist() == fitted.standardised[CONSTANT].tolist() == [0, 0]


@pytest.mark.parametrize("value", [-1e30, 1e30])
@pytest.mark.parametrize("feature", range(10))
def test_values_outside_the_training_range_are_clipped(feature: int, value: float) -> None:
    features, outcomes = sample()
    fitted = heads.fit(features, outcomes, 1.0)
    outside, edge = features[:5].copy(), features[:5].copy()
    outside[:, feature] = value
    edge[:, feature] = (fitted.low if value < 0 else fitted.high)[feature]
    assert np.array_equal(fitted.probabilities(outside), fitted.probabilities(edge))


def test_range_is_that_of_training() -> None:
    features, outcomes = sample()
    fitted = heads.fit(features, outcomes, 1.0)
    assert np.array_equal(fitted.low, features.min(0))
    assert np.array_equal(fitted.high, features.max(0))


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_tier_that_is_always_the_same_has_one_probability_near_it_and_no_certainty(answer: float) -> None:
    features, outcomes = sample()
    outcomes[:, 1] = answer
    chance = heads.fit(features, outcomes, 1.0).probabilities(features)[:, 1]
    assert len(set(chance.tolist())) == 1
    assert 0 < abs(chance[0] - answer) < 0.01


def test_constant_tier_has_no_weights_and_its_intercept() -> None:
    features, outcomes = sample()
    outcomes[:, 0] = 1
    fitted = heads.fit(features, outcomes, 1.0)
    weights, intercepts = fitted.coefficients
    assert not weights[:, 0].any()
    assert expit(intercepts[0]) == pytest.approx(fitted.probabilities(features)[0, 0])


def test_same_input_gives_the_same_coefficients_to_the_bit() -> None:
    first, second = (heads.fit(*sample(), 1.0).coefficients for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_standard_errors_shrink_with_the_square_root_of_the_rows() -> None:
    features, outcomes = sample()
    errors = []
    for times in (1, 4):
        rows = np.tile(np.arange(ROWS), times)
        fitted = heads.fit(features[rows], outcomes[rows], 1e6)
        one = np.ones(len(rows))
        errors.append(heads.standard_errors(fitted, features[rows], outcomes[rows], np.arange(len(rows)), 1e6, one))
    assert errors[0] == pytest.approx(2 * errors[1], rel=1e-3, abs=1e-6)


def test_rows_of_one_group_count_as_one_observation() -> None:
    features, outcomes = sample()
    rows, one = np.tile(np.arange(ROWS), 2), np.ones(2 * ROWS)
    fitted = heads.fit(features[rows], outcomes[rows], 1e6)
    alone = heads.standard_errors(fitted, features, outcomes, np.arange(ROWS), 1e6, one[:ROWS])
    doubled = heads.standard_errors(fitted, features[rows], outcomes[rows], rows, 1e6, one)
    assert doubled == pytest.approx(alone, rel=1e-3, abs=1e-6)
