"""Load on a server over keep-alive connections: raw asyncio, requests made beforehand, times from when each was due."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

HOST = "127.0.0.1"
LOST_AFTER_S = 15.0


@dataclass(slots=True)
class Heard:
    """What came of a load: milliseconds of those answered with 200, and how many were not."""

    times_ms: list[float] = field(default_factory=list)
    lost: int = 0
    seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the answers stayed below."""
        return sorted(self.times_ms)[int(share * (len(self.times_ms) - 1))]


class Caller(asyncio.Protocol):
    """One connection, with one request on its way at most."""

    def __init__(self, free: Callable[[Caller], None], heard: Heard) -> None:
        self.free, self.heard = free, heard
        self._began, self._had = 0.0, b""
        self.busy = False

    @classmethod
    async def connected(cls, port: int, free: Callable[[Caller], None], heard: Heard) -> Self:
        _, caller = await asyncio.get_running_loop().create_connection(lambda: cls(free, heard), HOST, port)
        return caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes, began: float) -> None:
        self._began, self._had, self.busy = began, b"", True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._had += data
        head, end, body = self._had.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
            return
        if head.startswith(b"HTTP/1.1 200"):
            self.heard.times_ms.append(1_000 * (time.perf_counter() - self._began))
        else:
            self.heard.lost += 1
        self.busy = False
        self.free(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.heard.lost += self.busy


def posted(path: str, body: bytes, *more: str) -> bytes:
    """A whole request."""
    head = [f"POST {path} HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *more, "", ""]).encode() + body


def asking(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


async def steady(
    port: int,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    connections: int,
    beside: Callable[[int], Awaitable[None]] | None = None,
    share: float = 0.0,
) -> Heard:
    """So many requests a second, whether or not the earlier ones are answered.

    They come at random: the times between them are exponential. One that finds no connection free waits for it, and
    the wait counts.

    Args:
        port: on loopback.
        requests: whole ones, in turns.
        rate: of the requests, a second.
        seconds: for so long.
        connections: kept alive.
        beside: what else is done to the server, in the place of a `share` of the requests; takes their number.
        share: of the requests.
    """
    chance, heard, waiting, others = random.Random(0), Heard(), deque[tuple[bytes, float]](), set()
    # The longest idle is taken first: a server may close what is hardly used, and what was sent there would be lost.
    idle: deque[Caller] = deque()

    def free(caller: Caller) -> None:
        if waiting:
            caller.send(*waiting.popleft())
        else:
            idle.append(caller)

    callers = [await Caller.connected(port, free, heard) for _ in range(connections)]
    idle += callers
    start = due = time.perf_counter()
    number = 0
    while due < start + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        now = time.perf_counter()
        while due <= now:
            number += 1
            if beside and chance.random() < share:
                task = asyncio.ensure_future(beside(number))
                others.add(task)
                task.add_done_callback(others.discard)
            elif idle:
                idle.popleft().send(requests[number % len(requests)], now)
            else:
                waiting.append((requests[number % len(requests)], now))
            due += chance.expovariate(rate)
    await _settled(callers, waiting)
    heard.seconds = time.perf_counter() - start
    heard.lost += len(waiting) + sum(caller.busy for caller in callers)
    for task in others:
        task.cancel()
    for caller in callers:
        caller.busy = False
        caller.transport.close()
    return heard


async def _settled(callers: Sequence[Caller], waiting: deque[tuple[bytes, float]]) -> None:
    until = time.perf_counter() + LOST_AFTER_S
    while waiting or any(caller.busy for caller in callers):
        if time.perf_counter() > until:
            return
        await asyncio.sleep(0.01)


async def as_fast_as_it_goes(port: int, requests: Sequence[bytes], seconds: float, connections: int) -> Heard:
    """Each connection sends its next request when the last one is answered."""
    heard, sent = Heard(), 0
    start = time.perf_counter()

    def free(caller: Caller) -> None:
        nonlocal sent
        now = time.perf_counter()
        if now < start + seconds:
            sent += 1
            caller.send(requests[sent % len(requests)], now)

    callers = [await Caller.connected(port, free, heard) for _ in range(connections)]
    for caller in callers:
        free(caller)
    await asyncio.sleep(seconds)
    await _settled(callers, deque())
    heard.seconds = seconds
    for caller in callers:
        caller.transport.close()
    return heard


def bodies(prompts: Sequence[str]) -> list[bytes]:
    """Requests of an ordinary client."""
    system = {"role": "system", "content": "You are a helpful assistant. Be brief."}
    return [
        json.dumps(
            {"model": "auto", "messages": [system, {"role": "user", "content": prompt}], "temperature": 0.2}
        ).encode()
        for prompt in prompts
    ]
