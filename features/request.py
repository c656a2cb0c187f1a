"""What is known before the choice: a request, from a bare prompt or a chat-completions payload."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.errors import RequestError

LARGEST_EXACT = 2**53  # beyond it JavaScript rounds whole numbers
# Where there may be such a number in compact JSON; inside a text it is none, which a closer look tells.
ODD_NUMBER = re.compile(r"[:,\[](?:-?\d+[.e]|-?\d{16}|-?I|N)")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Request:
    """The inputs of `router.onnx`, and nothing else: no outcome can leak into a feature.

    Attributes:
        prompt: text of the last user message, its text parts joined by a line break; made `legible`.
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
        object.__setattr__(self, "prompt", legible(self.prompt))

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Request:
        """Read a chat-completions request body, as `json.loads` gives it.

        Raises:
            RequestError: no messages, no user message, a field of the wrong type, or tools that are no JSON or nested
                too deep; names the field. Nothing else is raised, whatever the payload.
        """
        if not isinstance(payload, Mapping):
            raise RequestError(f"payload: expected an object with messages, got {_kind(payload)}")
        messages = _sequence(payload, "messages", "payload")
        tools = _sequence(payload, "tools", "payload", optional=True)
        for at, message in enumerate(messages):
            if not isinstance(message, Mapping):
                raise RequestError(
                    f"messages[{at}]: expected an object with a role and a content, got {_kind(message)}"
                )
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
    """UTF-8 bytes of the tool definitions as compact JSON in their own key order; 0 when there are none.

    The JSON is the one of the web, what `JSON.stringify` writes of what `JSON.parse` read: 1.0 is `1`, whole numbers
    beyond 2**53 are rounded, infinity is `null`, and a lone surrogate is an escape of six bytes.

    Raises:
        RequestError: not JSON, or nested too deep.
    """
    if not tools:
        return 0
    try:
        text = json.dumps(tools, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"payload.tools: expected JSON values, not nested too deep: {error}") from error
    odd = _spelled_otherwise(tools) if ODD_NUMBER.search(text) else ()
    longer = sum(len(_in_javascript(number)) - len(json.dumps(number)) for number in odd)
    try:
        return len(text.encode()) + longer
    except UnicodeEncodeError:
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return byte_length(paired) + 3 * len(LONE_SURROGATE.findall(paired)) + longer


def byte_length(text: str) -> int:
    """UTF-8 bytes of the text."""
    return len(text) if text.isascii() else len(well_formed(text).encode())


def legible(text: str) -> str:
    """The text as any runtime can take it: well formed, and NUL, where many bindings end a text, as U+FFFD too."""
    return well_formed(text).replace("\0", "\ufffd")


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
        raise RequestError(f"{place}.content: expected text or a list of parts, got {_kind(content)}")
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


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _spelled_otherwise(value: Any) -> Iterator[float]:
    """The numbers in a JSON value that JavaScript may spell in another way than Python."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        # Text is by far the most of it. A union of types would be built anew for each value.
        if isinstance(each, str):
            continue
        if isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, (list, tuple)):
            waiting.extend(each)
        elif isinstance(each, float) or (isinstance(each, int) and abs(each) > LARGEST_EXACT):
            yield each


def _in_javascript(number: float) -> str:
    """The number as `JSON.stringify` writes it: ECMA-262, Number::toString.

    >>> [_in_javascript(number) for number in (1.0, -0.0, 1e-6, 1.5e-7, 1e20, 1e21, 10**400)]
    ['1', '0', '0.000001', '1.5e-7', '100000000000000000000', '1e+21', 'null']
    """
    try:
        value = float(number)
    except OverflowError:
        return "null"
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    # Both languages choose the shortest digits that read back as the same number; only their layout differs.
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(power or 0)
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        laid_out = digits[:point].ljust(point, "0") + ("." + digits[point:]).rstrip(".")
    elif -6 < point <= 0:
        laid_out = "0." + "0" * -point + digits
    else:
        laid_out = f"{digits[0]}.{digits[1:]}".rstrip(".") + f"e{point - 1:+d}"
    return "-" * (value < 0) + laid_out
