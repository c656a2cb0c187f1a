"""The report page, rendered from made-up findings."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.figures import SAMPLES, Costed
from pipeline.findings import (
    Chosen,
    Coefficient,
    Contest,
    Findings,
    LearningPoint,
    Money,
    Policy,
    Reliability,
    Scenario,
    Slice,
    Splits,
    Target,
    WordEffect,
)
from pipeline.metrics import Curve, Estimate
from pipeline.numerals import MISSING, interval, shown
from pipeline.report import LARGEST_SLICES, MOST_SLICES, Scale, facts, render, split_verdict

NAN = float("nan")
UNDEFINED = Estimate(NAN, NAN, NAN)
HALF = Estimate(0.5, 0.4, 0.6)
METRICS = ("accuracy", "pro_rate", "quality", "pgr", "label_accuracy", "majority_rate", "apgr", "auroc")
COSTS = {"cost": Estimate(6.5, 6.0, 7.0), "saved": Estimate(5.5, 5.0, 6.0), "saved_share": Estimate(0.458, 0.417, 0.5)}
IN_USD = COSTS | {"delivery": COSTS["cost"], "delivery_saved": COSTS["saved"], "cost_per_correct": Estimate(13, 12, 14)}
MORE_PRICED = IN_USD | {"delivery": Estimate(300.0, 250.0, 350.0), "delivery_saved": Estimate(-99.5, -200.0, 20.0)}
SAVED, LOST = Estimate(5138.311, 4874.408, 5387.611), Estimate(-3414.9, -11175.5, 4855.7)
RELATIVE = Money(False, 1_000_000, None, None, (), (), None, None, 1.0)


def made_up(
    *, word: str = "integral", apgr: Estimate | None = None, categories: int = 3, money: Money = RELATIVE,
    costs: Mapping[str, Estimate] = COSTS,
) -> Findings:  # fmt: skip
    """Findings that no model ever had."""
    measured = {**dict.fromkeys(METRICS, HALF), **costs, "apgr": apgr or HALF}
    flash, pro = ({"accuracy": HALF, "pro_rate": Estimate(at, at, at)} for at in (0.0, 1.0))
    curve = Curve(np.array([0.0, 0.5, 1.0]), np.array([0.4, 0.55, 0.6]))
    head = Reliability(*(np.array(row) for row in ([0.2, 0.7], [0.3, 0.6], [0.2, 0.5], [0.4, 0.7], [50.0, 50.0])))
    words = {tier: [WordEffect(word, 0.5, 40, 0.75)] for tier in ("flash", "pro")}
    points = Estimate(10.0, -2.0, 20.0)
    return Findings(
        policies=[
            Policy("always_flash", "always flash", flash | {"cost": Estimate(1.0, 1.0, 1.0)}),
            Policy("always_pro", "always pro", pro | {"cost": Estimate(12.0, 12.0, 12.0)}),
            Policy("random", "random", measured, note="a made-up note"),
            Policy("prompt_length", "prompt length alone", measured, curve),
            Policy("router", "ten features", measured, replace(curve, cost=np.array([1.0, 7.0, 12.0]))),
        ],
        reliability={"flash": head, "pro": head},
        slices=[Slice(f"kind {at}", 9 + at, 0.4, 0.6, 0.5, 0.5, points, points) for at in range(categories)],
        coefficients=[Coefficient("prompt_size", HALF, HALF, False), Coefficient("tool_count", HALF, HALF, True)],
        helping=words,
        hurting=words,
        learning=[LearningPoint(labels, apgr or HALF, 5) for labels in (100, 1000)],
        splits=[Splits("ten features", apgr or HALF, (apgr or HALF) if categories > 1 else None)],
        money=money,
        warnings=["a made-up warning"],
    )


def in_usd(*, delivery_saved: Estimate = SAVED, contest: Contest | None = None) -> Money:
    """Money that nobody ever saved."""
    metrics = {"pro_rate": HALF, "quality": HALF, "accuracy": HALF, **IN_USD}
    here = Chosen(0.25, "router", 0.5, 6.5, 6.5)
    flash, pro = Chosen(2.0, "always flash", 0.0, 1.0, 1.0), Chosen(-1.0, "always pro", 1.0, 12.0, 12.0)
    return Money(
        in_usd=True,
        requests_per_month=1_000_000,
        saved=SAVED,
        delivery_saved=delivery_saved,
        targets=[
            Target("a quality of 0.98", 0.25, "router", certified=False, chosen=True, metrics=metrics),
            Target("a quality of 0.9", 0.5, "router", certified=False, chosen=False, metrics=metrics),
            Target("a quality of 1", None, "", certified=False, chosen=False, metrics={}),
            Target("all of it", -1.0, "always pro", certified=True, chosen=False, metrics=metrics),
        ],
        scenarios=[
            Scenario("as configured", here, here, flash),
            Scenario("pro's prices x2", here, None, flash),
            Scenario("pro's prices x0.5", here, replace(here, threshold=0.125), pro),
        ],
        contest=contest,
        escalate_below=None,
        certified_rate=0.8,
    )


def made_up_contest() -> Contest:
    """A contest that was never held."""
    metrics = {"pro_rate": HALF, "quality": HALF, "accuracy": HALF, **IN_USD}
    names = {"routing": "routing", "cascade": "cascade", "both": "routing, then cascade"}
    policies = [Policy(name, label, metrics) for name, label in names.items()]
    return Contest(policies, {"routing": None, "cascade": 0.625, "both": 0.5}, "cascade", 234)


def made_up_manifest(policy: str = "router", *, certified: bool = False, **more: object) -> dict[str, Any]:
    """The keys that the page may rely on."""
    rate = {"tokens_per_word": 1.3, "output_tokens": 1234.5}
    rate["origins"] = {"tokens_per_word": "assumed", "output_tokens": "traces"}
    return {
        "version": "v1",
        "created_at": "2026-01-01",
        "threshold": 0.25,
        "operating_point": {"policy": policy, "threshold": 0.25},
        "objective": {"name": "min_quality", "value": 0.98, "certify": False},
        "certificate": {
            "certified": certified,
            "claim": "Routing keeps it, on traffic like the 9 tasks.",
            "verdict": "certified" if certified else "not certified: the data goes no further",
            "rows": 9,
        },
        "tariff": {"tiers": {"flash": rate, "pro": rate}},
        "cost_unit": "units (flash 1, pro 12)",
        "costs": [1.0, 12.0],
        "costs_estimated": 0.0,
        **more,
    }


@functools.cache
def page_in_usd(
    unit: str = "USD per 1,000 requests", *, contested: bool = False, objective: str = "min_quality"
) -> str:
    """The page of a version whose costs are money, spaces plain."""
    money = in_usd(contest=made_up_contest() if contested else None)
    aim = {"name": objective, "value": 0.98, "certify": False}
    page = render(
        made_up(money=money, costs=IN_USD),
        made_up_manifest(cost_unit=unit, objective=aim, costs_estimated=float("estimated" in unit)),
    )
    return page.replace("\N{NO-BREAK SPACE}", " ")


def lead(page: str) -> str:
    """The headline of a page, spaces plain."""
    return page.split('<p class="lead">')[1].split("</p>", maxsplit=1)[0].replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("money", [RELATIVE, in_usd(contest=made_up_contest())])
def test_page_refers_to_nothing_outside_itself(money: Money) -> None:
    page = render(made_up(money=money), made_up_manifest())
    assert not re.findall(r"https?://|//\w|\b(?:src|@import)\b|url\((?!#)|href=\"(?!#)", page)


def test_ids_are_unique_and_references_to_them_resolve() -> None:
    page = page_in_usd(contested=True)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) <= {(one, "") for one in ids} | {
        ("", one) for one in ids
    }


@pytest.mark.parametrize("field", ["word", "manifest", "unit", "origin"])
def test_markup_in_the_data_is_escaped(field: str) -> None:
    evil = "<script>alert(1)</script>"
    pages = {
        "word": lambda: render(made_up(word=evil), made_up_manifest()),
        "manifest": lambda: render(made_up(), made_up_manifest(config={evil: evil})),
        "unit": lambda: render(made_up(), made_up_manifest(cost_unit=evil)),
        "origin": lambda: render(made_up(), made_up_manifest(retuned_from=evil, fitted_in=evil)),
    }
    page = pages[field]()
    assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_undefined_is_said_and_never_printed_as_nan() -> None:
    page = render(made_up(apgr=UNDEFINED), made_up_manifest())
    assert "not defined" in page
    assert not re.search(r">\s*nan|nan\s*<|nan%", page, re.IGNORECASE)


def test_missing_metric_is_a_dash_and_undefined_one_is_not() -> None:
    assert (shown(None, "score"), shown(NAN, "score"), shown(-0.5, "points")) == (
        MISSING,
        "not defined",
        "\N{MINUS SIGN}0.5",
    )


def test_one_category_is_said_instead_of_a_second_split() -> None:
    assert "there is only one category" in render(made_up(categories=1), made_up_manifest())
    assert "there is only one category" not in render(made_up(), made_up_manifest())


@pytest.mark.parametrize(
    ("policy", "begins"), [("router", "Sends 50.0"), ("always flash", "Always flash:"), ("always pro", "Always pro:")]
)
def test_headline_names_what_the_version_does(policy: str, begins: str) -> None:
    assert lead(render(made_up(), made_up_manifest(policy))).startswith(begins)


@pytest.mark.parametrize(
    ("low", "rival", "said"),
    [(0.48, 0.55, "cannot be told from chance"), (0.53, 0.55, "no more skill"), (0.56, 0.55, "keeps some skill")],
)
def test_verdict_on_unseen_kinds_claims_no_more_than_the_intervals(low: float, rival: float, said: str) -> None:
    seen, other = Estimate(0.8, 0.7, 0.9), Estimate(rival, 0.5, 0.6)
    found = replace(
        made_up(), splits=[Splits("prompt length", seen, other), Splits("ten features", seen, Estimate(0.57, low, 0.6))]
    )
    assert said in split_verdict(found)


def test_only_the_largest_of_many_categories_are_listed() -> None:
    page = render(made_up(categories=MOST_SLICES + 1), made_up_manifest())
    assert len(re.findall(r"<bdi>kind \d+", page)) == LARGEST_SLICES
    assert f"{MOST_SLICES + 1 - LARGEST_SLICES} more with" in page


def test_unknown_manifest_keys_are_listed_flat() -> None:
    page = render(made_up(), made_up_manifest(surprise={"inner": [{"deep": None}, {"deep": True}]}))
    assert f"<dt>surprise · inner · 1 · deep</dt><dd>{MISSING}</dd>" in page
    assert "<dt>surprise · inner · 2 · deep</dt><dd>True</dd>" in page


def test_same_findings_give_the_same_page() -> None:
    assert render(made_up(), made_up_manifest()) == render(made_up(), made_up_manifest())


def test_page_of_findings_without_optional_parts_says_so() -> None:
    whole = made_up()
    page = render(Findings(whole.policies, {}, (), (), {}, {}, (), (), RELATIVE), made_up_manifest())
    assert page.count("Not measured") == 4


def test_scale_keeps_everything_it_was_made_for_within_its_width() -> None:
    scale = Scale.over([Estimate(0.6, 0.5, 0.7), UNDEFINED], 0.5)
    assert 0 < scale.at(0.5) < scale.at(0.7) < 100


@pytest.mark.parametrize(
    ("amount", "printed"),
    [
        (0.37230528, "0.37"), (16.205, "16.20"), (5138.311, "5,138"), (99.39, "99.39"), (115.144, "115"),
        (0.0123, "0.012"), (0.0, "0"), (-3414.945, "\N{MINUS SIGN}3,415"), (1e-15, "0"),
    ],
)  # fmt: skip
def test_money_has_the_digits_that_say_something(amount: float, printed: str) -> None:
    assert shown(amount, "cost") == printed


def test_interval_of_money_has_the_digits_of_its_value() -> None:
    assert interval(Estimate(99.7, 95.25, 104.2), "cost") == "[95.25,\N{NO-BREAK SPACE}104.20]"


def test_headline_says_what_is_saved_a_month_and_that_tokens_are_estimated() -> None:
    assert lead(page_in_usd("USD per 1,000 requests, tokens estimated")) == (
        "Sends 50.0 % of requests to pro and keeps 50.0 % [40.0, 60.0] of its accuracy, at 54 % of its cost: "
        "5,138 USD [4,874, 5,388] saved a month at 1,000,000 requests (tokens estimated)."
    )


def test_headline_does_not_hide_that_savings_on_calls_are_lost_elsewhere() -> None:
    money = in_usd(delivery_saved=LOST)
    said = lead(render(made_up(money=money, costs=MORE_PRICED), made_up_manifest()))
    assert "5,138 USD [4,874, 5,388] saved on calls a month" in said
    assert "3,415 USD [\N{MINUS SIGN}4,856, 11,176] lost in all" in said


def test_total_cost_is_a_column_only_where_more_than_calls_is_priced() -> None:
    priced = render(made_up(money=in_usd(delivery_saved=LOST), costs=MORE_PRICED), made_up_manifest())
    assert "the interval holds 0, so it could be less as well as more" in priced
    assert ">total cost</th>" in priced.split('id="curve"')[0]
    assert ">total cost</th>" not in page_in_usd().split('id="curve"')[0]
    assert "Nothing is priced here but the calls" in page_in_usd()


@pytest.mark.parametrize("certified", [True, False])
def test_certificate_is_marked_plainly(certified: bool) -> None:
    page = render(made_up(), made_up_manifest(certified=certified))
    assert ("<strong>Certified.</strong>" in page) is certified
    assert ("<strong>Not certified: the data goes no further.</strong>" in page) is not certified
    assert ("The claim that the data does not bear out" in page) is not certified
    assert "Routing keeps it, on traffic like the 9 tasks." in page


def test_certified_range_is_drawn_only_where_there_is_one() -> None:
    assert ">certified</text>" in page_in_usd()
    assert ">certified</text>" not in render(made_up(), made_up_manifest())


def test_relative_costs_say_how_to_give_prices() -> None:
    page = render(made_up(), made_up_manifest())
    assert "price under [tiers.flash] and [tiers.pro] of the --config file" in page
    assert "45.8\N{NO-BREAK SPACE}%" in page  # 5.5 of 12 units, in the tile and in the text
    assert "needs prices of both tiers" in page
    assert "USD" not in page.split("<dl")[0] + page.split('id="worth"')[1].split('id="reliability"')[0]


def test_unreachable_target_is_said() -> None:
    assert re.search(r"a quality of 1</th>\s*<td class=\"none\"[^>]*>cannot be reached", page_in_usd())


def test_every_point_but_the_served_one_has_a_number_in_table_and_picture() -> None:
    page = page_in_usd()
    rows = re.findall(r'<td class="mark">(.*?)</td><th scope="row">(.*?)(?: <small>.*?)?</th>', page)
    numbered = {label: re.sub("<.*?>", "", mark) for mark, label in rows}
    assert numbered == {
        "a quality of 0.98": "\N{BLACK DIAMOND}",
        "a quality of 0.9": "1",
        "a quality of 1": "",
        "all of it": "2",
    }
    assert page.count(">1, 2</text>") == 2  # both at one place, in the wide and in the narrow picture


def test_constants_are_named_instead_of_their_thresholds() -> None:
    worth = page_in_usd().split('id="worth"')[1].split('id="reliability"')[0]
    assert "always flash" in worth
    assert "always pro" in worth
    assert ">2.000<" not in worth
    assert "1.000<" not in worth


def test_what_if_marks_the_prices_that_move_a_threshold() -> None:
    worth = page_in_usd().split("pro's prices x0.5".replace("'", "&#39;"))[1]
    assert "<strong>0.125</strong>" in worth
    assert "<strong>always pro</strong>" in worth
    assert "<strong>always flash</strong>" not in page_in_usd()


@pytest.mark.parametrize(
    ("name", "said"), [("min_quality", "but not its threshold"), ("pro_rate", "no price moves"), ("max_cost", None)]
)
def test_what_if_says_when_no_price_moves_the_threshold(name: str, said: str | None) -> None:
    page = page_in_usd(objective=name)
    assert {told for told in ("but not its threshold", "no price moves") if told in page} == ({said} if said else set())


def test_contest_names_its_winner() -> None:
    page = page_in_usd(contested=True)
    assert '<tr class="mine"><th scope="row">cascade <small>best on the tune part</small>' in page
    assert "the 234 rows of the test part" in page
    assert ">0.625</td>" in page


def test_missing_contest_is_explained() -> None:
    assert "column flash_confidence" in page_in_usd()
    assert "column flash_confidence" not in page_in_usd(contested=True)


def test_estimated_tokens_are_explained() -> None:
    page = page_in_usd("USD per 1,000 requests, tokens estimated for 40% of the calls")
    assert "flash 1.30 (assumed) tokens a word in and 1,234 (as in other traces) tokens out" in page
    assert "were estimated:" not in page_in_usd()


def test_page_of_a_retuned_version_leaves_out_what_was_not_measured_anew() -> None:
    anew = replace(made_up(), coefficients=(), helping={}, hurting={}, learning=(), splits=())
    anew = replace(
        anew, policies=[policy for policy in anew.policies if policy.curve is None or policy.name == "router"]
    )
    page = render(anew, made_up_manifest(retuned_from="v7", fitted_in="v7"))
    assert page.count("differs from version v7") == 1
    assert not re.findall(r'(?:id="|href="#)(?:coefficients|words|splits|learning)"', page)
    assert "Not measured" not in page
    assert 'id="slices"' in page


def test_facts_do_not_repeat_what_the_page_says() -> None:
    listed = [name for rows in facts(made_up_manifest()).values() for name, _ in rows]
    assert [name for name in listed if "threshold" in name] == ["operating_point · threshold"]
    assert not [name for name in listed if name.startswith("certificate") and "rows" not in name]
    assert "tariff · tiers · flash · origins · output_tokens" in listed


def test_curve_runs_over_its_own_costs_and_else_between_those_of_the_tiers() -> None:
    found = made_up()
    shown_there = Costed(found.policies, {}, 1.0, (2.0, 10.0), "units")
    ends = {policy.name: shown_there.line(policy)[[0, -1]].tolist() for policy in found.policies}
    assert ends["router"] == [[1.0, 0.4], [12.0, 0.6]]
    assert ends["prompt_length"] == [[2.0, 0.4], [10.0, 0.6]]


def test_chance_is_the_line_between_the_constants() -> None:
    found = made_up()
    line = Costed(found.policies, {}, 1.0, (2.0, 10.0), "units").line(found.policy("random"))
    assert line.shape == (SAMPLES, 2)
    assert line[[0, -1], 0].tolist() == [1.0, 12.0]
