"""Callers that no service should suffer from: what they send, each over a connection of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from tests.bench.load import HOST, posted

PATH = "/route"
HUGE_BYTES, PIECE_BYTES = 50_000_000, 1_000_000
SLOW_S, SLOW_TIMES = 0.1, 100
WORDS = "prove that the integral of a theorem is 7 modulo the lemma. "


def _head(line: str) -> str:
    return f"POST {PATH} HTTP/1.1\r\n{line}\r\n\r\n"


def _asked(prompt: str) -> bytes:
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": prompt}]}).encode()


CHUNKED = _head("Transfer-Encoding: chunked")
SENT = {
    "not JSON": posted(PATH, b'{"messages": [{"role": "user", "content": "what'),
    "deep JSON": posted(PATH, b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "wrong types": posted(PATH, b'{"messages": [{"role": "user", "content": {"text": 7}}], "tools": 7}'),
    "a prompt of 1 MB": posted(PATH, _asked(WORDS * (1_000_000 // len(WORDS)))),
    "a prompt of 5 MB": posted(PATH, _asked(WORDS * (5_000_000 // len(WORDS)))),
    "60,000 empty lists": posted(PATH, b'{"messages": [' + b"[]," * 60_000 + b"0]}"),
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "a body in crumbs": CHUNKED.encode() + b"1\r\n \r\n" * 40_000,
}


def attackers(port: int) -> list[Callable[[], Awaitable[None]]]:
    """One of each kind."""
    slow_head = f"POST {PATH} HTTP/1.1\r\n" + "X-Slow: 1\r\n" * SLOW_TIMES
    slow_body = _head(f"Content-Length: {2 * SLOW_TIMES}")
    return [
        *(partial(_sends, port, request) for request in SENT.values()),
        partial(_pours, port, _head(f"Content-Length: {HUGE_BYTES}"), b" " * PIECE_BYTES),
        partial(_pours, port, CHUNKED, b"%x\r\n" % PIECE_BYTES + b" " * PIECE_BYTES + b"\r\n"),
        partial(_trickles, port, "", slow_head),
        partial(_trickles, port, slow_body, " " * SLOW_TIMES),
        partial(_leaves, port),
    ]


async def _sends(port: int, request: bytes) -> None:
    async with _connected(port) as (reader, writer):
        writer.write(request)
        await writer.drain()
        await reader.read(65_536)


async def _pours(port: int, head: str, piece: bytes) -> None:
    async with _connected(port) as (_, writer):
        writer.write(head.encode())
        for _ in range(HUGE_BYTES // PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


async def _trickles(port: int, head: str, rest: str) -> None:
    async with _connected(port) as (_, writer):
        writer.write(head.encode())
        for letter in rest[:SLOW_TIMES]:
            writer.write(letter.encode())
            await asyncio.sleep(SLOW_S)


async def _leaves(port: int) -> None:
    async with _connected(port) as (_, writer):
        writer.write(posted(PATH, _asked(WORDS))[:-9])
        await writer.drain()


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, which the service may end at any time."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        yield reader, writer
    except OSError:
        pass
    finally:
        if writer is not None:
            writer.transport.abort()
