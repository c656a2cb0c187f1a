"""What a request costs in USD: prices of deployments, each in force from a date, some dearer at peak hours.

The packaged table is `prices.toml`, which says how to add to it. A price belongs to a deployment, that is to a
model at a host, because the same model costs differently elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from features.errors import InputError
from pipeline.tables import Strict, loaded, nearest, validated

PACKAGED = Path(__file__).with_name("prices.toml")
MILLION = 1_000_000
DAY_MINUTES = 24 * 60
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# 1970-01-01, day 0 of datetime64, was a Thursday.
THURSDAY = WEEKDAYS.index("thu")

Amounts = NDArray[np.float64]
Times = NDArray[np.datetime64]
Table = Mapping[str, Any]


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _moment(time: Any, info: ValidationInfo) -> datetime:
    if info.mode == "json":  # as this project prints it
        return datetime.fromisoformat(time)
    if not isinstance(time, date):  # of which datetime is a kind
        raise ValueError("expected a date or a time without quotes, such as 2026-08-16T16:00:00Z")  # noqa: TRY004  # pydantic's way
    return _utc(time if isinstance(time, datetime) else datetime(time.year, time.month, time.day, tzinfo=UTC))


def _day(day: Any, info: ValidationInfo) -> Any:
    return date.fromisoformat(day) if info.mode == "json" else day


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the latter: "../UTC", and "America", which is a folder
        raise ValueError('expected an IANA time zone, such as "UTC" or "Asia/Shanghai"') from None
    return name


def _hours(text: str) -> str:
    if len(set(_minutes(text))) != 2:
        raise ValueError("expected a start and another end; the whole day is 00:00-24:00")
    return text


def _minutes(text: str) -> tuple[int, int]:
    """The start and the end of hours such as "22:00-02:00", in minutes since the midnight before the start."""
    clock = "([01][0-9]|2[0-3]):([0-5][0-9])"
    match = re.fullmatch(f"{clock}-(?:{clock}|24:00)", text)
    if not match:
        raise ValueError('expected hours such as "09:00-12:00" or "22:00-24:00"')
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3] or 24) * 60 + int(match[4] or 0)
    return start, end + DAY_MINUTES * (end < start)


Usd = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Day = Annotated[date, BeforeValidator(_day), Field(strict=True)]


class PeakHours(Strict):
    """When peak is.

    Attributes:
        zone: IANA time zone of the hours and dates.
        days: weekdays on which peak hours start.
        hours: half open, on the zone's clock; hours that cross midnight belong to the day they start.
        holidays: dates on which no peak hours start; `except` in a file.
    """

    zone: Annotated[str, AfterValidator(_zone)]
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(min_length=1)
    hours: tuple[Annotated[str, AfterValidator(_hours)], ...] = Field(min_length=1)
    holidays: tuple[Day, ...] = Field(default=(), alias="except")

    @property
    def share(self) -> float:
        """The share of a week's minutes that are peak, in (0, 1]; holidays disregarded."""
        week = np.datetime64("1970-01-05") + np.arange(len(WEEKDAYS) * DAY_MINUTES).astype("timedelta64[m]")
        return float(self._inside(week, ()).mean())

    def at(self, times: Times) -> NDArray[np.bool_]:
        """Whether times of UTC, datetime64[N] without NaT, are at peak: bool[N]."""
        import pandas as pd

        local = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(self.zone).tz_localize(None)
        return self._inside(local.to_numpy(), self.holidays)

    def now(self, moment: datetime) -> bool:
        """Whether a moment is at peak; without a zone it is UTC."""
        local = _utc(moment).astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        return bool(self._inside(np.array(local, "datetime64[us]"), self.holidays))

    def _inside(self, local: Times, holidays: tuple[date, ...]) -> NDArray[np.bool_]:
        days = local.astype("datetime64[D]")
        minute = (local - days).astype("timedelta64[m]").astype(int)
        spans = [_minutes(text) for text in self.hours]
        inside = np.zeros(local.shape, bool)
        # Hours that began today, and those that began yesterday and go on after midnight.
        for passed in (0, 1):
            since = minute + passed * DAY_MINUTES
            within = np.logical_or.reduce([(start <= since) & (since < end) for start, end in spans])
            inside |= within & self._starts_on(days - passed, holidays)
        return inside

    def _starts_on(self, days: Times, holidays: tuple[date, ...]) -> NDArray[np.bool_]:
        weekday = (days.astype(int) + THURSDAY) % len(WEEKDAYS)
        starts: NDArray[np.bool_] = np.array([name in self.days for name in WEEKDAYS])[weekday]
        return starts & ~np.isin(days, np.array(holidays, "datetime64[D]"))


