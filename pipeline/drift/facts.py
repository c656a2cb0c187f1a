"""What needs no test: other models, other fingerprints, other prices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.costs import BYTES_PER_WORD, REQUESTS
from pipeline.drift.finding import ALARM, RETUNE, STEADY, UNTESTED, Finding
from pipeline.evidence import Evidence
from pipeline.prices import Price
from pipeline.schema import TIERS

TOPIC = "models and prices"

Printed = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What answered for a tier in a stretch of time: names of models, and of their builds; empty where not known."""

    models: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()

    def printed(self) -> dict[str, list[str]]:
        """As a manifest holds it."""
        return {"models": sorted(self.models), "fingerprints": sorted(self.fingerprints)}


def deployments(names: Mapping[str, tuple[Deployed, Deployed]]) -> Iterator[Finding]:
    """Models and fingerprints of each tier, before and now."""
    for tier in TIERS:
        before, now = names[tier]
        yield _names(f"Model of {tier}", tier, "model", before.models, now.models)
        yield _names(f"Fingerprint of {tier}", tier, "build", before.fingerprints, now.fingerprints)


def _names(title: str, tier: str, what: str, before: frozenset[str], now: frozenset[str]) -> Finding:
    told = [", ".join(sorted(names)) or None for names in (before, now)]
    if not before or not now:
        meaning, verdict, value = f"The traces do not name the {what} of {tier} on both sides.", UNTESTED, float("nan")
    elif now - before:
        meaning = f"Another {what} answers for {tier}: all that was measured of it may have lapsed."
        verdict, value = ALARM, float(len(now - before))
    else:
        meaning, verdict, value = f"The same {what} as before answers for {tier}.", STEADY, 0.0
    return Finding(
        name=title, topic=TOPIC, value=value, kind="count", measure="new names", meaning=meaning,
        before=told[0], now=told[1], verdict=verdict,
    )  # fmt: skip


def prices(before: Printed, now: Printed, reference: Evidence) -> Iterator[Finding]:
    """The price of a call of each tier.

    Args:
        before, now: tariffs as `Tariff.printed` gives them; the amounts are those of the requests before.
        reference: the requests.
    """
    rows = reference.rows
    words = float((rows.words + rows.context_bytes / BYTES_PER_WORD).mean())
    for tier in TIERS:
        usage = before["tiers"][tier]
        entries = [tariff["tiers"][tier]["price"] for tariff in (before, now)]
        amounts = [_usd(entry, usage, words) for entry in entries]
        yield _price(tier, amounts, changed=_rates(entries[0]) != _rates(entries[1]))


def _price(tier: str, amounts: list[float | None], *, changed: bool) -> Finding:
    before, now = amounts
    known = before is not None and now is not None
    meaning = {
        (True, True): f"The calls of {tier} would now cost {{now}} per 1,000 requests as they were; it was {{before}}.",
        (True, False): f"The calls of {tier} cost what they did.",
        (False, True): f"The price of {tier} is known on one side only.",
        (False, False): f"No price of {tier} is known.",
    }[known, changed]
    return Finding.of(
        meaning,
        before,
        now,
        "usd",
        name=f"Price of {tier}",
        topic=TOPIC,
        value=now / before - 1 if before and now is not None else float("nan"),
        kind="share",
        measure="change",
        verdict=RETUNE if changed else STEADY if known else UNTESTED,
    )


def _rates(entry: Printed | None) -> dict[str, Any] | None:
    """What a price comes to; where it was looked up does not matter, nor when it began."""
    return None if entry is None else {name: entry[name] for name in ("input", "cached", "output", "peak")}


def _usd(entry: Printed | None, usage: Printed, words: float) -> float | None:
    """USD of 1,000 calls of the mean size, over the hours of a week; None where there is no price."""
    if entry is None:
        return None
    price = Price.model_validate_json(json.dumps(entry))
    tokens = words * usage["tokens_per_word"]
    cached = tokens * usage["cache_share"]
    return REQUESTS * float(price.usd(tokens, cached, usage["output_tokens"], price.peak_share))
