"""One call over real HTTP: every way in which it ends."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import pytest
import trustme
from scripted import Reply, Script, Scripted, Seen, answer, completion, error, says, served

from pipeline.collect.client import certificates_of_this_machine, connected
from pipeline.collect.failures import CallError
from pipeline.collect.protocol import Reply as Read
from pipeline.endpoint import Endpoint
from pipeline.grade.answer import Answer
from pipeline.tables import validated

ASKED = {"messages": [{"role": "user", "content": "Größe? 多大?"}]}
KEY = "sk-secretsecret"
PATIENCE_SECONDS = 20.0


def endpoint(url: str, **more: Any) -> Endpoint:
    return validated(Endpoint, {"base_url": url, "model": "m", "output_limit": 100, **more}, "test")


def ask(script: Script, times: int = 1, **more: Any) -> tuple[Read, Scripted]:
    """Ask so many times in a row over one client; the last reply, and the server."""
    with served(script) as server:
        reply = asked(endpoint(f"{server.url}/flash", **more), times)
    return reply, server


def asked(at: Endpoint, times: int = 1, key: str | None = KEY) -> Read:
    async def run() -> Read:
        async with connected(at, key, certificates_of_this_machine()) as client:
            for _ in range(times):
                reply, seconds = await client.ask(ASKED, 1000)
                assert seconds >= 0
            return reply

    return asyncio.run(run())


def failing(script: Script, **more: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        ask(script, **more)
    return caught.value


def test_a_call_is_sent_as_json_with_the_key_and_its_answer_is_read() -> None:
    reply, server = ask(lambda _: answer("1 m"))
    assert reply.answer == Answer("1 m")
    [seen] = server.seen
    assert seen.body == {**ASKED, "model": "m", "max_tokens": 100}
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"


def test_calls_after_another_share_a_connection() -> None:
    with served(lambda _: answer()) as server:

        async def run() -> int:
            async with connected(endpoint(f"{server.url}/flash"), None, certificates_of_this_machine()) as client:
                for _ in range(20):
                    await client.ask(ASKED, 1000)
                return len(client._idle)

        assert asyncio.run(run()) == 1
        assert server.connections == 1


def test_a_compressed_reply_is_read() -> None:
    body = gzip.compress(json.dumps(completion("Hi")).encode())
    reply, _ = ask(lambda _: Reply(body, headers={"Content-Encoding": "gzip"}))
    assert reply.answer == Answer("Hi")


def test_blank_lines_and_waiting_between_them_are_not_the_end() -> None:
    reply, _ = ask(lambda _: Reply(answer("Hi").body, before=(b"\n", b"\n", b"\r\n")), read_timeout_s=5)
    assert reply.answer == Answer("Hi")


def test_bytes_that_are_not_utf_8_become_replacement_characters() -> None:
    reply, _ = ask(lambda _: Reply(answer("x").body.replace(b'"x"', b'"caf\xe9"')))
    assert reply.answer == Answer("caf\ufffd")


@pytest.mark.parametrize(
    ("reply", "cause", "paid"),
    [
        (Reply(answer().body, cut=50), "cut off", True),
        (Reply(answer().body, cut=0), "closed without a reply", True),
        (Reply(raw=b""), "closed without a reply", True),
        (Reply(raw=b"SSH-2.0-OpenSSH_9.7\r\n"), "closed without a reply", True),
        (Reply(raw=b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"cho\r\nzz'), "cut off", True),
        (Reply(b"not gzip", headers={"Content-Encoding": "gzip"}), "closed without a reply", True),
        (Reply(b""), "malformed body", True),
        (Reply(b"<html>busy</html>"), "malformed body", True),
        (says({"object": "list"}), "malformed body", True),
        (error(500), "HTTP 500", False),
        (Reply(b"\xff\xfe", status=503), "HTTP 503", False),
        (Reply(b"", status=502), "HTTP 502", True),
    ],
)  # fmt: skip
def test_every_bad_end_of_a_call_is_a_failure_that_may_be_tried_again(reply: Reply, cause: str, paid: bool) -> None:
    failure = failing(lambda _: reply)
    assert (failure.cause, failure.paid, failure.again, failure.fatal) == (cause, paid, True, "")


def test_what_arrived_of_a_cut_off_reply_is_kept() -> None:
    assert failing(lambda _: Reply(answer().body, cut=50)).reply == answer().body[:50].decode()


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with served(lambda _: answer()) as other:
        failure = failing(lambda _: error(307, location=f"{other.url}/flash/chat/completions"))
        assert failure.fatal == "the address moved: give the one it leads to as base_url"
        assert other.seen == []


def test_a_reply_that_is_too_large_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.collect.client.LARGEST_REPLY_BYTES", 1000)
    failure = failing(lambda _: answer("x" * 5000))
    assert (failure.cause, failure.detail) == ("reply too large", "over 1,000 bytes")
    assert failure.paid
    assert not failure.again


def test_a_compressed_reply_is_measured_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.collect.client.LARGEST_REPLY_BYTES", 100_000)
    body = gzip.compress(b" " * 10_000_000)
    failure = failing(lambda _: Reply(body, headers={"Content-Encoding": "gzip"}))
    assert failure.cause == "reply too large"


def test_a_refused_connection_costs_nothing() -> None:
    with pytest.raises(CallError) as caught:
        asked(endpoint("http://127.0.0.1:9"))
    assert (caught.value.cause, caught.value.paid, caught.value.again) == ("no connection", False, True)


def test_an_unknown_host_costs_nothing() -> None:
    with pytest.raises(CallError) as caught:
        asked(endpoint("http://nowhere.invalid"))
    assert (caught.value.cause, caught.value.paid) == ("no connection", False)


@contextmanager
def deaf() -> Iterator[str]:
    """An address that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("limits", "cause"),
    [
        ({"read_timeout_s": 0.1}, "time-out of reading: no byte for 0.1 s"),
        ({"call_timeout_s": 0.1}, "time-out of the call: longer than 0.1 s"),
    ],
)
def test_an_endpoint_that_says_nothing_is_given_up(limits: Any, cause: str) -> None:
    with deaf() as url, pytest.raises(CallError) as caught:
        asked(endpoint(url, **limits))
    assert str(caught.value) == cause
    assert caught.value.paid
    assert caught.value.again


