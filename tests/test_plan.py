"""How many labels a guarantee takes: from a pilot, from assumptions, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from features.errors import InputError, LearningError
from pipeline import cli
from pipeline.guarantee import Claim, last_certified, p_values
from pipeline.plan import NEAR, SIZES, Assumptions, Plan, from_assumptions, from_traces
from pipeline.spoken import planned
from pipeline.traces import Traces

CLAIM = Claim("ratio", 0.98)
USUAL = Assumptions(0.75, 0.9)


def test_more_labels_never_send_more_to_pro_and_never_less_than_labels_without_end() -> None:
    plan = from_assumptions(USUAL, CLAIM)
    rates = [plan.rates[size] for size in SIZES]
    assert all(before >= after for before, after in pairwise(rates))
    assert rates[-1] >= plan.limit
    assert rates[0] > rates[-1]


@pytest.mark.parametrize(
    ("easier", "claim"),
    [
        (USUAL, Claim("ratio", 0.9)),
        (USUAL, Claim("ratio", 0.98, 0.5)),
        (Assumptions(0.75, 0.9, apgr=0.9), CLAIM),
        (Assumptions(0.75, 0.9, flash_only=0.0), CLAIM),
        (Assumptions(0.85, 0.9), CLAIM),
    ],
    ids=["looser claim", "less confidence", "better router", "flash never better", "smaller gap"],
)
def test_what_makes_the_claim_easier_takes_no_more_labels(easier: Assumptions, claim: Claim) -> None:
    hard, easy = from_assumptions(USUAL, CLAIM), from_assumptions(easier, claim)
    assert easy.limit <= hard.limit
    assert all(easy.rates[size] <= hard.rates[size] + 0.011 for size in SIZES)


def test_enough_comes_near_to_the_limit_and_less_does_not() -> None:
    plan = from_assumptions(USUAL, CLAIM)
    assert plan.enough is not None
    for size, rate in plan.rates.items():
        assert (rate <= plan.limit + NEAR) == (size >= plan.enough), size


def test_pilot_says_what_its_own_tiers_do(small_traces: Traces) -> None:
    plan = from_traces(small_traces, CLAIM, 0)
    flash, pro = small_traces.outcomes.mean(0)
    assert plan.basis == f"400 pilot traces; flash answers {flash:.1%}, pro {pro:.1%}"
    assert 0 <= plan.limit <= min(plan.rates.values())


def test_pilot_that_is_too_small_is_refused(small_traces: Traces) -> None:
    with pytest.raises(LearningError, match="only 49 traces have outcomes of both tiers"):
        from_traces(small_traces.take(np.arange(49)), CLAIM, 0)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((0.9, 0.75), "the second larger"),
        ((0.0, 0.5), "--flash-accuracy 0"),
        ((0.5, 1.0), "--pro-accuracy 1"),
        ((0.75, 0.9, 0.2), "--flash-only 0.2: at most 0.1 is possible"),
        ((0.75, 0.9, 0.05, 0.5), "--apgr 0.5: expected more than 0.5"),
    ],
)
def test_assumptions_that_cannot_be_are_refused(values: tuple[float, ...], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Assumptions(*values)


def test_plan_in_words_names_claim_basis_and_every_size() -> None:
    said = "\n".join(planned(from_assumptions(USUAL, CLAIM)))
    assert "at least 0.98 times the correct answers of always-pro, with a confidence level of 0.95" in said
    assert "flash answers 75.0%, pro 90.0%" in said
    assert all(f"{size:,}" in said for size in SIZES)


def test_plan_that_needs_no_labels_does_not_say_that_none_would_do() -> None:
    """Where even labels without end leave nearly all at pro, always-pro itself is near."""
    plan = from_assumptions(Assumptions(0.3, 0.95, flash_only=0.05, apgr=0.51), Claim("ratio", 0.999))
    assert plan.limit > 1 - NEAR
    assert not any("No number of labels" in line for line in planned(plan))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "give pilot --traces, or --flash-accuracy and --pro-accuracy"),
        (["--flash-accuracy", "0.7"], "give pilot --traces, or --flash-accuracy and --pro-accuracy"),
        (["--traces", "x.csv", "--apgr", "0.7"], "--traces and assumptions exclude each other"),
        (["--min-quality", "0.9", "--max-loss", "0.1"], "--min-quality and --max-loss exclude each other"),
    ],
)
def test_plan_that_is_not_asked_for_rightly_is_refused(options: list[str], told: str) -> None:
    found = CliRunner().invoke(cli.commands, ["plan", *options])
    assert found.exit_code == 2
    assert told in found.stderr


def test_command_prints_the_plan_as_json() -> None:
    told = ["--flash-accuracy", "0.75", "--pro-accuracy", "0.9", "--max-loss", "0.02", "--json"]
    found = CliRunner().invoke(cli.commands, ["plan", *told])
    plan: Plan = from_assumptions(USUAL, Claim("points", 0.02))
    assert f'"limit": {plan.limit}' in found.stdout
    assert f'"enough": {plan.enough}' in found.stdout


def test_assumed_router_recovers_the_gap_as_its_apgr_says() -> None:
    rates, sharpness = np.linspace(0, 1, 2001), 0.65 / 0.35
    assert np.trapezoid(1 - (1 - rates) ** sharpness, rates) == pytest.approx(0.65, abs=1e-3)
    allowed = 0.02 * 0.85 / 0.15
    found = from_assumptions(Assumptions(0.7, 0.85), Claim("ratio", 0.98)).limit
    assert found == pytest.approx(1 - allowed ** (1 / sharpness), abs=0.006)


def test_labels_that_were_planned_do_certify_about_what_was_planned() -> None:
    """The assumptions played out: the tune part of 10,000 tasks is drawn 40 times, and bet on."""
    claim, labels, steps = Claim("ratio", 0.98), 10_000, 201
    planned_rate = from_assumptions(Assumptions(0.7, 0.85), claim).rates[labels]
    random, rate, reached = np.random.default_rng(0), np.linspace(1, 0, steps), []
    lost = (0.15 * (1 - rate) ** (0.65 / 0.35) + 0.05 * (1 - rate)) / 0.2
    for _ in range(40):
        kind, chance = random.choice(4, labels // 5, p=[0.2, 0.05, 0.65, 0.1]), random.random(labels // 5)
        outcomes = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])[kind]
        place = np.where(kind == 0, np.searchsorted(lost, chance), np.searchsorted(1 - rate, chance))
        place = np.where(kind > 1, steps, np.maximum(place, 1))
        found = p_values(claim, outcomes, np.arange(len(kind)), place, steps)
        reached.append(rate[last_certified(found, claim)])
    assert np.median(reached) == pytest.approx(planned_rate, abs=0.05)


def test_claim_that_the_pilot_speaks_against_has_no_number_of_labels(loaded: Any) -> None:
    rows = [{"prompt": f"word {at}", "flash_correct": 0, "pro_correct": 1} for at in range(200)]
    plan = from_traces(loaded(rows), Claim("ratio", 0.98), 0)
    assert (plan.limit, set(plan.rates.values())) == (1.0, {1.0})
