"""The ways to the tiers: endpoint, pace, price and numbers of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from features.errors import InputError
from pipeline.collect.board import Score
from pipeline.collect.budget import Fare
from pipeline.collect.client import Client, certificates_of_this_machine, connected
from pipeline.collect.pace import Pace
from pipeline.collect.protocol import most_input_tokens, other_parts
from pipeline.endpoint import Endpoint, key_of
from pipeline.schema import TIERS
from pipeline.settings import Judge, Settings, Tier

JUDGE = "judge"
# What is asked where a tier names neither a model nor an address.
DEEPSEEK = {"base_url": "https://api.deepseek.com", "key_env": "DEEPSEEK_API_KEY"}
STANDARD: dict[str, dict[str, Any]] = {
    "flash": {**DEEPSEEK, "model": "deepseek-flash", "thinking": False},
    "pro": {**DEEPSEEK, "model": "deepseek-v4-pro", "thinking": True, "effort": "high", "output_limit": 16_384},
}
MEMORY_OF_TOKENS = 0.05  # weight of the latest call in the mean


@dataclass(frozen=True, slots=True)
class Way:
    """How a tier is reached, before anything is opened.

    Attributes:
        endpoint: complete, with a model and an address.
        key: or None.
        fare: what its calls cost.
    """

    endpoint: Endpoint
    key: str | None = field(repr=False)
    fare: Fare

    def most_input(self, text: str, asked: Mapping[str, Any]) -> int:
        """Input tokens that a request cannot exceed.

        Args:
            text: what a task asks, as JSON.
            asked: the same, read.

        Raises:
            InputError: it has parts that are not text, and the endpoint does not say how much they take.
        """
        parts = other_parts(asked["messages"])
        if parts and self.endpoint.part_tokens is None:
            raise InputError(
                "a part that is not text: its worst case is not known; give part_tokens, the most input tokens of one, "
                "in both [tiers.*] of the --config file"
            )
        return most_input_tokens(text, len(asked["messages"])) + parts * (self.endpoint.part_tokens or 0)

    def worst_usd(self, most_input: int) -> float:
        """The most that a call with so many input tokens can cost."""
        return self.fare.worst_usd(most_input, self.endpoint.output_limit)


def ways(settings: Settings, names: tuple[str, ...] = TIERS, *, with_keys: bool = True) -> dict[str, Way]:
    """The ways to some tiers, or to the judge.

    Raises:
        InputError: an endpoint without a model or an address, a key that is not there, an unknown price.
    """
    return {name: _way(settings, name, with_keys) for name in names}


def _way(settings: Settings, name: str, with_keys: bool) -> Way:
    tier: Tier | Judge = settings.judge if name == JUDGE else getattr(settings.tiers, name)
    if name in STANDARD and tier.model is None and tier.base_url is None:
        tier = tier.model_copy(update=STANDARD[name])
    place = name if name == JUDGE else f"tiers.{name}"
    for field_name in ("model", "base_url"):
        if getattr(tier, field_name) is None:
            raise InputError(f"{place}.{field_name} is missing: add it to [{place}] of the --config file")
    deployment = tier.price or (tier.model if tier.model in settings.prices else None)
    if deployment is None:
        raise InputError(
            f"{place}.model = '{tier.model}': the price table does not have it, so no budget can be kept: name its "
            f"entry as price in [{place}], or add a [[price]] block (input = 0.0 and output = 0.0 if it costs nothing)"
        )
    fare = Fare(settings.prices, deployment)
    fare.worst_usd(1, 1)  # complains where the table begins later than today
    return Way(tier, key_of(tier, place) if with_keys else None, fare)


@dataclass(slots=True)
class Line:
    """An open way to a tier.

    Attributes:
        way: that is open.
        client: of its endpoint.
        score: its numbers.
        pace: of its calls.
        room: for calls at once.
        mean_tokens: of its calls, input and output; None before the first.
        in_a_row: requests given up since the last answer.
    """

    way: Way
    client: Client
    score: Score
    pace: Pace
    room: asyncio.Semaphore
    mean_tokens: float | None = None
    in_a_row: int = 0

    def learn(self, tokens: int, expected: float) -> None:
        """Take in what a call took, where the pace counted with what was expected."""
        self.pace.correct(tokens - expected)
        before = tokens if self.mean_tokens is None else self.mean_tokens
        self.mean_tokens = before + MEMORY_OF_TOKENS * (tokens - before)


@asynccontextmanager
async def opened(found: Mapping[str, Way], scores: Mapping[str, Score]) -> AsyncIterator[dict[str, Line]]:
    """The ways, open."""
    certificates = certificates_of_this_machine()
    async with AsyncExitStack() as stack:
        lines = {}
        for name, way in found.items():
            endpoint = way.endpoint
            client = await stack.enter_async_context(connected(endpoint, way.key, certificates))
            pace = Pace(endpoint.requests_per_minute, endpoint.tokens_per_minute)
            lines[name] = Line(way, client, scores[name], pace, asyncio.Semaphore(endpoint.concurrency))
        yield lines
