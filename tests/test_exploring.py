"""Where exploration goes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.exploring import LARGEST_CHANCE, LEAST, MOST, chance, chances, scale_of

GAIN = np.random.default_rng(0).normal(0.1, 0.2, 5000)
RATE = 0.02

Gains = NDArray[np.float64]


def found(explore: float, gain: Gains, threshold: float) -> Gains:
    return chances(explore, np.abs(gain - threshold), scale_of(gain, threshold))


@pytest.mark.parametrize("explore", [0.001, 0.02, 0.2, 0.5])
@pytest.mark.parametrize("threshold", [0.1, -0.3, 2.0, -1.0])
def test_mean_chance_is_the_rate_asked_for(threshold: float, explore: float) -> None:
    assert np.mean(found(explore, GAIN, threshold)) == pytest.approx(explore, rel=1e-6)


def test_chance_falls_with_the_distance_from_the_threshold() -> None:
    falling = found(RATE, GAIN, 0.1)[np.argsort(np.abs(GAIN - 0.1))]
    assert (np.diff(falling) <= 0).all()
    assert falling[0] == pytest.approx(MOST * RATE)
    assert falling[-1] == pytest.approx(LEAST * RATE)


def test_twice_as_far_is_half_as_likely() -> None:
    assert chance(RATE, 0.1, 0.15) == pytest.approx(2 * chance(RATE, 0.2, 0.15))


def test_request_whose_gain_did_not_decide_is_far() -> None:
    assert chance(RATE, math.inf, 0.1) == pytest.approx(LEAST * RATE)


@pytest.mark.parametrize("explore", [0.1, 0.3, 0.5])
def test_no_chance_is_beyond_a_half(explore: float) -> None:
    assert chance(explore, 0.0, 0.1) == pytest.approx(min(MOST * explore, LARGEST_CHANCE))


def test_requests_whose_gain_does_not_decide_count_in_the_mean() -> None:
    gain = np.append(GAIN, np.full(500, np.inf))
    assert found(RATE, gain, 0.1).mean() == pytest.approx(RATE)


@pytest.mark.parametrize("explore", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("scale", [None, 0.05])
def test_many_requests_at_once_are_as_likely_as_each_alone(explore: float, scale: float | None) -> None:
    away = np.array([0.0, 0.001, 0.01, 0.05, 0.2, math.inf])
    assert chances(explore, away, scale).tolist() == [chance(explore, each, scale) for each in away.tolist()]


def test_nothing_is_explored_where_nothing_is_to_be() -> None:
    assert chance(0.0, 0.0, 0.1) == 0


@pytest.mark.parametrize("gain", [np.full(50, 0.1), np.array([]), np.repeat([0.1, 0.7], [20, 80]), np.full(9, np.inf)])
def test_gain_that_tells_nothing_apart_is_explored_evenly(gain: Gains) -> None:
    assert scale_of(gain, 0.1) is None
    assert set(found(RATE, gain, 0.1).tolist()) <= {RATE}


def test_gain_of_one_value_is_explored_evenly() -> None:
    assert found(RATE, np.full(50, 0.4), 0.1) == pytest.approx([RATE] * 50)
