"""What a tier may be asked at all, whatever the router expects of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from features.request import Request, byte_length

# A token of English takes some 3.3 bytes and one of Chinese some 5 (DeepSeek's documentation on token usage); code and
# figures take less, and a request that does not fit is worse than one that goes to the other tier.
BYTES_PER_TOKEN = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be asked of a tier; None stands for no limit.

    Attributes:
        context_tokens: of the whole input, estimated from its bytes.
        output_tokens: that a request may allow for.
        tools: offered.
        modalities: kinds of parts besides text, such as "image_url", that it takes.
        first_token_s: seconds until its first token, for real-time requests.
    """

    context_tokens: int | None = None
    output_tokens: int | None = None
    tools: int | None = None
    modalities: tuple[str, ...] = ()
    first_token_s: float | None = None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Limits:
        """Limits from the plain values of a manifest."""
        return cls(**{**table, "modalities": tuple(table.get("modalities", ()))})


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request takes of a tier.

    Attributes:
        request: as the router sees it.
        output_tokens: that it allows for; None: it does not say.
        first_token_s: seconds that its first token may take; None: it can wait.
    """

    request: Request
    output_tokens: int | None = None
    first_token_s: float | None = None

    def beyond(self, limits: Limits) -> tuple[str, str] | None:
        """The first limit that the request exceeds, by name and in words; None: the tier may be asked."""
        if (size := self.input_tokens) > (most := limits.context_tokens or size):
            return "context", f"about {size:,} tokens of input, at most {most:,} are allowed"
        if (asked := self.output_tokens or 0) > (most := limits.output_tokens or asked):
            return "output", f"{asked:,} tokens of output asked for, at most {most:,} are allowed"
        if limits.tools is not None and self.request.tool_count > limits.tools:
            return "tools", f"{self.request.tool_count:,} tools offered, at most {limits.tools:,} are allowed"
        if lacking := [kind for kind in self.request.other_modalities if kind not in limits.modalities]:
            return "modality", f"{', '.join(lacking)} is not taken"
        if self.first_token_s is not None and (limits.first_token_s or 0) > self.first_token_s:
            return "realtime", f"its first token takes {limits.first_token_s:g} s, {self.first_token_s:g} s are left"
        return None

    @property
    def input_tokens(self) -> int:
        """Estimate of the input's tokens."""
        return int((byte_length(self.request.prompt) + self.request.context_bytes) / BYTES_PER_TOKEN)
