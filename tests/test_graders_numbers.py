"""The number grader: which number counts, what is right."""

# ruff: noqa: RUF001  # signs as models write them

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from pipeline.grade.answer import Answer
from pipeline.grade.final import LONGEST
from pipeline.grade.numbers import Number
from pipeline.tables import validated

PLACE = "tasks.jsonl, line 3: grader"
MEGABYTE = 1_000_000
PIECES = st.lists(
    st.text(max_size=4)
    | st.sampled_from(
        [
            "1",
            "23",
            ",",
            ".",
            "/",
            "-",
            "e9",
            "^",
            " ",
            "½",
            "²",
            "\\frac{1}{",
            "}",
            "\\boxed{",
            "$",
            "%",
            " km",
            "=",
            "×10^",
            "٣",
        ]
    ),
    max_size=20,
).map("".join)


def number(text: str, answer: Any = 42, **more: Any) -> bool | None:
    return validated(Number, {"kind": "number", "answer": answer, **more}, PLACE).grade(Answer(text)).correct


@pytest.mark.parametrize(
    "text",
    [
        "42", "42.", "42.0", "**42**", "The total is 42.", "６*７ = 42", "x = 42", "\\boxed{42}",
        "Answer: 42", "#### 42",
        "The answer is 42. Because 6*7 = 42", "答案是42。因为6乘7等于42", "Answer: 41\nAnswer: 42",
        "Step 1: add 2.\n\\boxed{42}", "\\boxed{42} km",
        "42.00000000001", "126/3", "4.2e1", "$42", "42 apples", "42, that is 42.0", "４２", "共42个",
        "\u200f42\u200e", "Answer: 6 * 7 = 42",
        "The answer is 42 km", "+42",
    ],
)  # fmt: skip
def test_number_accepts(text: str) -> None:
    assert number(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "", "41", "-42", "42.1", "I don't know", "NaN", "inf", "Answer: none",
        "Answer: 42\nAnswer: 41", "6*7 = 41", "GPT-42", "\u202e24",
        "42 million", "4.2", "0", "Answer: 41. It is not 42.",
    ],
)  # fmt: skip
def test_number_refuses(text: str) -> None:
    assert number(text) is False


@pytest.mark.parametrize(
    "text",
    [
        "42 or 43", "4 2", "There are 3 boxes of 14, so 42.", "It is not 42.", "more than 42",
        "≥ 42", "at most 42", "42 or more", "42?", "42+",
        "42 is wrong", "42 ± 1", "forty-two", "四十二", "2*21π = 42π", "42x", "42:1",
        "\\boxed{42} or \\boxed{43}", "42 km (42000 m)",
        "1. First\n2. Then\n42", "Answer: 42 or 43", "Answer: 41, because 6*7 = 42", "1 " * 51, "5/0",
    ],
)  # fmt: skip
def test_number_leaves_ungraded(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize("text", ["7 or 8", "not 7", "7π"])
def test_what_is_left_ungraded_does_not_depend_on_what_was_expected(text: str) -> None:
    assert number(text, 7) is None
    assert number(text, 99) is None


@pytest.mark.parametrize(
    ("text", "answer", "more", "correct"),
    [
        ("0.333", "1/3", {}, False),
        ("0.333", "1/3", {"relative": 0.001}, True),
        ("0.3333333333", "1/3", {}, True),
        ("0.4", 0.3, {"tolerance": 0.1}, True),
        ("0.4001", 0.3, {"tolerance": 0.1}, False),
        ("12345678902", 12345678901, {}, False),
        ("2500", "2.5e3", {}, True),
        ("3,5", 3.5, {}, True),
        ("0", 0, {}, True),
        ("0.0000001", 0, {}, False),
        ("-½", -0.5, {}, True),
        ("42000 m", 42, {"unit": "km"}, True),
        ("42 m", 42, {"unit": "km"}, False),
        ("42", 42, {"unit": "km"}, True),
        ("42 kg", 42, {"unit": "km"}, False),
        ("42 km/h", 42, {"unit": "km"}, False),
        ("42 km/day", 42, {"unit": "km"}, None),
        ("\\boxed{42} m", 42, {"unit": "km"}, False),
        ("$\\boxed{42}$ km", 42, {"unit": "km"}, True),
        ("\\[\\boxed{42\\text{ km}}\\]", 42, {"unit": "km"}, True),
        ("42 km (42000 m)", 42, {"unit": "km"}, True),
        ("12345678902 mm", 12345678901, {"unit": "mm"}, False),
        ("0.043 km", 42, {"unit": "m", "tolerance": 1}, True),
        ("68 °F", 20, {"unit": "°C"}, True),
        ("90 minutes", 1.5, {"unit": "h"}, True),
        ("€5", 5, {"unit": "$"}, None),
        ("5 USD", 5, {"unit": "$"}, True),
        ("5 kg", 5, {"unit": "$"}, False),
        ("50 %", 50, {}, True),
        ("50 %", 0.5, {}, True),
        ("50 %", 50, {"unit": "%"}, True),
        ("0.5", 50, {"unit": "%"}, False),
        ("5 in total", 5, {"unit": "cm"}, True),
    ],
)
def test_number_compares_as_told(text: str, answer: Any, more: dict[str, Any], correct: object) -> None:
    assert number(text, answer, **more) is correct


def test_a_megabyte_is_not_graded() -> None:
    assert number("1" * MEGABYTE) is None


@pytest.mark.parametrize(
    "unit",
    [
        "1", "1,", "1 ", "1 111 ", "\\frac{", "$1", "\\text{", "- ", "**1", "½", "^{", "not ", "=5",
        "1 /", "\\", "五", " ", "1e",
        "(1", "\\boxed{1}",
    ],
)  # fmt: skip
def test_hostile_repetition_is_graded(unit: str) -> None:
    assert number(unit * (LONGEST // len(unit))) in (False, None)


@given(PIECES)
def test_grading_never_raises(text: str) -> None:
    assert number(text) in (True, False, None)
    assert number(text, 1, unit="km") in (True, False, None)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_the_expected_number_itself_is_right(value: float) -> None:
    assert number(str(value), value) is True


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"answer": float("nan")}, "answer = nan: expected a number"),
        ({"answer": float("inf")}, "answer = inf: expected a number"),
        ({"answer": "NaN"}, "expected a number"),
        ({"answer": "x"}, "expected a number"),
        ({"answer": "1 or 2"}, "expected a number"),
        ({"answer": "5π"}, "expected a number"),
        ({"answer": True}, "answer = True: expected a number"),
        ({"answer": [1]}, "expected a number"),
        ({"answer": "3 km"}, 'a unit stands under "unit"'),
        ({"answer": "3 apples"}, 'a unit stands under "unit"'),
        ({}, "answer is missing"),
        ({"answer": 1, "unit": "furlong"}, "unit = 'furlong': unknown unit; use one such as km"),
        ({"answer": 1, "unit": "kilometer s"}, "unknown unit; use kilometers"),
        ({"answer": 1, "tolerance": -1}, "tolerance = -1"),
        ({"answer": 1, "tolerance": float("nan")}, "tolerance = nan"),
        ({"answer": 1, "relative": "1%"}, "relative = '1%'"),
        ({"answer": 1, "tolerence": 1}, "tolerence: unknown key; use tolerance"),
    ],
)
def test_a_bad_grader_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"^tasks\.jsonl, line 3: grader: ") as error:
        validated(Number, {"kind": "number", **table}, PLACE)
    assert said in str(error.value)
