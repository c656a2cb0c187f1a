"""What should serve: the champion's coefficients or new ones, and a threshold for what things cost now."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conftest import generate, write_rows
from made_up import CONFIG, price_file, rows, tariff

from features.errors import LearningError
from pipeline import router
from pipeline.challenger import FEWEST_OUTCOMES, Contender, Proposal, learn, propose
from pipeline.frontier import declare
from pipeline.objective import Objective
from pipeline.router import Smoothing
from pipeline.traces import Traces, load
from pipeline.tune import OperatingPoint
from pipeline.weights import weigh

Row = dict[str, Any]
Load = Callable[..., Traces]

EXPLORED, WRONG = 0.3, "[delivery]\nwrong_answer_usd = 0.002\n"
CHEAP_PRO = price_file((0.2, 0.02, 0.6), (0.22, 0.02, 0.66), WRONG)


def logged(count: int, seed: int, worse: float = 0.0) -> list[Row]:
    """Decisions of a router that tells hard from easy: flash's right answers are wrong with chance `worse`."""
    draw = random.Random(seed)
    made = generate(count, seed)
    for at, row in enumerate(made):
        row |= {"task_id": f"{seed}-{at}", "group": f"{seed}-{at}"}
        wanted = "pro" if "= ?" in row["prompt"] else "flash"
        turned = draw.random() < EXPLORED
        tier = wanted if not turned else {"pro": "flash", "flash": "pro"}[wanted]
        row |= {"chosen": tier, "served": tier, "propensity": EXPLORED if turned else 1 - EXPLORED}
        row["flash_correct"] = row["flash_correct"] and draw.random() >= worse
        row["pro_correct" if tier == "flash" else "flash_correct"] = None
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Rows as traces, through a file."""
    kept = tmp_path_factory.mktemp("challenger")

    def loaded(given: Sequence[Row]) -> Traces:
        return load([write_rows(kept / f"{len(list(kept.iterdir()))}.jsonl", given)])

    return loaded


@pytest.fixture(scope="module")
def champion(folder: Load) -> Contender:
    """Fitted on more than any challenger here."""
    made, left_out = router.fit(folder(generate(2000, 1)), Smoothing())
    rules = declare(made.gain_of(left_out.features), left_out.evidence)
    return Contender(made, rules, OperatingPoint(0.3, 0.0, "router", 0.5, 0.9, 1.0, 1.0, 1.0), Smoothing())


@pytest.fixture(scope="module")
def now(folder: Load) -> Traces:
    """The newest decisions, of a world in which nothing has changed."""
    return folder(logged(500, 2))


def proposed(champion: Contender, fit: Traces, recent: Traces, text: str = CONFIG, **more: Any) -> Proposal:
    """The proposal, where a tier costs what its answers to other requests lead to expect."""
    known = rows([[1, 1], [0, 1]], input_tokens=(400, 400), output_tokens=(300, 360), cached_tokens=(0, 0))
    return propose(fit, recent, champion, tariff(text, known), Objective("total_cost", None), 0, **more)


def test_new_router_is_learned_and_chosen_for(folder: Load, champion: Contender, now: Traces) -> None:
    found = proposed(champion, folder(logged(800, 4)), now)
    assert found.fitted is not None
    assert found.contender.seer is found.fitted.router
    assert found.contender.point.threshold == found.contender.rules.thresholds[found.at]


def test_coefficients_stay_where_a_new_router_could_not_be_tested(champion: Contender, now: Traces) -> None:
    found = proposed(champion, now, now, refit=False)
    assert found.fitted is None
    assert found.contender.seer is champion.seer
    assert found.contender.rules is champion.rules


def test_what_flash_has_become_is_learned(folder: Load, champion: Contender, now: Traces) -> None:
    before, after = (proposed(champion, folder(logged(800, 4, worse=worse)), now) for worse in (0.0, 0.7))
    assert after.contender.point.accuracy < before.contender.point.accuracy - 0.2


def test_threshold_moves_when_pro_becomes_cheap(champion: Contender, now: Traces) -> None:
    dear, cheap = (proposed(champion, now, now, text, refit=False) for text in (CONFIG, CHEAP_PRO))
    assert cheap.contender.point.threshold < dear.contender.point.threshold
    assert cheap.contender.point.pro_rate > dear.contender.point.pro_rate


def test_outcomes_of_the_newest_requests_do_not_move_the_threshold(champion: Contender, now: Traces) -> None:
    turned = now.with_outcomes(1 - now.outcomes)
    one, other = (proposed(champion, now, each, refit=False).contender.point for each in (now, turned))
    assert one == other


def test_point_is_that_of_the_rule_and_no_rule_beyond_the_last_is_chosen(champion: Contender, now: Traces) -> None:
    free = proposed(champion, now, now, refit=False)
    assert free.contender.point.threshold == champion.rules.thresholds[free.at]
    bound = proposed(champion, now, now, refit=False, last=lambda _seer, _rules: free.at - 5)
    assert bound.at <= free.at - 5


def test_without_a_new_request_no_threshold_is_chosen(champion: Contender, now: Traces) -> None:
    with pytest.raises(LearningError, match="newest_days"):
        proposed(champion, now, now.take(np.array([], np.int64)), refit=False)


@pytest.mark.parametrize("few", ["flash", "pro"])
def test_too_few_outcomes_of_a_tier_are_refused_with_what_to_do(
    folder: Load, champion: Contender, few: str, now: Traces
) -> None:
    of_it, of_other = ([row for row in logged(500, 6) if (row["chosen"] == few) is same] for same in (True, False))
    fit = folder([*of_other, *of_it[: FEWEST_OUTCOMES - 1]])
    with pytest.raises(LearningError, match=f"only {FEWEST_OUTCOMES - 1} outcomes of {few} .*: wait for more"):
        proposed(champion, fit, now)


def test_learning_from_labelled_traces_is_the_plain_fit(folder: Load) -> None:
    labelled = folder(generate(300, 7))
    made = learn(labelled, Smoothing(), None)
    plain, _ = router.fit(labelled, Smoothing(), balanced=False)
    assert (made.weights.values == 1).all()
    np.testing.assert_array_equal(made.router.see(labelled)[2], plain.see(labelled)[2])


def test_learning_from_logs_is_the_fit_with_their_weights(folder: Load) -> None:
    logs = folder(logged(300, 8))
    made, weights = learn(logs, Smoothing(), 30.0), weigh(logs, 30.0)
    again, _ = router.fit(logs.with_outcomes(weights.outcomes), Smoothing(), weights.values, balanced=False)
    plain, _ = router.fit(logs, Smoothing())
    np.testing.assert_array_equal(made.router.see(logs)[2], again.see(logs)[2])
    assert not np.allclose(made.router.see(logs)[2], plain.see(logs)[2], atol=1e-4)
