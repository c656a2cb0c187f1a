"""The year, month by month: decide, pay, write down, learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.bags import Ints
from pipeline import traces as tracing
from pipeline.challenger import Contender
from pipeline.costs import Costs
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.router import Smoothing
from pipeline.traces import Traces
from pipeline.year import known
from pipeline.year.best import best
from pipeline.year.known import Rows
from pipeline.year.past import Past
from pipeline.year.policies import Exploring, Naive, Never, Policy, decided, explored, first
from pipeline.year.prices import Prices
from pipeline.year.retuned import Retuned
from pipeline.year.world import DAYS, MONTHS, SERVICES, Events, Mask, World

AUDITED = 500  # as a retune advises
AUDITED_LITTLE = 50
AUDIT_MONTHS = (3, 6, 9)
BEST = "best with full feedback"
NEVER, NAIVE = "never retuned", "naive"
NAIVE_LABELLED, NAIVE_NEAR = "naive, labelled too", "naive, exploring near"
CONTROLS = NAIVE_LABELLED, NAIVE_NEAR  # of what the retune has and naive lacks; in the table, not in the picture
RETUNED, UNSURE = "retuned", "retuned, unsure promotes"

Make = Callable[[Contender, int], Policy]
POLICIES: Mapping[str, Make] = {
    NEVER: lambda start, _: Never(start),
    NAIVE: lambda start, _: Naive(start),
    NAIVE_LABELLED: lambda start, _: Naive(start, labelled=True),
    NAIVE_NEAR: lambda start, _: Naive(start, explores=Exploring.NEAR),
    RETUNED: lambda start, seed: Retuned(start, seed, AUDITED),
    UNSURE: lambda start, seed: Retuned(start, seed, AUDITED_LITTLE, promote_unsure=True),
}


@dataclass(frozen=True, slots=True)
class Spent:
    """A month of one policy, over both services.

    Attributes:
        seed, month, policy: which.
        cost: total delivery cost, exploration and audits included, in USD per 1,000 requests.
        accuracy: share of the requests answered correctly, exploration included.
        pro_rate: share of the requests that the router sends to pro, exploration not included.
        did: what was done before the month, at each service.
    """

    seed: int
    month: int
    policy: str
    cost: float
    accuracy: float
    pro_rate: float
    did: tuple[str, ...]


def replay_file(path: Path, seed: int, names: Sequence[str]) -> list[Spent]:
    """`replay` of the tasks in a file, for processes of their own."""
    return replay(tracing.load([path]), seed, {name: POLICIES[name] for name in names})


def replay(traces: Traces, seed: int, policies: Mapping[str, Make], events: Events | None = None) -> list[Spent]:
    """A year of the best router there is, and of every policy.

    Args:
        traces: real tasks with both outcomes.
        seed: of all that is drawn.
        policies: what makes each, from the first version and the seed, by name.
        events: of the year.

    Raises:
        LearningError: too few tasks.
    """
    world, smoothing = World(traces, seed, events or Events()), Smoothing()
    prices = Prices.of(world)
    start = first(traces.take(world.labelled), prices.tariff(1), smoothing, seed)
    spent = [_best_month(world, prices, month, smoothing) for month in range(1, MONTHS + 1)]
    for name, make in policies.items():
        spent += _year(name, world, prices, [make(start, seed) for _ in range(SERVICES)])
    return spent


def _best_month(world: World, prices: Prices, month: int, smoothing: Smoothing) -> Spent:
    to_pro = best(world, prices, month, smoothing)
    outcomes, costs = world.outcomes(month), prices.costs(month)
    asked = [world.requests(month, service).tasks for service in range(SERVICES)]
    means = [_means(tasks, to_pro[tasks], outcomes, costs, np.zeros(len(tasks))) for tasks in asked]
    return _spent(world, month, BEST, means, ("",) * SERVICES)


def _year(name: str, world: World, prices: Prices, services: Sequence[Policy]) -> list[Spent]:
    logs: list[list[Rows]] = [[] for _ in services]
    audits: list[list[Rows]] = [[] for _ in services]
    spent = []
    for month in range(1, MONTHS + 1):
        did = [""] * SERVICES
        if month > 1:
            pasts = [_past(world, audits[1 - at], logs[1 - at], DAYS * (month - 1)) for at in range(SERVICES)]
            did = [each.retune(past, prices.tariff(month)) for each, past in zip(services, pasts, strict=True)]
        costs, means = prices.costs(month), []
        for at, policy in enumerate(services):
            found, log = _served(policy, world, month, at, costs)
            logs[at].append(log)
            if policy.audits and month in AUDIT_MONTHS:
                asked = _audited(world, month, at, policy.audits)
                audits[at].append(asked)
                found[0] += costs.api[asked.tasks].sum() / world.events.requests
            means.append(found)
        spent.append(_spent(world, month, name, means, did))
    return spent


def _served(policy: Policy, world: World, month: int, service: int, costs: Costs) -> tuple[Reals, Rows]:
    """Cost, accuracy and pro rate of a month at one service, and its log."""
    requests, outcomes = world.requests(month, service), world.outcomes(month)
    tasks, place = np.unique(requests.tasks, return_inverse=True)
    asked = world.traces.take(tasks)
    to_pro = decided(policy.serving, asked)[place]
    chance = explored(policy, world.events.explore, asked, world.traces.take(world.labelled))[place]
    log = known.logged(requests, to_pro, outcomes, chance)
    return _means(requests.tasks, to_pro, outcomes, costs, chance), log


def _audited(world: World, month: int, service: int, count: int) -> Rows:
    """Tasks that both tiers are asked on the last day of a month."""
    tasks = world.sample(month, service, count)
    return known.asked_both(tasks, world.outcomes(month)[tasks], np.full(len(tasks), DAYS * month - 1))


def _past(world: World, audits: Sequence[Rows], logs: Sequence[Rows], day: float) -> Past:
    tasks = world.labelled
    labelled = known.asked_both(tasks, world.outcomes(1)[tasks], known.before(len(tasks), world.seed))
    return Past(world.traces, labelled, audits, logs, day)


def _means(tasks: Ints, to_pro: Mask, outcomes: Reals, costs: Costs, chance: Reals) -> Reals:
    """Cost, accuracy, pro rate of requests; exploration is counted by its chance, so that luck adds no noise."""
    share = np.where(to_pro, 1 - chance, chance)
    cost, right = (
        float((amount[tasks, FLASH] * (1 - share) + amount[tasks, PRO] * share).mean())
        for amount in (costs.delivery, outcomes)
    )
    return np.array([cost, right, to_pro.mean()])


def _spent(world: World, month: int, policy: str, means: Sequence[Reals], did: Sequence[str]) -> Spent:
    cost, accuracy, pro_rate = np.mean(means, axis=0).tolist()
    return Spent(world.seed, month, policy, cost, accuracy, pro_rate, tuple(did))
