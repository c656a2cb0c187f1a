"""A chat request: what its caller said, and what a tier is sent in its stead."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.endpoint import Endpoint
from pipeline.serve.bodies import Refusal
from pipeline.serve.headers import Headers
from pipeline.serve.spelling import Spelled, elements, members, spelled

LONGEST_DEADLINE_S = 86_400.0
OWN_DEADLINE = b"x-tier-router-deadline"
# What OpenAI's own clients say of their time-outs.
CLIENTS_DEADLINES = (b"x-stainless-read-timeout", b"x-stainless-timeout")
# Each has its say in how much a model reasons, and they may contradict one another.
REASONING = ("thinking", "reasoning_effort", "reasoning")


@dataclass(frozen=True, slots=True)
class Chat:
    """A request as it came.

    Attributes:
        said: members of its body.
        model: that it asks for.
    """

    said: Mapping[str, Spelled]
    model: str

    @classmethod
    def read(cls, body: bytes) -> Chat:
        """Read the body of a request.

        Raises:
            Refusal: not a JSON object in UTF-8, or one without a model.
        """
        try:
            said = members(body.decode("utf-8-sig"))
        except ValueError as error:
            said_so = f"the body is no JSON object in UTF-8 ({error}): send a chat-completions request"
            raise Refusal(400, "invalid_json", said_so) from None
        model = said["model"].value if "model" in said else None
        if not isinstance(model, str):
            raise Refusal(400, "invalid_model", 'model: expected a text: say "auto", or a tier', "model")
        return cls(said, model)

    @property
    def payload(self) -> dict[str, Any]:
        """The body as `json.loads` gives it."""
        return {name: member.value for name, member in self.said.items()}

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come in pieces."""
        return self.value("stream") is True

    @property
    def asks_logprobs(self) -> bool:
        """Whether the caller wants log-probabilities."""
        return bool(self.value("logprobs"))

    def body_for(self, endpoint: Endpoint, *, logprobs: bool = False) -> bytes:
        """What a tier is sent: what the caller said, to the letter, and what the tier's settings add to it.

        Args:
            endpoint: of the tier.
            logprobs: ask for log-probabilities as well.
        """
        text = {name: member.text for name, member in self.said.items()}
        text["model"] = json.dumps(endpoint.model)
        for name, value in self._added(endpoint):
            text.setdefault(name, json.dumps(value))
        if logprobs:
            text["logprobs"] = "true"
        if not self.value("tools") and _any_reasoning(self.value("messages")):
            text["messages"] = _without_reasoning(text["messages"])
        return spelled(text).encode()

    def _added(self, endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
        yield from endpoint.body.items()
        if any(name in self.said for name in REASONING):
            return
        if endpoint.thinking is not None:
            yield "thinking", {"type": "enabled" if endpoint.thinking else "disabled"}
        if endpoint.effort is not None:
            yield "reasoning_effort", endpoint.effort

    def value(self, name: str) -> Any:
        """What the caller said under a name; None: nothing, or null."""
        return self.said[name].value if name in self.said else None


def deadline(headers: Headers, standard_s: float) -> float:
    """Seconds that an answer may take.

    Args:
        headers: of the request; OpenAI's clients put their time-out there, 600 seconds where nobody chose one.
        standard_s: the most, unless X-Tier-Router-Deadline states more.

    Raises:
        Refusal: X-Tier-Router-Deadline says no such number.
    """
    stated = {name: text for name, text in headers if name == OWN_DEADLINE or name in CLIENTS_DEADLINES}
    if OWN_DEADLINE in stated:
        if (own := _seconds(stated[OWN_DEADLINE])) is None:
            said_so = f"{OWN_DEADLINE.decode()}: expected seconds, more than 0, at most {LONGEST_DEADLINE_S:,.0f}"
            raise Refusal(400, "invalid_header", said_so, OWN_DEADLINE.decode())
        return own
    known = (_seconds(stated[name]) for name in CLIENTS_DEADLINES if name in stated)
    return min(standard_s, next((seconds for seconds in known if seconds is not None), standard_s))


def _seconds(text: bytes) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and 0 < seconds <= LONGEST_DEADLINE_S else None


def _any_reasoning(messages: Any) -> bool:
    return isinstance(messages, list) and any(
        isinstance(message, dict) and "reasoning_content" in message for message in messages
    )


def _without_reasoning(messages: str) -> str:
    """The messages without the reasoning of earlier turns: DeepSeek wants it back only where tools are offered."""
    kept = []
    for message in elements(messages):
        if isinstance(message.value, dict):
            parts = {name: member.text for name, member in members(message.text).items() if name != "reasoning_content"}
            kept.append(spelled(parts))
        else:
            kept.append(message.text)
    return f"[{','.join(kept)}]"
