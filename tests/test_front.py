"""What the front does with chat requests: to which tier they go, as what, and what comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fronted import CHAT, EASY, HARD, Fronted, asking, fronted
from scripted import Reply, Scripted, Seen, answer, completion, error, says, served

KEY, OTHER_KEY, CALLERS = "sk-own-0123456789", "sk-other-987654321", "sk-caller-55555555"


def tiers(flash: Reply | None = None, pro: Reply | None = None) -> Callable[[Seen], Reply]:
    """A script: what each tier replies; its own name where nothing is given."""
    replies = {"flash": flash or answer("flash"), "pro": pro or answer("pro")}
    return lambda seen: replies[seen.tier]


Common = Callable[[Callable[[Seen], Reply]], AbstractContextManager[tuple[Scripted, Fronted]]]


@pytest.fixture(scope="module")
def both(priced: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scripted, Fronted]]:
    """Two tiers and a front with the cascade on, for all tests that need no settings of their own."""
    folder = tmp_path_factory.mktemp("common")
    more = {"cascade": True, "escalate_below": 0.5}
    with served(tiers()) as server, fronted(priced.folder, server.url, folder, **more) as front:
        yield server, front


@pytest.fixture
def common(both: tuple[Scripted, Fronted]) -> Common:
    """common(script): the tiers with another script, and the front."""

    @contextmanager
    def scripted(script: Callable[[Seen], Reply]) -> Iterator[tuple[Scripted, Fronted]]:
        server, _ = both
        server.script, server.seen = script, []
        yield both

    return scripted


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(("prompt", "tier"), [(EASY, "flash"), (HARD, "pro")])
def test_auto_goes_where_the_router_decides(common: Common, prompt: str, tier: str) -> None:
    with common(tiers()) as (server, front):
        response = front.ask(prompt)
        assert content(response) == tier
        assert [seen.body["model"] for seen in server.seen] == [f"made-up/{tier}"]
        assert response.headers["x-tier-router-tier"] == response.headers["x-tier-router-chosen"] == tier
        assert response.headers["x-tier-router-model"] == f"made-up/{tier}"
        assert response.headers["x-tier-router-reason"] == {"flash": "no_gain", "pro": "gain"}[tier]
        assert response.headers["x-tier-router-version"] == front.decider.version
        assert -1 <= float(response.headers["x-tier-router-gain"]) <= 1
        assert response.headers["x-tier-router-propensity"] == "1"
        assert "x-tier-router-fallback" not in response.headers


def test_the_log_tells_what_an_answer_took(common: Common) -> None:
    with common(tiers()) as (_, front):
        response = front.ask()
        row = front.row(response)
    assert (row["task_id"], row["chosen"], row["served"]) == (response.headers["x-tier-router-id"], "flash", "flash")
    assert (row["flash_model"], row["flash_input_tokens"], row["flash_output_tokens"]) == ("scripted", 20, 10)
    assert 0 < row["flash_latency_s"] < 20
    assert not [column for column, value in row.items() if column.startswith("pro_") and column != "pro_probability"]


def test_what_the_caller_says_reaches_the_tier_to_the_letter(common: Common) -> None:
    said = (
        '"temperature" : 1.50, "seed": 123456789012345678901234567890, "small": 1e-400, "large": 1e400, "zero": -0,'
        ' "made_up": {"b": [1.0, null], "a": "\\ud83d\\ude00 \\ud800 \\u00e9 é"}, "max_tokens": 7'
    )
    body = f'\ufeff{{"model":"auto", "messages" : [ {{"role":"user","content":"{EASY}"}} ],{said}}}'
    texts = []
    with common(tiers()) as (server, front):
        # json.loads would hide what is looked for, so the server's is taken apart.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("scripted.json.loads", lambda text: texts.append(bytes(text)) or {"messages": []})
            front.http.post(CHAT, content=body.encode())
        assert len(server.seen) == 1
    [sent] = texts
    for part in (b"1.50", b"123456789012345678901234567890", b"1e-400", b"1e400", b"-0", said[-60:-18].encode()):
        assert part in sent
    assert b'"model":"made-up/flash"' in sent


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({}, {"thinking": {"type": "disabled"}, "reasoning_effort": "low", "temperature": 0.0, "top_k": 3}),
        (
            {"temperature": 1},
            {"thinking": {"type": "disabled"}, "reasoning_effort": "low", "temperature": 1, "top_k": 3},
        ),
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high", "temperature": 0.0, "top_k": 3}),
        ({"thinking": {"type": "enabled"}}, {"thinking": {"type": "enabled"}, "temperature": 0.0, "top_k": 3}),
    ],
)
def test_a_tiers_settings_stand_where_the_caller_says_nothing(
    priced: Any, tmp_path: Path, said: dict[str, Any], sent: dict[str, Any]
) -> None:
    own = {"thinking": False, "effort": "low", "body": {"temperature": 0.0, "top_k": 3}}
    with served(tiers()) as server, fronted(priced.folder, server.url, tmp_path, flash=own) as front:
        front.ask(**said)
    body = server.seen[0].body
    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == sent


@pytest.mark.parametrize("with_tools", [True, False])
def test_reasoning_of_earlier_turns_is_sent_where_tools_are_offered(common: Common, with_tools: bool) -> None:
    turn = {"role": "assistant", "content": "4", "reasoning_content": "2 and 2", "made_up": 1.0}
    messages = [{"role": "user", "content": "2 + 2?"}, turn, {"role": "user", "content": EASY}]
    more = {"tools": [{"type": "function", "function": {"name": "add"}}]} if with_tools else {}
    with common(tiers()) as (server, front):
        front.ask(messages=messages, **more)
    without = {name: value for name, value in turn.items() if name != "reasoning_content"}
    assert server.seen[0].body["messages"] == [messages[0], turn if with_tools else without, messages[2]]


@pytest.mark.parametrize(("model", "tier"), [("flash", "flash"), ("pro", "pro"), ("made-up/pro", "pro")])
def test_a_tier_that_is_named_is_asked_and_nothing_decided(priced: Any, tmp_path: Path, model: str, tier: str) -> None:
    with served(tiers()) as server, fronted(priced.folder, server.url, tmp_path) as front:
        response = front.ask(model=model)
        assert content(response) == tier
        assert response.headers["x-tier-router-reason"] == "asked for"
        assert not {"x-tier-router-id", "x-tier-router-chosen", "x-tier-router-gain"} & set(response.headers)
        assert front.rows() == []


def test_a_tier_that_is_named_has_no_other_to_fall_back_on(common: Common) -> None:
    with common(tiers(flash=error(503))) as (server, front):
        assert front.ask(model="flash").status_code == 503
    assert [seen.tier for seen in server.seen] == ["flash"]


def test_models_lists_what_can_be_asked_for(common: Common) -> None:
    with common(tiers()) as (_, front):
        listed = front.http.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["auto", "flash", "pro", "made-up/flash", "made-up/pro"]


@pytest.mark.parametrize("model", ["gpt-x", "", "Auto", "made-up/both"])
def test_another_model_is_not_found(priced: Any, tmp_path: Path, model: str) -> None:
    both = {"model": "made-up/both"}
    with served(tiers()) as server, fronted(priced.folder, server.url, tmp_path, flash=both, pro=both) as front:
        response = front.ask(model=model)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert not server.seen


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"), (b"[]", "invalid_json"), (b'{"model": "auto"', "invalid_json"), (b"{}", "invalid_model"),
        (b'{"model": 1}', "invalid_model"), (b'{"model": "auto", "x": ' + b"[" * 100_000, "invalid_json"),
        (b'{"model": "auto", "x": ' + b"9" * 5_000 + b"}", "invalid_json"), (b'{"model": "\xff"}', "invalid_json"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(common: Common, body: bytes, code: str) -> None:
    with common(tiers()) as (_, front):
        response = front.http.post(CHAT, content=body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == code
        assert content(front.ask()) == "flash"


def test_a_chat_that_cannot_be_read_is_the_capable_tiers_to_judge(common: Common) -> None:
    script = tiers(pro=error(400, "no messages"))
    with common(script) as (_, front):
        response = front.http.post(CHAT, json={"model": "auto", "messages": []})
    assert response.status_code == 400
    assert response.json() == {"error": {"message": "no messages"}}
    assert response.headers["x-tier-router-reason"] == "unreadable"


FAILURES = [
    ("429", error(429, retry_after="7")), ("500", error(500)), ("503", error(503)), ("529", error(529)),
    ("408", error(408)), ("closed without a reply", Reply(raw=b"")), ("cut off", answer("x" * 1000)),
    ("redirected", Reply(status=307, headers={"Location": "http://192.0.2.1/"})),
    ("closed without a reply", Reply(raw=b"SMTP ready\r\n")),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "reply"), FAILURES)
def test_the_other_tier_answers_where_the_first_fails(common: Common, cause: str, reply: Reply) -> None:
    if cause == "cut off":
        reply = Reply(reply.body, cut=500)
    with common(tiers(flash=reply)) as (_, front):
        response = front.ask()
        assert content(response) == "pro"
        told = {name: response.headers[f"x-tier-router-{name}"] for name in ("tier", "chosen", "fallback", "model")}
        assert told == {"tier": "pro", "chosen": "flash", "fallback": cause, "model": "made-up/pro"}
        row = front.row(response)
    assert (row["chosen"], row["served"], row["propensity"]) == ("flash", "pro", 1.0)
    assert (row["fallback"], row.get("status"), row.get("escalated")) == (cause, None, None)
    assert row["pro_output_tokens"] == 10
    assert "flash_latency_s" not in row


def test_the_other_tier_answers_where_nobody_listens(priced: Any, tmp_path: Path) -> None:
    dead = {"base_url": f"{closed_port()}/flash"}
    with served(tiers()) as server, fronted(priced.folder, server.url, tmp_path, flash=dead) as front:
        response = front.ask()
    assert content(response) == "pro"
    assert response.headers["x-tier-router-fallback"] == "no connection"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_other_complaints_pass_through_unchanged(common: Common, status: int) -> None:
    with common(tiers(flash=error(status, "mine", x_request_id="r-1"))) as (server, front):
        response = front.ask()
        row = front.row(response)
    assert (response.status_code, response.json()) == (status, {"error": {"message": "mine"}})
    assert response.headers["x-request-id"] == "r-1"
    assert [seen.tier for seen in server.seen] == ["flash"]
    assert (row["served"], row["status"]) == (None, str(status))
    assert "fallback" not in row


def test_where_both_fail_the_last_complaint_passes_with_its_retry_after(common: Common) -> None:
    script = tiers(flash=error(500), pro=error(429, "busy", retry_after="9"))
    with common(script) as (_, front):
        response = front.ask()
        row = front.row(response)
    assert (response.status_code, response.json()["error"]["message"]) == (429, "busy")
    assert response.headers["retry-after"] == "9"
    assert response.headers["x-tier-router-fallback"] == "500"
    assert (row["chosen"], row["served"]) == ("flash", None)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_tier_that_refuses_the_services_own_key_is_fallen_back_from_and_its_operator_told_once(
    priced: Any, tmp_path: Path, keys: dict[str, Any], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    script = tiers(flash=error(status, "no"))
    with served(script) as server, fronted(priced.folder, server.url, tmp_path, **keys) as front:
        responses = [front.ask() for _ in range(3)]
    assert [content(response) for response in responses] == ["pro"] * 3
    assert [response.headers["x-tier-router-fallback"] for response in responses] == [str(status)] * 3
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f"flash answers {status}" in told
    assert KEY not in told


def test_what_is_too_long_for_flash_is_pros(common: Common) -> None:
    complaint = says({"error": {"message": "too long", "code": "context_length_exceeded"}}, status=400)
    with common(tiers(flash=complaint)) as (_, front):
        response = front.ask()
        assert content(response) == "pro"
    assert response.headers["x-tier-router-fallback"] == "400"


def test_what_is_too_long_for_pro_is_nobodys(common: Common) -> None:
    complaint = says({"error": {"message": "too long", "code": "context_length_exceeded"}}, status=400)
    with common(tiers(pro=complaint)) as (server, front):
        assert front.ask(HARD).status_code == 400
    assert [seen.tier for seen in server.seen] == ["pro"]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"error": null}', b'{"error": {"code": 7}}', b"[" * 100_000])
def test_odd_complaints_pass(common: Common, body: bytes) -> None:
    with common(tiers(flash=Reply(body, status=400))) as (_, front):
        response = front.ask()
    assert (response.status_code, response.content) == (400, body)


def test_an_unforeseen_error_is_told_as_openai_does_and_its_decision_logged(
    priced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a secret")

    with served(tiers()) as server, fronted(priced.folder, server.url, tmp_path) as front:
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.serve.upstream.Upstream.ask", broken)
            response = front.ask()
        assert content(front.ask()) == "flash"
        counted = front.http.get("/metrics").text
        first, second = front.rows()
    assert (response.status_code, response.headers["content-type"]) == (500, "application/json")
    assert response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text
    assert (first["served"], first["status"], second["served"]) == (None, "500", "flash")
    assert 'tier_router_requests_total{path="/v1/chat/completions",status="500"} 1.0' in counted
    assert sum(record.exc_info is not None for record in caplog.records) == 1


def test_a_complaint_is_better_than_no_reply_at_all(common: Common) -> None:
    script = tiers(flash=error(429, retry_after="3"), pro=Reply(raw=b""))
    with common(script) as (_, front):
        response = front.ask()
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert response.headers["x-tier-router-tier"] == "flash"


def test_where_no_tier_replies_the_front_says_so_as_openai_does(common: Common) -> None:
    script = tiers(flash=Reply(raw=b""), pro=Reply(raw=b""))
    with common(script) as (_, front):
        response = front.ask()
    assert response.status_code == 502
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.json()["error"]["code"] == "upstream_unreachable"


def test_what_only_one_tier_may_be_asked_is_not_given_to_the_other(common: Common) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": EASY}, picture]}]
    with common(tiers(pro=error(503))) as (server, front):
        response = front.ask(messages=messages)
    assert response.status_code == 503
    assert response.headers["x-tier-router-reason"] == "modality"
    assert [seen.tier for seen in server.seen] == ["pro"]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Each tier with a key of its own."""
    monkeypatch.setenv("FLASH_KEY", KEY)
    monkeypatch.setenv("PRO_KEY", OTHER_KEY)
    return {"flash": {"key_env": "FLASH_KEY"}, "pro": {"key_env": "PRO_KEY"}}


