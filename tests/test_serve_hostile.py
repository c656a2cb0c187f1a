"""What callers do to `tier-router serve` by accident or on purpose, over raw connections."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import PATIENCE_S, WORDS, answered, chat, connected, head, rest, running, said, whole

from pipeline.runtime.decider import Decider
from pipeline.serve import connections
from pipeline.serve.bodies import Bodies, Head, Refusal, parsed
from pipeline.settings import Serving, Settings

LARGEST = 2_000_000
SOON_S = 0.3
GOOD = whole(json.dumps(chat()).encode())


@pytest.fixture(scope="module")
def decider(priced: Any) -> Iterator[Decider]:
    with Decider.open(priced.folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def url(decider: Decider) -> Iterator[str]:
    """A service with room for 2 MB."""
    with running(decider, Settings(serving=Serving(largest_body_bytes=LARGEST))) as address:
        yield address


@pytest.fixture(scope="module")
def hasty(decider: Decider) -> Iterator[str]:
    """A service that waits for hardly anything."""
    with running(decider, Settings(serving=Serving(body_timeout_s=SOON_S))) as address:
        yield address


@pytest.fixture(autouse=True)
def _still_decides(request: pytest.FixtureRequest) -> Iterator[None]:
    """After whatever a test did, a good request gets its decision."""
    yield
    if "url" in request.fixturenames:
        assert b" 200 " in _first(request.getfixturevalue("url"), GOOD)


def _first(url: str, *pieces: bytes) -> bytes:
    """The first answer."""
    with connected(url) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return answered(connection)


def _status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def _error(answer: bytes) -> dict[str, Any]:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"null", b"[]", b'"text"', b"7", b"{", b'{"messages": [}', b"not JSON", b"\xff\xfe{\x00}\x00",
        json.dumps(chat()).encode("utf-16"), json.dumps(chat()).encode("utf-32"), b'{"a": "\xed\xa0\x80"}', b"\x00",
        b'{"messages":' * 50_000, b"[" * 100_000, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"1" * 1_000_000 + b"}", b"{} {}", b"{'messages': []}",
    ],
    ids=lambda body: f"{len(body)}:{body[:12]!r}",
)  # fmt: skip
def test_what_is_no_json_object_is_refused_in_words(url: str, body: bytes) -> None:
    answer = _first(url, whole(body))
    assert _status(answer) == 400
    assert _error(answer)["code"] == "invalid_json"
    assert _error(answer)["type"] == "invalid_request_error"
    assert "send a chat-completions request" in _error(answer)["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + json.dumps(chat()).encode(),
        b'{"messages": [{"role": "user", "content": "\\ud800 and \\udc00"}]}',
        b'{"messages": [{"role": "user", "content": "nul \\u0000"}], "temperature": NaN, "top_p": -Infinity}',
        b'{"messages": 1, "messages": [{"role": "user", "content": "twice"}]}',
        json.dumps(chat("x" * 1_000_000)).encode(),
        json.dumps(chat("日本語 עברית 🙂"), ensure_ascii=False).encode(),
        json.dumps(chat(max_tokens=10**400)).encode(),
    ],
    ids=lambda body: f"{len(body)}:{body[:12]!r}",
)
def test_odd_but_readable_bodies_are_decided_on(url: str, body: bytes) -> None:
    answer = _first(url, whole(body))
    assert _status(answer) == 200
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"] not in ("unreadable", "error")


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b'{"messages": null}', b'{"messages": {}}', b'{"messages": [null]}', b'{"messages": [[[]]]}',
        b'{"messages": [{"role": "user", "content": 7}]}', b'{"messages": [{"role": 1}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "text"}]}]}', b'{"": ""}',
        b'{"messages": [{"role": "user", "content": "a"}], "tools": "many"}',
        b'{"messages": [' + b"{}," * 100_000 + b"{}]}",
    ],
    ids=lambda body: f"{len(body)}:{body[:40]!r}",
)  # fmt: skip
def test_objects_of_wrong_types_go_to_the_capable_tier(url: str, body: bytes) -> None:
    answer = _first(url, whole(body))
    decided = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (_status(answer), decided["tier"], decided["reason"]) == (200, "pro", "unreadable")


@given(st.one_of(st.binary(), st.text().map(str.encode), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["messages", "role", "content", "tools"]), inner),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        found: object = parsed(body)
    except Refusal as refusal:
        found = json.loads(refusal.body)["error"] if refusal.status == 400 else None
    assert isinstance(found, dict)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_compressed_bodies_are_refused(url: str, encoding: str) -> None:
    answer = said(url, whole(gzip.compress(b"{}"), f"Content-Encoding: {encoding}"))
    assert _status(answer) == 415
    assert _error(answer)["code"] == "unsupported_encoding"


def test_body_said_to_be_as_it_is_is_read(url: str) -> None:
    assert _status(_first(url, whole(json.dumps(chat()).encode(), "Content-Encoding: identity"))) == 200


def test_body_that_is_announced_too_large_is_refused_before_it_is_read(url: str) -> None:
    answer = said(url, head("/route", f"Content-Length: {LARGEST + 1}"))
    assert _status(answer) == 413
    assert b"connection: close" in answer
    assert f"{LARGEST:,}" in _error(answer)["message"]


def test_body_that_grows_too_large_is_refused_while_it_is_read(url: str) -> None:
    chunk = b"%x\r\n" % 100_000 + b" " * 100_000 + b"\r\n"
    answer = said(url, head("/route", "Transfer-Encoding: chunked"), *[chunk] * (LARGEST // 100_000 + 1))
    assert (_status(answer), _error(answer)["code"]) == (413, "request_too_large")


def test_ordinary_client_is_told_that_its_body_is_too_large(url: str) -> None:
    reply = httpx.post(f"{url}/route", content=b" " * 3 * LARGEST)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


def test_largest_body_is_read(url: str) -> None:
    body = json.dumps(chat()).encode()
    assert _status(_first(url, whole(body + b" " * (LARGEST - len(body))))) == 200


def test_body_in_chunks_is_read(url: str) -> None:
    body = json.dumps(chat()).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:7], body[7:30], body[30:]))
    assert _status(_first(url, head("/route", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n")) == 200


def test_body_that_waits_to_be_asked_for_is_asked_for(url: str) -> None:
    body = json.dumps(chat()).encode()
    with connected(url) as connection:
        connection.sendall(head("/route", f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert _status(answered(connection)) == 100
        connection.sendall(body)
        assert _status(answered(connection)) == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/route", 405), ("PUT", "/route", 405), ("OPTIONS", "/route", 405), ("DELETE", "/healthz", 405),
        ("POST", "/metrics", 405), ("GET", "/", 404), ("GET", "/route/", 404), ("POST", "/%72oute%00", 404),
        ("POST", "/v1/chat/completions", 404), ("GET", "/../etc/passwd", 404),
    ],
)  # fmt: skip
def test_wrong_methods_and_paths_are_named(url: str, method: str, path: str, status: int) -> None:
    answer = _first(url, head(path, method=method))
    assert _status(answer) == status
    assert _error(answer)["code"] in ("method_not_allowed", "unknown_url")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"POST /route HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /route HTTP/1.1\r\nContent-Length: -1\r\n\r\n", head("/route", "no colon"),
        head("/route", "Content-Length: 2", "Content-Length: 3"), b"SPY /route HTTP/1.1\r\n\r\n",
        head("/route", *(f"X-{at}: y" for at in range(200))), head("/", "Content-Length: " + "9" * 400),
        head("/route", "Transfer-Encoding: chunked") + b"zz\r\n",
    ],
    ids=lambda request_: f"{len(request_)}:{request_[:20]!r}",
)  # fmt: skip
def test_what_is_not_http_ends_the_connection(url: str, request_: bytes) -> None:
    assert _status(said(url, request_)) == 400


@pytest.mark.parametrize(
    "lines",
    [["X-Endless: " + "x" * 500_000], [f"X-{at}: {'y' * 5_000}" for at in range(100)], ["\r\n" * 500_000]],
    ids=["line", "lines", "blank"],
)
def test_endless_head_ends_the_connection(url: str, lines: list[str]) -> None:
    with connected(url) as connection:
        try:
            for at in range(0, len(start := "\r\n".join(["POST /route HTTP/1.1", *lines]).encode()), 50_000):
                connection.sendall(start[at : at + 50_000])
                time.sleep(0.001)
        except OSError:
            return
        assert b" 200 " not in rest(connection)


def test_body_in_crumbs_ends_the_connection(url: str) -> None:
    assert b" 200 " not in said(url, head("/route", "Transfer-Encoding: chunked") + b"1\r\n \r\n" * 20_000)


def test_requests_far_ahead_of_their_answers_end_the_connection(url: str) -> None:
    answers = said(url, GOOD * 200)
    assert answers.count(b"HTTP/1.1 200") < 200


def test_some_requests_ahead_are_answered_in_order(url: str) -> None:
    wrong = whole(b"[]")
    answers = said(url, GOOD, wrong, GOOD, head("/healthz", "Connection: close", method="GET"))
    assert [int(part[1:4]) for part in answers.split(b"HTTP/1.1")[1:]] == [200, 400, 200, 200]


def test_body_that_does_not_arrive_in_time_is_given_up(hasty: str) -> None:
    answer = said(hasty, GOOD[:-5])
    assert (_status(answer), _error(answer)["code"]) == (408, "request_timeout")


@pytest.mark.parametrize("start", [b"", b"\r\n", b"POST /ro", head("/route")[:-2]], ids=repr)
def test_head_that_does_not_arrive_in_time_is_given_up(hasty: str, start: bytes) -> None:
    with connected(hasty) as connection:
        connection.sendall(start)
        assert rest(connection) == b""


def test_second_head_that_does_not_arrive_in_time_is_given_up(hasty: str) -> None:
    with connected(hasty) as connection:
        connection.sendall(GOOD)
        assert _status(answered(connection)) == 200
        connection.sendall(b"POST /route HT")
        assert rest(connection) == b""


def test_caller_that_trickles_is_given_up(hasty: str) -> None:
    ended = threading.Event()
    with connected(hasty) as connection:

        def trickle() -> None:
            try:
                connection.sendall(head("/route", "Content-Length: 1000000"))
                while not ended.wait(SOON_S / 10):
                    connection.sendall(b" ")
            except OSError:
                return

        thread = threading.Thread(target=trickle)
        thread.start()
        answer = rest(connection)
        ended.set()
        thread.join(PATIENCE_S)
    assert _status(answer) == 408


def test_callers_that_leave_at_any_point_leave_nothing_behind(url: str) -> None:
    for end in range(1, len(GOOD), 7):
        with connected(url) as connection:
            connection.sendall(GOOD[:end])


def test_one_connection_too_many_is_told_so(decider: Decider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)
    with running(decider) as address, connected(address) as first, connected(address) as second:
        for connection in (first, second):
            connection.sendall(GOOD)
            assert _status(answered(connection)) == 200
        assert _status(said(address)) == 503
        first.sendall(GOOD)
        assert _status(answered(first)) == 200


def test_bodies_in_memory_are_limited_and_forgotten(decider: Decider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serve.bodies.MOST_HELD_BYTES", 1)
    large = whole(json.dumps(chat(WORDS)).encode() + b" " * 60_000)
    with running(decider, Settings(serving=Serving(largest_body_bytes=70_000))) as address:
        with connected(address) as first, connected(address) as second:
            for connection in (first, second):
                connection.sendall(large[:-1])
            end = time.monotonic() + PATIENCE_S
            while _status(_first(address, large)) != 503:
                assert time.monotonic() < end
        for _ in range(5):
            assert _status(_first(address, large)) == 200


def test_held_bytes_come_back_to_nothing() -> None:
    bodies = Bodies(10, 1.0)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"12345678", "more_body": True}

    with pytest.raises(Refusal, match="more than 10 bytes"):
        asyncio.run(bodies.read(Head(), receive))
    assert bodies._held == 0


def test_body_that_will_be_held_several_times_counts_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serve.bodies.MOST_HELD_BYTES", 1)
    bodies = Bodies(10, 1.0)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"12345678"}

    async def read() -> None:
        kept = [await bodies.read(Head(), receive, copies=3) for _ in range(2)]
        with pytest.raises(Refusal, match="too many"):
            await bodies.read(Head(), receive, copies=3)
        for body in kept:
            bodies.drop(body, 3)

    asyncio.run(read())
    assert bodies._held == 0
