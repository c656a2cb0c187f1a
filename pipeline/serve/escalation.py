"""The cascade: whether an answer of flash is one that pro should be asked for as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.collect.protocol import Reply
from pipeline.grade.json_schema import checked, held
from pipeline.grade.json_text import parsed
from pipeline.settings import Serving

SCHEMA, CONFIDENCE = "schema", "confidence"
# Larger ones are not checked: that would take longer than pro.
LARGEST_CHECKED = 1_000_000
# What comes of schemas that are none, which the tier took, so that the answer stands; and of replies that are none.
NO_REPLY = NO_SCHEMA = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


def bound(serving: Serving, manifest: Mapping[str, Any]) -> float | None:
    """Confidence below which an answer of flash is unsure; None: there is no such bound.

    Args:
        serving: what is configured stands above what was tuned.
        manifest: of the version that decides.
    """
    if not serving.cascade:
        return None
    if serving.escalate_below is not None:
        return serving.escalate_below
    tuned: float | None = manifest.get("escalate_below")
    return tuned


def wanted_schema(response_format: Any) -> dict[str, Any] | None:
    """The JSON Schema that an answer has to fit, by the request; None: it asks for none."""
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_object":
        return {"type": "object"}
    named = response_format.get("json_schema") if kind == "json_schema" else None
    schema = named.get("schema") if isinstance(named, dict) else None
    return schema if isinstance(schema, dict) else None


def doubt(reply: Reply, schema: dict[str, Any] | None, below: float | None) -> str:
    """Why pro should be asked as well, "schema" or "confidence"; "": the answer stands.

    Args:
        reply: of flash.
        schema: that the answer has to fit; None: any will do. One that is none, or that nobody can check, does as well.
        below: confidence from which on the answer stands; None: any will do, as where the reply states none.
    """
    only_calls = reply.answer.tool_calls and not reply.answer.text
    if schema is not None and not only_calls and _breaks(reply.answer.text, schema):
        return SCHEMA
    if below is not None and reply.confidence is not None and reply.confidence < below:
        return CONFIDENCE
    return ""


def without_logprobs(body: bytes) -> bytes:
    """A reply without the log-probabilities that its caller did not ask for; as it is where it has or tells none."""
    try:
        reply = json.loads(body)
        if not any(choice.get("logprobs") for choice in reply["choices"]):
            return body
        for choice in reply["choices"]:
            choice["logprobs"] = None
        return json.dumps(reply, separators=(",", ":"), allow_nan=False).encode()
    except NO_REPLY:
        return body


def _breaks(text: str, schema: dict[str, Any]) -> bool:
    if len(text) > LARGEST_CHECKED:
        return False
    try:
        checked(schema)
    except NO_SCHEMA:
        return False
    try:
        value = parsed(text)
    except ValueError:
        return True
    try:
        return held(value, schema).correct is False
    except NO_SCHEMA:
        return False
