"""What requests cost: calls of the models, and all that it takes until an answer is delivered.

Money is in USD per 1,000 requests. Where a tier has no price it is in relative units, and only the calls count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.observed import Observed
from pipeline.prices import Price
from pipeline.schema import TIERS
from pipeline.settings import ASSUMED, Delivery, Settings, Tier

REQUESTS = 1000
USD_UNIT = "USD per 1,000 requests"
RELATIVE_COSTS = (1.0, 12.0)
RELATIVE_UNIT = "relative units a request (flash 1, pro 12)"
BYTES_PER_WORD = 5


@dataclass(frozen=True, slots=True)
class Costs:
    """What each of N requests costs at flash and at pro, float64[N, 2] each.

    Attributes:
        api: calls of the model, further attempts included.
        delivery: `api`, waiting, and people and damage where the answer stays wrong.
        waiting: what the seconds until the last attempt are worth.
        settled: 1 where the answer is right in the end, after all attempts; else the chance that it is.
        unit: of the first three.
        in_usd: whether they are money.
        estimated: share of the requests' calls whose tokens are estimated, in [0, 1].
    """

    api: Reals
    delivery: Reals
    waiting: Reals
    settled: Reals
    unit: str
    in_usd: bool
    estimated: float

    def take(self, rows: NDArray[np.integer]) -> Costs:
        """Those of some requests, in that order."""
        columns = {name: getattr(self, name)[rows] for name in ("api", "delivery", "waiting", "settled")}
        return replace(self, **columns)

    @property
    def told(self) -> str:
        """The unit, and how far it rests on estimates."""
        if not self.in_usd or not self.estimated:
            return self.unit
        share = "" if self.estimated == 1 else f" for {np.clip(self.estimated, 0.01, 0.99):.0%} of the calls"
        return f"{self.unit}, tokens estimated{share}"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a call of one tier costs and takes.

    Attributes:
        price: None where there is none.
        factor: on everything that the tier costs, for what-if questions.
        tokens_per_word: of the input, where the tokens are not known; a word of the context has five bytes.
        output_tokens: of an answer, where they are not known.
        cache_share: share of the input tokens that come from the cache, where it is not known.
        latency_s: seconds a call takes, where they are not known.
        billed_usd: mean of what calls were billed, for a tier without a price; None where no bill is known.
        attempts: at most so many are made where the traces do not say how many were.
        retry_success: share of wrong answers that a further attempt puts right.
        origins: where each estimate comes from, by name.
    """

    price: Price | None
    factor: float
    tokens_per_word: float
    output_tokens: float
    cache_share: float
    latency_s: float
    billed_usd: float | None
    attempts: int
    retry_success: float
    origins: Mapping[str, str]

    @property
    def known(self) -> bool:
        """Whether there is any price."""
        return self.price is not None or self.billed_usd is not None


