"""Graders that compare text: exact and pattern, and what they take for the final answer."""

# ruff: noqa: RUF001  # signs as models write them

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from pipeline.grade.answer import Answer, Verdict
from pipeline.grade.final import LONGEST, SHOWN, final, folded, glimpse, peeled
from pipeline.grade.texts import Exact, Pattern
from pipeline.tables import validated

PLACE = "tasks.jsonl, line 3: grader"
MEGABYTE = 1_000_000
# What models write around answers, so that random texts come near to real ones.
PIECES = st.lists(
    st.text(max_size=5)
    | st.sampled_from(
        [
            "A",
            "B",
            "(",
            ")",
            "**",
            "\\boxed{",
            "}",
            "Answer:",
            "the answer is ",
            "####",
            "\n",
            "```",
            "not ",
            " or ",
            "\ud800",
            "$",
        ]
    ),
    max_size=20,
).map("".join)


def exact(text: str, answer: str | list[str] = "Paris", **more: Any) -> bool | None:
    return validated(Exact, {"kind": "exact", "answer": answer, **more}, PLACE).grade(Answer(text)).correct


def pattern(text: str, sought: str, **more: Any) -> bool | None:
    return validated(Pattern, {"kind": "pattern", "pattern": sought, **more}, PLACE).grade(Answer(text)).correct


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("\\[\\boxed{x}\\]", "x"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\boxed{x}}", "x"),
        ("#### x", "x"),
        ("so\n#### x\n", "x"),
        ("Answer: x", "x"),
        ("**Answer:** x", "x"),
        ("**Answer: x**", "x"),
        ("### Final answer (in km): x", "x"),
        ("Answer\n\nx", "x"),
        ("Done. So, the answer: x", "x"),
        ("The answer is x", "x"),
        ("Hence the answer to the question is x", "x"),
        ("the correct option is x", "x"),
        ("答案：x", "x"),
        ("最终答案：x", "x"),
        ("所以答案是x", "x"),
        ("答：x", "x"),
        ("Answer: x\nBecause of y.", "x"),
        ("Answer: y\nNo.\nAnswer: x", "x"),
        ("Answer: \\boxed{x}", "x"),
        ("\\boxed{x}\nSo the answer is rather plain", "x"),
        ("Answer: x. Answer: **x**", "x"),
    ],
)
def test_marked_answers_are_found(text: str, marked: str) -> None:
    found = final(text)
    assert not isinstance(found, Verdict)
    assert (peeled(found.text), found.marked) == (marked, True)


@pytest.mark.parametrize(
    "text",
    [
        "x", "", "Answer:", "\\boxed{x", "\\boxed x", "#### Step 1\nx", "The wrong answer is x",
        "the answer is not x",
        "Wrong answer: x", "I answer: x", "答案不是x", "}\\boxed{",
    ],
)  # fmt: skip
def test_without_a_mark_the_whole_text_is_the_answer(text: str) -> None:
    found = final(text)
    assert not isinstance(found, Verdict)
    assert not found.marked


@pytest.mark.parametrize(
    "text", ["\\boxed{3} and \\boxed{4}", "Answer: 3. No. Answer: 4", "the answer is 3, or the answer is 4"]
)
def test_two_answers_marked_on_one_line_are_not_graded(text: str) -> None:
    found = final(text)
    assert isinstance(found, Verdict)
    assert found.correct is None


@pytest.mark.parametrize(
    "text",
    [
        "Paris", "paris", "  PARIS \n", "Paris.", "Paris。", '"Paris"', "“Paris”", "**Paris**",
        "**Paris.**", "`Paris`", "$Paris$",
        "```\nParis\n```", "```text\nParis\n```", "\\boxed{\\text{Paris}}", "Answer: Paris",
        "The answer is Paris.", "答案是Paris",
        "Ｐａｒｉｓ", "\u200fParis\u200e", "\ufeffParis", "Answer: London\nAnswer: Paris",
    ],
)  # fmt: skip
def test_exact_accepts(text: str) -> None:
    assert exact(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ".", "The capital is Paris", "Paris or London", "Paris\nLondon", "Paris, France",
        "Pari", "Par is", "Paris\x00", "Раris",
        "Answer: Paris\nAnswer: London", "The answer is not Paris", "NaN", "\u202esiraP", "巴黎", "Paris!",
    ],
)  # fmt: skip
def test_exact_refuses(text: str) -> None:
    assert exact(text) is False


