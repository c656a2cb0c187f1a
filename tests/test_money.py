"""What a threshold is worth: a month's savings, other targets, other prices."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from made_up import AT, CONFIG, FLASH_PRICE, PEAK, PRO_PRICE, UNNAMED, price_file, rows, ruled, settings

from pipeline import costs, held_out
from pipeline.config import Aim
from pipeline.costs import Tariff
from pipeline.export import decide
from pipeline.findings import Money
from pipeline.held_out import HeldOut
from pipeline.metrics import FLASH, PRO
from pipeline.money import QUALITIES, money, remarks
from pipeline.objective import Objective
from pipeline.sample import Priced
from pipeline.settings import Delivery
from pipeline.tune import Tuned, tune

TOTAL = Aim(Objective("total_cost", None), at=AT)
PEOPLE = "[delivery]\nescalation_rate = 0.5\nwrong_answer_usd = 0.002\nrequests_per_month = 30_000\n"


@dataclass(frozen=True)
class Worth:
    """A choice on the rows of the version with prices, and what it is worth."""

    priced: Priced
    tuned: Tuned
    money: Money


def worth(held: HeldOut, text: str, aim: Aim = TOTAL) -> Worth:
    tariff = costs.learn(settings(text), UNNAMED, held.tune, AT)
    priced = Priced.of(held, tariff, 0)
    tuned = tune(priced.tuned, held.rules, aim)
    return Worth(priced, tuned, money(priced, tuned, aim))


@pytest.fixture(scope="module")
def held(priced: Any) -> HeldOut:
    return held_out.read(priced.folder, priced.manifest["held_out"])


@pytest.fixture(scope="module")
def found(held: HeldOut) -> Worth:
    return worth(held, price_file(FLASH_PRICE, PRO_PRICE, PEOPLE))


def paid(worth: Worth, tariff: Tariff, amount: str, part: str) -> tuple[float, float]:
    """Mean of the served decisions and of always-pro on a part, added up row by row."""
    seen = getattr(worth.priced, part).rows
    to_pro = decide(seen.probabilities, seen.evidence, worth.tuned.point)
    pair = getattr(tariff.costs(seen), amount)
    return float(np.where(to_pro, pair[:, PRO], pair[:, FLASH]).mean()), float(pair[:, PRO].mean())


def test_savings_are_always_pro_less_routing_times_the_volume(found: Worth) -> None:
    for saved, amount in ((found.money.saved, "api"), (found.money.delivery_saved, "delivery")):
        served, pro = paid(found, found.priced.tariff, amount, "test")
        assert saved.value == pytest.approx((pro - served) / 1000 * 30_000)
        assert saved.low <= saved.value <= saved.high
    assert found.money.requests_per_month == 30_000


def test_always_pro_saves_nothing(held: HeldOut) -> None:
    found = worth(held, CONFIG, Aim(Objective("min_quality", 0.98), certify=True, confidence_level=1 - 1e-9))
    assert found.tuned.point.policy == "always pro"
    assert (found.money.saved.value, found.money.delivery_saved.value) == (0, 0)


def test_first_scenario_is_what_is_configured(found: Worth) -> None:
    now = found.money.scenarios[0]
    assert now.label == "as configured"
    for chosen in (now.served, now.chosen, now.least):
        assert (chosen.threshold, chosen.policy) == (found.tuned.point.threshold, found.tuned.point.policy)
        assert (chosen.cost, chosen.delivery) == pytest.approx((found.tuned.point.cost, found.tuned.point.delivery))


def test_scenarios_price_the_served_point_and_choose_anew(found: Worth) -> None:
    labels = [scenario.label for scenario in found.money.scenarios]
    assert labels == [
        "as configured",
        "pro's prices x0.5",
        "pro's prices x2",
        "flash's prices x0.5",
        "flash's prices x2",
        "cost of a wrong answer x0.5",
        "cost of a wrong answer x2",
    ]
    by_label = dict(zip(labels, found.money.scenarios, strict=True))
    dear, cheap = by_label["pro's prices x2"], by_label["pro's prices x0.5"]
    tariff = found.priced.tariff.scaled(PRO, 2)
    assert dear.served.cost == pytest.approx(paid(found, tariff, "api", "tuned")[0])
    assert dear.served.delivery == pytest.approx(paid(found, tariff, "delivery", "tuned")[0])
    assert dear.least.pro_rate <= found.money.scenarios[0].least.pro_rate <= cheap.least.pro_rate
    wrong = by_label["cost of a wrong answer x2"]
    assert wrong.least.pro_rate >= by_label["cost of a wrong answer x0.5"].least.pro_rate
    assert all(scenario.least.delivery <= scenario.served.delivery + 1e-9 for scenario in found.money.scenarios)


def test_peak_all_day_is_a_scenario_where_a_tier_has_a_peak(held: HeldOut) -> None:
    text = CONFIG + PEAK
    assert "peak hours all day" in [scenario.label for scenario in worth(held, text).money.scenarios]


def test_wrong_answers_for_free_are_no_scenario(held: HeldOut) -> None:
    labels = [scenario.label for scenario in worth(held, price_file(FLASH_PRICE, PRO_PRICE)).money.scenarios]
    assert not any("wrong answer" in label for label in labels)


def test_scenario_in_which_the_objective_cannot_be_reached_says_so(held: HeldOut) -> None:
    least = worth(held, CONFIG, Aim(Objective("pro_rate", 0.0))).tuned.point.cost
    found = worth(held, CONFIG, Aim(Objective("max_cost", 1.5 * least)))
    by_label = {scenario.label: scenario for scenario in found.money.scenarios}
    assert by_label["flash's prices x2"].chosen is None
    assert by_label["flash's prices x0.5"].chosen is not None


def test_targets_are_the_served_one_and_the_usual_ones(found: Worth) -> None:
    served, *others = found.money.targets
    assert (served.chosen, served.label, served.threshold) == (
        True,
        "least total delivery cost",
        found.tuned.point.threshold,
    )
    assert [target.label for target in others] == [f"least cost with a quality of {each:g}" for each in QUALITIES]
    assert not any(target.chosen for target in others)
    assert [target.certified for target in found.money.targets] == [
        found.tuned.certificate.covers(target.threshold) for target in found.money.targets
    ]
    costs_of = [target.metrics["cost"].value for target in others]
    assert all(cheap <= dear + 1e-9 for cheap, dear in pairwise(costs_of))


def test_targets_are_measured_on_the_test_part(found: Worth) -> None:
    served = found.money.targets[0]
    seen = found.priced.test.rows
    to_pro = decide(seen.probabilities, seen.evidence, found.tuned.point)
    assert served.metrics["pro_rate"].value == pytest.approx(to_pro.mean())


def test_objective_that_is_a_usual_target_stands_once(held: HeldOut) -> None:
    targets = worth(held, CONFIG, Aim(Objective("min_quality", 0.95))).money.targets
    assert sum("0.95" in target.label for target in targets) == 1
    assert [target.chosen for target in targets].count(True) == 1


def test_without_prices_nothing_is_said_of_money(held: HeldOut) -> None:
    bare = HeldOut(
        rows(held.tune.outcomes, gain=held.tune.gain), rows(held.test.outcomes, gain=held.test.gain), held.rules
    )
    found = worth(bare, "", Aim(Objective("min_quality", 0.95))).money
    assert (found.in_usd, found.saved, found.delivery_saved, found.scenarios) == (False, None, None, [])
    assert found.contest is None
    assert "least total delivery cost" not in [target.label for target in found.targets]


def test_certified_rate_is_what_the_last_certified_rule_sends_to_pro(found: Worth) -> None:
    step = found.tuned.certificate.step
    rules, seen = found.priced.rules, found.priced.test.rows
    to_pro = (seen.gain >= np.float32(rules.thresholds[step])) | (seen.evidence < np.float32(rules.evidence_floor))
    assert found.money.certified_rate == pytest.approx(to_pro.mean())


def test_contest_is_held_where_flash_states_its_confidence(found: Worth) -> None:
    assert found.money.contest.rows == len(found.priced.test.rows)
    assert [policy.name for policy in found.money.contest.policies] == ["routing", "cascade", "both"]


@pytest.mark.parametrize("volume", [1, 10_000_000])
def test_savings_grow_with_the_volume(volume: int) -> None:
    seen = rows([[1, 1]] * 60, input_tokens=(100, 100), output_tokens=(0, 0))
    held = HeldOut(seen, seen, ruled([0.5]))
    text = price_file((1, 1, 1), (3, 3, 3), f"[delivery]\nrequests_per_month = {volume}\n")
    assert worth(held, text).money.saved.value == pytest.approx(volume * 100 * 2 / 1_000_000)


def test_volume_is_said_as_it_is_configured(priced: Any) -> None:
    page = (priced.folder / "report.html").read_text(encoding="utf-8")
    assert "1,000,000" in page


@pytest.mark.parametrize(
    ("name", "wrong", "said"), [("total_cost", 0.0, 1), ("total_cost", 0.5, 0), ("pro_rate", 0.0, 0)]
)
def test_least_total_cost_says_so_where_no_wrong_answer_costs_anything(name: str, wrong: float, said: int) -> None:
    aim = Aim(Objective(name, None if name == "total_cost" else 0.5))
    tariff = Tariff((None, None), Delivery(wrong_answer_usd=wrong), AT)
    assert len(remarks(aim, tariff)) == said
