"""The replayed year: what happens in it, what its policies may know, and what is counted."""

from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from conftest import generate, write_rows

from pipeline.traces import Traces, load
from pipeline.year import distinct, known, picture, regret
from pipeline.year.best import threshold
from pipeline.year.known import Rows
from pipeline.year.replay import BEST, NAIVE, NEVER, POLICIES, UNSURE, Spent, replay
from pipeline.year.world import DAYS, Events, Requests, World

EVENTS = Events(labelled=151, requests=200)  # an odd number cuts through a group


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    rows = generate(600)
    for at, row in enumerate(rows):
        row["category"] = ("math", "letters", "tools")[at % 3]
        row["group"] = f"group-{at // 2}"
        row |= {"flash_model": "mistralai/Mixtral-8x7B-Instruct-v0.1", "pro_model": "gpt-4-1106-preview"}  # have prices
    return load([write_rows(tmp_path_factory.mktemp("year") / "tasks.jsonl", rows)])


@pytest.fixture(scope="module")
def world(tasks: Traces) -> World:
    return World(tasks, 0, EVENTS)


def test_no_group_is_labelled_before_the_year_and_asked_in_it_nor_asked_at_both_services(world: World) -> None:
    asked = [set(world.traces.group[world.requests(3, service).tasks]) for service in (0, 1)]
    labelled = set(world.traces.group[world.labelled])
    assert len(world.labelled) >= EVENTS.labelled
    assert not asked[0] & asked[1]
    assert not labelled & (asked[0] | asked[1])


def test_the_same_seed_is_the_same_year_and_another_is_not(world: World, tasks: Traces) -> None:
    again, other = World(tasks, 0, EVENTS), World(tasks, 1, EVENTS)
    assert np.array_equal(world.requests(7, 1).tasks, again.requests(7, 1).tasks)
    assert not np.array_equal(world.requests(7, 1).tasks, other.requests(7, 1).tasks)


def test_flash_alone_gets_worse_by_ten_points_in_a_third_of_the_categories(world: World) -> None:
    before, after = world.outcomes(EVENTS.worse_month - 1), world.outcomes(EVENTS.worse_month)
    fell = (before - after)[:, 0]
    by_category = {name: fell[world.traces.category == name].mean() for name in ("math", "letters", "tools")}
    assert np.array_equal(before[:, 1], after[:, 1])
    assert np.array_equal(before, world.traces.outcomes)
    assert sorted(by_category.values()) == pytest.approx([0, 0, 0.1])


def test_the_mix_shifts_in_its_month(world: World) -> None:
    shares = [world.shifted[world.requests(month, 0).tasks].mean() for month in (8, 9)]
    assert shares == pytest.approx([1 / 3, 0.5], abs=0.1)


def logged(world: World, chance: float, *, to_pro: bool) -> tuple[Requests, Rows]:
    requests = world.requests(1, 0)
    count = len(requests.tasks)
    return requests, known.logged(requests, np.full(count, to_pro), world.outcomes(1), np.full(count, chance))


def test_an_outcome_is_known_when_it_has_arrived_and_only_of_the_tier_that_was_asked(world: World) -> None:
    requests, log = logged(world, 0.02, to_pro=False)
    seen = ~np.isnan(known.traces(world.traces, [log], DAYS).outcomes)
    assert np.array_equal(seen.any(axis=1), requests.known <= DAYS)
    assert np.array_equal(seen[:, 1], (requests.known <= DAYS) & (requests.luck < 0.02))
    assert 0 < seen.any(axis=1).mean() < 1 - EVENTS.missing


def test_an_explored_request_goes_to_the_other_tier_with_the_chance_of_that(world: World) -> None:
    requests, log = logged(world, 0.02, to_pro=True)
    explored = requests.luck < 0.02
    assert np.array_equal(log.chosen == 0, explored)
    assert set(log.propensity[explored]) == {0.02}
    assert set(log.propensity[~explored]) == {0.98}


def test_who_does_not_explore_sends_nothing_to_the_other_tier(world: World) -> None:
    _, log = logged(world, 0.0, to_pro=True)
    assert set(log.chosen) == {1}
    assert set(log.propensity) == {1.0}


def test_a_task_asked_again_counts_as_often_as_it_was_seen(world: World) -> None:
    rows = Rows(
        tasks=np.array([4, 4, 4]), time=np.array([0.0, 0.0, 0.0]), chosen=np.array([0, 0, 0]),
        outcomes=np.array([[1.0, np.nan]] * 3), propensity=np.array([0.98, 0.98, 0.98]),
        known=np.array([1.0, 2.0, np.inf]),
    )  # fmt: skip
    double = distinct.repeated(world.traces, [rows], 30.0)
    assert list(double.traces.task_id) == [world.traces.task_id[4]]
    assert double.weights[0, 0] == 2


def test_the_best_threshold_is_the_best_of_all() -> None:
    draw = np.random.default_rng(0)
    scores, dearer = draw.integers(0, 6, 40) / 5, draw.normal(size=40)
    spent = {each: dearer[scores >= each].sum() for each in (*np.unique(scores), np.inf)}
    assert spent[threshold(scores, dearer)] == min(spent.values())


@pytest.fixture(scope="module")
def spent(tasks: Traces) -> list[Spent]:
    return replay(tasks, 0, {name: POLICIES[name] for name in (NEVER, NAIVE, UNSURE)}, EVENTS)


def test_a_year_has_twelve_months_of_every_policy_and_all_start_alike(spent: list[Spent]) -> None:
    first = [each for each in spent if each.month == 1 and each.policy != BEST]
    assert len(spent) == 4 * 12
    assert len({each.pro_rate for each in first}) == 1


def test_exploration_is_paid_by_those_who_explore(spent: list[Spent]) -> None:
    accuracy = {each.policy: each.accuracy for each in spent if each.month == 1}
    assert len({accuracy[NEVER], accuracy[NAIVE], accuracy[UNSURE]}) == 3  # not, evenly, near the threshold


def test_regret_is_what_a_policy_costs_above_the_best() -> None:
    costs = {(0, BEST): 10.0, (0, NEVER): 12.0, (1, BEST): 20.0, (1, NEVER): 23.0}
    months = [
        Spent(seed, month, name, cost, 0.5, 0.5, ()) for (seed, name), cost in costs.items() for month in range(1, 13)
    ]
    (found,) = regret.regrets(months)
    assert found.monthly == pytest.approx([2.5] * 12)
    assert (found.value, found.standard_error) == pytest.approx((2.5, 0.5))


def test_the_file_has_a_row_for_each_month(spent: list[Spent], tmp_path: Path) -> None:
    regret.write(tmp_path / "year.csv", spent)
    with (tmp_path / "year.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == regret.COLUMNS
    assert [float(row["cost_usd_per_1000"]) for row in rows] == pytest.approx([each.cost for each in spent], abs=1e-6)


def test_picture_and_lines_say_that_the_events_are_simulated(spent: list[Spent]) -> None:
    found = regret.regrets(spent)
    drawn = ET.fromstring(picture.picture(found, NAIVE, EVENTS))
    assert regret.SIMULATED in "".join(drawn.itertext())
    assert regret.told(found)[0] == regret.SIMULATED