CALLERS_HEADERS = {
    "Authorization": f"Bearer {CALLERS}", "api-key": CALLERS, "OpenAI-Organization": "org-1", "Cookie": "a=b",
    "Connection": "keep-alive, x-mine", "x-mine": "1", "x-other": "2", "x-forwarded-for": "192.0.2.1",
    "x-tier-router-deadline": "10", "accept-encoding": "gzip", "traceparent": "00-1", "x-goog-api-key": CALLERS,
    "cf-access-jwt-assertion": CALLERS, "x-auth-request-email": "a@b.c", "openai-beta": "b=1", "Idempotency-Key": "i",
    "x-stainless-lang": "python", "openai-project": "proj-1",
}  # fmt: skip


def test_a_tier_is_asked_with_its_own_key(priced: Any, tmp_path: Path, keys: dict[str, Any]) -> None:
    with served(tiers(flash=error(503))) as server, fronted(priced.folder, server.url, tmp_path, **keys) as front:
        assert content(front.ask(headers=CALLERS_HEADERS)) == "pro"
    assert [seen.headers["authorization"] for seen in server.seen] == [f"Bearer {KEY}", f"Bearer {OTHER_KEY}"]
    assert CALLERS not in str(server.seen)
    assert "openai-organization" not in server.seen[0].headers


