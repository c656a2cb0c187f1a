"""What a collection will take, before a cent is spent: calls, tokens and cost of each tier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.collect.lines import Way
from pipeline.collect.protocol import Used
from pipeline.settings import ASSUMED, Tier

# Bytes of text that make a token, about: UTF-8 of English and Chinese alike.
BYTES_OF_A_TOKEN = 4.0


@dataclass(slots=True)
class Forecast:
    """Of one tier.

    Attributes:
        calls: to make.
        input_tokens: estimated.
        output_tokens: estimated.
        cost_usd: estimated, nothing cached, at the present hour's price.
        worst_usd: the most it can cost, at the output limit and the dearest hour, if no call fails.
        output_known: how the mean output is known: "config", "journal" or "assumed".
    """

    calls: int
    input_tokens: float
    output_tokens: float
    cost_usd: float
    worst_usd: float
    output_known: str


def forecast(
    ways: Mapping[str, Way], sizes: Iterable[tuple[str, int, int]], seen: Mapping[str, float | None]
) -> dict[str, Forecast]:
    """What calls will take.

    Args:
        ways: to the tiers.
        sizes: of each call to make: its tier, the bytes of what it asks, the input tokens that it cannot exceed.
        seen: mean output tokens of answers in the journal, by tier; None where there are none.
    """
    now, found = datetime.now(UTC), {}
    for tier, way in ways.items():
        configured = way.endpoint.output_tokens if isinstance(way.endpoint, Tier) else None
        known = "config" if configured else "journal" if seen[tier] else "assumed"
        mean = configured or seen[tier] or ASSUMED["output_tokens"]
        found[tier] = (Forecast(0, 0.0, 0.0, 0.0, 0.0, known), min(mean, way.endpoint.output_limit))
    for tier, size, most_input in sizes:
        total, output = found[tier]
        tokens = size / BYTES_OF_A_TOKEN
        total.calls += 1
        total.input_tokens += tokens
        total.output_tokens += output
        total.worst_usd += ways[tier].worst_usd(most_input)
    for tier, (total, _) in found.items():
        used = Used(round(total.input_tokens), 0, round(total.output_tokens), None)
        total.cost_usd = ways[tier].fare.usd(used, now)
    return {tier: total for tier, (total, _) in found.items()}
