"""Answers in pieces, callers who leave, time that runs out, and what else a connection to a tier can do."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from fronted import CHAT, DONE, END, EVENT_STREAM, asking, chunk, delta, event, fronted, raw
from hypothesis import given
from hypothesis import strategies as st
from scripted import Reply, Seen, answer, error, served

from features.errors import InputError
from pipeline.serve.answers import of_stream
from pipeline.serve.bodies import Refusal
from pipeline.serve.chat import deadline
from pipeline.serve.spelling import elements, members, spelled
from pipeline.serve.tiers import opened, proxy_of
from pipeline.settings import Settings

USAGE = event(usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, system_fingerprint="fp")
PATIENCE = 20.0


def events(*lines: bytes) -> Reply:
    return Reply(b"".join(lines), headers={"Content-Type": "text/event-stream"})


def test_a_stream_passes_to_the_byte_and_its_usage_is_logged(priced: Any, tmp_path: Path) -> None:
    lines = (b": keep-alive\r\n\r\n", delta("4"), delta("2"), USAGE, DONE)
    with served(lambda _: events(*lines)) as server, fronted(priced.folder, server.url, tmp_path) as front:
        response = front.ask(stream=True)
        row = front.row(response)
    assert response.content == b"".join(lines)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-tier-router-tier"] == "flash"
    assert (row["flash_input_tokens"], row["flash_output_tokens"], row["flash_fingerprint"]) == (7, 3, "fp")


NO_USAGE = event(usage=None, model="m-2")


@pytest.mark.parametrize(
    ("lines", "model", "tokens"),
    [
        ((USAGE, NO_USAGE, delta('said "usage"'), DONE), "scripted", 7),
        ((delta("4"), NO_USAGE, DONE), "m-2", None),
        ((b'"usage": 7}}\n\n', NO_USAGE, b'data: {"usage": ', DONE), "m-2", None),
        ((b"data: 7\n\n", DONE), None, None),
    ],
)
def test_what_a_stream_tells_stands_in_its_last_chunk_with_a_usage_or_else_in_its_last(
    lines: tuple[bytes, ...], model: str | None, tokens: int | None
) -> None:
    told = of_stream("flash", b"".join(lines), 1.0)
    assert (told.get("flash_model"), told.get("flash_input_tokens")) == (model, tokens)


def test_the_first_piece_comes_before_the_second_is_there(priced: Any, tmp_path: Path) -> None:
    seen = threading.Event()

    def steps() -> Iterator[bytes]:
        yield EVENT_STREAM + chunk(delta("first"))
        assert seen.wait(PATIENCE)
        yield chunk(delta("second")) + END

    with (
        raw(steps) as tier,
        fronted(priced.folder, tier.url, tmp_path) as front,
        front.http.stream("POST", CHAT, json=asking(stream=True)) as response,
    ):
        pieces = response.iter_bytes()
        assert next(pieces) == delta("first")
        seen.set()
        assert b"".join(pieces) == delta("second")


@pytest.mark.parametrize("last", [chunk(delta("whole"))[:-20], b"zz\r\n"])
def test_a_stream_that_breaks_off_does_not_look_whole(priced: Any, tmp_path: Path, last: bytes) -> None:
    seen = threading.Event()

    def steps() -> Iterator[bytes]:
        yield EVENT_STREAM + chunk(delta("first"))
        assert seen.wait(PATIENCE)
        yield last

    # What is no HTTP ends the connection, but only the time-out ends aiohttp's wait for more.
    with raw(steps) as tier, fronted(priced.folder, tier.url, tmp_path, flash={"read_timeout_s": 0.5}) as front:
        with front.http.stream("POST", CHAT, json=asking(stream=True)) as response:
            pieces = response.iter_bytes()
            assert next(pieces) == delta("first")
            seen.set()
            with pytest.raises(httpx.RemoteProtocolError):
                b"".join(pieces)
        row = front.row(response)
    assert row["served"] == "flash"
    assert "flash_latency_s" not in row


def test_a_stream_that_fails_before_its_first_byte_is_the_other_tiers(priced: Any, tmp_path: Path) -> None:
    def script(seen: Seen) -> Reply:
        return error(503) if seen.tier == "flash" else events(delta("pro"), DONE)

    with served(script) as server, fronted(priced.folder, server.url, tmp_path) as front:
        response = front.ask(stream=True)
    assert response.content == delta("pro") + DONE
    assert response.headers["x-tier-router-fallback"] == "503"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_caller_who_leaves_ends_the_call_to_the_tier(priced: Any, tmp_path: Path, streamed: bool) -> None:
    asked = threading.Event()

    def steps() -> Iterator[bytes]:
        asked.set()
        yield EVENT_STREAM
        while True:
            yield chunk(b": " + b"." * 60_000 + b"\n\n" if streamed else b" ")

    with raw(steps) as tier, fronted(priced.folder, tier.url, tmp_path) as front:
        body = json.dumps(asking(stream=streamed)).encode()
        with socket.create_connection(("127.0.0.1", int(front.url.rpartition(":")[2]))) as caller:
            caller.sendall(
                b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(body)) + body
            )
            assert asked.wait(PATIENCE)
            if streamed:
                assert caller.recv(100)
        assert tier.left.wait(PATIENCE)
        [row] = front.rows()
    assert (row["served"], row.get("status")) == (("flash", None) if streamed else (None, "left"))
    assert len(tier.bodies) == 1


def test_a_tier_that_says_nothing_loses_its_half_of_the_time(priced: Any, tmp_path: Path) -> None:
    never = threading.Event()

    def script(seen: Seen) -> Reply:
        return Reply(after=never) if seen.tier == "flash" else answer("pro")

    with served(script) as server, fronted(priced.folder, server.url, tmp_path) as front:
        response = front.ask(headers={"X-Tier-Router-Deadline": "1"})
        never.set()
    assert response.json()["choices"][0]["message"]["content"] == "pro"
    assert response.headers["x-tier-router-fallback"] == "time-out"


def test_where_time_runs_out_at_both_the_front_says_so(priced: Any, tmp_path: Path) -> None:
    never = threading.Event()
    with served(lambda _: Reply(after=never)) as server, fronted(priced.folder, server.url, tmp_path) as front:
        response = front.ask(headers={"X-Tier-Router-Deadline": "0.4"})
        never.set()
        row = front.row(response)
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "upstream_timeout"
    assert [seen.tier for seen in server.seen] == ["flash", "pro"]
    assert (row["served"], row["status"], row["fallback"]) == (None, "504", "time-out")


def test_a_slow_answer_within_the_deadline_is_waited_for(priced: Any, tmp_path: Path) -> None:
    ready = threading.Event()

    def script(_: Seen) -> Reply:
        threading.Timer(0.3, ready.set).start()
        return Reply(answer("slow").body, after=ready)

    with served(script) as server, fronted(priced.folder, server.url, tmp_path) as front:
        response = front.ask(headers={"X-Tier-Router-Deadline": "15"})
    assert response.headers["x-tier-router-tier"] == "flash"
    assert "x-tier-router-fallback" not in response.headers


def test_a_tier_that_stops_sending_is_given_up(priced: Any, tmp_path: Path) -> None:
    never = threading.Event()

    def steps() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
        never.wait(PATIENCE)

    with raw(steps) as tier, served(lambda _: answer("pro")) as server:
        flash = {"base_url": tier.url, "read_timeout_s": 0.2}
        with fronted(priced.folder, server.url, tmp_path, flash=flash) as front:
            response = front.ask()
        never.set()
    assert response.headers["x-tier-router-fallback"] == "time-out"


OWN, CLIENT = b"x-tier-router-deadline", b"x-stainless-read-timeout"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 60.0),
        ([(CLIENT, b"600")], 60.0),
        ([(CLIENT, b"20")], 20.0),
        ([(OWN, b"600")], 600.0),
        ([(CLIENT, b"600"), (OWN, b"2.5")], 2.5),
        ([(b"x-stainless-timeout", b"7")], 7.0),
        ([(b"x-stainless-timeout", b"7"), (CLIENT, b"8.0")], 8.0),
        ([(CLIENT, b"None")], 60.0),
        ([(CLIENT, b"0")], 60.0),
        ([(CLIENT, b"inf")], 60.0),
    ],
)
def test_the_deadline_is_the_callers(headers: list[tuple[bytes, bytes]], seconds: float) -> None:
    assert deadline(headers, 60.0) == seconds


@pytest.mark.parametrize("text", [b"", b"soon", b"0", b"-1", b"nan", b"1e9"])
def test_a_deadline_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(Refusal, match="expected seconds"):
        deadline([(OWN, text)], 60.0)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (OK + b"\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n", b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", b"ok"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nTrailer: x\r\n\r\n", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_replies_as_servers_may_send_them(priced: Any, tmp_path: Path, reply: bytes, body: bytes) -> None:
    with raw(lambda: iter([reply])) as tier, fronted(priced.folder, tier.url, tmp_path) as front:
        first, second = front.ask(), front.ask()
    assert first.content == second.content == body
    assert len(tier.bodies) == 2


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"Content-Length: 5\r\n\r\nok", OK + b"Content-Length: x\r\n\r\n", b"HTTP/1.1 999 Odd\r\n\r\n", b"\r\n",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", OK + b"A: b\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)  # fmt: skip
def test_replies_that_are_none(priced: Any, tmp_path: Path, reply: bytes) -> None:
    with raw(lambda: iter([reply])) as tier, fronted(priced.folder, tier.url, tmp_path) as front:
        assert front.ask().status_code == 502
    assert len(tier.bodies) == 2


def test_what_a_tier_says_unasked_answers_no_request(priced: Any, tmp_path: Path) -> None:
    answered, pushed, done = threading.Event(), threading.Event(), threading.Event()

    def steps() -> Iterator[bytes]:
        yield OK + b"Content-Length: 2\r\n\r\nok"
        assert answered.wait(PATIENCE)
        yield OK + b"Content-Length: 7\r\n\r\nunasked"
        pushed.set()
        assert done.wait(PATIENCE)

    with raw(steps) as tier, fronted(priced.folder, tier.url, tmp_path) as front:
        front.ask()
        answered.set()
        assert pushed.wait(PATIENCE)
        for _ in range(2):  # what came before these is read before their end
            front.http.get("/healthz")
        assert front.ask().content == b"ok"
        done.set()
    assert len(tier.bodies) == 2


def test_a_proxy_of_the_environment_is_used(priced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = OK + b"Content-Length: 2\r\n\r\nok"
    with raw(lambda: iter([reply])) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "localhost")
        with fronted(priced.folder, "http://tier.invalid", tmp_path) as front:
            assert front.ask().content == b"ok"
    assert proxy.paths == ["http://tier.invalid/flash/chat/completions"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("through_proxy", [False, True])
def test_tiers_are_asked_over_tls(
    priced: Any, tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, through_proxy: bool
) -> None:
    own, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(own)
    authority.configure_trust(trusted)
    reply = OK + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    with raw(lambda: iter([reply]), own) as tier, raw(lambda: iter(())) as proxy:
        if through_proxy:
            monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//user:word@"))
            monkeypatch.delenv("no_proxy", raising=False)
        with fronted(priced.folder, tier.url, tmp_path, trusted=trusted) as front:
            assert front.ask().content == b"x" * 100_000
    assert proxy.paths == ([tier.url.removeprefix("https://")] if through_proxy else [])


def test_a_tier_that_nobody_vouches_for_is_not_asked(priced: Any, tmp_path: Path, authority: trustme.CA) -> None:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(own)
    with raw(lambda: iter(()), own) as tier, fronted(priced.folder, tier.url, tmp_path) as front:
        response = front.ask()
    assert response.status_code == 502
    assert "no connection" in response.text
    assert tier.bodies == []


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "https://a/v1", None),
        ({"https_proxy": "http://p:1"}, "https://a/v1", "http://p:1"),
        ({"https_proxy": "p:1"}, "https://a/v1", "http://p:1"),
        ({"all_proxy": "http://p:1"}, "https://a/v1", "http://p:1"),
        ({"https_proxy": "http://p:1", "no_proxy": "a"}, "https://a/v1", None),
        ({"https_proxy": "http://p:1"}, "http://a/v1", None),
    ],
)
def test_the_proxy_is_the_one_of_the_scheme(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


def test_a_proxy_that_is_none_for_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://p:1")
    with pytest.raises(InputError, match="ALL_PROXY"):
        proxy_of("https://a/v1")


@pytest.mark.parametrize(
    ("tiers", "said"),
    [
        ({"flash": {"base_url": "http://a", "model": "m"}}, "tiers.pro.base_url is missing"),
        (
            {"flash": {"base_url": "http://a"}, "pro": {"base_url": "http://a", "model": "m"}},
            "tiers.flash.model is missing",
        ),
    ],
)
def test_half_a_configuration_is_an_error(tiers: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(Settings.model_validate({"tiers": tiers}))


TWO = {
    "flash": {"base_url": "http://flash.example/v1", "model": "f"},
    "pro": {"base_url": "http://pro.example/v1", "model": "p"},
}  # fmt: skip


def test_callers_key_for_two_hosts_is_an_error() -> None:
    with pytest.raises(InputError, match=r"flash\.example/v1.*pro\.example/v1.*key_env"):
        opened(Settings.model_validate({"tiers": TWO}))


@pytest.mark.parametrize(
    ("flash", "serving"),
    [({"key_env": "FLASH_KEY"}, {}), ({}, {"token_env": "T"}), ({"base_url": "http://pro.example"}, {})],
)
def test_callers_key_for_one_host_or_none_is_not(
    monkeypatch: pytest.MonkeyPatch, flash: dict[str, Any], serving: dict[str, Any]
) -> None:
    monkeypatch.setenv("FLASH_KEY", "sk-1")
    tiers = TWO | {"flash": TWO["flash"] | flash}
    assert set(opened(Settings.model_validate({"tiers": tiers, "serving": serving}))) == {"flash", "pro"}


def test_without_addresses_there_are_no_tiers_to_forward_to() -> None:
    assert opened(Settings()) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text(), JSON, max_size=6), st.sampled_from([None, 1, "\t\r\n "]), st.booleans())
def test_members_are_read_as_json_reads_them(table: dict[str, Any], indent: Any, plain: bool) -> None:
    text = json.dumps(table, indent=indent, ensure_ascii=plain)
    found = members(text)
    assert {name: member.value for name, member in found.items()} == table
    assert json.loads(spelled({name: member.text for name, member in found.items()})) == table
    assert all(member.text in text for member in found.values())


@given(st.lists(JSON, max_size=5))
def test_elements_are_read_as_json_reads_them(values: list[Any]) -> None:
    found = list(elements(json.dumps(values, indent=1)))
    assert [element.value for element in found] == values
    assert [json.loads(element.text) for element in found] == values


@given(st.text(alphabet='{}[]":,1a \n\\', max_size=12))
def test_what_json_refuses_is_no_object(text: str) -> None:
    def read(way: Callable[[str], Any]) -> Any:
        try:
            return way(text)
        except ValueError:
            return None

    whole = read(json.loads)
    found = read(members)
    assert (whole if isinstance(whole, dict) else None) == (
        None if found is None else {name: member.value for name, member in found.items()}
    )
