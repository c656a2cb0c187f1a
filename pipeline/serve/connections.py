"""What a connection may take of the server before its request reaches the application."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pipeline.serve.bodies import Bodies, Refusal

# What the application is told of a connection: its transport, and whether the request is all there.
OWN, WHOLE = "tier_router.transport", "tier_router.whole"
IDLE_S = 75.0  # longer than load balancers keep a connection, so that they close it first
MOST_CONNECTIONS = 2_000
MOST_HEADERS = 128
MOST_HEAD_BYTES = 65_536
WIRE_SHARE = 4  # bytes on the wire for one of the largest body: chunks have heads
MOST_AHEAD = 16  # requests sent before the answer to an earlier one
# A body in pieces of a few bytes costs a hundred times what a whole one does.
MANY_PIECES, LEAST_PIECE_BYTES = 1_000, 64


class _TooMuch(Exception):  # noqa: N818  # it ends the parser, and nobody sees it
    """The caller sends more than a connection may take."""


class Joined(asyncio.Transport):
    """A transport that sends at once what is written at once: a head and its body are one packet, by one system call.

    Args:
        transport: to send by.
        loop: at whose next turn that is done.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send this soon."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(bytes(data))

    def close(self) -> None:
        """Send the rest, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close as it is."""
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))


class Connection(HttpToolsProtocol):
    """A connection with bounds on what it sends, and on the time until the head of its next request is there.

    Args:
        bodies: whose bounds hold; a head has as much time as a body.
        given: what uvicorn gives.
    """

    def __init__(self, bodies: Bodies, **given: Any) -> None:
        super().__init__(**given)
        self.bodies = bodies
        self._due: float | None = None  # when the head has to be there; None: it is
        self._headers = self._pieces = self._bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A caller connects."""
        super().connection_made(transport)
        self.transport = Joined(transport, self.loop)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(Refusal(503, "overloaded", "too many connections: try again, or reuse them"))
            return
        self._due = self.loop.time() + self.bodies.seconds
        self.loop.call_later(self.bodies.seconds, self._look)

    def data_received(self, data: bytes) -> None:
        """Bytes arrive."""
        most = MOST_HEAD_BYTES if self._due is not None else WIRE_SHARE * self.bodies.most_bytes + MOST_HEAD_BYTES
        if self._bytes > most:
            self.transport.abort()
            return
        self._bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MOST_AHEAD:
            raise _TooMuch
        super().on_message_begin()
        self._headers = self._pieces = 0
        self._due = self.loop.time() + self.bodies.seconds
        self.scope["extensions"] = {OWN: self.transport}  # type: ignore[dict-item]  # ASGI says dicts, and means data

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, of the head or after the body."""
        self._headers += 1
        if self._headers > MOST_HEADERS:
            raise _TooMuch
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._due = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._pieces += 1
        if self._pieces > MANY_PIECES and self._pieces * LEAST_PIECE_BYTES > self._bytes:
            raise _TooMuch
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        self._bytes = 0
        self.scope["extensions"][WHOLE] = True  # type: ignore[assignment]  # as above
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is sent."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._due = self.loop.time() + IDLE_S

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or too much of it."""
        self._refuse(Refusal(400, "invalid_http", msg))

    def _refuse(self, refusal: Refusal) -> None:
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(refusal.body)
        self.transport.write(STATUS_LINE[refusal.status] + head + refusal.body)
        self.transport.close()

    def _look(self) -> None:
        """Close the connection if it is late, else look again later: one timer for all of its requests."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._due is not None and self._due <= now:
            self.transport.close()
            return
        self.loop.call_later(self.bodies.seconds, self._look)
