"""Numbers as people and models write them in running text, each as an exact fraction.

Read are 1234567.8 · 1,234,567.8 · 1.234.567,8 · 1 234 567,8 · 1'234 · 12,34,567 · 3,5 · .5 · 3/4 · 1 1/2 · ½ ·
\\frac{3}{4} · 2.5e3 · 1.2×10^3 · 10⁵ · 5 million · 5万 · −5 (any minus sign) · １２ · $5 · 50 %. A single comma
before exactly three digits groups thousands ("1,234"); any other is a decimal one, as is a single full stop. A number
that is part of a name ("x1", "GPT-4") is none. What is a number of another sort (2^10, 5π, √2, 3x, 1.2.3) or longer
than `DIGITS` is found, but has no value.
"""

# ruff: noqa: RUF001, RUF002  # signs as models write them

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from pipeline.grade.units import PREFIXES, UNITS, Unit, unit

# Most digits, and most tens of an exponent. A double has some 300.
DIGITS = 400
# Characters kept of the text next to a number.
AROUND = 30
UNKNOWN = Unit("a unit that is not known")

_SPACE = "[ \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}]"
_GROUPS = rf"\d{{1,3}}(?:{_SPACE}\d{{3}})+(?!\d)(?:[.,]\d+)?"
_NUMBER = re.compile(
    r"10(?:\^|\*\*)(?P<raised>[+-]?\d+)|"
    rf"(?:(?P<whole>\d+){_SPACE})?(?<![./])(?P<top>\d+){_SPACE}?/{_SPACE}?(?P<bottom>\d+)(?![\d/.]\d)"
    rf"|(?P<plain>{_GROUPS}|\d+(?:[.,'’_]\d+)*|\.\d+)"
    rf"(?:[eE](?P<e>[+-]?\d+)(?![A-Za-z])|{_SPACE}?[×x*·]{_SPACE}?10(?:\^|\*\*)(?P<ten>[+-]?\d+))?"
    r"|(?P<other>[√π∞]|\\(?:sqrt|pi|log|ln|binom|infty|[dt]?frac)\b)"
)
_SCALES = {
    "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "千": 10**3, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8,
}  # fmt: skip
_SCALE = re.compile(
    rf"{_SPACE}?(?:(thousand|million|billion|trillion)(?![A-Za-z])|([万萬亿億]|千(?![米克])))", re.IGNORECASE
)
_LONGEST_FIRST = sorted(UNITS, key=len, reverse=True)
_WORDS = "|".join(name for name in _LONGEST_FIRST if len(name) > 3 and name.isalpha())
_SYMBOLS = "|".join(re.escape(name) for name in _LONGEST_FIRST if len(name) <= 3 or not name.isalpha())
# "5 min" is no "5 m", "5 m^2" and "5 m/s" are no metres, and "5 in total" has no unit.
_UNIT = re.compile(
    rf"{_SPACE}?-?(?!in [a-z])(?P<name>(?i:{_WORDS})|{_SYMBOLS})(?P<more>[\^/]\S{{0,8}})?"
    r"(?:(?<![A-Za-z0-9])|(?![A-Za-z0-9_]))"
)
_LEFT = re.compile(
    rf"(?P<sign>[+-])?(?:(?P<currency>{'|'.join(re.escape(name) for name in PREFIXES)}){_SPACE}?)?(?P<inner>[+-])?\Z"
)
_NAME = re.compile(r"[A-Za-zÀ-ɏ_]\Z")
_BULLET = re.compile(r"(?:^|[^\w\s)])\s*-\s+\Z")
_ODD_LEFT = re.compile(r"(?:\^|\*\*|\d/|\d:)\Z")
_ABBREVIATED = re.compile(r"[kKMB](?![A-Za-z])")
_THOUSANDS = re.compile(r"[1-9]\d{0,2},\d{3}")
_GROUPED = re.compile(r"\d*|\d{1,3}(?P<mark>[',.])\d{3}(?:(?P=mark)\d{3})*|\d{1,2}(?:,\d{2})+,\d{3}")
_ODD_RIGHT = re.compile(r"\^|\*\*|[A-Za-z](?![A-Za-z'])|/\d|:\d|[√π\\]")

