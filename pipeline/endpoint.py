"""Where a tier answers and what it may be asked: one deployment behind the chat-completions protocol."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from features.errors import InputError
from pipeline.tables import Strict

LARGEST = 1e9  # more of anything is a slip
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # hardly ever a key
# What the collector says itself, so that no second copy in `body` contradicts it.
RESERVED = (
    "messages", "model", "stream", "stream_options", "tools", "tool_choice", "response_format", "thinking",
    "reasoning_effort", "max_tokens", "max_completion_tokens", "logprobs",
)  # fmt: skip
# Several answers for one would cost several times what a budget counts with.
SEVERAL = ("n", "best_of")

Name = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400)]
Some = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
AtMost = Annotated[float, Field(strict=True, gt=0, le=LARGEST)]


def _address(url: str) -> str:
    parts = urlsplit(url)
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or parts.port == 0:
        raise ValueError('expected an address such as "https://api.deepseek.com"')
    return url.rstrip("/").removesuffix("/chat/completions")


def _may_hold_key(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "@" in url or "?" in url
    return bool(parts.username or parts.password or parts.query or parts.fragment)


def _extras(body: dict[str, Any]) -> dict[str, Any]:
    for key in body:
        if key in RESERVED:
            raise ValueError(f"'{key}' has a key of its own or comes from the task: take it out of body")
        if key in SEVERAL:
            raise ValueError(f"'{key}' asks for several answers, and one is kept: take it out of body")
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("expected what JSON can say: texts, finite numbers, true, false, lists and tables") from None
    return body


class Endpoint(Strict):
    """A model *and* an effort at an address, with the limits to keep there.

    Attributes:
        model: id to ask for, and name for people; None: nothing can be asked.
        base_url: address up to `/chat/completions`.
        key_env: name of the environment variable that holds the key; None: no key is sent.
        thinking: whether the model reasons first; None: as the endpoint does by itself.
        effort: of the reasoning, such as "high"; None: as the endpoint does by itself.
        output_limit: >= 1, most tokens of an answer, reasoning included; the worst case that a budget counts with.
        part_tokens: >= 1, most input tokens of an image, file or other part that is not text; None: tasks with such
            parts are refused, because their worst case is not known.
        output_limit_name: the request's field for it.
        logprobs: ask for log-probabilities, whose mean becomes the answer's confidence.
        body: further fields of the request, such as { temperature = 0.0 }.
        concurrency: >= 1, most calls at once.
        requests_per_minute: > 0, or None for no limit; tries after a failure count too.
        tokens_per_minute: > 0, or None for no limit; input and output.
        tries: >= 1, most tries of a call in one run.
        connect_timeout_s: > 0, seconds until connected.
        read_timeout_s: > 0, seconds without a byte; an endpoint may send blank lines to stay below it.
        call_timeout_s: > 0, seconds of a whole call.
    """

    model: Name | None = None
    base_url: Annotated[str, AfterValidator(_address)] | None = None
    key_env: str | None = None
    thinking: bool | None = None
    effort: Name | None = None
    output_limit: Some = 8192
    part_tokens: Some | None = None
    output_limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    logprobs: bool = False
    body: Annotated[dict[str, Any], AfterValidator(_extras)] = Field(default_factory=dict)
    concurrency: Some = 16
    requests_per_minute: AtMost | None = None
    tokens_per_minute: AtMost | None = None
    tries: Some = 6
    connect_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 300.0
    call_timeout_s: Seconds = 900.0

    @model_validator(mode="before")
    @classmethod
    def _no_key(cls, table: Any) -> Any:
        """Refuse keys before the fields are looked at: a complaint about a field would show its value."""
        given = table if isinstance(table, Mapping) else {}
        url, variable = given.get("base_url"), given.get("key_env")
        if isinstance(url, str) and _may_hold_key(url):
            raise ValueError(
                "base_url: expected no user, password or query in it: a key belongs in the variable that key_env names"
            )
        if isinstance(variable, str) and not VARIABLE.fullmatch(variable):
            raise ValueError("key_env: expected the name of an environment variable in capitals, not the key itself")
        return table

    @property
    def url(self) -> str:
        return f"{self.base_url}/chat/completions"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes an answer this tier's: with any of it changed, answers of before are another tier's."""
        return {name: getattr(self, name) for name in ("model", "thinking", "effort", "output_limit", "body")}


def key_of(endpoint: Endpoint, place: str) -> str | None:
    """The endpoint's key, from the environment.

    Args:
        endpoint: whose key.
        place: the table of the file, such as "tiers.flash", for complaints.

    Raises:
        InputError: the variable is not set, or holds what cannot be a key; the message never shows it.
    """
    if endpoint.key_env is None:
        return None
    key = os.environ.get(endpoint.key_env, "").strip()
    if not key:
        raise InputError(f"{place}.key_env: the environment variable {endpoint.key_env} is not set: export it")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"{place}.key_env: {endpoint.key_env} holds characters that no key has: export it again")
    return key
