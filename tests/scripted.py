"""A real server on loopback whose replies a function scripts, and the files of a collection from it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline import settings
from pipeline.collect import collection, lines
from pipeline.collect.board import Board
from pipeline.schema import TIERS

KEY_VARIABLE = "SCRIPTED_KEY"
PATIENCE_SECONDS = 20.0
# USD per million of input, cached and output tokens. A call whose limit is 100 tokens costs at most about 0.0014.
PRICES = {"flash": (1.0, 0.5, 2.0), "pro": (1.0, 0.5, 2.0), "judge": (1.0, 0.5, 2.0)}
OUTPUT_LIMIT = 100


@dataclass(frozen=True)
class Seen:
    """A request that arrived: the last part of its base URL, its headers in lower case, its body."""

    tier: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Reply:
    """What is sent back: head and body, or some bytes of them, or nothing; perhaps only when something has happened."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    before: tuple[bytes, ...] = ()  # sent first, each by itself
    cut: int | None = None  # bytes of the body before the connection is closed
    raw: bytes | None = None  # instead of all of it; b"": the connection is closed
    after: threading.Event | None = None  # what it waits for


Script = Callable[[Seen], Reply]


def completion(text: str | None = "42", **more: Any) -> dict[str, Any]:
    """A chat completion: 20 input tokens and 10 output tokens of the model "scripted"."""
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **more.pop("choice", {})}
    return {"id": "1", "object": "chat.completion", "model": "scripted", "choices": [choice], "usage": usage, **more}


def says(table: Any, **more: Any) -> Reply:
    """A reply with some JSON in it."""
    return Reply(json.dumps(table).encode(), **more)


def answer(text: str | None = "42", **more: Any) -> Reply:
    return says(completion(text, **more))


def error(status: int, message: str = "no", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return says({"error": {"message": message}}, status=status, headers=named)


@dataclass
class Scripted:
    """The server: its address, its script, what it saw."""

    url: str
    script: Script
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    @property
    def prompts(self) -> list[tuple[str, str]]:
        """Tier and prompt of all that was asked, sorted."""
        return sorted((each.tier, each.prompt) for each in self.seen)


@contextmanager
def served(script: Script) -> Iterator[Scripted]:
    """Serve while this is open."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE_SECONDS
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.path.split("/")[1], headers, json.loads(body))
            found.seen.append(seen)
            self.close_connection = _send(self.wfile.write, found.script(seen))

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            found.connections += 1
            try:
                super().handle()
            except OSError:  # the client went away, as some tests have it do
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    found = Scripted(f"http://127.0.0.1:{server.server_port}", script)
    with in_a_thread(server):
        yield found


@contextmanager
def in_a_thread(server: ThreadingHTTPServer) -> Iterator[None]:
    """Serve while the block runs."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _send(write: Callable[[bytes], object], reply: Reply) -> bool:
    """Send a reply; returns whether the connection is to be closed."""
    if reply.after:
        reply.after.wait(PATIENCE_SECONDS)
    if reply.raw is not None:
        write(reply.raw)
        return True
    length = sum(map(len, reply.before)) + len(reply.body)
    headers = {"Content-Type": "application/json", "Content-Length": str(length), **reply.headers}
    head = f"HTTP/1.1 {reply.status} Said\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    write(f"{head}\r\n".encode("latin-1"))
    for piece in reply.before:
        write(piece)
    write(reply.body[: reply.cut])
    return reply.cut is not None


def config(folder: Path, url: str, **more: Any) -> Path:
    """A --config file whose tiers are at the server, with more keys for both; those of a dictionary for one alone.

    With `judge` there is a table for it too.
    """
    alone = {tier: more.pop(tier) for tier in (*TIERS, "judge") if tier in more}
    common = {"output_limit": OUTPUT_LIMIT, "tries": 1, "concurrency": 4} | more
    blocks = []
    for tier, (given, cached, output) in PRICES.items():
        place = tier if tier == "judge" else f"tiers.{tier}"
        keys = {"base_url": f"{url}/{tier}", "model": f"made-up/{tier}", **common, **alone.get(tier, {})}
        if tier in TIERS or tier in alone:
            blocks.append(f"[{place}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in keys.items()))
        blocks.append(
            f'[[price]]\ndeployment = "made-up/{tier}"\nfrom = 2020-01-01\n'
            f'input = {given}\ncached = {cached}\noutput = {output}\nsource = "made up"\n'
        )
    path = folder / "tier-router.toml"
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def task(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "prompt": f"What is {name}?", "grader": {"kind": "exact", "answer": "42"}, **more}


def task_file(folder: Path, tasks: int | list[dict[str, Any]], name: str = "tasks.jsonl") -> Path:
    """A task file: with so many tasks, or with those given."""
    rows = [task(f"task-{at}") for at in range(tasks)] if isinstance(tasks, int) else tasks
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Bench:
    """A folder with a --config file and a task file for a server, and where what is told ends up."""

    folder: Path
    server: Scripted
    config: Path
    tasks: Path
    told: list[str] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        return self.tasks.with_suffix(".journal")

    def collect(self, budget_usd: float = 100.0, **patched: Any) -> Board:
        """Collect within this process; `patched` replaces fields of both endpoints."""
        ways = lines.ways(settings.read(self.config))
        if patched:
            ways = {tier: replace(way, endpoint=way.endpoint.model_copy(update=patched)) for tier, way in ways.items()}
        with _known_certificates():
            return collection.collect([self.tasks], ways, self.journal, budget_usd, self.display)

    def consult(self, budget_usd: float = 100.0) -> Board:
        """Ask the judge within this process."""
        [way] = lines.ways(settings.read(self.config), (lines.JUDGE,)).values()
        with _known_certificates():
            return collection.consult(way, self.journal, budget_usd, self.display)

    def display(self, _: Board) -> AbstractContextManager[Callable[[str], None]]:
        @contextmanager
        def shown() -> Iterator[Callable[[str], None]]:
            yield self.told.append

        return shown()


@cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


@contextmanager
def _known_certificates() -> Iterator[None]:
    """Reads the system's certificates once, which takes longer than most collections here."""
    context = _certificates()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "create_ssl_context", lambda: context)
        yield


@contextmanager
def bench(folder: Path, script: Script, tasks: int | list[dict[str, Any]] = 1, **more: Any) -> Iterator[Bench]:
    """A server, and the files to collect from it; see `config` for more."""
    with served(script) as server:
        yield Bench(folder, server, config(folder, server.url, **more), task_file(folder, tasks))
