"""The bodies of replies."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from pipeline.simulate.asked import BYTES_PER_TOKEN, Asked
from pipeline.simulate.made import Said

FINGERPRINT, OTHER_FINGERPRINT = "simulated-fp-1", "simulated-fp-2"
OTHER_MODEL = "simulated-other-2026-11"
# USD per million tokens.
PRICES = {
    "flash": {"input": 0.15, "cached": 0.003, "output": 0.60},
    "pro": {"input": 0.66, "cached": 0.022, "output": 1.98},
    "judge": {"input": 0.66, "cached": 0.022, "output": 1.98},
}
# Reasoning tokens of the easiest task, and for each unit of log-odds that a task takes from the tier.
REASONING = {"flash": (20, 10), "pro": (60, 60), "judge": (40, 0)}
EFFORT = {"low": 0.4, "medium": 0.7, "high": 1.0, "max": 2.0}
MUSING = "Simulated reasoning. " * 2_000
CACHE_UNIT = 64  # tokens
MOST_CACHED = 0.8
# Mean log-probability of a right and of a wrong answer's tokens, as medians, and how much it varies (log-normal).
DOUBT = {True: 0.08, False: 0.17}
DOUBT_SPREAD = 0.6


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is billed: tokens of the input, those of them from the cache, of the output, those of it of reasoning."""

    input: int
    cached: int
    output: int
    reasoning: int

    def usd(self, tier: str) -> float:
        """What they cost."""
        price = PRICES[tier]
        fresh = (self.input - self.cached) * price["input"]
        return (fresh + self.cached * price["cached"] + self.output * price["output"]) / 1e6

    def usage(self) -> dict[str, Any]:
        """As a reply states them."""
        return {
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "prompt_cache_hit_tokens": self.cached,
            "prompt_cache_miss_tokens": self.input - self.cached,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


@dataclass(frozen=True, slots=True)
class Answering:
    """What a tier is about to say to a request.

    Attributes:
        tier: "flash", "pro" or "judge".
        said: the answer.
        right: whether it is; None for what is no task.
        burden: log-odds that the task takes from the tier, >= 0: more of them, more reasoning.
        chance: numbers in [0, 1) that vary the rest.
        other: whether another model answers.
    """

    tier: str
    said: Said
    right: bool | None
    burden: float
    chance: tuple[float, ...]
    other: bool = False

    def reply(self, asked: Asked, number: int, now: float) -> tuple[dict[str, Any], Tokens]:
        """The body of the reply and what is billed for it.

        Args:
            asked: the request.
            number: of the request, for its id.
            now: seconds since 1970.
        """
        calls = [_call(at, *call) for at, call in enumerate(self.said.calls)]
        text = self.said.text
        size = _tokens(text) + sum(_tokens(json.dumps(call["function"])) for call in calls)
        reasoning, room = self._reasoning(asked), asked.max_tokens or math.inf
        cut = reasoning + size > room
        if cut:
            reasoning = int(min(reasoning, room))
            size = int(room) - reasoning
            text, calls = text.encode()[: size * BYTES_PER_TOKEN].decode(errors="ignore"), []
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if asked.thinking:
            message["reasoning_content"] = MUSING[: reasoning * BYTES_PER_TOKEN]
        if calls:
            message["tool_calls"] = calls
        finish = "length" if cut else "tool_calls" if calls else "stop"
        probabilities = {"content": self._logprobs(text)} if asked.logprobs and text else None
        tokens = Tokens(asked.tokens, self._cached(asked.tokens), reasoning + size, reasoning)
        body = {
            "id": f"simulated-{number}",
            "object": "chat.completion",
            "created": int(now),
            "model": OTHER_MODEL if self.other else f"simulated-{self.tier}-2026-11",
            "system_fingerprint": OTHER_FINGERPRINT if self.other else FINGERPRINT,
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": probabilities}],
            "usage": tokens.usage(),
        }
        return body, tokens

    def _reasoning(self, asked: Asked) -> int:
        least, each = REASONING[self.tier]
        spread = 0.75 + self.chance[0] / 2
        return round((least + each * self.burden) * EFFORT[asked.effort] * spread) if asked.thinking else 0

    def _cached(self, tokens: int) -> int:
        return int(tokens * MOST_CACHED * self.chance[1]) // CACHE_UNIT * CACHE_UNIT

    def _logprobs(self, text: str) -> list[dict[str, Any]]:
        """Of each token; their mean says something of whether the answer is right, and not all."""
        normal = math.sqrt(-2 * math.log(1 - self.chance[2])) * math.cos(2 * math.pi * self.chance[3])
        mean = -DOUBT[self.right is not False] * math.exp(DOUBT_SPREAD * normal)
        pieces = [text[at : at + BYTES_PER_TOKEN] for at in range(0, len(text), BYTES_PER_TOKEN)]
        # Every other token is surer by as much as the next is less sure, so that the mean stays what it is.
        shares = [1.0 + (0.5 - at % 2) * (at < len(pieces) // 2 * 2) for at in range(len(pieces))]
        return [
            {"token": piece, "logprob": mean * share, "bytes": list(piece.encode()), "top_logprobs": []}
            for piece, share in zip(pieces, shares, strict=True)
        ]


def _call(at: int, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"index": at, "id": f"call_simulated_{at}", "type": "function", "function": function}


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
