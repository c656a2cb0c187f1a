"""The cascade: which answers of flash pro is asked for as well, and what the caller gets then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fronted import EASY, HARD, fronted
from scripted import Reply, Seen, answer, error, served

from pipeline.collect.protocol import MOST_TOKENS, read
from pipeline.endpoint import Endpoint
from pipeline.serve.escalation import bound, doubt, wanted_schema
from pipeline.settings import Serving

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
WANTED = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}


def logprobs(*values: float) -> dict[str, Any]:
    return {"logprobs": {"content": [{"token": "x", "logprob": value} for value in values]}}


def script(flash: Reply, pro: Reply | None = None) -> Callable[[Seen], Reply]:
    replies = {"flash": flash, "pro": pro or answer('{"n": 2}')}
    return lambda seen: replies[seen.tier]


def test_pro_is_asked_where_flashs_answer_breaks_the_schema(priced: Any, tmp_path: Path) -> None:
    with (
        served(script(answer('{"n": "one"}'))) as server,
        fronted(priced.folder, server.url, tmp_path, cascade=True) as front,
    ):
        response = front.ask(response_format=WANTED)
        row = front.row(response)
        assert 'tier_router_escalations_total{cause="schema"} 1.0' in front.http.get("/metrics").text
    assert response.json()["choices"][0]["message"]["content"] == '{"n": 2}'
    assert (response.headers["x-tier-router-tier"], response.headers["x-tier-router-chosen"]) == ("pro", "flash")
    assert response.headers["x-tier-router-escalated"] == row["escalated"] == "schema"
    assert not {"fallback", "status"} & set(row)
    assert (row["chosen"], row["served"]) == ("flash", "pro")
    assert (row["flash_output_tokens"], row["pro_output_tokens"]) == (10, 10)
    assert row["flash_latency_s"] > 0
    assert row["pro_latency_s"] > 0


@pytest.mark.parametrize(
    ("text", "more"),
    [('{"n": 1}', {"response_format": WANTED}), ("plain", {}), ("no JSON", {"response_format": {"type": "text"}})],
)
def test_an_answer_that_fits_stands(priced: Any, tmp_path: Path, text: str, more: dict[str, Any]) -> None:
    with served(script(answer(text))) as server, fronted(priced.folder, server.url, tmp_path, cascade=True) as front:
        response = front.ask(**more)
    assert response.json()["choices"][0]["message"]["content"] == text
    assert [seen.tier for seen in server.seen] == ["flash"]


@pytest.mark.parametrize(("value", "tier"), [(-0.1, "flash"), (-1.0, "pro")])
def test_pro_is_asked_where_flash_is_unsure(priced: Any, tmp_path: Path, value: float, tier: str) -> None:
    with (
        served(script(answer("maybe", choice=logprobs(value, value)))) as server,
        fronted(priced.folder, server.url, tmp_path, cascade=True, escalate_below=0.5) as front,
    ):
        response = front.ask()
        row = front.row(response)
    assert response.headers["x-tier-router-tier"] == tier
    assert response.headers.get("x-tier-router-escalated") == (None if tier == "flash" else "confidence")
    assert row["flash_confidence"] == pytest.approx(2.718281828**value)
    assert [seen.body.get("logprobs") for seen in server.seen] == ([True] if tier == "flash" else [True, None])
    assert not response.json()["choices"][0].get("logprobs")


def test_log_probabilities_that_the_caller_asked_for_stay(priced: Any, tmp_path: Path) -> None:
    reply = answer("sure", choice=logprobs(-0.1))
    with (
        served(script(reply)) as server,
        fronted(priced.folder, server.url, tmp_path, cascade=True, escalate_below=0.5) as front,
    ):
        assert front.ask(logprobs=True).content == reply.body


@pytest.mark.parametrize("pro", [error(503), error(400), Reply(raw=b"")])
def test_flashs_answer_is_better_than_none(priced: Any, tmp_path: Path, pro: Reply) -> None:
    with (
        served(script(answer("no JSON"), pro)) as server,
        fronted(priced.folder, server.url, tmp_path, cascade=True) as front,
    ):
        response = front.ask(response_format=WANTED)
        row = front.row(response)
    assert response.json()["choices"][0]["message"]["content"] == "no JSON"
    assert (response.headers["x-tier-router-tier"], row["served"]) == ("flash", "flash")
    assert response.headers["x-tier-router-fallback"]
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("prompt", "more", "serving"),
    [
        (EASY, {}, {}),  # the cascade is off
        (EASY, {"model": "flash"}, {"cascade": True}),
        (HARD, {}, {"cascade": True}),
        (EASY, {"stream": True}, {"cascade": True}),
    ],
)
def test_nothing_is_asked_twice_otherwise(
    priced: Any, tmp_path: Path, prompt: str, more: dict[str, Any], serving: dict[str, Any]
) -> None:
    with (
        served(script(answer("no JSON"), answer("no JSON"))) as server,
        fronted(priced.folder, server.url, tmp_path, **serving) as front,
    ):
        front.ask(prompt, **more, response_format=WANTED)
    assert len(server.seen) == 1


TUNED = {"escalate_below": 0.7}


@pytest.mark.parametrize(
    ("serving", "manifest", "expected"),
    [
        (Serving(), TUNED, None),
        (Serving(cascade=True), TUNED, 0.7),
        (Serving(cascade=True, escalate_below=0.2), TUNED, 0.2),
        (Serving(cascade=True, escalate_below=0.0), TUNED, 0.0),
        (Serving(cascade=True), {}, None),
        (Serving(cascade=True), {"escalate_below": None}, None),
    ],
)
def test_the_bound_is_the_configured_one_else_the_tuned_one(
    serving: Serving, manifest: dict[str, Any], expected: float | None
) -> None:
    assert bound(serving, manifest) == expected


def test_the_manifest_holds_the_tuned_bound(priced: Any) -> None:
    assert 0 < priced.manifest["escalate_below"] <= 1
    assert bound(Serving(cascade=True), priced.manifest) == priced.manifest["escalate_below"]


CALLS = {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("wanted", "text", "message", "expected"),
    [
        ({"type": "json_object"}, "[1]", {}, "schema"),
        ({"type": "json_object"}, '{"a": 1}', {}, ""),
        (WANTED, "", {}, "schema"),
        (WANTED, None, CALLS, ""),
        (WANTED, '{"n": 1} ', {}, ""),
        (WANTED, '{"n": 1}{', {}, "schema"),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "no type"}}}, "x", {}, ""),
        ({"type": "json_schema", "json_schema": {"schema": {"$ref": "http://192.0.2.1/"}}}, "x", {}, ""),
        ({"type": "json_schema", "json_schema": {"schema": {"$schema": []}}}, "x", {}, ""),
        ({"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}, "1", {}, ""),
        (
            {"type": "json_schema", "json_schema": {"schema": {"pattern": "(a+)+$", "type": "string"}}},
            '"b"',
            {},
            "schema",
        ),
        ({"type": "json_schema"}, "x", {}, ""),
        ("json", "x", {}, ""),
        (None, "x", {}, ""),
    ],
)
def test_only_what_breaks_a_schema_is_in_doubt(
    wanted: Any, text: str | None, message: dict[str, Any], expected: str
) -> None:
    reply = read(json.dumps({"choices": [{"message": {"content": text, **message}}]}), Endpoint(), MOST_TOKENS)
    assert doubt(reply, wanted_schema(wanted), None) == expected
