"""What the tiers' answers took, as far as the traces say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Amounts = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Usage:
    """Of N requests at flash and pro, float32[N, 2] each, NaN where not known.

    Tokens, latency and cost are those of one attempt.

    Attributes:
        input_tokens: cached ones included.
        cached_tokens: those of the input that the provider had in its cache.
        output_tokens: reasoning included.
        latency_s: seconds until the answer was complete.
        cost_usd: as billed.
        attempts: made until an answer was accepted or none was hoped for any more.
        confidence: of the model in its own answer, in [0, 1].
    """

    input_tokens: Amounts
    cached_tokens: Amounts
    output_tokens: Amounts
    latency_s: Amounts
    cost_usd: Amounts
    attempts: Amounts
    confidence: Amounts

    def take(self, rows: NDArray[np.integer]) -> Usage:
        """Of some requests, in that order."""
        return Usage(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Usage]) -> Usage:
        """One after the other."""
        return cls(**{item.name: np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)})


COLUMNS = tuple(item.name for item in fields(Usage))
# What a column may not exceed, because it is a part of the other.
PARTS_OF = {"cached_tokens": "input_tokens", "reasoning_tokens": "output_tokens"}
