"""Objectives: each is what brute force finds, and one that cannot be reached names the best that can."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made_up import costing, paths, price_file, rows, ruled, sampled, share, tables, tariff

from features.errors import InputError, TargetError
from pipeline.frontier import Frontier, Rules
from pipeline.objective import Objective
from pipeline.sample import Sample
from pipeline.tune import operate, over

Table = list[tuple[Any, ...]]
quality = st.floats(0.3, 2)
budget = st.floats(0, 60)
NEARLY = 1e-9
TOTAL = Objective("total_cost", None)


def choices(sample: Sample, rules: Rules) -> list[dict[str, float]]:
    """What each rule does, counted row by row."""
    found = []
    for at, threshold in enumerate(rules.thresholds):
        forced = sample.rows.evidence < np.float32(rules.evidence_floor if at < len(rules) - 1 else 0)
        to_pro = ((sample.rows.gain >= np.float32(threshold)) | forced).astype(int)
        picked = np.arange(len(to_pro)), to_pro
        columns = {"accuracy": sample.rows.outcomes, "cost": sample.costs.api, "delivery": sample.costs.delivery}
        means = {name: float(pair[picked].mean()) for name, pair in columns.items()}
        found.append({"at": at, "pro_rate": float(to_pro.mean()), **means})
    return found


def best(found: list[dict[str, float]], name: str, sign: int) -> float:
    """The least pro rate among the rules with the largest (1) or the least (-1) value."""
    most = max(sign * each[name] for each in found)
    return min(each["pro_rate"] for each in found if sign * each[name] >= most - 1e-9 * abs(most) - 1e-12)


@given(tables, paths, share, quality)
def test_min_quality_is_the_least_cost_that_keeps_the_share(
    table: Table, path: list[float], floor: float, value: float
) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    found = choices(sample, rules)
    target = value * found[0]["accuracy"]
    enough = [each for each in found if each["accuracy"] >= target - NEARLY]
    if not enough:
        with pytest.raises(TargetError):
            operate(sample, rules, Objective("min_quality", value))
        return
    chosen = operate(sample, rules, Objective("min_quality", value))
    assert chosen.pro_rate == pytest.approx(best(enough, "cost", -1))


@given(tables, paths, share, budget)
def test_max_cost_is_the_best_accuracy_within_the_budget(
    table: Table, path: list[float], floor: float, value: float
) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    within = [each for each in choices(sample, rules) if each["cost"] <= value + NEARLY]
    if not within:
        with pytest.raises(TargetError):
            operate(sample, rules, Objective("max_cost", value))
        return
    assert operate(sample, rules, Objective("max_cost", value)).pro_rate == pytest.approx(best(within, "accuracy", 1))


@given(tables, paths, share, st.floats(0, 1))
def test_pro_rate_is_the_best_accuracy_with_no_more_than_the_share(
    table: Table, path: list[float], floor: float, value: float
) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    within = [each for each in choices(sample, rules) if each["pro_rate"] <= value + NEARLY]
    chosen = operate(sample, rules, Objective("pro_rate", value))
    assert chosen.pro_rate <= value + NEARLY
    assert chosen.pro_rate == pytest.approx(best(within, "accuracy", 1))


@given(tables, paths, share)
def test_total_cost_is_the_least_that_it_takes_to_deliver(table: Table, path: list[float], floor: float) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    assert operate(sample, rules, TOTAL).pro_rate == pytest.approx(best(choices(sample, rules), "delivery", -1))


@pytest.mark.parametrize(("name", "attribute"), [("max_cost", "cost"), ("pro_rate", "pro_rate")])
@given(table=tables, path=paths, values=st.lists(st.floats(0, 60), min_size=2, max_size=6))
def test_best_accuracy_within_a_budget_never_falls_as_the_budget_grows(
    name: str, attribute: str, table: Table, path: list[float], values: list[float]
) -> None:
    sample, rules = sampled(table), ruled(path)
    scale = 60.0 if name == "pro_rate" else 1.0
    least = float(getattr(over(sample, rules), attribute).min())
    budgets = sorted(value / scale for value in values if value / scale > least)
    accuracies = [operate(sample, rules, Objective(name, each)).accuracy for each in budgets]
    assert all(before <= after + NEARLY for before, after in pairwise(accuracies))


@given(tables, paths, quality, quality)
def test_more_quality_never_costs_less(table: Table, path: list[float], one: float, other: float) -> None:
    sample, rules = sampled(table), ruled(path)
    try:
        less, more = (operate(sample, rules, Objective("min_quality", each)).cost for each in sorted((one, other)))
    except TargetError:
        return
    assert less <= more + NEARLY


@given(tables, paths, st.lists(st.floats(0, 5), min_size=2, max_size=6))
def test_cheaper_pro_never_lowers_the_pro_rate_of_the_least_total_cost(
    table: Table, path: list[float], factors: list[float]
) -> None:
    sample, rules = sampled(table), ruled(path)
    calls = sample.costs.api
    rates = []
    for factor in sorted(factors):
        api = calls * [1, factor]
        delivered = api + 10 * (1 - sample.rows.outcomes)
        rates.append(operate(Sample(sample.rows, costing(api, delivered), 0), rules, TOTAL).pro_rate)
    assert all(cheap >= dear - NEARLY for cheap, dear in pairwise(rates))


@given(tables, paths, quality)
def test_with_equal_prices_the_least_cost_is_any_and_fewest_requests_go_to_pro(
    table: Table, path: list[float], value: float
) -> None:
    """All rules that keep the quality cost the same: the tie rule decides, which is not the best accuracy."""
    sample, rules = sampled(table), ruled(path)
    even = Sample(sample.rows, costing(np.full((len(table), 2), 0.1)), 0)
    enough = [each for each in choices(even, rules) if each["accuracy"] >= value * choices(even, rules)[0]["accuracy"]]
    assume(enough)
    chosen = operate(even, rules, Objective("min_quality", value))
    assert chosen.pro_rate == pytest.approx(min(each["pro_rate"] for each in enough))


@given(tables, paths)
def test_with_equal_prices_the_least_total_cost_is_the_best_accuracy(table: Table, path: list[float]) -> None:
    sample, rules = sampled(table), ruled(path)
    even = np.full((len(table), 2), 0.1)
    found = Sample(sample.rows, costing(even, even + 10 * (1 - sample.rows.outcomes)), 0)
    assert operate(found, rules, TOTAL).accuracy == pytest.approx(over(found, rules).accuracy.max())


def test_with_equal_prices_and_wrong_answers_for_free_everything_goes_to_flash() -> None:
    text = price_file((1, 1, 1), (1, 1, 1))
    seen = rows([[0, 1]] * 4, gain=[0.1, 0.2, 0.3, 0.4], input_tokens=(9, 9), output_tokens=(9, 9))
    found = operate(Sample(seen, tariff(text, seen).costs(seen), 0), ruled([0.1, 0.2, 0.3, 0.4]), TOTAL)
    assert found.policy == "always flash"


@given(tables, paths, st.floats(1.0001, 2))
def test_named_best_quality_can_be_reached(table: Table, path: list[float], value: float) -> None:
    sample, rules = sampled(table), ruled(path)
    assume(over(sample, rules).accuracy[0] > 0)
    try:
        operate(sample, rules, Objective("min_quality", value))
    except TargetError as error:
        told = re.search(r"--min-quality .* cannot be reached: .* ask for ([\d.]+) or less", str(error))
        operate(sample, rules, Objective("min_quality", float(told[1])))


@given(st.lists(st.floats(0.001, 1000), min_size=2, max_size=12))
def test_named_least_cost_can_be_reached(spent: list[float]) -> None:
    count = len(spent)
    calls = np.stack([spent, np.array(spent) * 3], 1)
    found = Sample(rows(np.ones((count, 2)), gain=np.arange(count) / 64), costing(calls), 0)
    with pytest.raises(TargetError, match=r"--max-cost 0 cannot be reached: the cheapest of the thresholds") as error:
        operate(found, ruled([0.01, 0.1]), Objective("max_cost", 0.0))
    told = float(re.search(r"costs ([\d.e+-]+) USD per 1,000 requests", str(error.value))[1])
    operate(found, ruled([0.01, 0.1]), Objective("max_cost", told))


@pytest.mark.parametrize("count", [3, 9])
def test_named_least_pro_rate_of_the_certified_can_be_reached(count: int) -> None:
    gain = np.arange(count) / 8
    found = over(Sample(rows(np.ones((count, 2)), gain=gain), costing([[1, 12]] * count), 0), ruled(gain))
    allowed = found.pro_rate >= 1 / count
    with pytest.raises(TargetError, match="the certified thresholds send at least") as error:
        Objective("pro_rate", 0.0).choose(found, allowed)
    told = float(re.search(r"at least ([\d.]+) of the requests", str(error.value))[1])
    assert allowed[Objective("pro_rate", told).choose(found, allowed)]


@given(tables, paths, quality)
def test_flash_that_is_good_enough_and_cheaper_takes_everything(table: Table, path: list[float], value: float) -> None:
    sample, rules = sampled(table), ruled(path, 0.5)
    flash, pro = sample.rows.outcomes.mean(0)
    assume(flash >= value * pro)
    relative = Sample(sample.rows, costing(np.tile([1.0, 12.0], (len(table), 1)), in_usd=False), 0)
    found = operate(relative, rules, Objective("min_quality", value))
    assert (found.policy, found.threshold, found.evidence_floor, found.pro_rate) == ("always flash", 2.0, 0.0, 0.0)


def test_pro_that_is_always_better_takes_everything() -> None:
    seen = rows([[0, 1]] * 6, gain=np.arange(6) / 8)
    found = operate(Sample(seen, costing([[1, 12]] * 6), 0), ruled(np.arange(6) / 8), Objective("min_quality", 1.0))
    assert (found.policy, found.pro_rate, found.threshold) == ("always pro", 1.0, -1.0)


@pytest.mark.parametrize("objective", [Objective("max_cost", 2.0), TOTAL], ids=lambda each: each.name)
def test_objective_in_money_without_prices_names_the_keys_of_the_config_file(objective: Objective) -> None:
    relative = Sample(rows([[0, 1]] * 2), costing([[1, 12]] * 2, in_usd=False), 0)
    told = rf"{objective.flag} needs prices.*\[tiers\.flash\] and \[tiers\.pro\] of the --config file"
    with pytest.raises(InputError, match=told):
        operate(relative, ruled([0.0]), objective)


@pytest.mark.parametrize("name", ["min_quality", "pro_rate"])
def test_other_objectives_need_no_prices(name: str) -> None:
    relative = Sample(rows([[0, 1]] * 2), costing([[1, 12]] * 2, in_usd=False), 0)
    assert operate(relative, ruled([0.0]), Objective(name, 1.0)).policy in {"always pro", "router"}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("min_quality", 0.0, "--min-quality 0.0: expected a share"),
        ("min_quality", 2.1, "--min-quality 2.1"),
        ("min_quality", float("nan"), "--min-quality nan"),
        ("max_cost", -1.0, "--max-cost -1.0: expected USD"),
        ("max_cost", float("inf"), "--max-cost inf"),
        ("pro_rate", 1.1, "--pro-rate 1.1"),
        ("total_cost", 3.0, "--total-cost 3.0: expected no value"),
    ],
)
def test_value_out_of_its_range_is_named_with_its_option(name: str, value: float, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        Objective(name, value)


def test_of_rules_that_serve_equally_the_last_is_chosen() -> None:
    flat = np.ones(4)
    found = Frontier(np.array([1.0, 0.5, 0.5, 0.0]), flat * [1, 0.9, 0.9, 0.1], flat, flat, "", in_usd=True)
    assert Objective("min_quality", 0.9).choose(found) == 2


def test_budget_that_cannot_be_kept_says_that_the_least_cost_is_estimated() -> None:
    spent = replace(costing([[1.0, 3.0]] * 4), estimated=1.0)
    found = Sample(rows(np.ones((4, 2)), gain=np.arange(4) / 64), spent, 0)
    with pytest.raises(TargetError, match="costs 1 USD per 1,000 requests, tokens estimated"):
        operate(found, ruled([0.01]), Objective("max_cost", 0.5))
