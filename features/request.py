"""What is known before the choice: a request, from a bare prompt or a chat-completions payload."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.errors import RequestError


@dataclass(frozen=True, slots=True)
class Request:
    """The inputs of `router.onnx`, and nothing else: no outcome can leak into a feature.

    Attributes:
        prompt: text of the last user message, its text parts joined by a line break.
        context_bytes: UTF-8 bytes of the text of all other messages plus the tool definitions, >= 0.
        tool_count: tools offered, >= 0.
        turn_count: messages so far, >= 0; 1 for a bare prompt.
        other_modalities: kinds of the parts that are not text ("image_url", ...), in order of appearance.
    """

    prompt: str
    context_bytes: int = 0
    tool_count: int = 0
    turn_count: int = 1
    other_modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", well_formed(self.prompt))

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Request:
        """Read a chat-completions request body.

        Raises:
            RequestError: no messages, no user message, or a field of the wrong type; names the field.
        """
        messages = _sequence(payload, "messages", "payload")
        tools = _sequence(payload, "tools", "payload", optional=True)
        if not all(isinstance(message, Mapping) for message in messages):
            raise RequestError("messages: every message must be an object with a role and a content")
        users = [at for at, message in enumerate(messages) if message.get("role") == "user"]
        if not users:
            raise RequestError("messages: there is no message with role 'user', so there is no prompt to judge")
        modalities: list[str] = []
        texts = [_text(message, f"messages[{at}]", modalities) for at, message in enumerate(messages)]
        others = sum(byte_length(text) for at, text in enumerate(texts) if at != users[-1])
        return cls(
            prompt=texts[users[-1]],
            context_bytes=others + tools_bytes(tools),
            tool_count=len(tools),
            turn_count=len(messages),
            other_modalities=tuple(dict.fromkeys(modalities)),
        )


def tools_bytes(tools: Sequence[Any]) -> int:
    """UTF-8 bytes of the tool definitions as compact JSON in their own key order; 0 when there are none."""
    return byte_length(json.dumps(tools, ensure_ascii=False, separators=(",", ":"))) if tools else 0


def byte_length(text: str) -> int:
    """UTF-8 bytes of the text."""
    return len(text) if text.isascii() else len(well_formed(text).encode())


def well_formed(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD, as every UTF-8 encoder of the web does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _text(message: Mapping[str, Any], place: str, modalities: list[str]) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise RequestError(f"{place}.content: expected text or a list of parts, got {type(content).__name__}")
    texts = []
    for at, part in enumerate(content):
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise RequestError(f"{place}.content[{at}]: expected an object with a type, such as {{'type': 'text'}}")
        if part["type"] != "text":
            modalities.append(part["type"])
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise RequestError(f"{place}.content[{at}].text: expected text")
    return "\n".join(texts)


def _sequence(holder: Mapping[str, Any], name: str, place: str, *, optional: bool = False) -> Sequence[Any]:
    value = holder.get(name)
    if value is None and optional:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence) or (not value and not optional):
        raise RequestError(f"{place}.{name}: expected a {'' if optional else 'non-empty '}list")
    return value
