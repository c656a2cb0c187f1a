"""What a tier may be asked at all, whatever the router expects of its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from features.request import Request, byte_length

# A token of English takes some 3.3 bytes and one of Chinese some 5 (DeepSeek's documentation on token usage); code and
# figures take less, and a request that does not fit is worse than one that goes to the other tier.
BYTES_PER_TOKEN = 3.0
KIND = re.compile(r"[a-z_]{1,40}")
MOST_NAMED = 3
# What a request may allow its answer to take stands in either.
OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")


class Limits(NamedTuple):
    """What may be asked of a tier; None stands for no limit.

    Attributes:
        context_tokens: of the whole input, estimated from its bytes.
        output_tokens: that a request may allow for.
        tools: offered.
        modalities: kinds of parts besides text, such as "image_url", that it takes; () stands for text alone.
        first_token_s: seconds until its first token, for real-time requests.
    """

    context_tokens: int | None = None
    output_tokens: int | None = None
    tools: int | None = None
    modalities: tuple[str, ...] | None = None
    first_token_s: float | None = None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Limits:
        """Limits from the plain values of a manifest."""
        modalities = table.get("modalities")
        return cls(**{**table, "modalities": None if modalities is None else tuple(modalities)})


class Needs(NamedTuple):
    """What a request takes of a tier.

    Attributes:
        request: as the router sees it.
        output_tokens: that it allows for; None: it does not say.
        first_token_s: seconds that its first token may take; None: it can wait.
    """

    request: Request
    output_tokens: int | None = None
    first_token_s: float | None = None

    @classmethod
    def of(cls, payload: Mapping[str, Any], first_token_s: float | None = None) -> Needs:
        """What a chat-completions body takes.

        Raises:
            RequestError: as `Request.from_payload`.
        """
        limits = [payload.get(name) for name in OUTPUT_LIMITS]
        asked = [limit for limit in limits if isinstance(limit, int) and not isinstance(limit, bool)]
        return cls(Request.from_payload(payload), asked[0] if asked else None, first_token_s)

    def beyond(self, limits: Limits) -> tuple[str, str] | None:
        """The first limit that the request exceeds, by name and in words; None: the tier may be asked."""
        if (most := limits.context_tokens) is not None and (size := self.input_tokens) > most:
            return "context", f"about {size:,} tokens of input, at most {most:,} are allowed"
        if (most := limits.output_tokens) is not None and (asked := self.output_tokens or 0) > most:
            return "output", f"{asked:,} tokens of output asked for, at most {most:,} are allowed"
        if limits.tools is not None and self.request.tool_count > limits.tools:
            return "tools", f"{self.request.tool_count:,} tools offered, at most {limits.tools:,} are allowed"
        if (taken := limits.modalities) is not None and (
            lacking := [kind for kind in self.request.other_modalities if kind not in taken]
        ):
            return "modality", f"{_named(lacking)} is not taken"
        if self.first_token_s is not None and (limits.first_token_s or 0) > self.first_token_s:
            return "realtime", f"its first token takes {limits.first_token_s:g} s, {self.first_token_s:g} s are left"
        return None

    @property
    def input_tokens(self) -> int:
        """Estimate of the input's tokens."""
        return int((byte_length(self.request.prompt) + self.request.context_bytes) / BYTES_PER_TOKEN)


def _named(kinds: Sequence[str]) -> str:
    """Kinds of parts, as far as they are names: the caller may have written anything in their place."""
    names = [kind for kind in kinds if KIND.fullmatch(kind)][:MOST_NAMED]
    return ", ".join(names) or "an unknown kind of part"