@pytest.mark.parametrize(
    ("text", "answer", "more", "correct"),
    [
        ("Lyon", ["Paris", "Lyon"], {}, True),
        ("paris", "Paris", {"case": True}, False),
        ("Paris.", "Paris", {"punctuation": True}, False),
        ("New\n  York", "New York", {}, True),
        ("Cafe\u0301", "Caf\u00e9", {}, True),
        ("STRASSE", "Straße", {}, True),
        ("10²", "102", {}, False),
        ("the U.S.A.", "the U.S.A.", {}, True),
        ("Answer: 3", "Answer: 3", {}, True),
        ("“巴黎”。", "巴黎", {}, True),
        ("\\boxed{3} \\boxed{4}", "3", {}, None),
    ],
)
def test_exact_compares_as_told(text: str, answer: Any, more: dict[str, Any], correct: object) -> None:
    assert exact(text, answer, **more) is correct


@pytest.mark.parametrize(
    ("text", "sought", "more", "correct"),
    [
        ("It is 42.", r"\b42\b", {}, True),
        ("It is 421.", r"\b42\b", {}, False),
        ("It is 42.", "42", {"full": True}, False),
        (" 42\n", "42", {"full": True}, True),
        ("b", "a|b", {"full": True}, True),
        ("ab", "a|b", {"full": True}, False),
        ("PARIS", "paris", {}, False),
        ("PARIS", "paris", {"case": False}, True),
        ("a\nb", "^b$", {}, False),
        ("a\nb", "(?m)^b$", {}, True),
        ("", "a", {}, False),
        ("", "^$", {}, True),
        ("a\x00b", "a\x00b", {}, True),
        ("巴黎是首都", "巴黎", {}, True),
        ("Cafe\u0301", "Caf\u00e9", {}, True),
        ("\ud800a", "a$", {}, True),
        ("\u202e42", "^42", {}, False),
    ],
)
def test_pattern_searches_as_told(text: str, sought: str, more: dict[str, Any], correct: object) -> None:
    assert pattern(text, sought, **more) is correct


def test_pattern_takes_linear_time_where_others_take_for_ever() -> None:
    assert pattern("a" * LONGEST, "^(a+)+$") is True
    assert pattern("a" * (LONGEST - 1) + "!", "^(a+)+$") is False


@pytest.mark.parametrize("grade", [exact, lambda text: pattern(text, "B")])
def test_a_megabyte_is_not_graded(grade: Any) -> None:
    assert grade("B" * MEGABYTE) is None


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "}",
        "Answer:",
        "Answer: x\n",
        "the answer to ",
        ".   ",
        "```\n",
        "*",
        "B)",
        "B or ",
        "not B",
        "(",
        " ",
        "\\",
    ],
)
def test_hostile_repetition_is_graded(unit: str) -> None:
    text = unit * (LONGEST // len(unit))
    assert exact(text) in (True, False, None)


@given(PIECES)
def test_grading_never_raises(text: str) -> None:
    assert exact(text) in (True, False, None)
    assert pattern(text, "B", full=True) in (True, False)


@given(st.text().filter(lambda text: folded(text).strip()))
def test_the_expected_text_itself_is_right(text: str) -> None:
    assert exact(text, text) is True


@given(st.text())
def test_a_glimpse_is_one_short_line(text: str) -> None:
    shown = glimpse(text * 9)
    assert len(shown) <= SHOWN
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("model", "table", "said"),
    [
        (Exact, {"answer": ""}, "answer = '': expected something to compare with"),
        (Exact, {"answer": []}, "expected a text, or a list of texts"),
        (Exact, {"answer": ["a", 5]}, "expected a text, or a list of texts"),
        (Exact, {"answer": "a", "case": "yes"}, "case = 'yes': expected a valid boolean"),
        (Exact, {"answer": "a", "cases": True}, "cases: unknown key; use case"),
        (Exact, {}, "answer is missing"),
        (Pattern, {"pattern": "("}, "not a regular expression: missing )"),
        (Pattern, {"pattern": "(?=a)"}, "which has neither lookaround nor back references"),
        (Pattern, {"pattern": r"(a)\1"}, "write it in RE2 syntax"),
        (Pattern, {"pattern": r"\Qa", "full": True}, "not a regular expression"),
        (Pattern, {"pattern": ""}, "pattern = ''"),
    ],
)
def test_a_bad_grader_is_refused(model: Any, table: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"^tasks\.jsonl, line 3: grader: ") as error:
        validated(model, {"kind": model.__name__.lower(), **table}, PLACE)
    assert said in str(error.value)