class Rates(Strict):
    """USD per million tokens of uncached input, cached input (None: the same) and output, reasoning included."""

    input: Usd
    cached: Usd | None = None
    output: Usd

    @property
    def each(self) -> Amounts:
        """float64[3]: of uncached input, cached input and output."""
        return np.array([self.input, self.input if self.cached is None else self.cached, self.output])

    def scaled(self, factor: float) -> Self:
        """The same with every price times a factor, 0 or more."""
        cached = None if self.cached is None else self.cached * factor
        return self.model_copy(update={"input": self.input * factor, "cached": cached, "output": self.output * factor})


class Peak(Rates):
    """Prices at peak hours."""

    when: PeakHours


class Price(Rates):
    """What a deployment costs from a moment on.

    Attributes:
        deployment: a model at a host.
        aliases: other names that the same prices hold for.
        start: in force from this moment of UTC; `from` in a file.
        source: who published the figures, and when they were checked.
        peak: other prices in some hours, or None.
    """

    deployment: Name
    aliases: tuple[Name, ...] = ()
    start: Moment = Field(alias="from")
    source: Name
    peak: Peak | None = None

    @property
    def peak_share(self) -> float:
        """The share of a week's hours that are peak, in [0, 1]; holidays disregarded."""
        return self.peak.when.share if self.peak else 0.0

    def peak_at(self, times: Times) -> Amounts:
        """How much of each time is peak.

        Args:
            times: datetime64[N] of UTC; NaT where the time is not known.

        Returns:
            float64[N]: 1 at peak, 0 otherwise, `peak_share` where the time is not known.
        """
        share = np.full(times.shape, self.peak_share)
        known = ~np.isnat(times)
        if self.peak:
            share[known] = self.peak.when.at(times[known])
        return share

    def peak_now(self, moment: datetime) -> float:
        """1 at peak, 0 otherwise."""
        return float(self.peak is not None and self.peak.when.now(moment))

    def usd(
        self, input_tokens: ArrayLike, cached_tokens: ArrayLike, output_tokens: ArrayLike, peak: ArrayLike
    ) -> Amounts:
        """USD of requests; the arguments are numbers or arrays of N.

        Args:
            input_tokens: cached ones included; NaN is allowed in all counts, and gives NaN.
            cached_tokens: those of the input that the cache served.
            output_tokens: reasoning included.
            peak: share of peak in [0, 1], see `peak_at`; without peak prices it changes nothing.

        Returns:
            float64[N]; float64[] where all arguments are numbers.

        Raises:
            InputError: more cached tokens than input tokens.
        """
        total, cached, output = (np.asarray(count, float) for count in (input_tokens, cached_tokens, output_tokens))
        _no_more_cached_than_input(total, cached)
        off = self.each
        extra = (self.peak.each if self.peak else off) - off
        uncached_usd, cached_usd, output_usd = (off[at] + np.asarray(peak, float) * extra[at] for at in range(3))
        return np.asarray((total - cached) * uncached_usd + cached * cached_usd + output * output_usd) / MILLION

    def scaled(self, factor: float) -> Self:
        """The same with every price, those at peak too, times a factor, 0 or more."""
        peak = self.peak.scaled(factor) if self.peak else None
        return super().scaled(factor).model_copy(update={"peak": peak})

    def always_peak(self) -> Self:
        """The same with its peak prices all week; itself where it has none."""
        if not self.peak:
            return self
        rates = {name: getattr(self.peak, name) for name in Rates.model_fields}
        return self.model_copy(update=rates | {"peak": None})


