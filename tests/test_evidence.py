"""What logged decisions say of the tiers, and what their outcomes count in learning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import generate, write_rows

from features.errors import LearningError, TraceError
from pipeline import heads, router
from pipeline.config import Config
from pipeline.evidence import asked_by_chance, scripts
from pipeline.router import Smoothing
from pipeline.traces import Traces, load
from pipeline.train import read
from pipeline.weights import weigh

LOGGED = {"chosen": "flash", "served": "flash", "propensity": 0.98, "flash_correct": 1}


def traces_of(folder: Path, *rows: Mapping[str, Any], waiting: bool = False) -> Traces:
    told = [{"prompt": f"some words {at}", **row} for at, row in enumerate(rows)]
    return load([write_rows(folder / "t.jsonl", told)], waiting=waiting)


def test_logged_decision_says_which_tier_was_asked_and_how_likely_that_was(tmp_path: Path) -> None:
    pro = {"chosen": "pro", "served": "pro", "propensity": 0.02, "pro_correct": 0}
    asked, chances = asked_by_chance(traces_of(tmp_path, LOGGED, pro))
    assert asked.tolist() == [[True, False], [False, True]]
    np.testing.assert_allclose(chances, [[0.98, 0.02], [0.98, 0.02]])


def test_audited_task_was_asked_of_both_for_certain(tmp_path: Path) -> None:
    asked, chances = asked_by_chance(traces_of(tmp_path, {"flash_correct": 1, "pro_correct": 0}))
    assert (asked.tolist(), chances.tolist()) == ([[True, True]], [[1.0, 1.0]])


@pytest.mark.parametrize("change", [{"served": "pro"}, {"propensity": None}, {"served": None}])
def test_fall_back_limit_and_unknown_propensity_say_nothing_of_the_tiers(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    traces = traces_of(tmp_path, LOGGED | change, LOGGED)
    asked, chances = asked_by_chance(traces)
    assert not asked[0].any()
    assert np.isnan(chances[0]).all()
    assert weigh(traces).rows.tolist() == [1]


@pytest.mark.parametrize("value", [0, -0.5, 1.5, "nan"])
def test_propensity_that_is_no_chance_of_what_happened_is_refused_with_its_place(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TraceError, match="row 1, field 'propensity'"):
        traces_of(tmp_path, LOGGED | {"propensity": value})


def test_decision_without_an_outcome_is_kept_only_where_asked_for(tmp_path: Path) -> None:
    rows = [LOGGED, LOGGED | {"flash_correct": None}]
    assert [len(traces_of(tmp_path, *rows, waiting=waiting)) for waiting in (False, True)] == [1, 2]


def test_row_without_outcome_and_without_decision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no outcome of either tier"):
        traces_of(tmp_path, LOGGED, {"flash_correct": None}, waiting=True)


def test_audit_of_a_logged_task_takes_its_place(tmp_path: Path) -> None:
    logged = LOGGED | {"task_id": "1"}
    traces = traces_of(tmp_path, logged, {"task_id": "1", "flash_correct": 1, "pro_correct": 0})
    assert (traces.outcomes.tolist(), traces.repeated) == ([[1.0, 0.0]], 1)


@pytest.mark.parametrize("first", ["log", "audit"])
def test_audit_in_which_the_tier_answered_otherwise_takes_the_place_of_the_log_row(tmp_path: Path, first: str) -> None:
    rows = [LOGGED | {"task_id": "1"}, {"task_id": "1", "flash_correct": 0, "pro_correct": 0}, LOGGED]
    traces = traces_of(tmp_path, *(rows if first == "log" else rows[::-1]))
    (audited,) = np.flatnonzero(traces.task_id == "1")
    assert (traces.outcomes[audited].tolist(), traces.chosen[audited]) == ([0.0, 0.0], -1)
    assert len(traces) == 2


def test_labels_of_a_task_that_contradict_each_other_are_refused_beside_its_log_row(tmp_path: Path) -> None:
    labels = [{"task_id": "1", "flash_correct": flash, "pro_correct": 0} for flash in (0, 1)]
    with pytest.raises(TraceError, match=r"row 3, field 'task_id': '1' stood before with other outcomes \(.*row 2\)"):
        traces_of(tmp_path, LOGGED | {"task_id": "1"}, *labels)


def test_script_is_that_of_most_letters(tmp_path: Path) -> None:
    prompts = ["plain words 12", "слова и ещё one", "漢字と仮名 in one", "42 + 7", ""]
    found = scripts(traces_of(tmp_path, *({"prompt": prompt, "flash_correct": 1} for prompt in prompts)))
    assert found.tolist()[:2] + found.tolist()[3:] == ["latin", "cyrillic", "", ""]


def test_outcome_counts_for_the_inverse_of_its_chance_and_by_one_on_average(tmp_path: Path) -> None:
    rows = [LOGGED | {"propensity": 0.8}, LOGGED | {"propensity": 0.2}, {"flash_correct": 0}]
    weights = weigh(traces_of(tmp_path, *rows), clip=20)
    np.testing.assert_allclose(weights.values[:, 0], np.array([1.25, 5, 1]) / (7.25 / 3))
    assert weights.seen == (3, 0)
    assert weights.effective == (pytest.approx(7.25**2 / (1.25**2 + 25 + 1)), 0.0)


def test_outcome_counts_for_no_more_than_the_clip(tmp_path: Path) -> None:
    weights = weigh(traces_of(tmp_path, LOGGED | {"propensity": 0.01}, LOGGED | {"propensity": 1.0}), clip=4)
    np.testing.assert_allclose(weights.values[:, 0], [1.6, 0.4])


def test_outcome_counts_half_after_each_half_life(tmp_path: Path) -> None:
    rows = [LOGGED | {"time": f"2026-0{month}-01"} for month in (1, 3)] + [LOGGED]
    values = weigh(traces_of(tmp_path, *rows), half_life_days=59).values[:, 0]
    np.testing.assert_allclose(values, [0.5, 1, 0.5])


def test_what_was_labelled_does_not_age(tmp_path: Path) -> None:
    rows = [{"flash_correct": 1, "time": "2026-01-01"}, LOGGED | {"time": "2026-03-01"}]
    np.testing.assert_allclose(weigh(traces_of(tmp_path, *rows), half_life_days=59, clip=1).values[:, 0], [1, 1])


def test_prompt_that_is_asked_again_counts_once_as_much_as_its_weightiest_outcome(tmp_path: Path) -> None:
    often, other = {"prompt": "the same", "group": "one"}, {"prompt": "another", "group": "one"}
    rows = [LOGGED | often | {"propensity": each} for each in (0.5, 0.25, 0.25)] + [LOGGED | other | {"propensity": 1}]
    rows[1]["flash_correct"] = 0
    found = weigh(traces_of(tmp_path, *rows))
    assert (found.rows.tolist(), found.outcomes[:, 0].tolist()) == ([0, 1, 3], [1, 0, 1])  # the third is as the first
    values = found.values[:, 0] * (11 / 4)  # as before their mean was made 1
    np.testing.assert_allclose(values, [2.4, 1.6, 1])
    assert found.seen == (4, 0)


def test_prompt_that_comes_again_with_another_context_counts_once_and_stays_with_each(tmp_path: Path) -> None:
    turns = [LOGGED | {"prompt": "go on", "context_bytes": 900 * turn, "turn_count": turn} for turn in (1, 5, 5)]
    traces = traces_of(tmp_path, *(row | {"propensity": 1.0} for row in turns))
    found = weigh(traces)
    assert found.rows.tolist() == [0, 1]  # the third is as the second
    np.testing.assert_allclose(found.values[:, 0], [1 / 3, 2 / 3])


def test_prompts_of_one_group_count_each(tmp_path: Path) -> None:
    rows = [LOGGED | {"group": "a customer", "propensity": 1.0, "prompt": f"word{at}"} for at in range(3)]
    np.testing.assert_allclose(weigh(traces_of(tmp_path, *rows)).values[:, 0], 1)


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(LearningError, match="explore"):
        weigh(traces_of(tmp_path, LOGGED | {"propensity": None}))


def test_router_with_weights_of_one_is_that_without(small_traces: Traces) -> None:
    plain, _ = router.fit(small_traces, Smoothing())
    weighted, _ = router.fit(small_traces, Smoothing(), np.ones((len(small_traces), 2)))
    assert plain.vocabulary.weights.tolist() == weighted.vocabulary.weights.tolist()
    for one, other in zip(plain.heads.coefficients, weighted.heads.coefficients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_weighted_logs_give_the_rates_of_the_traffic_and_plain_ones_do_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for row in generate(4000):
        chance = 0.9 if row["flash_correct"] == 0 else 0.1  # an oracle logs: as far from random as it gets
        tier, propensity = ("pro", chance) if rng.random() < chance else ("flash", 1 - chance)
        kept = {"prompt": row["prompt"], f"{tier}_correct": row[f"{tier}_correct"]}
        rows.append(kept | {"chosen": tier, "served": tier, "propensity": propensity})
    truth = np.mean([row["flash_correct"] for row in generate(4000)])
    traces = load([write_rows(tmp_path / "t.jsonl", rows)])
    weights = weigh(traces, clip=20)
    plain = np.nanmean(traces.outcomes[:, 0])
    counted = router.counts(traces, weights.values).vocabulary(1.0).base[0]
    assert abs(counted - truth) < 0.04 < abs(plain - truth)


def test_heads_weigh_each_tier_by_its_own(small_traces: Traces) -> None:
    features = np.random.default_rng(0).normal(size=(len(small_traces), 10)).astype(np.float32)
    weights = np.ones((len(small_traces), 2))
    weights[:, 1] = 2.0
    fitted = heads.fit(features, small_traces.outcomes, 1.0, weights)
    flash = heads.fit(features, small_traces.outcomes, 1.0)
    np.testing.assert_allclose(fitted.coefficients[0][:, 0], flash.coefficients[0][:, 0], atol=1e-8)
    assert not np.allclose(fitted.coefficients[0][:, 1], flash.coefficients[0][:, 1], atol=1e-8)


def test_training_counts_logged_outcomes_by_their_chances_and_says_what_they_are_worth(tmp_path: Path) -> None:
    rows = generate(900)
    for row in rows[:300]:
        tier = "pro" if int(row["task_id"][5:]) % 5 else "flash"
        del row["flash_correct" if tier == "pro" else "pro_correct"]
        row |= {"chosen": tier, "served": tier, "propensity": 0.8 if tier == "pro" else 0.2}
    given = read(Config((write_rows(tmp_path / "t.jsonl", rows),), tmp_path), lambda _: None)
    assert given.counted is not None
    assert given.counted[~np.isnan(given.fit.outcomes)].max() > 2
    assert any("logged decisions" in warning for warning in given.warnings)


def test_training_without_logged_decisions_counts_all_once(tmp_path: Path) -> None:
    given = read(Config((write_rows(tmp_path / "t.jsonl", generate(900)),), tmp_path), lambda _: None)
    assert given.counted is None
