"""Answers compared as numbers: kind `number`."""

# signs as models write them

# ruff: noqa: RUF001  # signs as models write them

from __future__ import annotations

import re
from fractions import Fraction
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.grade.amounts import UNKNOWN, Amount, amounts, unit_of
from pipeline.grade.answer import Answer, Verdict
from pipeline.grade.final import Final, final, folded, glimpse
from pipeline.grade.units import MONEY, SHARE, UNITS, Unit, unit
from pipeline.tables import Strict, nearest

ROUNDING = Fraction(1, 10**9)
# Numbers that are looked at; more of them are a list, not an answer.
MOST = 50
A_NUMBER = 'expected a number, or one as text, such as "1/3" or "2.5e3"'

_EQUALS = re.compile(r"(?<![<>!=])[=≈](?!=)")
# Words, as opposed to variables and commands, before an equals sign: "42, because 6·7 = 42".
_WORD = re.compile(r"(?<!\\)\b[A-Za-z]{3,}")
_CLOSING = re.compile(r"^(?:\$+|\\[)\]]|\s)+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|[。！？]")
_DIGIT = re.compile(r"\d|[¼-¾⅐-⅞]")
_IN_WORDS = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w{2,6}teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|dozen|half|third|quarter)\b|[零〇一二两三四五六七八九十百千]",
    re.IGNORECASE,
)
# Next to a number these say that it is a bound or no answer at all.
_HEDGED_BEFORE = re.compile(
    r"(?:\b(?:not|never|than|least|most|under|over|above|below|between|up to)\b|n['’]t\b|[<>≤≥≠±]"
    r"|\\(?:[lg]eq?|neq?|pm)\b|不是|并非|大于|小于|超过|至少|至多|少于|多于)\W{0,3}(?:[a-z]{1,8}\W{1,3}){0,2}\Z",
    re.IGNORECASE,
)
_HEDGED_AFTER = re.compile(
    r"\W{0,3}(?:or (?:more|less|fewer|so|above|below)\b|(?:is|was) (?:not|wrong|incorrect)\b|isn['’]t\b"
    r"|以上|以下|不对|不是)"
    r"|\s?\?|\+(?!\s?\d)|\s?±",
    re.IGNORECASE,
)


def _number(answer: Any) -> Any:
    if isinstance(answer, bool) or not isinstance(answer, int | float | str):
        raise ValueError(A_NUMBER)  # noqa: TRY004  # pydantic's way
    found = list(amounts(folded(str(answer))))
    if len(found) != 1 or found[0].value is None:
        raise ValueError(A_NUMBER)
    if found[0].unit or "".join(found[0].around).strip(" +-"):
        raise ValueError(f'{A_NUMBER}; a unit stands under "unit"')
    return answer


def _known(name: str) -> str:
    if not unit(name):
        meant = nearest(name, UNITS)
        raise ValueError(
            f"unknown unit; use {', '.join(meant) or 'one such as km, kg, min, %, °C or $'}, or leave it out"
        )
    return name


Deviation = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Number(Strict):
    """Right where the answer's one number is the expected one; how numbers are read: `pipeline.grade.amounts`.

    Which number counts: of the final answer that the text marks (`pipeline.grade.final`) its first sentence with a
    digit, else the whole text; of these the right side, where they are one equation. Left ungraded is what
    then holds several different numbers, one that is not read (2^10, 5π, "forty-two"), or one that is called a bound or
    wrong ("more than 5", "not 5"); a text without a number is wrong, and so are NaN and infinity.

    Attributes:
        answer: the expected number, in `unit`.
        tolerance: largest difference that is still right, in `unit`.
        relative: the same as a share of the expected number; the larger of both counts. By default 1e-9 for rounding,
            but two whole numbers have to be equal.
        unit: an answer in another unit of the same kind is converted, one of another kind is wrong, one of another
            currency or of an unknown compound unit is left ungraded; without a unit it is taken to be in this one. Left
            out, units in the answer do not count, and 50 % is both 50 and 0.5.
    """

    kind: Literal["number"]
    answer: Annotated[int | float | str, BeforeValidator(_number)]
    tolerance: Deviation = 0.0
    relative: Deviation | None = None
    unit: Annotated[str, AfterValidator(_known)] | None = None

    def grade(self, answer: Answer) -> Verdict:
        """Whether it is the expected number; None where that cannot be told, see the class."""
        found = final(answer.text)
        if isinstance(found, Verdict):
            return found
        scope = _scope(found)
        said = glimpse(scope)
        stated = _stated(scope, found.after)
        if not stated:
            if _IN_WORDS.search(scope):
                return Verdict(None, f"a number in words is not read: {said!r}")
            return Verdict(correct=False, reason=f"expected {self._told}, found no number in {said!r}")
        if reason := self._unclear(stated):
            return Verdict(None, f"{reason}: {said!r}")
        correct = any(self._fits(value) for value in self._values(stated[0]))
        return Verdict(correct, f"expected {self._told}, answered {said!r}")

    @property
    def _told(self) -> str:
        return f"{self.answer} {self.unit or ''}".strip()

    @property
    def _unit(self) -> Unit:
        return (self.unit and unit(self.unit)) or Unit("none")

    def _unclear(self, stated: list[Amount]) -> str | None:
        if len(stated) > MOST:
            return f"more than {MOST} numbers"
        if any(each.value is None for each in stated):
            return "a number of a kind that is not read"
        if any(self._values(each) != self._values(stated[0]) for each in stated[1:]):
            return "several numbers"
        if any(_HEDGED_BEFORE.search(each.around[0]) or _HEDGED_AFTER.match(each.around[1]) for each in stated):
            return "a bound, or a number that is denied"
        return self._foreign(stated[0].unit)

    def _foreign(self, told: Unit | None) -> str | None:
        if self.unit and told == UNKNOWN:
            return "a unit that is not known"
        if self.unit and told and told.kind != self._unit.kind:
            return "another currency" if told.kind.startswith(MONEY) and self._unit.kind.startswith(MONEY) else None
        return None

    def _values(self, stated: Amount) -> set[Fraction]:
        """What an amount may mean in the expected unit; nothing where its own measures something else."""
        value, told = stated.value or Fraction(0), stated.unit
        if not self.unit:
            return {value, told.base(value)} if told and told.kind == SHARE else {value}
        if told and told.kind != self._unit.kind:
            return set()
        return {self._unit.of_base(told.base(value)) if told else value}

    def _fits(self, value: Fraction) -> bool:
        expected = next(amounts(folded(str(self.answer)))).value or Fraction(0)
        whole = value.denominator == expected.denominator == 1
        relative = (0 if whole else ROUNDING) if self.relative is None else Fraction(repr(self.relative))
        return abs(value - expected) <= max(Fraction(repr(self.tolerance)), relative * abs(expected))


def _scope(found: Final) -> str:
    text = found.text
    if found.marked:
        text = next((each for each in _SENTENCE.split(text) if _DIGIT.search(each)), text)
    sides = _EQUALS.split(text)
    equation = len(sides) == 2 and _DIGIT.search(sides[1]) and not _WORD.search(sides[0])
    return sides[1] if equation else text


def _stated(scope: str, after: str) -> list[Amount]:
    """The first numbers of a text; a single one without a unit takes the one that follows its box."""
    stated = list(islice(amounts(scope), MOST + 1))
    if len(stated) == 1 and not stated[0].unit and after:
        return [Amount(stated[0].value, unit_of(_CLOSING.sub("", after)), stated[0].around)]
    return stated
