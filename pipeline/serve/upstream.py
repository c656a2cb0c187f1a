"""A tier over HTTP: one request, and its reply as it arrives. Nothing is followed, decoded or tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import ExitStack
from io import BytesIO
from ssl import SSLContext
from typing import Any, TypeVar

import aiohttp
from aiohttp.connector import Connection

from features.errors import TierRouterError
from pipeline.collect.client import SHORTEST_SECRET, hidden
from pipeline.endpoint import Endpoint
from pipeline.serve.headers import Headers, from_tier, to_tier

# An answer of more is passed on as it comes, and not read.
LARGEST_READ_BYTES = 16_000_000
LONGEST_COMPLAINT_BYTES = 1_000_000
LARGEST_STATUS = 599
# Of a connection that is kept for the next request: less than most servers do.
IDLE_SECONDS = 30.0

TIME_OUT, NO_CONNECTION, CUT_OFF = "time-out", "no connection", "cut off"
NO_REPLY, REDIRECTED = "closed without a reply", "redirected"
SAID_ANEW = (("content-type", "application/json"), ("accept-encoding", "identity"))

Heard = TypeVar("Heard")


class UpstreamError(TierRouterError):
    """A tier gave no answer, or not all of it; the text is the cause, the same for the same kind of failure."""


class Reply:
    """What a tier replies.

    Attributes:
        status: of HTTP.
        headers: those that the caller gets.
        received: of the body, so far.
        complete: whether that is all of it.
    """

    def __init__(self, response: aiohttp.ClientResponse, read_timeout_s: float) -> None:
        self.status = response.status
        self.headers = from_tier(response.raw_headers)
        self.received = b""
        self.complete = False
        self._response, self._read_timeout_s = response, read_timeout_s

    @property
    def good(self) -> bool:
        """Whether the tier answered."""
        return 200 <= self.status < 300

    async def gather(self, most_bytes: int) -> None:
        """Receive until more than so many bytes are there, or all.

        Raises:
            UpstreamError: it broke off.
        """
        pieces, size = [self.received], len(self.received)
        while size <= most_bytes and (piece := await self.next()):
            pieces.append(piece)
            size += len(piece)
        self.received = b"".join(pieces)

    async def complain(self) -> None:
        """Receive what there is, or the beginning of a complaint that is longer than any person's.

        Raises:
            UpstreamError: it broke off.
        """
        await self.gather(LONGEST_COMPLAINT_BYTES)
        self.complete = True
        self.close()

    async def next(self) -> bytes:
        """The next piece; b"" when the body is complete.

        Raises:
            UpstreamError: it broke off.
        """
        content = self._response.content
        piece = b"" if content.at_eof() else await _heard(content.readany(), self._read_timeout_s, CUT_OFF)
        if not piece:
            self.complete = True
            self.close()
        return piece

    def close(self) -> None:
        """Let go of the connection; it is of no further use where the reply is not complete."""
        self._response.close()


class Upstream:
    """A tier, over connections that are opened as requests need them, each for one at a time.

    Args:
        endpoint: where it answers, with a model and an address.
        proxy: on the way there; None: none.
        key: sent as a bearer token; None: none of its own.
        callers_key: without a key, the caller's own headers say who asks.
        certificates: that servers are trusted by.
    """

    def __init__(
        self, endpoint: Endpoint, proxy: str | None, key: str | None, certificates: SSLContext, *, callers_key: bool
    ) -> None:
        self.endpoint, self.proxy = endpoint, proxy
        self._key = key
        self._callers_key = callers_key and key is None
        self._certificates = certificates
        self._session: aiohttp.ClientSession | None = None

    @property
    def own_key(self) -> bool:
        """Whether it is asked with a key of the service's own."""
        return self._key is not None

    async def ask(self, body: bytes, headers: Headers, most_s: float, *, streamed: bool) -> Reply:
        """Send a request, once.

        Args:
            body: to send.
            headers: of the caller.
            most_s: > 0, seconds until the reply begins, if it is streamed, else until it is complete.
            streamed: a good reply is wanted as it comes.

        Returns:
            The reply, complete unless it is a good one that is streamed or very large. Who does not read its rest has
            to close it.

        Raises:
            UpstreamError: there is no reply.
        """
        try:
            async with asyncio.timeout(min(most_s, self.endpoint.call_timeout_s)):
                return self._readable(await self._reply(body, headers, streamed=streamed))
        except TimeoutError:
            raise UpstreamError(TIME_OUT) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _reply(self, body: bytes, headers: Headers, *, streamed: bool) -> Reply:
        sent = [*to_tier(headers, with_key=self._callers_key), *SAID_ANEW]
        if self._key:
            sent.append(("authorization", f"Bearer {self._key}"))
        asked = self._opened().post(self.endpoint.url, data=BytesIO(body), headers=sent, allow_redirects=False)
        response = await _heard(asked, self.endpoint.read_timeout_s, NO_REPLY)
        with ExitStack() as stack:
            stack.callback(response.close)
            reply = Reply(response, self.endpoint.read_timeout_s)
            if not reply.good and not 400 <= reply.status <= LARGEST_STATUS:
                raise UpstreamError(REDIRECTED if 300 <= reply.status < 400 else NO_REPLY)
            if reply.good:
                await reply.gather(0 if streamed else LARGEST_READ_BYTES)
            else:
                await reply.complain()
            stack.pop_all()
        return reply

    def _readable(self, reply: Reply) -> Reply:
        """The reply without the tier's own key, should it repeat it."""
        if self._key and len(self._key) >= SHORTEST_SECRET and reply.complete:
            reply.received = hidden(reply.received.decode("latin-1"), self._key).encode("latin-1")
        return reply

    def _opened(self) -> aiohttp.ClientSession:
        """The connections, which belong to the loop that runs."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connections(limit=0, keepalive_timeout=IDLE_SECONDS, ssl=self._certificates),
                timeout=aiohttp.ClientTimeout(connect=self.endpoint.connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
                # Not its trust_env, which reads the environment at each call, and passwords from ~/.netrc.
                proxy=self.proxy,
            )  # fmt: skip
        return self._session


class Connections(aiohttp.TCPConnector):
    """Connections to a tier, but for those on which it spoke unasked: aiohttp takes that for the next reply."""

    async def connect(self, *args: Any, **more: Any) -> Connection:
        """A connection that was waiting, or a new one.

        Raises:
            ServerDisconnectedError: it is of no use.
        """
        found = await super().connect(*args, **more)
        if found.protocol is None or found.protocol.should_close:
            found.close()
            raise aiohttp.ServerDisconnectedError
        return found


async def _heard(news: Awaitable[Heard], most_s: float, otherwise: str) -> Heard:
    """What a tier says within so many seconds.

    Raises:
        UpstreamError: nothing; in these words, where none are fitter.
    """
    try:
        # Not by aiohttp's sock_read, which ends with the connection where what comes is no HTTP; its reader waits on.
        async with asyncio.timeout(most_s):
            return await news
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError):
        raise UpstreamError(NO_CONNECTION) from None
    except TimeoutError:
        raise UpstreamError(TIME_OUT) from None
    except (aiohttp.ClientError, RuntimeError):  # the latter where the connection was gone before the wait
        raise UpstreamError(otherwise) from None
