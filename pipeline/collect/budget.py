"""What may still be spent. The most that calls in flight can cost counts as spent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.collect.board import Board
from pipeline.collect.protocol import Used
from pipeline.prices import Price, Prices


@dataclass(frozen=True, slots=True)
class Fare:
    """What calls to a deployment cost.

    Attributes:
        prices: the price table.
        deployment: entry of it.
    """

    prices: Prices
    deployment: str
    _known: dict[tuple[int, float], Rates] = field(default_factory=dict, repr=False, compare=False)

    def usd(self, used: Used, *moments: datetime) -> float:
        """USD of a call, at the dearest of some moments of it.

        Which moment of a call decides about peak prices is not published, so a call that crosses into peak hours counts
        as one of them.
        """
        fresh = used.input_tokens - used.cached_tokens
        prices = [(self.prices.at(self.deployment, moment), moment) for moment in moments]
        rates = [self._rates(price, price.peak_now(moment)) for price, moment in prices]
        return max(
            fresh * each.fresh + used.cached_tokens * each.cached + used.output_tokens * each.output for each in rates
        )

    def worst_usd(self, input_tokens: int, output_tokens: int) -> float:
        """The most that a call of so many tokens can cost: nothing cached, at the dearest hour."""
        price = self.prices.at(self.deployment, datetime.now(UTC))
        rates = [self._rates(price, peak) for peak in (0.0, 1.0)]
        return max(input_tokens * max(each.fresh, each.cached) + output_tokens * each.output for each in rates)

    def _rates(self, price: Price, peak: float) -> Rates:
        """USD of a token of each kind, read off the price once."""
        key = id(price), peak
        if key not in self._known:
            self._known[key] = Rates(*price.usd([1, 1, 0], [0, 1, 0], [0, 0, 1], peak).tolist())
        return self._known[key]


class Rates(NamedTuple):
    """USD of a token: of input, of input from the cache, of output."""

    fresh: float
    cached: float
    output: float


class Budget:
    """A limit in USD, what is spent of it (on a board, for all to see), and what is reserved for calls in flight."""

    def __init__(self, limit_usd: float, board: Board) -> None:
        self.limit_usd = limit_usd
        self.reserved_usd = 0.0
        self._board = board
        self._changed = asyncio.Condition()
        self._holders = 0

    @property
    def left_usd(self) -> float:
        return self.limit_usd - self._board.charged_usd - self.reserved_usd

    async def reserve(self, worst_usd: float, calls: int) -> bool:
        """Reserve what some calls can cost at most; waits for those in flight, which mostly cost less than they can.

        Args:
            worst_usd: of all of them.
            calls: how many, each to be settled.

        Returns:
            False where there is no room, and nothing in flight that could make some.
        """
        async with self._changed:
            while worst_usd > self.left_usd:
                if not self._holders:
                    return False
                await self._changed.wait()
            self.reserved_usd += worst_usd
            self._holders += calls
            return True

    async def settle(self, worst_usd: float, charged_usd: float) -> None:
        """End the reservation of one call with what is charged for it."""
        async with self._changed:
            self._holders -= 1
            # Without anything in flight nothing is reserved: rounding must not add up.
            self.reserved_usd = self.reserved_usd - worst_usd if self._holders else 0.0
            self._board.charged_usd += charged_usd
            self._changed.notify_all()
