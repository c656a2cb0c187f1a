"""The generated tasks of the practice pair, how likely its tiers are right, and the best that a router could do."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from random import Random

import numpy as np
import pytest

from features.request import Request
from pipeline import router
from pipeline.grade.answer import Answer, ToolCall
from pipeline.metrics import Ranking
from pipeline.router import Smoothing
from pipeline.simulate import kinds
from pipeline.simulate.ability import TAKES, best
from pipeline.simulate.kinds import SimTask
from pipeline.simulate.made import Said, digest, scaled
from pipeline.tables import validated
from pipeline.traces import Traces

COUNT = 4_000
DRAWS = 200
GRADERS = {
    "number": ("numbers", "Number"),
    "exact": ("texts", "Exact"),
    "choice": ("choices", "Choice"),
    "schema": ("structures", "Schema"),
    "tools": ("structures", "Tools"),
}


@pytest.fixture(scope="module")
def population() -> list[SimTask]:
    return list(kinds.tasks(COUNT, 1))


@pytest.fixture(scope="module")
def chances(population: list[SimTask]) -> np.ndarray:
    return np.array([task.chances for task in population])


def test_tasks_are_those_of_the_seed(population: list[SimTask]) -> None:
    again = [task.line for task in kinds.tasks(200, 1)]
    assert again == [task.line for task in population[:200]]
    assert again != [task.line for task in kinds.tasks(200, 2)]


def test_tasks_can_be_made_again_one_by_one(population: list[SimTask]) -> None:
    for task, attempt in kinds.drawn(200, 1):
        assert kinds.task(1, int(task.id.rpartition("/")[2]), attempt).line == task.line


def test_no_two_tasks_ask_the_same(population: list[SimTask]) -> None:
    assert len({digest(task.made.asked) for task in population}) == len({task.id for task in population}) == COUNT


def test_near_copies_share_a_group_and_most_tasks_are_alone(population: list[SimTask]) -> None:
    sizes = Counter(task.group for task in population)
    assert set(sizes.values()) == {1, 2}
    assert Counter(sizes.values())[2] == COUNT // kinds.COPY_EVERY
    before = {task.id: task for task in population}
    for task in population:
        assert before[task.group].made.grader == task.made.grader


def test_every_kind_comes_in_two_languages(population: list[SimTask]) -> None:
    found = Counter((task.kind, "chinese" in task.made.load) for task in population)
    assert all(found[kind, chinese] > COUNT / 100 for kind in kinds.KINDS for chinese in (True, False))


def test_every_property_counts_and_is_at_least_one(population: list[SimTask]) -> None:
    loads = [task.made.load for task in population]
    assert {name for load in loads for name in load} == set(TAKES)
    assert min(amount for load in loads for amount in load.values()) >= 1


def test_no_request_says_how_hard_it_is(population: list[SimTask]) -> None:
    for task in population:
        text = json.dumps(task.made.asked).lower()
        assert not any(word in text for word in ("hard", "easy", "difficult", "simple"))


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_graders_accept_right_answers_and_refuse_wrong_ones(population: list[SimTask], kind: str) -> None:
    for task in [task for task in population if task.kind == kind][:100]:
        assert grade(task, task.made.right) is True, task.line
        assert grade(task, task.made.wrong) is False, task.line


def grade(task: SimTask, said: Said) -> bool | None:
    """By the project's own graders."""
    calls = tuple(ToolCall(name, json.dumps(arguments)) for name, arguments in said.calls)
    module, name = GRADERS[task.made.grader["kind"]]
    model = getattr(import_module(f"pipeline.grade.{module}"), name)
    return validated(model, task.made.grader, task.id).grade(Answer(said.text, calls)).correct


def test_draws_are_as_frequent_as_their_probabilities(population: list[SimTask], chances: np.ndarray) -> None:
    right = np.array([[task.right(tier) for tier in ("flash", "pro")] for task in population])
    error = np.sqrt((chances * (1 - chances)).sum(0)) / COUNT
    assert (abs(right.mean(0) - chances.mean(0)) < 4 * error).all()
    assert np.array_equal(right[:50, 0], [task.right("flash") for task in population[:50]])


