"""Where exploration goes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.exploring import LARGEST_CHANCE, NEAREST, chance, reach_of

GAIN = np.random.default_rng(0).normal(0.1, 0.2, 5000)


@pytest.mark.parametrize("explore", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("threshold", [0.1, -0.3, 2.0, -1.0])
def test_mean_chance_is_the_rate_asked_for(threshold: float, explore: float) -> None:
    reach = reach_of(GAIN, threshold)
    mean = np.mean([chance(explore, each, reach) for each in np.abs(GAIN - threshold)])
    assert mean == pytest.approx(explore, rel=0.01)


def test_reach_holds_the_share_of_the_requests_that_counts_as_near() -> None:
    reach = reach_of(GAIN, 0.1)
    assert reach is not None
    assert (np.abs(GAIN - 0.1) <= reach).mean() == pytest.approx(NEAREST, abs=0.001)


def test_request_whose_gain_did_not_decide_is_far() -> None:
    assert chance(0.02, math.inf, 0.1) == chance(0.02, 0.9, 0.1) == pytest.approx(0.01)


def test_no_chance_is_beyond_a_half() -> None:
    assert chance(0.5, 0.0, 0.1) == LARGEST_CHANCE


@pytest.mark.parametrize("gain", [np.zeros(50), np.array([])])
def test_gain_that_tells_nothing_apart_is_explored_evenly(gain: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    assert reach_of(gain, 0.1) is None
    assert chance(0.02, 0.0, reach_of(gain, 0.1)) == 0.02