def _no_more_cached_than_input(total: Amounts, cached: Amounts) -> None:
    total, cached = np.broadcast_arrays(np.atleast_1d(total), cached)
    wrong = np.flatnonzero(cached > total)
    if len(wrong):
        at = wrong[0]
        raise InputError(
            f"request {at + 1:,}: cached_tokens {cached.flat[at]:g} of input_tokens {total.flat[at]:g}: "
            f"input tokens include the cached ones; add them where they were counted apart"
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """A price table: entries in any order.

    Attributes:
        entries: of two that begin at the same moment the later one wins.
        own: a user's; from the first of a name on they alone hold for it, whatever the others say.
    """

    entries: tuple[Price, ...]
    own: tuple[Price, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every deployment and alias, sorted."""
        return tuple(
            sorted({name for entry in (*self.entries, *self.own) for name in (entry.deployment, *entry.aliases)})
        )

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def extended(self, entries: Iterable[Price]) -> Prices:
        """This table and a user's own entries, which stand above it from their dates on."""
        return Prices(self.entries, (*self.own, *entries))

    def at(self, deployment: str, time: datetime) -> Price:
        """The entry in force at a time; without a zone it is UTC.

        Raises:
            InputError: the table does not have the deployment, or not that early.
        """
        moment = _utc(time)
        tables = [
            [entry for entry in table if deployment in (entry.deployment, *entry.aliases)]
            for table in (self.own, self.entries)
        ]
        of_name = [entry for table in tables for entry in table]
        if not of_name:
            near = nearest(deployment, self.names) or self.names
            raise InputError(
                f"price '{deployment}': the price table does not have it; nearest: {', '.join(near) or 'none'}; "
                f"use one of these, or add a [[price]] block to the file given with --config"
            )
        in_force = next(filter(None, ([entry for entry in table if entry.start <= moment] for table in tables)), None)
        if in_force is None:
            first = min(entry.start for entry in of_name)
            raise InputError(
                f"price '{deployment}' at {_said(moment)}: the price table begins at {_said(first)}; "
                f"add a [[price]] block with an earlier `from` to the file given with --config"
            )
        # max takes the first of equals, and of equals the last was added last.
        return max(reversed(in_force), key=lambda entry: entry.start)


def packaged() -> Prices:
    """The table of `prices.toml`, read anew at each call."""
    return Prices(parsed(loaded(PACKAGED), PACKAGED.name))


def parsed(document: Table, file: str) -> tuple[Price, ...]:
    """The entries of a file's `price` blocks; peak hours by name are the file's own or the packaged ones.

    Raises:
        InputError: names the file, the entry, the field, the value and what was expected.
    """
    blocks = document.get("price", [])
    if not isinstance(blocks, list):
        raise InputError(f"{file}: price: expected blocks that begin with [[price]], in double brackets")
    entries = tuple(_entry(block, at, document, file) for at, block in enumerate(blocks, 1))
    stands = Counter((name, entry.start) for entry in entries for name in {entry.deployment, *entry.aliases})
    for (name, start), times in stands.items():
        if times > 1:
            raise InputError(
                f"{file}: price '{name}' from {_said(start)}: stands twice; drop one, or change its `from`"
            )
    return entries


def _entry(block: Any, at: int, document: Table, file: str) -> Price:
    place = f"{file}: price {at}"
    if not isinstance(block, Mapping):
        return validated(Price, block, place)
    identity = [_said(block[key]) for key in ("deployment", "from") if key in block]
    place += f" ({', '.join(identity)})" if identity else ""
    peak = block.get("peak")
    if isinstance(peak, Mapping) and isinstance(peak.get("when"), str):
        block = {**block, "peak": {**peak, "when": _hours_named(peak["when"], document, file, place)}}
    return validated(Price, block, place)


def _hours_named(name: str, document: Table, file: str, place: str) -> PeakHours:
    own = document.get("peak_hours")
    if isinstance(own, Mapping) and name in own:
        return validated(PeakHours, own[name], f"{file}: peak_hours.{name}")
    shared = loaded(PACKAGED)["peak_hours"]
    if name in shared:
        return validated(PeakHours, shared[name], f"{PACKAGED.name}: peak_hours.{name}")
    known = sorted({*shared, *(own if isinstance(own, Mapping) else ())})
    raise InputError(
        f"{place}: peak.when = '{name}': no such peak hours; use {', '.join(nearest(name, known) or known)}, "
        f"or add a table [peak_hours.{name}]"
    )


def _said(time: Any) -> str:
    return f"{_utc(time):%Y-%m-%d %H:%M} UTC" if isinstance(time, datetime) else str(time)
