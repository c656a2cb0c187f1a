"""A chat-completions request as it arrives, checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.simulate.made import DIGEST_BYTES, canonical

ROLES = ("system", "user", "assistant", "tool", "developer")
EFFORTS = ("low", "medium", "high", "max")
BYTES_PER_TOKEN = 4
LACKS_REASONING = "The `reasoning_content` in the thinking mode must be passed back to the API."
# What may be said of a field besides messages and tools, and what is expected there.
ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": (lambda value: type(value) is int and value > 0, "a whole number above 0"),
    "thinking": (
        lambda value: isinstance(value, Mapping) and value.get("type") in ("enabled", "disabled"),
        'an object with the type "enabled" or "disabled"',
    ),
    "reasoning_effort": (lambda value: value in EFFORTS, f"one of {', '.join(EFFORTS)}"),
    "logprobs": (lambda value: isinstance(value, bool), "true or false"),
    "response_format": (
        lambda value: isinstance(value, Mapping) and value.get("type") in ("text", "json_object", "json_schema"),
        "an object with a type",
    ),
    "stream": (lambda value: value is False, "false, for the simulation does not stream"),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is none.

    Attributes:
        status: of the reply: 400 for what cannot be read, 422 for a value out of its range.
        message: for people.
    """

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        model: that it names.
        digest: of what it asks.
        tokens: of its input.
        prompt: text of the last message.
        thinking: whether the model is to reason first; it is unless told otherwise.
        effort: one of `EFFORTS`.
        max_tokens: of reasoning and answer together; None: no limit.
        logprobs: whether they are asked for.
    """

    model: str
    digest: bytes
    tokens: int
    prompt: str
    thinking: bool
    effort: str
    max_tokens: int | None
    logprobs: bool


def parsed(body: bytes) -> Asked | Refusal:
    """Read a request, or say why it is none."""
    try:
        request = json.loads(body)
        if refusal := _refusal(request):
            return refusal
        what = canonical(request)
    except (ValueError, RecursionError):
        return Refusal(400, "The body is not JSON, or nested too deeply.")
    prompt = request["messages"][-1].get("content")
    return Asked(
        request["model"],
        hashlib.blake2b(what, digest_size=DIGEST_BYTES).digest(),
        len(what) // BYTES_PER_TOKEN,
        prompt if isinstance(prompt, str) else "",
        _thinks(request),
        request.get("reasoning_effort") or "high",
        request.get("max_tokens"),
        bool(request.get("logprobs")),
    )


def _refusal(request: Any) -> Refusal | None:
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        return Refusal(400, "Expected an object with a model.")
    messages, tools = request.get("messages"), request.get("tools")
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        return Refusal(400, f"messages: expected objects with a content and a role, one of {', '.join(ROLES)}.")
    if tools is not None and not isinstance(tools, list):
        return Refusal(400, "tools: expected a list.")
    for name, (allowed, expected) in ALLOWED.items():
        if request.get(name) is not None and not allowed(request[name]):
            return Refusal(422, f"{name}: expected {expected}.")
    if _thinks(request) and any(each.get("tool_calls") and not each.get("reasoning_content") for each in messages):
        return Refusal(400, LACKS_REASONING)
    return None


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        return False
    return isinstance(message.get("content"), str | list) or bool(message.get("tool_calls"))


def _thinks(request: Mapping[str, Any]) -> bool:
    return (request.get("thinking") or {}).get("type") != "disabled"