def test_tiers_differ_as_they_should(chances: np.ndarray) -> None:
    flash, pro = chances.mean(0)
    assert 0.55 < flash < 0.7
    assert 0.85 < pro < 0.96
    assert (chances[:, 1] - chances[:, 0] > -1e-9).all()


def test_worse_model_is_right_less_often(population: list[SimTask]) -> None:
    other = np.mean([task.right("pro", 4.0) for task in population])
    assert other < np.mean([task.right("pro") for task in population]) - 0.2


def test_harder_tasks_are_answered_less_often(chances: np.ndarray, population: list[SimTask]) -> None:
    steps = np.array([task.made.load.get("steps", math.nan) for task in population])
    few, many = chances[steps <= 3], chances[steps >= 10]
    assert (few.mean(0) - many.mean(0) > [0.8, 0.05]).all()


def apgr(score: np.ndarray, outcomes: np.ndarray) -> float:
    return Ranking.by(score, outcomes).curve().apgr()


def test_best_apgr_is_what_drawn_outcomes_give_on_average(chances: np.ndarray) -> None:
    random = np.random.default_rng(0)
    gain = chances[:, 1] - chances[:, 0]
    drawn = [apgr(gain, (random.random(chances.shape) < chances).astype(float)) for _ in range(DRAWS)]
    error = np.std(drawn, ddof=1) / math.sqrt(DRAWS)
    # A ratio of means is not the mean of ratios; of so many tasks they differ by less than the error.
    assert abs(np.mean(drawn) - best(chances.tolist()).value) < 4 * error


@pytest.mark.parametrize("score", [lambda p: -p[:, 0], lambda p: p[:, 1], lambda p: p[:, 1] / p[:, 0]])
def test_no_other_ranking_beats_the_gain(chances: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> None:
    assert apgr(score(chances), chances) < best(chances.tolist()).value


def test_error_of_the_best_apgr_is_how_far_populations_differ() -> None:
    found = [best([kinds.task(seed, at).chances for at in range(1_000)]) for seed in range(8)]
    spread = np.std([each.value for each in found], ddof=1)
    assert 0.5 < spread / np.mean([each.error for each in found]) < 2
    assert {each.tasks for each in found} == {1_000}


def as_traces(tasks: Sequence[SimTask], loaded: Callable[..., Traces], name: str) -> Traces:
    rows = []
    for task in tasks:
        asked = task.made.asked
        messages = asked.get("messages") or [{"role": "user", "content": asked["prompt"]}]
        request = Request.from_payload({"messages": messages, "tools": asked.get("tools")})
        figures = {key: getattr(request, key) for key in ("prompt", "context_bytes", "tool_count", "turn_count")}
        right = {f"{tier}_correct": task.right(tier) for tier in ("flash", "pro")}
        rows.append({"task_id": task.id, "group": task.group, "category": task.kind, **figures, **right})
    return loaded(rows, name)


def test_router_gets_nine_tenths_of_the_way_to_the_best(
    population: list[SimTask], chances: np.ndarray, loaded: Callable[..., Traces]
) -> None:
    fitted, _ = router.fit(as_traces(list(kinds.tasks(1_500, 5)), loaded, "fit.jsonl"), Smoothing(30.0))
    fresh = as_traces(population, loaded, "fresh.jsonl")
    reachable = best(chances.tolist()).value
    assert 0.8 < reachable < 0.9
    assert (apgr(fitted.gain(fresh), chances) - 0.5) / (reachable - 0.5) > 0.9
    assert (apgr(fresh.tally.words.astype(float), chances) - 0.5) / (reachable - 0.5) < 0.5


def test_scaled_grows_with_the_demand_and_stays_in_its_range() -> None:
    draw = Random(0)
    found = {demand: [scaled(draw, demand, 2, 12) for _ in range(200)] for demand in (0.0, 0.5, 1.0)}
    assert [min(each) >= 2 and max(each) <= 12 for each in found.values()] == [True] * 3
    assert np.mean(found[0.0]) < np.mean(found[0.5]) < np.mean(found[1.0])
