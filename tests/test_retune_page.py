"""The page of a retune, rendered from findings that no retune ever had."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.drift.finding import ALARM, STEADY, Drift, Finding
from pipeline.gate import Difference, Judged, Verdict
from pipeline.ingest.joined import Some
from pipeline.ingest.result import Ingested
from pipeline.numerals import MISSING
from pipeline.off_policy import Inferred
from pipeline.retune.certified import Guarantee
from pipeline.retune.found import Found, Learned, Policy
from pipeline.retune.page import (
    LOSES,
    MOST_SLICES,
    OPEN,
    PASSES,
    ROUTER_TOLD,
    SECTIONS,
    lines,
    of_router,
    of_slice,
    p_value,
    render,
)
from pipeline.retune.record import Decision

EVIL = "<script>alert(1)</script>"
NAN, FOREVER = float("nan"), float("inf")
MINUS = "\N{MINUS SIGN}"
NOBODY_KNOWS = Some(0, ())
INGESTED = Ingested(
    path=Path("retunes/evidence.parquet"), sha256="ab" * 32, logs=31, read=41_530, duplicates=12, logged_again=0,
    outside=0, rows=41_518, first=datetime(2026, 10, 1, 0, 4, tzinfo=UTC),
    last=datetime(2026, 10, 31, 23, 58, tzinfo=UTC),
    served={"flash": 29_411, "pro": 12_007, "nobody": 100}, versions={"v7": 40_018, "": 1_500},
    propensities=(0.02, 0.98), usable=39_204, unusable={"a limit decided": 1_411, "no tier answered": 903},
    statements=33_000, joined=31_877, waiting=9_204, ungraded=437, usable_joined=30_911, repeated_outcomes=0,
    unknown=Some(3, ("a1", "b2", "c3")), corrected=NOBODY_KNOWS, disagreeing=NOBODY_KNOWS,
    of_other_tier=NOBODY_KNOWS, unanswered=0, ignored=(), doubts=("the clock of one log is 40 minutes ahead",),
)  # fmt: skip
DRIFT = Drift(
    findings=(
        Finding("Words in the prompt", "requests", 0.213, "score", "prompts were 80 words long and are 131", "PSI",
                material=0.1, p_value=1e-5, adjusted=1e-4, verdict=ALARM),
        Finding("Letters outside of Latin script", "requests", 0.031, "score", "as before", "PSI", material=0.1,
                p_value=0.3, adjusted=0.9, verdict=STEADY),
        Finding("Flash's answers", "answers", -0.012, "points", "flash was right in 71.2 % and is in 70.0 %",
                material=0.02, p_value=0.4, adjusted=0.9, verdict=STEADY),
    ),
    level=0.05, reference="labelled rows", graded="", rows=(6_000, 41_518), groups=(5_800, 40_002),
    prices_changed=False,
)  # fmt: skip


def about(value: float, reach: float, groups: int = 4_000) -> Inferred:
    """An estimate that nobody made."""
    return Inferred(value, value - 1.96 * reach, value + 1.96 * reach, reach, groups, groups - 1)


def difference(name: str, value: float, reach: float, bound: float, rows: int = 4_321) -> Difference:
    """A comparison that nobody made, with bounds at one-sided 95 %."""
    return Difference(name, about(value, reach), value - 1.645 * reach, value + 1.645 * reach, bound, rows)


def policy(name: str, rate: float, accuracy: float, cost: float) -> Policy:
    """What no policy ever got."""
    naive = accuracy + 0.06 * (1 - rate)
    return Policy(
        name, rate, about(accuracy, 0.006), about(cost, 0.02 * cost), about(accuracy + 0.004, 0.011),
        about(accuracy + 0.002, 0.009), about(naive, 0.005), "",
    )  # fmt: skip


POLICIES = (
    policy("always flash", 0.0, 0.7113, 1.31),
    policy("always pro", 1.0, 0.8842, 16.2),
    policy("champion", 0.2874, 0.8511, 5.47),
    policy("challenger", 0.2411, 0.8546, 4.81),
)
SLICES = (
    difference("category invoices", 0.0061, 0.0071, -0.02, 1_204),
    difference("category contracts", -0.0042, 0.0094, -0.02, 811),
    difference("category code", 0.0113, 0.0133, -0.02, 402),
    difference("requests with tools", -0.0021, 0.0164, -0.02, 260),
    difference("long context", 0.0004, 0.0068, -0.02, 733),
    difference("han script", -0.0131, 0.0212, -0.02, 144),
)
LEARNED = Learned("new", 90.0, (31_002, 9_877), (24_410.2, 1_903.7), 0.0912, 0.1134)
PROMOTING = Judged(
    Verdict.PROMOTE, "no worse by the margin in either: accuracy +0.0035, cost -0.0407",
    difference("accuracy", 0.0035, 0.0049, -0.01), difference("cost", -0.0407, 0.0061, 0.01), SLICES, 500, 3_821,
    0.0613, 0.01,
)  # fmt: skip
KEEPING = replace(
    PROMOTING, verdict=Verdict.KEEP, why="the challenger loses on category contracts: -0.0611, -0.0200 allowed",
    quality=difference("accuracy", -0.0121, 0.0049, -0.01), cost=difference("cost", 0.0241, 0.0061, 0.01),
    slices=(difference("category contracts", -0.0611, 0.0102, -0.02, 811), *SLICES),
)  # fmt: skip
DOUBTING = replace(
    PROMOTING, verdict=Verdict.NOT_ENOUGH,
    why="accuracy is not known well enough: +0.0021, -0.0100 allowed, down to -0.0219",
    quality=difference("accuracy", 0.0021, 0.0146, -0.01, 512), cost=difference("cost", -0.0102, 0.0161, 0.01, 512),
    slices=(), audited=0, logged=512,
)  # fmt: skip
JUDGED = {judged.verdict: judged for judged in (PROMOTING, KEEPING, DOUBTING)}
WHOLE = Found(
    "v7", "least cost with a quality of 0.95", "USD per 1,000 requests", INGESTED, DRIFT, LEARNED, PROMOTING, POLICIES,
    Guarantee("holds", 0.0112, 500, "shown again on 500 audited tasks"), tuple(INGESTED.notes()),
)  # fmt: skip
EMPTY = Found("v7", "least cost with a quality of 0.95", "USD per 1,000 requests")


def decided(verdict: Verdict, **more: Any) -> Decision:
    """A decision as a retune keeps it."""
    made = "v8" if verdict is Verdict.PROMOTE else ""
    why = more.pop("why", JUDGED[verdict].why)
    return replace(Decision("c0ffee" * 10, verdict.value, why, "v7", made, "2026-11-01T04:17:02+00:00"), **more)


def page(found: Found = WHOLE, verdict: Verdict = Verdict.PROMOTE, **more: Any) -> str:
    """A page without the spaces that do not break, and with its entities as characters."""
    return html.unescape(render(found, decided(verdict, **more))).replace("\N{NO-BREAK SPACE}", " ")


def section(name: str, text: str) -> str:
    """A section of a page."""
    return text.split(f'<section id="{name}">')[1].split("</section>", maxsplit=1)[0]


# --- verdict ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Verdict.PROMOTE, "Promoted: v8 takes the place of v7."),
        (Verdict.KEEP, "Champion kept: v7 serves on."),
        (Verdict.NOT_ENOUGH, "Not enough evidence: v7 serves on."),
    ],
)
def test_the_headline_is_the_verdict_and_what_serves(verdict: Verdict, said: str) -> None:
    for found in (WHOLE, EMPTY):
        assert f'<p class="lead">{said}</p>' in page(found, verdict)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_reason_stands_under_the_headline_with_names_and_date(verdict: Verdict) -> None:
    head = page(EMPTY, verdict, why="the clock struck").split("</header>")[0]
    assert "<p>The clock struck.</p>" in head
    assert "2026-11-01 04:17 UTC" in head
    assert re.search(r"<dt>Champion</dt><dd>(?:<bdi>)?v7<", head)
    assert ("<bdi>v8</bdi>" in head) is (verdict is Verdict.PROMOTE)


def test_the_date_is_told_in_utc() -> None:
    assert "2026-11-01 04:17 UTC" in page(at="2026-11-01T05:17:02+01:00")


@pytest.mark.parametrize("found", [WHOLE, EMPTY], ids=["made", "none"])
def test_a_challenger_that_does_not_serve_has_no_name(found: Found) -> None:
    head = page(found, Verdict.KEEP).split("</header>")[0]
    assert ("made, and not kept as a version" in head) is (found.learned is not None)
    assert ("none was made" in head) is (found.learned is None)


@pytest.mark.parametrize(("verdict", "mine"), [(Verdict.PROMOTE, "challenger"), (Verdict.KEEP, "champion")])
def test_the_policy_that_is_to_serve_is_marked(verdict: Verdict, mine: str) -> None:
    marked = re.findall(r'<tr class="mine"><th scope="row">(\w+)', section("policies", page(verdict=verdict)))
    assert marked == [mine]


# --- what the retune did not come to ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "where", "said"),
    [
        ({"ingested": None, "notes": ()}, "evidence", "There is none that could be used."),
        ({"drift": None}, "drift", "ended before drift was looked for"),
        ({"learned": None}, "challenger", "None was made."),
        ({"judged": None}, "gate", "nothing was compared"),
        ({"policies": ()}, "policies", "ended before policies were estimated"),
        ({"guarantee": None}, "guarantee", "ended before the guarantee was looked at"),
    ],
)
def test_what_is_missing_is_said_to_be(missing: dict[str, Any], where: str, said: str) -> None:
    assert said in section(where, page(replace(WHOLE, **missing)))
    assert said not in page()


def test_a_retune_without_any_evidence_has_all_sections_and_no_number() -> None:
    text = page(EMPTY, Verdict.NOT_ENOUGH, why="no log has a row")
    assert re.findall(r'<section id="(\w+)">', text) == list(SECTIONS)
    assert "<table" not in text
    assert 'class="tiles"' not in text


def test_the_assumption_on_missing_outcomes_is_always_stated() -> None:
    for found in (WHOLE, EMPTY):
        assert "outcomes are missing at random given the features" in section("challenger", page(found))


def test_a_gate_that_could_not_compare_draws_nothing() -> None:
    same = replace(PROMOTING, quality=None, cost=None, slices=(), differing=0.0)
    gate = section("gate", page(replace(WHOLE, judged=same), Verdict.KEEP))
    assert "No difference could be measured." in gate
    assert 'class="field' not in gate
    assert "0.0 % of them" in gate


def test_a_policy_of_which_logs_do_not_tell_says_why() -> None:
    refused = Policy("always pro", 1.0, None, None, None, None, None, "the logs hardly ever ask pro")
    table = section("policies", page(replace(WHOLE, policies=(refused, *POLICIES[2:]))))
    assert "The logs hardly ever ask pro." in table
    assert "nan" not in table


def test_estimates_that_are_missing_one_by_one_are_dashes() -> None:
    part = replace(POLICIES[3], accuracy=None, cost=None, inverse=None, normalised=None, naive=None)
    table = section("policies", page(replace(WHOLE, policies=(POLICIES[2], part))))
    assert table.count(f'<span class="none">{MISSING}</span>') == 5


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_gate_shows_estimate_bounds_and_what_is_allowed_in_points() -> None:
    gate = section("gate", page())
    for value, limits, allowed in (
        ("+0.35", f"[{MINUS}0.46, +1.16]", f"{MINUS}1.00"),
        (f"{MINUS}4.07", f"[{MINUS}5.07, {MINUS}3.07]", "+1.00"),
        (f"{MINUS}1.31", f"[{MINUS}4.80, +2.18]", f"{MINUS}2.00"),
    ):
        assert f"<b>{value}</b><small>{limits}</small>" in gate
        assert f"{value} {limits}, {allowed} allowed" in gate
    assert "3,821 logged and 500 audited" in gate
    assert "6.1 % of them" in gate


def test_tiles_show_the_challenger_beside_the_champion() -> None:
    shown = re.findall(
        r"<div><dt>([^<]+)</dt><dd>([^<]+)(?:<small>.*?</small>)?</dd><dd class=\"hint\">(.*?)</dd>", page()
    )
    assert shown == [
        ("challenger's accuracy", "85.5 %", "champion 85.1 %"),
        ("challenger's delivery cost", "4.81", "USD per 1,000 requests; champion 5.47"),
        ("challenger sends to pro", "24.1 %", "champion 28.7 %"),
        ("decided differently", "6.1 %", "of 3,821 logged and 500 audited requests"),
        ("usable outcomes", "30,911", "of 41,518 logged decisions"),
    ]


def test_policies_show_doubly_robust_accuracy_and_cost_and_the_other_ways_beside() -> None:
    table = section("policies", page())
    row = table.split('<th scope="row">champion')[1].split("</tr>")[0]
    cells = [re.sub("<small>.*?</small>|<.*?>", "", cell).strip() for cell in re.findall("<td.*?</td>", row, re.DOTALL)]
    assert cells == ["28.7 %", "85.1 %", "5.47", "85.5 %", "85.3 %", "89.4 %"]
    assert "<small>[83.9, 86.3]</small>" in row
    assert "<small>[5.26, 5.68]</small>" in row
    assert "USD per 1,000 requests" in table


def test_the_challengers_making_is_told_in_numbers() -> None:
    made = section("challenger", page())
    assert "<dd>0.091 → 0.113</dd>" in made
    assert "90 days" in made
    for tier, seen, worth in (("flash", "31,002", "24,410"), ("pro", "9,877", "1,904")):
        assert f'<th scope="row">{tier}</th><td class="n">{seen}</td><td class="n">{worth}</td>' in made


def test_kept_coefficients_were_fitted_on_nothing_and_have_no_half_life() -> None:
    kept = Learned("kept", None, (0, 0), (0.0, 0.0), 0.0912, 2.0)
    made = section("challenger", page(replace(WHOLE, learned=kept)))
    assert "kept: only the threshold was chosen anew" in made
    assert "Nothing was fitted." in made
    assert "Half-life" not in made
    assert "<dd>0.091 → always flash</dd>" in made


def test_new_coefficients_that_forget_nothing_say_so() -> None:
    assert "nothing was forgotten" in page(replace(WHOLE, learned=replace(LEARNED, half_life_days=None)))


def test_page_says_where_the_unsure_are_promoted() -> None:
    unsure = replace(WHOLE, judged=replace(PROMOTING, promote_unsure=True))
    assert "it is not shown to be as good" in section("gate", page(unsure))
    assert "it is not shown to be as good" not in page()


def test_evidence_is_counted() -> None:
    told = section("evidence", page())
    for number in ("41,518, 2026-10-01 00:04 to 2026-10-31 23:58 UTC", "31,877 known, 9,204 waiting, 437 could not",
                   "usable, outcome known 30,911", "usable, no outcome 8,293", "not usable 2,314", "0.020 to 0.980",
                   "v7 40,018, not known 1,500"):  # fmt: skip
        assert number in told
    assert '<th scope="row">a limit decided</th><td class="n">1,411</td>' in told
    assert re.findall("flex:([0-9.]+) ", told) == ["74.45", "19.97", "5.57"]


def test_evidence_of_no_rows_or_without_propensities_is_shown() -> None:
    none = replace(
        INGESTED, rows=0, usable=0, usable_joined=0, joined=0, waiting=0, ungraded=0, unusable={}, propensities=None,
        served={"nobody": 0}, versions={},
    )  # fmt: skip
    told = section("evidence", page(replace(EMPTY, ingested=none)))
    assert "none usable" in told
    assert "Every decision is usable." in told


def test_every_note_stands_once_and_doubts_stand_first() -> None:
    text = page(replace(WHOLE, notes=(*WHOLE.notes, "an audit is due")))
    head, rest = text.split("</header>")
    for note in ("The clock of one log is 40 minutes ahead.", "An audit is due."):
        assert head.count(note) == 1
        assert note not in rest
    for note in ("12 log rows stand twice", "3 (a1, b2, c3) decisions have an outcome"):
        assert note not in head
        assert rest.count(note) == 1


@pytest.mark.parametrize(
    ("state", "good"), [("holds", True), ("unchanged", True), ("not shown", False), ("lapsed", False)]
)
def test_the_state_of_the_guarantee_is_marked(state: str, good: bool) -> None:
    told = section("guarantee", page(replace(WHOLE, guarantee=Guarantee(state, None, 12, "somebody said so"))))
    assert f"<strong>{state.capitalize()}.</strong> Somebody said so." in told
    assert ('class="certificate yes"' in told) is good
    assert "12 audited tasks." in told


@pytest.mark.parametrize(("value", "said"), [(None, MISSING), (0.0004, "< 0.001"), (0.0112, "0.011")])
def test_a_p_value_has_the_digits_that_matter(value: float | None, said: str) -> None:
    assert p_value(value) == said


def test_drift_is_the_part_that_drift_has() -> None:
    told = section("drift", page())
    assert "Drift: Words in the prompt." in told
    assert "0.213" in told


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reach", "bound", "router", "of_its_slice"),
    [
        (0.0, 0.001, -0.01, PASSES, PASSES),
        (0.0, 0.010, -0.01, OPEN, OPEN),
        (-0.02, 0.010, -0.01, LOSES, OPEN),
        (-0.02, 0.001, -0.01, LOSES, LOSES),
        (0.0, 0.001, 0.01, PASSES, PASSES),
        (0.0, 0.010, 0.01, OPEN, OPEN),
        (0.02, 0.010, 0.01, LOSES, OPEN),
        (0.02, 0.001, 0.01, LOSES, LOSES),
        (NAN, NAN, -0.01, OPEN, OPEN),
    ],
)
def test_the_state_of_a_difference_is_that_of_the_gate(
    value: float, reach: float, bound: float, router: str, of_its_slice: str
) -> None:
    one = difference("accuracy", value, reach, bound)
    assert (of_router(one), of_slice(one)) == (router, of_its_slice)


@pytest.mark.parametrize("judged", [PROMOTING, KEEPING, DOUBTING], ids=lambda each: each.verdict.name)
def test_everything_is_drawn_in_order_and_within_the_picture(judged: Judged) -> None:
    def drawn(differences: Sequence[Difference]) -> None:
        for one, line in zip(differences, lines(differences, of_router, ROUTER_TOLD), strict=True):
            assert line.at is not None
            assert 0 < min(line.low, line.zero, line.bound) <= max(line.high, line.zero, line.bound) < 100
            assert line.low < line.at < line.high
            assert (line.bound < line.zero) is line.least is (one.bound < 0)
            assert (line.at < line.bound) is (one.estimate.value < one.bound)

    assert judged.quality
    assert judged.cost
    drawn([judged.quality])
    drawn([judged.cost])
    drawn(judged.slices)


def test_what_is_not_allowed_is_hatched_on_the_side_where_it_is() -> None:
    accuracy, dearer = difference("accuracy", 0.0, 0.004, -0.01), difference("cost", 0.0, 0.004, 0.01)
    (quality,), (cost,) = (lines([one], of_router, ROUTER_TOLD) for one in (accuracy, dearer))
    gate = section("gate", page(replace(WHOLE, judged=replace(PROMOTING, quality=accuracy, cost=dearer))))
    assert f'class="beyond" style="left:0;width:{quality.bound}%"' in gate
    assert f'class="beyond above" style="left:{cost.bound}%;right:0"' in gate


@pytest.mark.parametrize(("value", "reach"), [(NAN, NAN), (0.01, FOREVER)])
def test_a_difference_that_is_not_defined_is_drawn_without_nonsense(value: float, reach: float) -> None:
    judged = replace(PROMOTING, quality=difference("accuracy", value, reach, -0.01))
    gate = section("gate", page(replace(WHOLE, judged=judged), Verdict.NOT_ENOUGH))
    assert not re.search(r"(?<!\w)(?:nan|inf)(?!\w)", gate)
    assert "left:0.0%;width:100.0%" in gate
    assert ("not defined" in gate) is (value != value)  # noqa: PLR0124  # NaN


def test_slices_nearest_to_losing_too_much_come_first_and_the_others_are_counted() -> None:
    many = [difference(f"category k{at}", 0.001 * at, 0.002, -0.02) for at in reversed(range(MOST_SLICES + 7))]
    gate = section("gate", page(replace(WHOLE, judged=replace(PROMOTING, slices=tuple(many)))))
    assert re.findall("<bdi>category k(\\d+)</bdi>", gate) == [str(at) for at in range(MOST_SLICES)]
    assert "7 more slices" in gate


def test_a_slice_that_loses_is_named_so() -> None:
    gate = section("gate", page(replace(WHOLE, judged=KEEPING), Verdict.KEEP))
    assert re.findall('class="state loses">(.*?)<', gate) == [
        "worse than allowed",
        "worse than allowed",
        "loses too much",
    ]


# --- the page as a file -----------------------------------------------------------------------------------------------


EVIL_PLACES = {
    "name of the champion": (WHOLE, {"champion": EVIL}),
    "name of the version": (WHOLE, {"version": EVIL}),
    "reason": (WHOLE, {"why": EVIL}),
    "objective": (replace(WHOLE, objective=EVIL), {}),
    "unit": (replace(WHOLE, unit=EVIL), {}),
    "slice": (replace(WHOLE, judged=replace(PROMOTING, slices=(replace(SLICES[0], name=EVIL),))), {}),
    "policy": (replace(WHOLE, policies=(*POLICIES, replace(POLICIES[0], name=EVIL))), {}),
    "refusal": (replace(WHOLE, policies=(*POLICIES, replace(POLICIES[0], refused=EVIL))), {}),
    "coefficients": (replace(WHOLE, learned=replace(LEARNED, coefficients=EVIL)), {}),
    "guarantee": (replace(WHOLE, guarantee=Guarantee("holds", None, 1, EVIL)), {}),
    "file": (replace(WHOLE, ingested=replace(INGESTED, path=Path("<script>alert(1)<script>"))), {}),
    "version in logs": (replace(WHOLE, ingested=replace(INGESTED, versions={EVIL: 1})), {}),
    "unusable": (replace(WHOLE, ingested=replace(INGESTED, unusable={EVIL: 1})), {}),
    "doubt": (replace(WHOLE, ingested=replace(INGESTED, doubts=(EVIL,))), {}),
    "column": (replace(WHOLE, ingested=replace(INGESTED, ignored=(EVIL,))), {}),
    "note": (replace(WHOLE, notes=(EVIL,)), {}),
    "drift": (
        replace(WHOLE, drift=replace(DRIFT, findings=(replace(DRIFT.findings[0], name=EVIL, meaning=EVIL),))),
        {},
    ),
}


@pytest.mark.parametrize("place", EVIL_PLACES)
def test_markup_from_outside_is_escaped(place: str) -> None:
    found, more = EVIL_PLACES[place]
    text = render(found, decided(Verdict.PROMOTE, **more))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;" in text


@pytest.mark.parametrize("found", [WHOLE, EMPTY], ids=["whole", "empty"])
def test_the_page_refers_to_nothing_outside_itself(found: Found) -> None:
    text = render(found, decided(Verdict.PROMOTE))
    assert not re.findall(r"https?://|//\w|\b(?:src|@import)\b|url\(|href=\"(?!#)", text)


@pytest.mark.parametrize("found", [WHOLE, EMPTY], ids=["whole", "empty"])
def test_ids_are_unique_and_links_resolve(found: Found) -> None:
    text = render(found, decided(Verdict.PROMOTE))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) == set(ids)


def test_the_same_findings_give_the_same_page() -> None:
    assert render(WHOLE, decided(Verdict.PROMOTE)) == render(WHOLE, decided(Verdict.PROMOTE))


def test_the_page_wears_the_style_of_the_report(project: Path) -> None:
    sheet = (project / "pipeline" / "style.css.j2").read_text(encoding="utf-8").split("#}")[1].strip()
    assert sheet in render(WHOLE, decided(Verdict.PROMOTE))


def test_what_is_printed_is_json_even_of_slices_that_are_known_for_certain() -> None:
    certain = replace(SLICES[0], estimate=replace(SLICES[0].estimate, freedom=math.inf))
    found = replace(WHOLE, judged=replace(PROMOTING, slices=(certain,)))
    assert '"freedom": null' in json.dumps(found.printed(), allow_nan=False, default=str)
