"""How a tier's reply reaches the caller, who may leave at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.serve.answers import TAIL_BYTES
from pipeline.serve.bodies import Left
from pipeline.serve.headers import Headers
from pipeline.serve.upstream import Reply, UpstreamError


class Passing(Response):
    """Passes a reply on, to the byte.

    A reply that breaks off is not ended, so that the server cuts the caller's connection too.

    Args:
        reply: from a tier.
        headers: more, of this service.
        most_s: > 0, seconds that a reply in pieces may take.
        done: awaited at the end, with whether all of it was passed on and with the end of its body.
    """

    def __init__(
        self, reply: Reply, headers: Headers, most_s: float, done: Callable[[bool, bytes], Awaitable[None]]
    ) -> None:
        super().__init__(status_code=reply.status)
        self.raw_headers = [*reply.headers, *headers]
        if reply.complete:
            self.raw_headers.append((b"content-length", b"%d" % len(reply.received)))
        self._reply, self._most_s, self._done = reply, most_s, done
        self._tail = bytearray(reply.received)
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # the protocol's
        """Send it, as it comes.

        Raises:
            Left: the caller left before its end.
        """
        reply = self._reply
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": self.raw_headers})
            if reply.complete:
                await send({"type": "http.response.body", "body": reply.received})
                self._ended = True
            else:
                async with unless_left(left(receive)):
                    await self._pass_on(send)
        finally:
            reply.close()
            await self._done(self._ended, bytes(self._tail))

    async def _pass_on(self, send: Send) -> None:
        try:
            async with asyncio.timeout(self._most_s):
                piece = self._reply.received
                while piece:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    piece = await self._reply.next()
                    self._keep(piece)
        except (UpstreamError, TimeoutError):
            return
        await send({"type": "http.response.body", "body": b""})
        self._ended = True

    def _keep(self, piece: bytes) -> None:
        self._tail += piece
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]


async def left(receive: Receive) -> None:
    """Return when the caller has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def unless_left(leaving: Awaitable[None]) -> AsyncIterator[None]:
    """Cancel the block when the caller leaves.

    As `asyncio.timeout` does it: a task for the block, to be waited for, would cost a third of all that a request does.

    Args:
        leaving: is done when the caller has left.

    Raises:
        Left: the caller left.
    """
    work, gone = asyncio.current_task(), False
    assert work is not None

    def leave(watch: asyncio.Future[None]) -> None:
        nonlocal gone
        if not watch.cancelled():
            gone = True
            work.cancel()

    watch = asyncio.ensure_future(leaving)
    watch.add_done_callback(leave)
    cancelling = work.cancelling()
    try:
        yield
    except asyncio.CancelledError:
        if gone and work.uncancel() <= cancelling:
            raise Left from None
        raise
    finally:
        watch.remove_done_callback(leave)
        watch.cancel()