@dataclass(frozen=True, slots=True)
class Tariff:
    """All that turns requests into costs.

    Attributes:
        rates: of flash and pro.
        delivery: what counts besides the calls.
        priced_at: moment whose prices apply. What hour of the week a request fell on decides about peak prices.
    """

    rates: tuple[Rate, Rate]
    delivery: Delivery
    priced_at: datetime

    @property
    def in_usd(self) -> bool:
        """Whether both tiers have prices."""
        return all(rate.known for rate in self.rates)

    @property
    def has_peak(self) -> bool:
        """Whether a tier costs otherwise at some hours."""
        return any(rate.price is not None and rate.price.peak is not None for rate in self.rates)

    def costs(self, rows: Observed) -> Costs:
        """What each of the rows costs at each tier."""
        amounts = [_tier_costs(rate, rows, tier, self) for tier, rate in enumerate(self.rates)]
        api, delivery, waiting, settled, guessed = (np.stack(columns, 1) for columns in zip(*amounts, strict=True))
        unit = USD_UNIT if self.in_usd else RELATIVE_UNIT
        return Costs(api, delivery, waiting, settled, unit, self.in_usd, float(guessed.mean()))

    def scaled(self, tier: int, factor: float) -> Tariff:
        """With everything that a tier's calls cost multiplied by a factor."""
        rates = list(self.rates)
        rates[tier] = replace(rates[tier], factor=rates[tier].factor * factor)
        return replace(self, rates=(rates[FLASH], rates[PRO]))

    def at_peak(self) -> Tariff:
        """With peak prices at all hours."""
        flash, pro = (replace(rate, price=rate.price and rate.price.always_peak()) for rate in self.rates)
        return replace(self, rates=(flash, pro))

    def escalating(self, factor: float) -> Tariff:
        """With what a wrong answer costs multiplied by a factor."""
        delivery = self.delivery
        return replace(
            self,
            delivery=delivery.model_copy(
                update={
                    "hourly_wage_usd": delivery.hourly_wage_usd * factor,
                    "wrong_answer_usd": delivery.wrong_answer_usd * factor,
                }
            ),
        )

    def printed(self) -> dict[str, Any]:
        """As plain values, for a manifest."""
        return {
            "priced_at": self.priced_at.isoformat(timespec="seconds"),
            "unit": USD_UNIT if self.in_usd else RELATIVE_UNIT,
            "tiers": {tier: _printed(rate) for tier, rate in zip(TIERS, self.rates, strict=True)},
            "delivery": self.delivery.model_dump(mode="json"),
        }


def learn(settings: Settings, models: Mapping[str, str], rows: Observed, at: datetime) -> Tariff:
    """The tariff of a moment, with what the rows say about usage.

    Args:
        settings: which price each tier has, and what else counts.
        models: name of the model behind each tier, "" where not known: its price where the settings name none.
        rows: usage is learned from.
        at: moment whose prices apply.

    Raises:
        InputError: a price that the settings name is not known, or not at that moment; or one tier has a price in the
            settings and the other has none at all.
    """
    flash, pro = (_rate(settings, tier, models[tier], rows, at) for tier in TIERS)
    named = {tier: getattr(settings.tiers, tier).price for tier in TIERS}
    for tier, rate in zip(TIERS, (flash, pro), strict=True):
        if any(named.values()) and not rate.known:
            raise InputError(
                f"{tier} has no price while the other tier has one: name its entry of the price table under "
                f"[tiers.{tier}] of the --config file"
            )
    return Tariff((flash, pro), settings.delivery, at)


def _rate(settings: Settings, name: str, model: str, rows: Observed, at: datetime) -> Rate:
    tier: Tier = getattr(settings.tiers, name)
    named = (name for name in (tier.model, model) if name in settings.prices)
    deployment = tier.price or next(named, None)
    billed = rows.usage.cost_usd[:, TIERS.index(name)]
    learned, other = _learned(rows, TIERS.index(name)), _learned(rows, 1 - TIERS.index(name))
    values, origins = {}, {}
    for estimate, fallback in ASSUMED.items():
        if (given := getattr(tier, estimate)) is not None:
            values[estimate], origins[estimate] = float(given), "settings"
        elif np.isfinite(learned[estimate]):
            values[estimate], origins[estimate] = learned[estimate], "traces"
        elif estimate == "tokens_per_word" and np.isfinite(other[estimate]):
            values[estimate], origins[estimate] = other[estimate], "other tier"
        else:
            values[estimate], origins[estimate] = fallback, "assumed"
    accuracy = float(rows.outcomes[:, TIERS.index(name)].mean())
    return Rate(
        price=None if deployment is None else settings.prices.at(deployment, at),
        factor=1.0,
        **values,
        billed_usd=None if np.isnan(billed).all() else float(np.nanmean(billed)),
        attempts=tier.attempts,
        retry_success=accuracy if tier.retry_success is None else tier.retry_success,
        origins=origins,
    )


