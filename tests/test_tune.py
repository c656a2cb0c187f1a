"""The operating point: what is chosen among the declared rules, and what is certified of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import costing, rows, ruled

from features.errors import InputError
from pipeline import guarantee
from pipeline.certificate import Certificate, rounded_up
from pipeline.config import Aim
from pipeline.export import decide
from pipeline.frontier import Rules, declare
from pipeline.guarantee import Claim
from pipeline.metrics import FLASH, PRO
from pipeline.objective import DEFAULT_QUALITY, Objective
from pipeline.sample import Sample
from pipeline.tune import Tuned, operate, scores, sends_to_pro, tune

seeds = st.integers(0, 10_000)
TOTAL = Objective("total_cost", None)


def drawn(count: int, seed: int, *, per_group: int = 1, gap: float = 0.1) -> Sample:
    """Rows whose gain is nearly what it says; `gap` is by how much pro is better on average."""
    random = np.random.default_rng(seed)
    gain = np.clip(random.beta(0.5, 0.5 * (1 - gap) / gap, count), 0, 0.9).astype(np.float32)
    pro = random.random(count) < 0.9
    flash = random.random(count) < 0.9 * (1 - gain)
    evidence = random.random(count)
    seen = rows(np.stack([flash, pro], 1), gain=gain, evidence=evidence, groups=np.arange(count) // per_group)
    return Sample(seen, costing(np.tile([1.0, 12.0], (count, 1)), in_usd=False), seed)


def declared(sample: Sample) -> Rules:
    """Rules from the distribution of gains, as if of other rows."""
    return declare(sample.rows.gain, sample.rows.evidence)


def accuracy(tuned: Tuned, sample: Sample) -> float:
    to_pro = decide(sample.rows.probabilities, sample.rows.evidence, tuned.point)
    return float(np.where(to_pro, sample.rows.outcomes[:, PRO], sample.rows.outcomes[:, FLASH]).mean())


@given(seeds, st.sampled_from([0.9, 0.95, 1.0]))
def test_without_certify_the_objective_alone_decides(seed: int, quality: float) -> None:
    sample = drawn(150, seed)
    aim = Aim(Objective("min_quality", quality))
    tuned = tune(sample, declared(sample), aim)
    assert tuned.point == operate(sample, declared(sample), aim.objective)
    assert accuracy(tuned, sample) >= quality * sample.rows.outcomes[:, PRO].mean() - 1e-9


@given(seeds, st.sampled_from([40, 400, 2000]), st.integers(1, 3))
def test_with_certify_the_choice_is_among_the_certified_rules(seed: int, count: int, per_group: int) -> None:
    sample = drawn(count, seed, per_group=per_group)
    rules, aim = declared(sample), Aim(Objective("pro_rate", 1.0), certify=True, max_loss=0.05)
    tuned = tune(sample, rules, aim)
    seen = sample.rows
    place = rules.places(seen.gain, seen.evidence)
    p_values = guarantee.p_values(aim.claim, seen.outcomes, seen.groups, place, len(rules))
    step = guarantee.last_certified(p_values, aim.claim)
    assert tuned.certificate.step == step
    assert tuned.certificate.certified == (step > 0 or tuned.certificate.wished == 0)
    assert rules.thresholds.tolist().index(tuned.point.threshold) <= step
    assert (tuned.certificate.more_labels == 0) == (tuned.certificate.wished <= step)


def test_certificate_costs_pro_calls_and_more_rows_cost_fewer() -> None:
    rates = []
    for count in (40, 500, 5_000):
        sample = drawn(count, 1)
        aim = Aim(Objective("min_quality", 0.95), certify=True)
        rates.append(tune(sample, declared(sample), aim).point.pro_rate)
    free = tune(sample, declared(sample), Aim(Objective("min_quality", 0.95))).point.pro_rate
    assert rates[0] == 1 > rates[1] > rates[2] > free


def test_with_too_few_rows_always_pro_is_served_and_the_certificate_says_why() -> None:
    sample = drawn(40, 0)
    tuned = tune(sample, declared(sample), Aim(certify=True))
    assert (tuned.point.policy, tuned.point.pro_rate, tuned.point.threshold) == ("always pro", 1.0, -1.0)
    assert tuned.certificate.served == tuned.certificate.step == 0
    assert tuned.certificate.told.startswith("With a confidence level of 0.95 routing answers at least 0.98 times")


def test_always_pro_for_want_of_rows_says_how_far_the_data_goes_and_how_many_labels_would_do() -> None:
    sample = drawn(40, 0)
    printed = tune(sample, declared(sample), Aim(certify=True)).certificate.printed()
    assert (printed["certified"], printed["served_step"]) == (False, 0)
    assert "nothing but always-pro can be certified" in printed["verdict"]
    assert printed["more_labels"] > 0
    assert f"about {printed['more_labels']:,} more labelled tasks would do" in printed["verdict"]


def test_uncertified_choice_says_how_far_the_data_goes_and_how_many_labels_would_do() -> None:
    sample = drawn(40, 0)
    found = tune(sample, declared(sample), Aim()).certificate
    assert not found.certified
    assert found.verdict.startswith("not certified: nothing but always-pro can be certified; about ")
    assert f"{found.more_labels:,} more labelled tasks would do for {found.wished_rate:.1%}" in found.verdict
    assert found.more_labels > 0
    assert found.pro_rate == 1 > found.wished_rate


def test_more_rows_say_how_far_they_go() -> None:
    sample = drawn(3_000, 0)
    found = tune(sample, declared(sample), Aim(Objective("min_quality", 0.95))).certificate
    assert found.verdict.startswith(
        f"not certified: the data goes as far as sending {found.pro_rate:.1%} to pro; about"
    )
    assert found.step > 0


def test_claim_that_the_rows_speak_against_says_that_labels_would_not_do() -> None:
    lost = [[0, 1]] * 200
    sample = Sample(rows(lost, gain=np.arange(200) / 256), costing(np.ones((200, 2)), in_usd=False), 0)
    found = tune(sample, ruled(np.arange(200) / 256), Aim(Objective("pro_rate", 0.0))).certificate
    assert found.more_labels is None
    assert found.verdict.endswith("more labels of this kind would not do")


def test_no_labels_are_never_said_to_be_enough_for_what_is_not_certified() -> None:
    for seed in range(60):
        sample = drawn(300, seed, gap=0.02)
        found = tune(sample, declared(sample), Aim(Objective("min_quality", 0.95))).certificate
        assert found.certified or found.more_labels != 0, f"seed {seed}: {found.verdict}"


@pytest.mark.parametrize(
    ("aim", "kept"),
    [
        (Aim(confidence_level=0.9), "at least 0.98 times as many requests correctly as always-pro would"),
        (
            Aim(max_loss=0.016, confidence_level=0.9),
            "at most 1.6 points fewer requests correctly than always-pro would",
        ),
    ],
    ids=["ratio", "points"],
)
def test_claim_holds_the_level_the_bound_the_rows_and_when_it_lapses(aim: Aim, kept: str) -> None:
    sample = drawn(1_234, 3)
    told = tune(sample, declared(sample), aim).certificate.told
    assert told.startswith("With a confidence level of 0.9 routing answers ")
    assert all(words in told for words in (kept, "1,234 tasks of the tune part", "it lapses when the traffic"))


def test_claim_says_how_large_groups_are_counted_where_there_are_any() -> None:
    said = [
        tune(sample, declared(sample), Aim()).certificate.told for sample in (drawn(400, 0), drawn(400, 0, per_group=2))
    ]
    counted = "a group of like tasks counting once"
    assert [counted in each for each in said] == [False, True]


@pytest.mark.parametrize(
    ("aim", "claim"),
    [
        (Aim(), Claim("ratio", DEFAULT_QUALITY)),
        (Aim(Objective("min_quality", 0.9)), Claim("ratio", 0.9)),
        (Aim(Objective("min_quality", 1.2)), Claim("ratio", 1.0)),
        (Aim(TOTAL), Claim("ratio", DEFAULT_QUALITY)),
        (Aim(Objective("max_cost", 0.5)), Claim("ratio", DEFAULT_QUALITY)),
        (Aim(Objective("min_quality", 0.9), max_loss=0.02), Claim("points", 0.02)),
        (Aim(confidence_level=0.8), Claim("ratio", DEFAULT_QUALITY, 0.8)),
    ],
)
def test_claim_follows_from_the_aim(aim: Aim, claim: Claim) -> None:
    assert aim.claim == claim


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"max_loss": 1.0}, "--max-loss 1"),
        ({"max_loss": -0.1}, "--max-loss -0.1"),
        ({"max_loss": float("nan")}, "--max-loss"),
        ({"confidence_level": 1.0}, "--confidence-level 1"),
        ({"confidence_level": 0.0}, "--confidence-level 0"),
    ],
)
def test_claim_that_nothing_could_keep_or_break_names_its_option(values: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Aim(**values)


def test_certificate_covers_the_rules_up_to_its_threshold_and_no_other() -> None:
    sample = drawn(3_000, 0)
    rules = declared(sample)
    found = tune(sample, rules, Aim(Objective("min_quality", 0.95))).certificate
    assert [found.covers(threshold) for threshold in rules.thresholds] == [at <= found.step for at in range(len(rules))]


def test_printed_certificate_is_plain_json_with_claim_and_verdict() -> None:
    sample = drawn(300, 0)
    found = tune(sample, declared(sample), Aim(certify=True))
    printed = json.loads(json.dumps(found.certificate.printed()))
    assert printed["certified"] is True
    assert printed["claim"] == found.certificate.told
    assert (printed["form"], printed["bound"], printed["confidence_level"]) == ("ratio", 0.98, 0.95)
    assert (printed["rows"], printed["groups"]) == (300, 300)


def test_groups_are_counted_and_not_their_rows_alone() -> None:
    sample = drawn(300, 0, per_group=3)
    found = tune(sample, declared(sample), Aim()).certificate
    assert (found.rows, found.groups) == (300, 100)


def test_labels_of_all_parts_are_counted_for_the_tune_part_is_a_fifth() -> None:
    sample = drawn(2_000, 0)
    found: Certificate = tune(sample, declared(sample), Aim(Objective("min_quality", 0.97))).certificate
    rules, seen = declared(sample), sample.rows
    place = rules.places(seen.gain, seen.evidence)
    needed = guarantee.labels_needed(found.claim, seen.outcomes, seen.groups, place, len(rules))
    rate = 1 - np.cumsum(np.bincount(place, minlength=len(rules)))[: len(rules)] / len(place)
    wanted = int(np.flatnonzero(np.isclose(rate, found.wished_rate))[0])
    assert found.more_labels == rounded_up(5 * (needed[wanted] - 2_000))


@pytest.mark.parametrize(("count", "rounded"), [(-3, 0), (0, 0), (7.2, 8), (99, 99), (101, 110), (12_345, 13_000)])
def test_counts_of_labels_are_rounded_up_to_two_digits(count: float, rounded: int) -> None:
    assert rounded_up(count) == rounded


def test_duplicated_rows_of_a_group_prove_nothing_more() -> None:
    once = drawn(400, 5)
    twice = Sample(once.rows.take(np.repeat(np.arange(400), 2)), once.costs.take(np.repeat(np.arange(400), 2)), 5)
    rules, aim = declared(once), Aim(Objective("min_quality", 0.95))
    assert tune(twice, rules, aim).certificate.step == tune(once, rules, aim).certificate.step


def test_rows_with_too_little_evidence_go_to_pro_at_every_gain() -> None:
    score = scores(np.array([-1, 1], np.float32), np.array([0.1, 0.9], np.float32), 0.5)
    assert sends_to_pro(score, 1.0).tolist() == [True, True]
    assert sends_to_pro(score, 1.5).tolist() == [True, False]


def test_forced_rows_stay_at_pro_until_all_go_to_flash() -> None:
    seen = rows([[1, 1]] * 3 + [[0, 1]], gain=[0.1, 0.2, 0.3, -0.5], evidence=[1, 1, 1, 0])
    sample = Sample(seen, costing([[1, 12]] * 4, in_usd=False), 0)
    point = operate(sample, ruled([0.1, 0.2, 0.3, 0.4], 0.5), Objective("min_quality", 1.0))
    assert (point.policy, point.pro_rate) == ("router", 0.25)
    assert decide(seen.probabilities, seen.evidence, point).tolist() == [False, False, False, True]


def test_rule_that_sends_everything_to_pro_is_called_so() -> None:
    seen = rows([[0, 1]] * 3, gain=[0.1, 0.2, 0.3])
    sample = Sample(seen, costing([[1, 12]] * 3, in_usd=False), 0)
    tuned = tune(sample, ruled([-0.5, 0.1]), Aim(Objective("min_quality", 1.0)))
    assert (tuned.point.policy, tuned.point.threshold) == ("always pro", -1.0)
    assert tuned.certificate.served == 0


def test_cost_of_the_point_is_that_of_its_decisions() -> None:
    sample = drawn(100, 2)
    sample = replace(sample, costs=costing(np.random.default_rng(0).random((100, 2))))
    point = tune(sample, declared(sample), Aim(Objective("pro_rate", 0.3))).point
    to_pro = decide(sample.rows.probabilities, sample.rows.evidence, point)
    paid: Sequence[float] = np.where(to_pro, sample.costs.api[:, PRO], sample.costs.api[:, FLASH])
    assert point.cost == pytest.approx(np.mean(paid))
    assert point.delivery == pytest.approx(np.mean(paid))
