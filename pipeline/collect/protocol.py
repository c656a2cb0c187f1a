"""Chat completions as they stand on the wire: requests to send, replies to read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.request import byte_length, well_formed
from pipeline.collect.failures import CallError
from pipeline.endpoint import Endpoint
from pipeline.grade.answer import Answer, ToolCall

# What a chat template may add to the bytes of the texts, in tokens: generous, since it is for worst cases.
TOKENS_OF_A_MESSAGE = 32
TOKENS_OF_A_TEMPLATE = 1024
LARGEST_LOGPROB = 1e6  # in size: neither infinite nor a slip
# DeepSeek ends so when it had to give up on an answer.
INTERRUPTED = "insufficient_system_resource"
CUT = "length"  # the answer ended at the output limit
# No call takes more; what says so is no usage.
MOST_TOKENS = 2_000_000


@dataclass(frozen=True, slots=True)
class Used:
    """What a call took, in tokens.

    Attributes:
        input_tokens: cached ones included.
        cached_tokens: those of the input that the cache served.
        output_tokens: reasoning included.
        reasoning_tokens: those of the output; None where not said.
    """

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was read.

    Attributes:
        answer: of the model.
        model: that really answered, "" where not said.
        fingerprint: of what really answered, "" where not said.
        used: None where usage is missing or cannot be true.
        doubt: why usage was not believed, or that it is more than the request allows; else "".
        confidence: in [0, 1], exponential of the mean log-probability of the answer's tokens; None where not given.
        finish: why the answer ended.
        text: the whole body.
    """

    answer: Answer
    model: str
    fingerprint: str
    used: Used | None
    doubt: str
    confidence: float | None
    finish: str
    text: str


def body_of(asked: Mapping[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """The request for what a task asks, as an endpoint takes it.

    DeepSeek wants the reasoning of earlier turns back where tools are offered, and does not want it elsewhere.
    """
    body = {**endpoint.body, **asked, "model": endpoint.model, endpoint.output_limit_name: endpoint.output_limit}
    if endpoint.thinking is not None:
        body["thinking"] = {"type": "enabled" if endpoint.thinking else "disabled"}
    if endpoint.effort is not None:
        body["reasoning_effort"] = endpoint.effort
    if endpoint.logprobs:
        body["logprobs"] = True
    body["messages"] = [_sent(message, bool(asked.get("tools"))) for message in asked["messages"]]
    return body


def _sent(message: Mapping[str, Any], with_tools: bool) -> Mapping[str, Any]:
    if "reasoning_content" not in message or with_tools:
        return message
    return {name: value for name, value in message.items() if name != "reasoning_content"}


def most_input_tokens(asked: str, messages: int) -> int:
    """Tokens that a request's input cannot exceed: none is shorter than a byte, plus what templates add.

    Args:
        asked: what a task asks, as JSON.
        messages: how many there are.
    """
    return byte_length(asked) + TOKENS_OF_A_TEMPLATE + TOKENS_OF_A_MESSAGE * messages


def other_parts(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many parts of messages are not text."""
    contents = [message.get("content") for message in messages]
    return sum(part.get("type") != "text" for content in contents if isinstance(content, list) for part in content)


def read(text: str, endpoint: Endpoint, most_input: int) -> Reply:
    """A reply of a status that says success.

    Args:
        text: the body; blank lines before the JSON are an endpoint's way of keeping the connection alive.
        endpoint: that was asked.
        most_input: input tokens that the request cannot exceed.

    Raises:
        CallError: not a chat completion, or an interrupted one. It has to be taken as paid for.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise CallError("malformed body", "not JSON", paid=True, reply=text) from None
    try:
        choice = body["choices"][0]
        answer = _answer(choice["message"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError):
        said = json.dumps(body["error"])[:200] if isinstance(body, dict) and "error" in body else "no message in it"
        raise CallError("malformed body", said, paid=True, reply=text) from None
    finish = _text(choice.get("finish_reason"))
    if finish == INTERRUPTED:
        raise CallError("interrupted by the endpoint", finish, paid=True, reply=text)
    used, doubt = usage(body.get("usage"), endpoint.output_limit, most_input)
    return Reply(
        answer=answer,
        model=_text(body.get("model")),
        fingerprint=_text(body.get("system_fingerprint")),
        used=used,
        doubt=doubt,
        confidence=_confidence(choice.get("logprobs")),
        finish=finish,
        text=text,
    )


def finish_in(text: str) -> str:
    """Why the answer in a body that was read before ended."""
    return _text(json.loads(text)["choices"][0].get("finish_reason"))


def answer_in(text: str) -> Answer:
    """The answer in a body that was read before."""
    return _answer(json.loads(text)["choices"][0]["message"])


def _answer(message: Mapping[str, Any]) -> Answer:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if content is not None and not isinstance(content, str):
        raise ValueError("content is not text")
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    found = tuple(ToolCall(_text(call["name"]), _arguments(call.get("arguments"))) for call in calls)
    return Answer(well_formed(content or ""), found)


def _arguments(given: Any) -> str:
    """Arguments are JSON text by the protocol; some endpoints send the object itself."""
    return well_formed(given) if isinstance(given, str) else json.dumps(given or {})


def _text(value: Any) -> str:
    return well_formed(value) if isinstance(value, str) else ""


def usage(table: Any, most_output: int, most_input: int) -> tuple[Used | None, str]:
    """What a reply says that it took, and why that cannot be true.

    Args:
        table: the reply's `usage`.
        most_output: the output limit of the request.
        most_input: tokens that its input cannot exceed.

    Returns:
        None and the reason where it cannot be true, else the usage and "", or that it is more than was allowed.
    """
    if not isinstance(table, Mapping):
        return None, "no usage"
    details, prompt = (_table(table, f"{kind}_tokens_details") for kind in ("completion", "prompt"))
    counts = [
        table.get("prompt_tokens"),
        table.get("prompt_cache_hit_tokens", prompt.get("cached_tokens")) or 0,
        table.get("completion_tokens"),
        details.get("reasoning_tokens") or 0,
    ]
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        return None, "usage is not made of counts"
    given, cached, output, reasoning = (int(count or 0) for count in counts)
    if cached > given or reasoning > output:
        return None, "a part of usage is more than the whole"
    if given + output > MOST_TOKENS:
        return None, "usage is more than any request can take"
    doubt = "usage is more than the request allows" if given > most_input or output > most_output else ""
    return Used(given, cached, output, reasoning if "reasoning_tokens" in details else None), doubt


def _table(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, Mapping) else {}


def _confidence(logprobs: Any) -> float | None:
    tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not tokens or not isinstance(tokens, list):
        return None
    values = [token.get("logprob") for token in tokens if isinstance(token, Mapping)]
    known = [float(value) for value in values if isinstance(value, int | float) and abs(value) < LARGEST_LOGPROB]
    return math.exp(min(0.0, sum(known) / len(known))) if len(known) == len(tokens) else None
