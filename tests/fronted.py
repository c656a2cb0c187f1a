"""The service with its front on loopback, before tiers whose replies a test scripts."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from scripted import PATIENCE_SECONDS, _certificates, in_a_thread

from pipeline.listening import LOOPBACK, listen
from pipeline.runtime.decider import Decider
from pipeline.serve import server
from pipeline.settings import Settings

EASY = "capital city river colour month fruit name list planet animal"
HARD = "prove integral theorem modulo derive matrix lemma converges"
CHAT = "/v1/chat/completions"
EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LOOK_SECONDS = 0.02
END = b"0\r\n\r\n"


def asking(prompt: str = EASY, **more: Any) -> dict[str, Any]:
    """A chat request for model "auto"."""
    return {"model": "auto", "messages": [{"role": "user", "content": prompt}], **more}


@dataclass
class Fronted:
    """The service: where it listens, what it decides by, where it logs."""

    url: str
    decider: Decider
    log: Path
    http: httpx.Client
    stop: Callable[[], None]

    def ask(self, prompt: str = EASY, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """The answer to a chat request."""
        return self.http.post(CHAT, json=asking(prompt, **more), headers=headers)

    def rows(self) -> list[dict[str, Any]]:
        """All rows of the decision log, once the service has stopped."""
        self.stop()
        self.decider.close()
        return [json.loads(line) for text in self._texts() for line in text.splitlines()]

    def row(self, response: httpx.Response) -> dict[str, Any]:
        """The row of the log about an answer, once it is written."""
        name, until = response.headers["x-tier-router-id"], time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            for line in (line for text in self._texts() for line in text.split("\n") if name in line):
                # What is being written is not whole yet.
                with suppress(ValueError):
                    return json.loads(line)
            time.sleep(LOOK_SECONDS)
        raise AssertionError("no row was written")

    def _texts(self) -> list[str]:
        return [path.read_text(encoding="utf-8") for path in sorted(self.log.rglob("*.jsonl*"))]


@contextmanager
def fronted(
    version: Path,
    url: str,
    folder: Path,
    *,
    token: str | None = None,
    flash: dict[str, Any] | None = None,
    pro: dict[str, Any] | None = None,
    trusted: ssl.SSLContext | None = None,
    **serving: Any,
) -> Iterator[Fronted]:
    """Serve a version before a scripted server, whose paths are /flash/... and /pro/...

    Args:
        version: folder of the version.
        url: of the scripted server.
        folder: for the log.
        token: that callers have to send.
        flash, pro: further keys of the tiers.
        trusted: certificates that tiers are trusted by; None: those of this machine.
        serving: keys of [serving].
    """
    tiers = {
        "flash": {"base_url": f"{url}/flash", "model": "made-up/flash", **(flash or {})},
        "pro": {"base_url": f"{url}/pro", "model": "made-up/pro", **(pro or {})},
    }
    log = folder / "log"
    named = {"token_env": "FRONT_TOKEN"} if token else {}
    settings = Settings.model_validate(
        {"tiers": tiers, "serving": {"explore": 0.0, "log": str(log), "deadline_s": 20.0, **named, **serving}}
    )
    listening, certificates = threading.Event(), trusted or _certificates()
    with Decider.open(version, server.options(settings)) as decider, listen("serve", LOOPBACK, 0) as listener:
        with pytest.MonkeyPatch.context() as patch:
            # To read those of this machine takes longer than most tests.
            patch.setattr("pipeline.serve.tiers.certificates_of_this_machine", lambda: certificates)
            running = server.server(server.application(decider, settings, token), listening.set)
        thread = threading.Thread(target=partial(running.run, [listener]), daemon=True)
        thread.start()
        assert listening.wait(PATIENCE_SECONDS)

        def stop() -> None:
            http.close()
            running.should_exit = True
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        with httpx.Client(base_url=address, timeout=PATIENCE_SECONDS, trust_env=False) as http:
            yield Fronted(address, decider, log, http, stop)
            stop()


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(**more: Any) -> bytes:
    """A line of a stream of events."""
    piece = {"id": "1", "object": "chat.completion.chunk", "model": "scripted", "created": 1, "choices": [], **more}
    return b"data: " + json.dumps(piece).encode() + b"\n\n"


def delta(text: str) -> bytes:
    """A line with a piece of an answer."""
    return event(choices=[{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}])


DONE = b"data: [DONE]\n\n"


@dataclass
class Raw:
    """A server that writes bytes: its address, what it saw, whether the other end went away."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)


@contextmanager
def raw(steps: Callable[[], Iterator[bytes]], secure: ssl.SSLContext | None = None) -> Iterator[Raw]:
    """Serve, at every path, the bytes that an iterator gives, each by itself, then close the connection.

    A proxy that is asked to connect makes the connection to where it is asked to.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE_SECONDS
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            found.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            found.paths.append(self.path)
            self.close_connection = True
            try:
                for piece in steps():
                    self.wfile.write(piece)
            except OSError:
                found.left.set()

        def do_CONNECT(self) -> None:
            found.paths.append(self.path)
            host, _, port = self.path.rpartition(":")
            self.close_connection = True
            with socket.create_connection((LOOPBACK if host == "localhost" else host, int(port))) as tier:
                self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=_relay, args=(tier, self.connection), daemon=True)
                back.start()
                _relay(self.connection, tier)
                back.join()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    host = Server((LOOPBACK, 0), Handler)
    found = Raw(f"http://{LOOPBACK}:{host.server_port}")
    if secure:
        host.socket = secure.wrap_socket(host.socket, server_side=True)
        found.url = f"https://localhost:{host.server_port}"
    with in_a_thread(host):
        yield found


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