def test_a_tier_without_a_key_gets_the_callers(priced: Any, tmp_path: Path, keys: dict[str, Any]) -> None:
    with (
        served(tiers(flash=error(503))) as server,
        fronted(priced.folder, server.url, tmp_path, pro=keys["pro"]) as front,
    ):
        front.ask(headers=CALLERS_HEADERS)
    flash, pro = (seen.headers for seen in server.seen)
    assert flash["authorization"] == f"Bearer {CALLERS}"
    assert (flash["openai-organization"], flash["openai-project"]) == ("org-1", "proj-1")
    assert pro["authorization"] == f"Bearer {OTHER_KEY}"


def test_headers_of_the_connection_and_of_the_caller_stay_here(common: Common) -> None:
    with common(tiers()) as (server, front):
        front.ask(headers=CALLERS_HEADERS)
    found = server.seen[0].headers
    assert set(found) <= {
        "accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "idempotency-key",
        "openai-beta", "openai-organization", "openai-project", "traceparent", "user-agent", "x-stainless-lang",
    }  # fmt: skip
    assert (found["openai-beta"], found["traceparent"], found["idempotency-key"]) == ("b=1", "00-1", "i")
    assert (found["accept-encoding"], found["content-type"]) == ("identity", "application/json")


def test_the_services_token_is_sent_to_no_tier(priced: Any, tmp_path: Path) -> None:
    with served(tiers()) as server, fronted(priced.folder, server.url, tmp_path, token="service-token") as front:
        assert front.ask().status_code == 401
        assert content(front.ask(headers={"Authorization": "Bearer service-token"})) == "flash"
    assert "service-token" not in str(server.seen)