# Every minus sign as the one of ASCII.
_MINUS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63"), "-")
_MATHS = (
    (r"\$\$", " "),
    (r"(?<!\\)\$([^$\n]+)(?<!\\)\$(?!\d)", r"\1"),
    (r"\\[()\[\]]", " "),
    (r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox|operatorname)\s?\{([^{}]*)\}", r"\1"),
    (r"(\d?)\\[dt]?frac\s?(?:\{\s?(\d+)\s?\}\s?\{\s?(\d+)\s?\}|(\d)\s?(\d))", r"\1 \2\4/\3\5"),
    (r"- (\d+/\d)", r"-\1"),
    (r"\\(?:times|cdot)\b", "×"),
    (r"\{,\}", ","),
    (r"\\[,;:! ]|~", "\N{THIN SPACE}"),
    (r"\^\s?\{\s?([^{}\s]{1,9})\s?\}", r"^\1"),
    (r"\^?\s?\\(?:circ|degree)\b", "°"),
    (r"°\s(?=[CF]\b)", "°"),
    (r"\\([%$#])", r"\1"),
    (r"(?<!\d)\*\*([^*\n]+)\*\*", r"\1"),
)


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of a text.

    Attributes:
        value: exact; None where it is a number that is not read.
        unit: None where no known one stands with it.
        around: the text next to it, on both sides.
    """

    value: Fraction | None
    unit: Unit | None
    around: tuple[str, str]


def amounts(text: str) -> Iterator[Amount]:
    """The numbers of a folded text (see `pipeline.grade.final`), in its order."""
    return _found(_prepared(text))


def unit_of(text: str) -> Unit | None:
    """The unit that a text begins with."""
    return _unit(_prepared(text), 0)[0]


def _prepared(text: str) -> str:
    """Signs and digits in their ASCII form, without the mark-up of formulas."""
    text = re.sub("[¼-¾⅐-⅞]", lambda mark: f" {unicodedata.normalize('NFKD', mark[0])}".replace("⁄", "/"), text)
    text = re.sub("[⁰¹²³⁴-⁹⁻⁺]+", lambda marks: f"^{unicodedata.normalize('NFKD', marks[0])}", text)
    text = re.sub(r"(?![0-9])\d", lambda digit: str(unicodedata.digit(digit[0])), text).translate(_MINUS)
    for sought, put in _MATHS:
        text = re.sub(sought, put, text)
    return text


def _found(text: str) -> Iterator[Amount]:
    at = 0
    while number := _NUMBER.search(text, at):
        before = text[max(0, number.start() - AROUND) : number.start()]
        left = _left(before)
        at = _after(_SCALE, text, number.end())
        scale = _SCALE.match(text, number.end())
        found, end = _unit(text, at)
        # What is no number by itself: a power, a product with a letter, a part of a name.
        odd = _ODD_RIGHT.match(text, at) and (end == at or _ABBREVIATED.match(text, at))
        at = end
        if _NAME.search(left.lead) and not number["other"]:
            continue
        value = None if odd or _BULLET.search(before) or _ODD_LEFT.search(left.lead) else _value(number)
        if value is not None:
            value *= left.sign * (_SCALES[(scale[1] or scale[2]).lower()] if scale else 1)
        yield Amount(value, left.unit or found, (before, text[at : at + AROUND]))


@dataclass(frozen=True, slots=True)
class _Left:
    """What stands before a number: a sign and a currency, and what leads up to them."""

    sign: int
    unit: Unit | None
    lead: str


def _left(before: str) -> _Left:
    sign, currency, inner, lead = "", "", "", before
    if left := _LEFT.search(before):
        sign, currency, inner = (left[name] or "" for name in ("sign", "currency", "inner"))
        lead = before[: left.start()]
    # After a digit or a closing bracket a minus sign is a difference or a range.
    minus = (sign + inner).count("-") == 1 and not re.search(r"[\d)]\Z", lead)
    return _Left(-1 if minus else 1, unit(currency), lead)


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _unit(text: str, at: int) -> tuple[Unit | None, int]:
    """The unit at a place of a prepared text, with the place after it."""
    found = _UNIT.match(text, at)
    if not found:
        return None, at
    return UNKNOWN if found["more"] else unit(found["name"]), found.end()


def _value(number: re.Match[str]) -> Fraction | None:
    """The value of what `_NUMBER` found, without sign; None where it is not read."""
    if number["other"] or len(number[0]) > DIGITS:
        return None
    if number["raised"]:
        return _power(number["raised"])
    if number["top"]:
        bottom = int(number["bottom"])
        return int(number["whole"] or 0) + Fraction(int(number["top"]), bottom) if bottom else None
    value, power = _plain(number["plain"]), _power(number["e"] or number["ten"] or "0")
    return None if value is None or power is None else value * power


def _power(exponent: str) -> Fraction | None:
    return Fraction(10) ** int(exponent) if abs(int(exponent)) <= DIGITS else None


def _plain(token: str) -> Fraction | None:
    """The value of digits with separators; None where these make no sense."""
    token = re.sub(rf"{_SPACE}|[’_]", "'", token)
    marks = re.findall("[.,]", token)
    decimal = marks and marks.count(marks[-1]) == 1 and not _THOUSANDS.fullmatch(token)
    whole, _, decimals = token.rpartition(marks[-1]) if decimal else (token, "", "")
    if not _GROUPED.fullmatch(whole):
        return None
    return Fraction(f"{re.sub('[^0-9]', '', whole) or 0}.{decimals or 0}")
