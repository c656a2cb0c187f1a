"""Rows, settings and samples made by hand, for tests of what is computed from them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import strategies as st

from features.graph import FEATURES
from pipeline import costs
from pipeline.costs import USD_UNIT, Costs, Tariff
from pipeline.frontier import Rules
from pipeline.observed import Observed
from pipeline.prices import parsed
from pipeline.sample import Sample
from pipeline.settings import Settings
from pipeline.usage import COLUMNS, Usage

AT = datetime(2026, 6, 1, tzinfo=UTC)
UNNAMED = {"flash": "", "pro": ""}
PRICE = """
[[price]]
deployment = "{name}"
from = 2026-01-01
input = {input}
cached = {cached}
output = {output}
source = "made up"
"""
PEAK = '[price.peak]\nwhen = { zone = "UTC", days = ["mon"], hours = ["06:00-12:00"] }\ninput = 2.0\noutput = 4.0\n'
TIERS = '[tiers.flash]\nprice = "made-up/flash"\n{flash}\n[tiers.pro]\nprice = "made-up/pro"\n{pro}\n'


def price_file(
    flash: tuple[float, float, float],
    pro: tuple[float, float, float],
    more: str = "",
    *,
    of: tuple[str, str] = ("", ""),
) -> str:
    """A --config file: USD per million of input, cached and output tokens, more tables, more keys of each tier."""
    tiers = TIERS.format(flash=of[0], pro=of[1])
    blocks = [
        PRICE.format(name=name, input=given, cached=cached, output=output)
        for name, (given, cached, output) in (("made-up/flash", flash), ("made-up/pro", pro))
    ]
    return tiers + more + "".join(blocks)


# With these a request is worth pro where pro is more likely right by about a third.
FLASH_PRICE, PRO_PRICE, WRONG = (0.2, 0.02, 0.6), (2.0, 0.2, 6.0), "[delivery]\nwrong_answer_usd = 0.002\n"
CONFIG = price_file(FLASH_PRICE, PRO_PRICE, WRONG)


def settings(text: str) -> Settings:
    """The settings of a --config file with this text."""
    document = tomllib.loads(text)
    return Settings.model_validate(document | {"price": parsed(document, "made-up.toml")})


def usage(count: int, **pairs: Any) -> Usage:
    """Usage of so many requests; what is not given is not known. A pair stands for every request."""
    amounts = {name: np.full((count, 2), np.nan, np.float32) for name in COLUMNS}
    for name, pair in pairs.items():
        amounts[name][:] = np.array(pair, float)
    return Usage(**amounts)


def rows(outcomes: Any, *, gain: Any = None, evidence: Any = None, groups: Any = None, time: Any = None,
         words: int = 10, context_bytes: int = 0, **amounts: Any) -> Observed:  # fmt: skip
    """Rows with outcomes [N, 2] and, by name, what their answers took."""
    known = np.asarray(outcomes, float).reshape(-1, 2)
    size = len(known)
    gain = np.zeros(size) if gain is None else np.asarray(gain, float)
    return Observed(
        outcomes=known,
        groups=np.arange(size) if groups is None else np.unique(groups, return_inverse=True)[1],
        category=np.full(size, "", dtype=object),
        time=np.full(size, "NaT" if time is None else time, "datetime64[us]"),
        words=np.full(size, words),
        context_bytes=np.full(size, context_bytes),
        usage=usage(size, **amounts),
        features=np.zeros((size, len(FEATURES)), np.float32),
        probabilities=np.stack([np.zeros(size), gain], 1),
        evidence=np.ones(size, np.float32) if evidence is None else np.asarray(evidence, np.float32),
    )


def tariff(text: str, seen: Observed, at: datetime = AT) -> Tariff:
    """The tariff of a --config file with this text."""
    return costs.learn(settings(text), UNNAMED, seen, at)


def costing(api: Any, delivery: Any = None, *, in_usd: bool = True) -> Costs:
    """What each request costs at flash and at pro, [N, 2]."""
    calls = np.asarray(api, float).reshape(-1, 2)
    whole = calls if delivery is None else np.asarray(delivery, float).reshape(-1, 2)
    unit = USD_UNIT if in_usd else costs.RELATIVE_UNIT
    return Costs(calls, whole, np.zeros_like(calls), np.ones_like(calls), unit, in_usd, 0.0)


def sample(seen: Observed, spent: Costs) -> Sample:
    return Sample(seen, spent, 0)


# A generated row: gain, evidence, flash right, pro right, cost at flash, cost at pro.
share = st.floats(0, 1, width=32)
row = st.tuples(
    st.floats(-1, 1, width=32) | st.sampled_from([-0.25, 0.0, 0.25]),
    share,
    st.booleans(),
    st.booleans(),
    st.integers(0, 50),
    st.integers(0, 50),
)
tables = st.lists(row, min_size=2, max_size=30)
paths = st.lists(st.floats(-0.9990234375, 1, width=32), max_size=12, unique=True)


def sampled(table: Sequence[tuple[Any, ...]]) -> Sample:
    """Generated rows as a sample; a wrong answer costs 10 more to deliver."""
    values = np.array(table, float)
    seen = rows(values[:, 2:4], gain=values[:, 0], evidence=values[:, 1])
    api = values[:, 4:6]
    return sample(seen, costing(api, api + 10 * (1 - seen.outcomes)))


def ruled(thresholds: Sequence[float], floor: float = 0.0) -> Rules:
    """Rules with these thresholds between those of the constants."""
    return Rules(np.array([-1.0, *sorted(thresholds), 2.0]), float(np.float32(floor)))
