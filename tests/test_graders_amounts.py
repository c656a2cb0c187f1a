"""Numbers and units as they are read from running text."""

# ruff: noqa: RUF001  # signs as models write them

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.grade.amounts import DIGITS, amounts
from pipeline.grade.final import folded
from pipeline.grade.units import UNITS


def read(text: str) -> list[tuple[Fraction | None, str | None]]:
    return [(each.value, each.unit and each.unit.kind) for each in amounts(folded(text))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1234567.8", "1234567.8"), ("1,234,567.8", "1234567.8"), ("1.234.567,8", "1234567.8"),
        ("1 234 567,8", "1234567.8"),
        ("1\u202f234\u202f567", "1234567"), ("1'234", "1234"), ("1’234.5", "1234.5"), ("1_000",
        "1000"), ("12,34,567", "1234567"),
        ("3,5", "3.5"), ("1,234", "1234"), ("0,123", "0.123"), ("1234,567", "1234.567"), ("1.234",
        "1.234"), (".5", "0.5"),
        ("007", "7"), ("3/4", "0.75"), ("1 1/2", "1.5"), ("½", "0.5"), ("1½", "1.5"),
        ("\\frac{3}{4}", "0.75"), ("1\\frac{1}{2}", "1.5"),
        ("-\\dfrac34", "-0.75"), ("2.5e3", "2500"), ("1E-2", "0.01"), ("1.2×10^3", "1200"),
        ("1.2 \\times 10^{3}", "1200"), ("10⁵", "1e5"),
        ("10^{-2}", "0.01"), ("5 million", "5e6"), ("5万", "50000"), ("−5", "-5"), ("–5", "-5"),
        ("-$5", "-5"), ("$-5", "-5"),
        ("(-5)", "-5"), ("+5", "5"), ("１２", "12"), ("٣", "3"), ("**7**", "7"), ("$7$", "7"),
        ("7th", "7"), ("x1 = 7", "7"), ("x=-7", "-7"),
        ("1{,}234{,}567", "1234567"), ("1\\,234", "1234"), ("0.1", "0.1"), ("-0", "0"), ("共7个", "7"),
    ],
)  # fmt: skip
def test_numbers_are_read(text: str, value: str) -> None:
    assert read(text) == [(Fraction(value), None)] or read(text) == [(Fraction(value), "money: dollar")]


@pytest.mark.parametrize(
    "text",
    [
        "2^10", "2**10", "5π", "π", "√2", "\\sqrt{2}", "3x", "1.2.3", "1,23,4", "1,234.567,8",
        "5/0", "5/7/2024", "12:30", "1.5/2", "5K",
        "- 5", "∞", "\\frac{\\pi}{4}", "1" * (DIGITS + 1), f"1e{DIGITS + 1}", "1e999999999999",
    ],
)  # fmt: skip
def test_numbers_of_another_sort_have_no_value(text: str) -> None:
    assert None in [value for value, _ in read(text)]


@pytest.mark.parametrize("text", ["", "none", "GPT-4", "x1", "NaN", "inf", "H2O", "."])
def test_names_are_no_numbers(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("5 km", "length"), ("5km", "length"), ("5-km", "length"), ("5\\text{ km}", "length"),
        ("5\\,\\mathrm{m}", "length"), ("5千米", "length"),
        ("5 m^2", "area"), ("5 m²", "area"), ("5 km/h", "speed"), ("5 m³/s",
        "a unit that is not known"), ("5 min", "time"),
        ("5 Minutes", "time"), ("5 in", "length"), ("5 in total", None), ("5 apples", None), ("5 °C", "temperature"),
        ("5^\\circ C", "temperature"), ("5 %", "share"), ("5\\%", "share"), ("百分之5", "share"),
        ("€5", "money: euro"), ("5元", "money: yuan or yen"),
        ("5 mm", "length"), ("5 Mm", None),
    ],
)  # fmt: skip
def test_units_are_read(text: str, kind: str | None) -> None:
    assert read(text) == [(Fraction(5), kind)]


@given(
    st.integers(-(10**12), 10**12),
    st.integers(0, 6),
    st.sampled_from([("", "."), (",", "."), (".", ","), ("\u202f", ","), ("'", ".")]),
)
@example(1000, 0, (",", "."))
def test_numbers_are_read_however_they_are_grouped(digits: int, decimals: int, marks: tuple[str, str]) -> None:
    value = Fraction(digits, 10**decimals)
    # A lone group mark is read by rule, as the table above has it: such numbers are ambiguous.
    if marks[0] in (".", "") or abs(value) < 10**6:
        value += 10**7
    assert read(grouped(value, decimals, *marks)) == [(value, None)]


def grouped(value: Fraction, decimals: int, group: str, point: str) -> str:
    whole, rest = divmod(abs(value) * 10**decimals, 10**decimals)
    return f"{'-' * (value < 0)}{int(whole):,}".replace(",", group) + (
        f"{point}{int(rest):0{decimals}}" if decimals else ""
    )


@given(st.sampled_from(sorted(UNITS)), st.fractions())
def test_units_convert_back(name: str, value: Fraction) -> None:
    assert UNITS[name].of_base(UNITS[name].base(value)) == value