def test_a_tier_that_repeats_its_key_does_not_tell_it(
    priced: Any, tmp_path: Path, keys: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    replies = tiers(flash=error(422, f"wrong key {KEY}"), pro=answer(OTHER_KEY))
    with served(replies) as server, fronted(priced.folder, server.url, tmp_path, **keys) as front:
        responses = [front.ask(EASY), front.ask(HARD), front.ask("?" * 70_000, model="flash")]
        metrics = front.http.get("/metrics").text
        front.rows()
    assert [response.status_code for response in responses] == [422, 200, 422]
    written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    told = [f"{response.text}{response.headers}" for response in responses]
    for text in (*told, *written, metrics, *capfd.readouterr()):
        assert KEY not in text
        assert OTHER_KEY not in text
    assert "[key]" in responses[0].text


def test_headers_of_a_reply_pass_that_tell_of_the_request(common: Common) -> None:
    headers = {"X-Request-Id": "r", "X-RateLimit-Remaining": "3", "Set-Cookie": "a=b", "Server": "x", "Keep-Alive": "5"}
    with common(tiers(flash=Reply(answer().body, headers=headers))) as (server, front):
        first, _ = front.ask(), front.ask()
    assert (first.headers["x-request-id"], first.headers["x-ratelimit-remaining"]) == ("r", "3")
    assert not {"set-cookie", "server", "keep-alive"} & set(first.headers)
    assert "cookie" not in server.seen[1].headers


def test_headers_that_cannot_be_said_are_left_out(common: Common) -> None:
    reply = b"HTTP/1.1 200 OK\r\nx-request-id: a\x01b\xff\r\nopenai-model: m\r\nContent-Length: 2\r\n\r\n{}"
    with common(tiers(flash=Reply(raw=reply))) as (_, front):
        response = front.ask()
    assert (response.status_code, response.content) == (200, b"{}")
    assert (response.headers["openai-model"], response.headers.get("x-request-id")) == ("m", None)


BODIES = [b"", b"not JSON", b'{"choices": 1}', b"\xff\xfe\x00", b'{"a": NaN}', b"[" * 100_000, b"\n\n{}"]


@pytest.mark.parametrize("body", BODIES)
def test_what_cannot_be_read_passes_all_the_same(common: Common, body: bytes) -> None:
    with common(tiers(flash=Reply(body))) as (_, front):
        response = front.ask(response_format={"type": "json_object"})
        row = front.row(response)
    assert (response.status_code, response.content) == (200, body)
    assert row["served"] == "flash"
    assert row["flash_latency_s"] > 0


@pytest.mark.parametrize("size", [300_000, 20_000_000])
def test_large_answers_pass_whole(common: Common, size: int) -> None:
    reply = answer("é" * (size // 2))
    with common(tiers(flash=reply)) as (_, front):
        assert front.ask().content == reply.body


def test_large_requests_pass_whole(common: Common) -> None:
    prompt = "capital " * 300_000
    with common(tiers()) as (server, front):
        response = front.ask(prompt)
    assert response.headers["x-tier-router-reason"] == "context"
    assert server.seen[0].prompt == prompt


def test_connections_to_a_tier_are_used_again(priced: Any, tmp_path: Path) -> None:
    with served(tiers()) as server, fronted(priced.folder, server.url, tmp_path) as front:
        for _ in range(5):
            front.ask()
        assert server.connections == 1


def test_metrics_count_what_came_of_requests_to_tiers(priced: Any, tmp_path: Path) -> None:
    with served(tiers(flash=error(503))) as server, fronted(priced.folder, server.url, tmp_path) as front:
        front.ask()
        text = front.http.get("/metrics").text
    assert 'tier_router_upstream_total{outcome="503",tier="flash"} 1.0' in text
    assert 'tier_router_upstream_total{outcome="200",tier="pro"} 1.0' in text
    assert 'tier_router_decisions_total{reason="no_gain",tier="flash"} 1.0' in text
    assert 'tier_router_fallbacks_total{cause="503"} 1.0' in text
    assert "tier_router_requests_in_flight 1.0" in text
    assert "_created" not in text


def test_the_exploration_of_the_router_is_told_and_logged(priced: Any, tmp_path: Path) -> None:
    with served(tiers()) as server, fronted(priced.folder, server.url, tmp_path, explore=0.5) as front:
        responses = [front.ask() for _ in range(40)]
        rows = front.rows()
    found = {(each.headers["x-tier-router-tier"], each.headers["x-tier-router-reason"]) for each in responses}
    assert found == {("flash", "no_gain"), ("pro", "explored")}
    assert {row["propensity"] for row in rows} == {0.5}
    assert sorted(row["served"] for row in rows) == sorted(each.headers["x-tier-router-tier"] for each in responses)


def test_the_body_of_a_completion_is_the_tiers_own(common: Common) -> None:
    reply = says({**completion(), "made_up": [1.5, None]})
    with common(tiers(flash=reply)) as (_, front):
        assert front.ask().content == reply.body


def test_a_body_says_auto_once_or_the_last_counts(common: Common) -> None:
    body = json.dumps(asking()).replace("{", '{"model": "made-up/pro", "messages": 3, ', 1)
    with common(tiers()) as (server, front):
        assert content(front.http.post(CHAT, content=body)) == "flash"
    assert server.seen[0].prompt == EASY
