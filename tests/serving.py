"""The HTTP service on loopback, in a thread of this process or as the real command, and raw connections to it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import clean_environment

from pipeline.listening import LOOPBACK, listen
from pipeline.runtime.decider import Decider
from pipeline.serve import server
from pipeline.settings import Settings

PATIENCE_S = 20.0
WORDS = "prove the integral of the theorem modulo 7"


@contextmanager
def running(decider: Decider, settings: Settings | None = None, token: str | None = None) -> Iterator[str]:
    """Serve from a thread; gives the base URL."""
    app = server.application(decider, settings or Settings(), token)
    ready = threading.Event()
    uvicorn = server.server(app, ready.set)
    with listen("serve", LOOPBACK, 0) as listener:
        thread = threading.Thread(target=uvicorn.run, args=([listener],))
        thread.start()
        assert ready.wait(PATIENCE_S)
        try:
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            uvicorn.should_exit = True
            thread.join(PATIENCE_S)
            app.service.close()


@contextmanager
def command(*arguments: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Serve by the real command with --json; gives the process and what it printed when it listened."""
    with subprocess.Popen(
        [str(Path(sys.executable).with_name("tier-router")), "serve", *map(str, arguments), "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(**environment),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield process, json.loads(line)
        finally:
            process.kill()


def chat(text: str = WORDS, **more: Any) -> dict[str, Any]:
    """A chat-completions request."""
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


def said(url: str, *pieces: bytes) -> bytes:
    """All that the service says to some bytes, until it closes the connection."""
    with connected(url) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return rest(connection)


def rest(connection: socket.socket) -> bytes:
    """What is still said until the connection is closed; a reset ends it too."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def answered(connection: socket.socket) -> bytes:
    """The next answer on a connection, as far as its Content-Length goes."""
    received = b""
    while True:
        start, end, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", start.lower())
        if end and len(body) >= (int(length[1]) if length else 0):
            return received
        piece = connection.recv(65_536)
        assert piece, f"the connection ended after {received!r}"
        received += piece


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def head(path: str = "/route", *lines: str, method: str = "POST") -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def whole(body: bytes, *lines: str) -> bytes:
    """A request to decide on a body."""
    return head("/route", f"Content-Length: {len(body)}", *lines) + body
