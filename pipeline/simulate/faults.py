"""What may befall a request, and what the client then sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.utils import formatdate
from random import Random
from typing import Any

Usage = dict[str, Any]

# Rejections come before a token is generated, so they cost nothing. The status, None where no reply comes at all.
REJECTIONS: dict[str, int | None] = {
    "limit_seconds": 429,
    "limit_date": 429,
    "limit_bare": 429,
    "error_500": 500,
    "error_503": 503,
    "closed": None,
}
# Usage that cannot be what was billed.
WRONG_USAGE: dict[str, Callable[[Usage], Usage | None]] = {
    "usage_missing": lambda _: None,
    "usage_negative": lambda usage: usage | {"completion_tokens": -usage["completion_tokens"]},
    "usage_text": lambda usage: usage | {"prompt_tokens": "many", "completion_tokens": "some"},
    "usage_cached": lambda usage: usage | {"prompt_cache_hit_tokens": usage["prompt_tokens"] + 1_000},
    "usage_huge": lambda usage: usage | {"completion_tokens": 10**15, "total_tokens": 10**15},
}
# The rest: late; cut off in the middle; no JSON; answered by a worse model; blank lines before the JSON, which are no
# error; broken off for want of resources.
KINDS = (*REJECTIONS, *WRONG_USAGE, "slow", "cut_off", "malformed", "other_model", "blank_lines", "insufficient")


class Faults:
    """Draws what befalls each request as it arrives, so that another attempt may succeed.

    Args:
        share: in [0, 1], of the requests.
        kinds: equally likely.
        seed: of the drawing.
    """

    def __init__(self, share: float, kinds: Sequence[str], seed: int) -> None:
        self.share, self.kinds = share, tuple(kinds)
        self.random = Random(seed)  # noqa: S311  # no secret

    def next(self) -> str | None:
        """The fault of the next request; None: none."""
        return self.random.choice(self.kinds) if self.random.random() < self.share else None


def retry_after(fault: str, now: float, seconds: int) -> dict[str, str]:
    """The header that says when to come again, if the fault has one."""
    values = {"limit_seconds": str(seconds), "limit_date": formatdate(now + seconds, usegmt=True)}
    return {"retry-after": values[fault]} if fault in values else {}


def spoiled(fault: str | None, body: dict[str, Any]) -> dict[str, Any]:
    """A reply with wrong usage or broken off, where that is the fault."""
    if fault in WRONG_USAGE:
        usage = WRONG_USAGE[fault](body["usage"])
        return {key: value for key, value in (body | {"usage": usage}).items() if value is not None}
    if fault == "insufficient":
        choice = body["choices"][0]
        text = choice["message"]["content"] or ""
        message = {"role": "assistant", "content": text[: len(text) // 2]}
        return body | {"choices": [choice | {"message": message, "finish_reason": "insufficient_system_resource"}]}
    return body
