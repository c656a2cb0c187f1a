"""The operating point: the cheapest threshold, by brute force over all of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.errors import TargetError
from pipeline import tune
from pipeline.tune import ALWAYS_FLASH, ALWAYS_PRO, for_quality, operate, scores, sends_to_pro

Rows = list[tuple[float, float, bool, bool]]
gain = st.floats(-1, 1, width=32)
rows_of = st.lists(
    st.tuples(gain | st.sampled_from([-0.25, 0.0, 0.25]), st.floats(0, 1, width=32), st.booleans(), st.booleans()),
    min_size=2,
    max_size=30,
)
quality = st.floats(0.3, 1.1)
GRID = 1e-7


def columns(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    table = np.array(rows, dtype=float)
    return table[:, 0].astype(np.float32), table[:, 1].astype(np.float32), table[:, 2:]


def accuracy(to_pro: NDArray[np.bool_], outcomes: NDArray[np.float64]) -> float:
    return float(np.where(to_pro, outcomes[:, 1], outcomes[:, 0]).mean())


def every_choice(score: NDArray[np.float64]) -> list[NDArray[np.bool_]]:
    """The decisions of every threshold that sends someone to pro."""
    return [score >= value for value in np.unique(score)]


@given(rows_of, quality)
def test_threshold_is_the_cheapest_that_keeps_the_quality(rows: Rows, share: float) -> None:
    gains, evidence, outcomes = columns(rows)
    target = share * outcomes[:, 1].mean()
    if outcomes[:, 0].mean() >= target:
        assert operate(gains, evidence, outcomes, share).policy == "always flash"
        return
    score = scores(gains, evidence, tune.evidence_floor(evidence))
    enough = [choice.mean() for choice in every_choice(score) if accuracy(choice, outcomes) >= target - GRID]
    if not enough:
        with pytest.raises(TargetError):
            operate(gains, evidence, outcomes, share)
        return
    assert operate(gains, evidence, outcomes, share).pro_rate == pytest.approx(min(enough))


@given(rows_of, quality)
def test_point_says_what_its_threshold_does(rows: Rows, share: float) -> None:
    gains, evidence, outcomes = columns(rows)
    try:
        point = operate(gains, evidence, outcomes, share)
    except TargetError:
        return
    to_pro = sends_to_pro(scores(gains, evidence, point.evidence_floor), point.threshold)
    assert (
        to_pro.tolist()
        == ((gains >= np.float32(point.threshold)) | (evidence < np.float32(point.evidence_floor))).tolist()
    )
    assert point.pro_rate == pytest.approx(to_pro.mean())
    assert point.accuracy == pytest.approx(accuracy(to_pro, outcomes))


@given(st.lists(gain, min_size=2, max_size=30), st.data())
def test_threshold_is_midway_between_two_gains(gains: list[float], data: st.DataObject) -> None:
    distinct = np.unique(np.array(gains, np.float32)).astype(float)
    assume(len(distinct) > 1)
    at = data.draw(st.integers(1, len(distinct) - 1))
    below, above = distinct[at - 1 : at + 1]
    threshold = tune.threshold_between(below, above)
    assert below < threshold <= above
    assert np.float32(threshold) == threshold
    assert threshold == pytest.approx((below + above) / 2, rel=1e-6, abs=1e-30)


@given(rows_of)
def test_raising_the_threshold_never_raises_the_pro_rate(rows: Rows) -> None:
    gains, evidence, _ = columns(rows)
    score = scores(gains, evidence, 0.1)
    rates = [sends_to_pro(score, threshold).mean() for threshold in np.linspace(ALWAYS_PRO, ALWAYS_FLASH, 61)]
    assert all(before >= after for before, after in pairwise(rates))


@given(rows_of)
def test_ends_of_the_threshold_are_always_pro_and_always_flash(rows: Rows) -> None:
    gains, evidence, _ = columns(rows)
    score = scores(gains, evidence, 0.0)
    assert sends_to_pro(score, ALWAYS_PRO).all()
    assert not sends_to_pro(score, ALWAYS_FLASH).any()


@given(rows_of, quality)
def test_flash_that_is_good_enough_takes_everything(rows: Rows, share: float) -> None:
    gains, evidence, outcomes = columns(rows)
    assume(outcomes[:, 0].mean() >= share * outcomes[:, 1].mean())
    point = operate(gains, evidence, outcomes, share)
    assert (point.policy, point.threshold, point.evidence_floor, point.pro_rate) == ("always flash", 2.0, 0.0, 0.0)


def test_unreachable_target_names_the_best_that_can_be_reached() -> None:
    outcomes = np.array([[0, 1]] * 8 + [[1, 0]] * 1 + [[0, 0]])
    score = np.array([*np.linspace(0.9, 0.2, 8), -0.5, 0.0])
    with pytest.raises(TargetError, match=r"1\.2 cannot be reached.*keeps 1\.1250.*--min-quality 1\.125 or less"):
        for_quality(score, outcomes.astype(float), 0.0, 1.2)


@given(rows_of, quality)
def test_named_best_can_be_reached(rows: Rows, share: float) -> None:
    gains, evidence, outcomes = columns(rows)
    try:
        operate(gains, evidence, outcomes, share)
    except TargetError as error:
        best = float(str(error).split("--min-quality ")[1].split()[0])
        operate(gains, evidence, outcomes, best)


def test_rows_with_too_little_evidence_go_to_pro_at_every_gain() -> None:
    score = scores(np.array([-1, 1], np.float32), np.array([0.1, 0.9], np.float32), 0.5)
    assert sends_to_pro(score, 1.0).tolist() == [True, True]
    assert sends_to_pro(score, 1.5).tolist() == [True, False]


def test_floor_is_a_low_percentile() -> None:
    assert tune.evidence_floor(np.arange(201, dtype=np.float32)) == 1.0


@pytest.mark.parametrize(("flash", "expected"), [(0.5, 0.8), (0.9, 0.0), (0.0, 0.9)])
def test_random_rate_keeps_the_quality_on_average(flash: float, expected: float) -> None:
    outcomes = np.column_stack([np.arange(100) < 100 * flash, np.ones(100)]).astype(float)
    assert tune.random_rate(outcomes, 0.9) == pytest.approx(expected)


def test_threshold_for_the_forced_alone_spares_a_gain_of_one() -> None:
    gains, evidence = np.array([0.0, 1.0], np.float32), np.array([0.0, 1.0], np.float32)
    point = operate(gains, evidence, np.array([[0.0, 1.0], [0.0, 0.0]]), 1.0)
    to_pro = sends_to_pro(scores(gains, evidence, point.evidence_floor), point.threshold)
    assert to_pro.tolist() == [True, False]
