"""The choice grader: what counts as choosing an option."""

# ruff: noqa: RUF001  # signs as models write them

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from pipeline.grade.answer import Answer
from pipeline.grade.choices import Choice
from pipeline.grade.final import LONGEST
from pipeline.tables import validated

PLACE = "tasks.jsonl, line 3: grader"
CITIES = {"A": "London", "B": "Paris", "C": "Rome", "D": "Vitamin B"}
MEGABYTE = 1_000_000
# What models write around answers, so that random texts come near to real ones.
PIECES = st.lists(
    st.text(max_size=5)
    | st.sampled_from(
        ["A", "B", "C", "(", ")", "**", "\\boxed{", "}", "Answer:", "\n", "not ", " or ", " is wrong", "\ud800"]
    ),
    max_size=20,
).map("".join)


def choice(text: str, answer: str = "B", options: Any = None, **more: Any) -> bool | None:
    table = {
        "kind": "choice",
        "answer": answer,
        **({"options": options or CITIES} if "count" not in more else {}),
        **more,
    }
    return validated(Choice, table, PLACE).grade(Answer(text)).correct


@pytest.mark.parametrize(
    "text",
    [
        "B", "b", "(B)", "[b]", "B.", "B)", "**B**", "**B.**", "Answer: B", "**Answer:** (B)",
        "The answer is (B).", "\\boxed{B}",
        "$\\boxed{\\text{B}}$", "答案是B", "答案：B", "所以选B。", "选项B", "B) Paris", "B: Paris",
        "**B)** Paris", "Paris", "paris.",
        "Answer: Paris", "Option B", "I choose B.", "I'd go with B", "It's B.", "B is correct.",
        "The correct option is B, as A is not",
        "not A, but B", "A is wrong, so B", "Ｂ", "（Ｂ）", "\u200fB", "B. Because A is wrong.",
        "Answer: C\nAnswer: B",
        "The answer is B because C is too small.", "#### B",
        "B\n\nExplanation: A and C are too small.", "The answer is **B. Paris**.",
        '{"answer": "B"}',
    ],
)  # fmt: skip
def test_choice_accepts(text: str) -> None:
    assert choice(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "", "A", "C", "E", "Rome", "A good guess is C", "B or C", "B and C", "A, B", "B/C", "B、C",
        "Answer: B or C", "not B, but C",
        "I don't know", "NaN", "Answer: B\nAnswer: C", "答案是C", "Bern", "乙", "D) Vitamin B",
        "B isn't right; C is correct",
    ],
)  # fmt: skip
def test_choice_refuses(text: str) -> None:
    assert choice(text) is False


@pytest.mark.parametrize(
    "text",
    [
        "B) London", "not B", "B is wrong", "The capital is Paris", "A) no\nB) yes",
        "Maybe B, since C", "Maybe (B), since C", "Answer: B or C, I am unsure", "B\nSo (C)",
        "Vitamin B helps", "B " * 1000,
        "\\boxed{B} or \\boxed{C}",
    ],
)  # fmt: skip
def test_choice_leaves_ungraded(text: str) -> None:
    assert choice(text) is None


@pytest.mark.parametrize("text", ["A good question", "I think a guess helps", "Answer: A good one", "There is a way"])
def test_the_article_is_no_choice(text: str) -> None:
    assert choice(text, "A", count=4) is False


@pytest.mark.parametrize(
    ("text", "answer", "options", "correct"),
    [
        ("yes", "yes", ["yes", "no"], True),
        ("The answer is no.", "yes", ["yes", "no"], False),
        ("No, never.", "no", ["yes", "no"], None),
        ("Option 2", "2", ["1", "2"], True),
        ("There are 2 cats", "2", ["1", "2"], False),
        ("选乙", "乙", ["甲", "乙"], True),
        ("2*3", "B", {"A": "23", "B": "2*3"}, True),
    ],
)
def test_choice_takes_labels_of_any_kind(text: str, answer: str, options: Any, correct: object) -> None:
    assert choice(text, answer, options) is correct


def test_a_megabyte_is_not_graded() -> None:
    assert choice("B" * MEGABYTE) is None


@pytest.mark.parametrize("unit", ["B", "B ", "B)", "B or ", "not B", "(", "B\n", "Answer: B\n", "\\boxed{B}"])
def test_hostile_repetition_is_graded(unit: str) -> None:
    assert choice(unit * (LONGEST // len(unit))) in (True, False, None)


@given(PIECES)
def test_grading_never_raises(text: str) -> None:
    assert choice(text) in (True, False, None)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"answer": "B"}, "give either count"),
        ({"answer": "B", "count": 4, "options": ["A", "B"]}, "and not both"),
        ({"answer": "E", "count": 4}, "the answer 'E' is none of the options A, B, C, D"),
        ({"answer": "B", "count": 1}, "count = 1"),
        ({"answer": "B", "count": 27}, "count = 27"),
        ({"answer": "B", "options": ["B", "b"]}, "differ in more than case"),
        ({"answer": "B", "options": {"A": "x", "B": "X"}}, "differ in more than case"),
        ({"answer": "B", "options": ["B"]}, "at least two options"),
        ({"answer": "B", "options": [1, 2]}, "a list of different labels"),
        ({"answer": "B", "options": {"A": 1, "B": "x"}}, "options.A = 1"),
    ],
)
def test_a_bad_grader_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"^tasks\.jsonl, line 3: grader: ") as error:
        validated(Choice, {"kind": "choice", **table}, PLACE)
    assert said in str(error.value)