def test_a_call_that_drips_is_given_up_as_a_whole() -> None:
    stop = threading.Event()

    def script(_: Seen) -> Reply:
        return Reply(answer().body, before=(b"\n",) * 3, after=stop)

    with served(script) as server, pytest.raises(CallError, match="time-out of the call"):
        asked(endpoint(f"{server.url}/flash", read_timeout_s=10, call_timeout_s=0.2))
    stop.set()


def test_a_connection_that_failed_is_replaced_by_a_new_one() -> None:
    replies = iter([Reply(raw=b""), answer("later")])
    with served(lambda _: next(replies)) as server:

        async def run() -> Read:
            async with connected(endpoint(f"{server.url}/flash"), None, certificates_of_this_machine()) as client:
                with pytest.raises(CallError):
                    await client.ask(ASKED, 1000)
                return (await client.ask(ASKED, 1000))[0]

        assert asyncio.run(run()).answer == Answer("later")


def test_a_server_that_closes_an_idle_connection_costs_no_call() -> None:
    script: Callable[[Seen], Reply] = lambda _: Reply(answer("x").body, headers={"Connection": "close"})  # noqa: E731
    reply, server = ask(script, times=3)
    assert reply.answer == Answer("x")
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "reply",
    [
        error(401, f"no such key: {KEY}"), error(500, f"Bearer {KEY}"), Reply(f"<p>{KEY}".encode(), 503),
        Reply(f'{{"error": "{KEY}"}}'.encode()), Reply(f'{{"error": "{KEY}"}}'.encode(), cut=24),
        Reply(raw=f"HTTP/1.1 {KEY}\r\n\r\n".encode()),
    ],
)  # fmt: skip
def test_the_key_is_hidden_in_whatever_a_failure_says(reply: Reply) -> None:
    failure = failing(lambda _: reply)
    assert "secretsec" not in str(failure) + failure.reply + failure.detail + failure.fatal


def test_the_key_is_hidden_in_answers() -> None:
    reply, _ = ask(lambda _: says(completion(f"It is {KEY}.", model=KEY, system_fingerprint=KEY)))
    assert reply.answer == Answer("It is [key].")
    assert KEY not in reply.text + reply.model + reply.fingerprint


# HTTP/2


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the version of HTTP that it was asked over."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(completion(scope["http_version"])).encode()})


@contextmanager
def encrypted(folder: Path) -> Iterator[str]:
    """A server with a certificate of its own authority, which the folder holds as ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    settings = hypercorn.config.Config()
    settings.bind = [f"fd://{listening.detach()}"]  # which the server closes
    settings.certfile, settings.keyfile = str(folder / "cert.pem"), str(folder / "key.pem")
    settings.errorlog = None
    stop = threading.Event()

    async def run() -> None:
        over = asyncio.get_running_loop().run_in_executor(None, stop.wait)
        await hypercorn.asyncio.serve(_app, settings, shutdown_trigger=lambda: over)  # type: ignore[arg-type]

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()


def test_http_2_is_spoken_where_the_server_offers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with encrypted(tmp_path) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert asked(endpoint(url), times=2).answer == Answer("2")


def test_an_unknown_certificate_is_refused_before_the_key_is_sent(tmp_path: Path) -> None:
    with encrypted(tmp_path) as url, pytest.raises(CallError) as caught:
        asked(endpoint(url))
    assert (caught.value.cause, caught.value.paid) == ("no connection", False)
    assert "certificate" in str(caught.value).lower()