def _learned(rows: Observed, tier: int) -> dict[str, float]:
    """What the rows with usage say of the others; NaN where there is none."""
    usage = rows.usage
    tokens, cached = usage.input_tokens[:, tier].astype(float), usage.cached_tokens[:, tier].astype(float)
    size, both = _request_words(rows), np.isfinite(tokens) & np.isfinite(cached)
    seen = np.isfinite(tokens)
    return {
        "tokens_per_word": _quotient(tokens[seen].sum(), size[seen].sum()),
        "output_tokens": _mean(usage.output_tokens[:, tier]),
        "cache_share": _quotient(cached[both].sum(), tokens[both].sum()),
        "latency_s": _mean(usage.latency_s[:, tier]),
    }


def _request_words(rows: Observed) -> Reals:
    return rows.words + rows.context_bytes / BYTES_PER_WORD


def _quotient(one: float, other: float) -> float:
    return float(one / other) if other else float("nan")


def _mean(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=float)) if len(known) else float("nan")


def _tier_costs(rate: Rate, rows: Observed, tier: int, tariff: Tariff) -> tuple[Reals, Reals, Reals, Reals, Reals]:
    """The columns of `Costs` for a tier, and whether tokens are estimated, float64[N]."""
    call, guessed = (
        _call_usd(rate, rows, tier)
        if tariff.in_usd
        else (np.full(len(rows), RELATIVE_COSTS[tier]), np.zeros(len(rows)))
    )
    call = call * rate.factor * (REQUESTS if tariff.in_usd else 1)
    attempts, settled = _attempts(rate, rows, tier)
    api = call * attempts
    if not tariff.in_usd:
        return api, api, np.zeros(len(rows)), settled, guessed
    seconds = _or(rows.usage.latency_s[:, tier], rate.latency_s) * attempts
    waiting = REQUESTS * seconds * tariff.delivery.waiting_usd_per_second
    wrong = REQUESTS * (1 - settled) * tariff.delivery.wrong_usd
    return api, api + waiting + wrong, waiting, settled, guessed


def _call_usd(rate: Rate, rows: Observed, tier: int) -> tuple[Reals, Reals]:
    """USD of one call per row, and 1 where its tokens are estimated and nothing was billed, float64[N]."""
    usage = rows.usage
    billed = usage.cost_usd[:, tier].astype(float)
    unknown = {
        name: np.isnan(getattr(usage, name)[:, tier]) for name in ("input_tokens", "cached_tokens", "output_tokens")
    }
    guessed = unknown["input_tokens"] | unknown["output_tokens"] | (unknown["cached_tokens"] & (rate.cache_share > 0))
    if rate.price is None:
        return _or(billed, rate.billed_usd or 0.0), np.isnan(billed).astype(float)
    tokens = _or(usage.input_tokens[:, tier], _request_words(rows) * rate.tokens_per_word)
    cached = np.minimum(_or(usage.cached_tokens[:, tier], tokens * rate.cache_share), tokens)
    output = _or(usage.output_tokens[:, tier], rate.output_tokens)
    usd = rate.price.usd(tokens, cached, output, rate.price.peak_at(rows.time))
    return np.where(guessed, _or(billed, usd), usd), (guessed & np.isnan(billed)).astype(float)


def _attempts(rate: Rate, rows: Observed, tier: int) -> tuple[Reals, Reals]:
    """Attempts made per row and whether the answer is right in the end, float64[N]: as observed, else as expected.

    A wrong answer is tried again until one is accepted, at most `attempts` times in all.
    """
    right, observed = rows.outcomes[:, tier], rows.usage.attempts[:, tier].astype(float)
    more, q = rate.attempts - 1, rate.retry_success
    further = more if q == 0 else (1 - (1 - q) ** more) / q
    modelled = np.isnan(observed)
    made = np.where(modelled, 1 + (1 - right) * further, observed)
    return made, np.where(modelled, 1 - (1 - right) * (1 - q) ** more, right)


def _or(values: Any, otherwise: Reals | float) -> Reals:
    return np.where(np.isnan(values), otherwise, values.astype(float))


def _printed(rate: Rate) -> dict[str, Any]:
    price = rate.price
    values = {name: value for name, value in asdict(rate).items() if name not in ("price", "origins", "factor")}
    return {
        "price": None if price is None else price.model_dump(mode="json", by_alias=True),
        **values,
        "origins": dict(rate.origins),
    }
