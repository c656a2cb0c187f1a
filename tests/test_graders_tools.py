"""The tools grader: which calls fit which expected ones."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from pipeline.grade.answer import Answer, ToolCall
from pipeline.grade.structures import Tools
from pipeline.tables import validated

PLACE = "tasks.jsonl, line 3: grader"
MEGABYTE = 1_000_000
WEATHER = {"name": "weather", "arguments": {"city": "Paris", "days": 3}}


def tools(made: list[tuple[str, Any]], calls: list[Any], **more: Any) -> bool | None:
    asked = tuple(ToolCall(name, given if isinstance(given, str) else json.dumps(given)) for name, given in made)
    return validated(Tools, {"kind": "tools", "calls": calls, **more}, PLACE).grade(Answer("", asked)).correct


@pytest.mark.parametrize(
    ("made", "more", "correct"),
    [
        ([("weather", {"city": "Paris", "days": 3})], {}, True),
        ([("weather", {"days": 3.0, "city": "Paris"})], {}, True),
        ([("weather", {"days": True, "city": "Paris"})], {}, False),
        ([("weather", {"days": "3", "city": "Paris"})], {}, False),
        ([("weather", {"city": "paris", "days": 3})], {}, False),
        ([("weather", {"city": "Paris"})], {}, False),
        ([("weather", {"city": "Paris", "days": 3, "unit": "C"})], {}, False),
        ([("weather", {"city": "Paris", "days": 3, "unit": "C"})], {"optional": {"unit": ["C", None]}}, True),
        ([("weather", {"city": "Paris", "days": 3, "unit": "F"})], {"optional": {"unit": ["C", None]}}, False),
        ([("weather", {"city": "Paris", "days": 3})], {"optional": {"unit": ["C"]}}, True),
        ([("weather", {"city": "Paris", "days": 3})], {"any_of": {"unit": ["C"]}}, False),
        ([("weather", {"city": "Paris", "days": 3, "x": {"any": [1]}})], {"any_of": {"x": [0, {"any": [1.0]}]}}, True),
        ([("Weather", {"city": "Paris", "days": 3})], {}, False),
        ([("weather", {"city": "Paris", "days": 3})] * 2, {}, False),
        ([], {}, False),
        ([("weather", '{"city":"Paris","days":3')], {}, False),
        ([("weather", '{"city":"Paris","days":3,"days":3}')], {}, False),
        ([("weather", '{"city":"Paris","days":NaN}')], {}, False),
        ([("weather", '["Paris",3]')], {}, False),
        ([("weather", "")], {}, False),
        ([("weather", "[" * 100_000)], {}, False),
        ([("weather", "x" * MEGABYTE)], {}, None),
        ([("weather\x00", {"city": "Paris", "days": 3})], {}, False),
    ],
)  # fmt: skip
def test_a_call_fits_as_told(made: list[tuple[str, Any]], more: dict[str, Any], correct: object) -> None:
    assert tools(made, [WEATHER | more]) is correct


def test_no_call_may_be_made_where_none_is_expected() -> None:
    assert tools([], []) is True
    assert tools([("weather", {})], []) is False


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_a_call_without_arguments_may_leave_the_text_empty(text: str) -> None:
    assert tools([("now", text)], [{"name": "now"}]) is True


def test_a_call_written_into_the_text_is_none() -> None:
    grader = validated(Tools, {"kind": "tools", "calls": [WEATHER]}, PLACE)
    assert grader.grade(Answer(json.dumps(WEATHER))).correct is False


@pytest.mark.parametrize("made", list(permutations("abc")))
def test_calls_are_assigned_rather_than_taken_by_the_first_that_fits(made: tuple[str, ...]) -> None:
    # "a" fits three expected calls, "b" two, "c" one: whoever takes the first that fits runs out.
    calls = [{"name": "f", "any_of": {"x": allowed}} for allowed in (["a", "b", "c"], ["a", "b"], ["a"])]
    assert tools([("f", {"x": value}) for value in made], calls) is True


def test_two_calls_never_share_an_expected_one() -> None:
    calls = [{"name": "f", "any_of": {"x": allowed}} for allowed in (["a", "b"], ["c"])]
    assert tools([("f", {"x": "a"}), ("f", {"x": "b"})], calls) is False


def test_the_order_of_calls_counts_only_where_told() -> None:
    calls = [{"name": "f"}, {"name": "g"}]
    made = [("g", {}), ("f", {})]
    assert tools(made, calls) is True
    assert tools(made, calls, ordered=True) is False
    assert tools(made[::-1], calls, ordered=True) is True


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], "expected 1 tool calls, made 0"),
        ([("weather", {"city": "Paris"})], "call 1, weather: argument days is missing"),
        ([("weather", {"city": "Rome", "days": 3})], "argument city has another value"),
        ([("weather", {"city": "Paris", "days": 3, "x": 1})], "unexpected argument x"),
        ([("weather", "{")], "arguments are not JSON"),
        ([("time", {})], "expected a call of weather"),
    ],
)
def test_a_verdict_says_what_differs(made: list[tuple[str, Any]], said: str) -> None:
    grader = validated(Tools, {"kind": "tools", "calls": [WEATHER]}, PLACE)
    asked = tuple(ToolCall(name, given if isinstance(given, str) else json.dumps(given)) for name, given in made)
    assert said in grader.grade(Answer("", asked)).reason


@given(st.text(), st.text() | st.lists(st.sampled_from(list('{}[]",:1a\\ ntu')), max_size=30).map("".join))
def test_grading_never_raises(name: str, arguments: str) -> None:
    assert tools([(name, arguments), ("weather", arguments)], [WEATHER, WEATHER]) is False


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "calls is missing"),
        ({"calls": [{}]}, "calls.0.name is missing"),
        ({"calls": [{"name": ""}]}, "calls.0.name = ''"),
        ({"calls": [{"name": "f", "argument": {}}]}, "calls.0.argument: unknown key; use arguments"),
        ({"calls": [{"name": "f", "optional": {"x": 1}}]}, "calls.0.optional.x = 1"),
        ({"calls": [{"name": "f", "any_of": {"x": []}}]}, "calls.0.any_of.x = []"),
        ({"calls": [{"name": "f", "arguments": {"x": float("nan")}}]}, "NaN and infinity are not JSON"),
        ({"calls": [{"name": "f", "arguments": {"x": 1}, "optional": {"x": [1]}}]}, "x stands twice"),
        ({"calls": [{"name": "f"}] * 101}, "calls = "),
    ],
)
def test_a_bad_grader_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"^tasks\.jsonl, line 3: grader: ") as error:
        validated(Tools, {"kind": "tools", **table}, PLACE)
    assert said in str(error.value)
