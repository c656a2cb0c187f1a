"""What logs lead to expect of either tier: exact where both were asked, right on average where one was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judging import EASY, HARD, evidence, prices, requests, wasteful

from features.errors import LearningError
from pipeline.evidence import Evidence
from pipeline.inferred import Amounts, design, infer

ROWS = 2000
TRUTH = np.add(HARD, EASY) / 2


@pytest.fixture(scope="module")
def logged() -> tuple[Evidence, Amounts]:
    """Logged decisions of which three in ten outcomes never arrived, and a few audits."""
    seen, hard = requests(ROWS)
    known = evidence(seen, wasteful(hard), audited=100, missing=0.3)
    return known, infer(known, prices(seen), seed=0)


def test_audits_alone_give_their_outcomes_and_costs_back() -> None:
    seen, hard = requests(300)
    found = infer(evidence(seen, hard, audited=300), prices(seen), seed=0)
    np.testing.assert_allclose(found.accuracy, seen.outcomes, atol=1e-12)
    np.testing.assert_allclose(found.costs.delivery, prices(seen).costs(seen).delivery)


def test_tier_of_which_no_outcome_was_seen_gets_what_is_expected(logged: tuple[Evidence, Amounts]) -> None:
    _, found = logged
    np.testing.assert_array_equal(found.accuracy[~found.asked.seen], found.expected[~found.asked.seen])
    assert (found.accuracy[found.asked.seen] != found.expected[found.asked.seen]).all()


def test_means_are_near_the_truth_where_those_of_what_was_seen_are_not(logged: tuple[Evidence, Amounts]) -> None:
    known, found = logged
    error = found.accuracy.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.accuracy.mean(axis=0) - TRUTH) < 3 * error).all()
    plain = np.nanmean(known.rows.outcomes, axis=0)
    assert plain[0] > TRUTH[0] + 0.1


def test_missing_outcomes_are_allowed_for(logged: tuple[Evidence, Amounts]) -> None:
    known, found = logged
    alone = ~known.audited
    assert found.arrival[alone].mean() == pytest.approx(0.7, abs=0.05)


def test_rows_that_say_nothing_of_the_tiers_are_left_out(logged: tuple[Evidence, Amounts]) -> None:
    known, _ = logged
    asked, chances = known.asked.copy(), known.chances.copy()
    asked[::4], chances[::4] = False, np.nan
    found = infer(replace(known, asked=asked, chances=chances), prices(requests(ROWS)[0]), seed=0)
    assert len(found) == ROWS - ROWS // 4
    assert np.isfinite(found.accuracy).all()
    assert np.isfinite(found.costs.delivery).all()


def test_evidence_without_a_usable_row_is_refused(logged: tuple[Evidence, Amounts]) -> None:
    known, _ = logged
    asked, chances = np.zeros_like(known.asked), np.full_like(known.chances, np.nan)
    with pytest.raises(LearningError, match="nothing can be estimated"):
        infer(replace(known, asked=asked, chances=chances), prices(requests(ROWS)[0]), seed=0)


def test_design_has_finite_columns_with_and_without_times() -> None:
    seen, _ = requests(50)
    timed = replace(seen, time=np.datetime64("2026-02-01", "us") + np.arange(50))
    assert design(seen).shape == design(timed).shape == (50, 14)
    assert (design(seen)[:, -1] == 0).all()
    np.testing.assert_allclose([design(timed)[:, -1].mean(), design(timed)[:, -1].std()], [0, 1], atol=1e-9)


def test_certain_probabilities_do_not_run_away() -> None:
    seen, _ = requests(50)
    certain = replace(seen, probabilities=np.tile([0.0, 1.0], (50, 1)))
    assert np.abs(design(certain)).max() <= 6


def test_some_of_the_rows_are_those_rows(logged: tuple[Evidence, Amounts]) -> None:
    _, found = logged
    rows = np.array([7, 3, 500])
    part = found.take(rows)
    assert len(part) == len(part.evidence) == len(part.asked) == 3
    for name in ("accuracy", "expected", "arrival"):
        np.testing.assert_array_equal(getattr(part, name), getattr(found, name)[rows])
    np.testing.assert_array_equal(part.costs.delivery, found.costs.delivery[rows])
