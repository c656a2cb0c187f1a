"""The report page, rendered from made-up findings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.findings import Coefficient, Findings, LearningPoint, Policy, Reliability, Slice, Splits, WordEffect
from pipeline.metrics import Curve, Estimate
from pipeline.report import LARGEST_SLICES, MISSING, MOST_SLICES, Scale, render, shown, split_verdict

NAN = float("nan")
UNDEFINED = Estimate(NAN, NAN, NAN)
METRICS = ("accuracy", "pro_rate", "cost", "quality", "pgr", "label_accuracy", "majority_rate", "apgr", "auroc")


def made_up(*, word: str = "integral", apgr: Estimate | None = None, categories: int = 3) -> Findings:
    """Findings that no model ever had."""
    half = Estimate(0.5, 0.4, 0.6)
    measured = dict.fromkeys(METRICS, half) | {"cost": Estimate(6.5, 6.0, 7.0), "apgr": apgr or half}
    constants = {"accuracy": half, "pro_rate": Estimate(0.0, 0.0, 0.0)}
    curve = Curve(np.array([0.0, 0.5, 1.0]), np.array([0.4, 0.55, 0.6]))
    head = Reliability(*(np.array(row) for row in ([0.2, 0.7], [0.3, 0.6], [0.2, 0.5], [0.4, 0.7], [50.0, 50.0])))
    words = {tier: [WordEffect(word, 0.5, 40, 0.75)] for tier in ("flash", "pro")}
    points = Estimate(10.0, -2.0, 20.0)
    return Findings(
        policies=[
            Policy("always-flash", "always flash", constants),
            Policy("random", "random", measured, curve, "a made-up note"),
            Policy("router", "ten features", measured, curve),
        ],
        reliability={"flash": head, "pro": head},
        slices=[Slice(f"kind {at}", 9 + at, 0.4, 0.6, 0.5, 0.5, points, points) for at in range(categories)],
        coefficients=[Coefficient("prompt_size", half, half, False), Coefficient("tool_count", half, half, True)],
        helping=words,
        hurting=words,
        learning=[LearningPoint(labels, apgr or half, 5) for labels in (100, 1000)],
        splits=[Splits("ten features", apgr or half, (apgr or half) if categories > 1 else None)],
        warnings=["a made-up warning"],
    )


def made_up_manifest(policy: str = "router", **more: object) -> Mapping[str, Any]:
    """The keys that the page may rely on."""
    return {"version": "v1", "created_at": "2026-01-01", "threshold": 0.25, "operating_point": {"policy": policy}} | {
        "cost_unit": "units (flash 1, pro 12)",
        "costs": [1.0, 12.0],
        **more,
    }


def test_page_refers_to_nothing_outside_itself() -> None:
    page = render(made_up(), made_up_manifest())
    assert not re.findall(r"https?://|//\w|\b(?:src|@import)\b|url\((?!#)|href=\"(?!#)", page)


def test_ids_are_unique_and_references_to_them_resolve() -> None:
    page = render(made_up(), made_up_manifest())
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) <= {(one, "") for one in ids} | {
        ("", one) for one in ids
    }


@pytest.mark.parametrize("field", ["word", "manifest"])
def test_markup_in_the_data_is_escaped(field: str) -> None:
    evil = "<script>alert(1)</script>"
    page = (
        render(made_up(word=evil), made_up_manifest())
        if field == "word"
        else render(made_up(), made_up_manifest(config={evil: evil}))
    )
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
    assert f'<p class="lead">{begins}' in render(made_up(), made_up_manifest(policy))


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
    page = render(Findings(whole.policies, {}, (), (), {}, {}, (), ()), made_up_manifest())
    assert page.count("Not measured") == 4


def test_scale_keeps_everything_it_was_made_for_within_its_width() -> None:
    scale = Scale.over([Estimate(0.6, 0.5, 0.7), UNDEFINED], 0.5)
    assert 0 < scale.at(0.5) < scale.at(0.7) < 100
