"""One try of one call over HTTP, with a reply to read or a failure to judge at its end."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from features.errors import InputError
from pipeline.collect.failures import CallError, refused
from pipeline.collect.protocol import Reply, body_of, read
from pipeline.endpoint import Endpoint

if TYPE_CHECKING:
    import httpx

LARGEST_REPLY_BYTES = 64_000_000
WRITE_TIMEOUT_SECONDS = 60.0
HIDDEN_KEY = "[key]"
# Shorter ones, such as the "EMPTY" of a local server, are no secrets, and would be cut out of answers.
SHORTEST_SECRET = 8
TOLD_BY = 4  # so many characters of a key's beginning at a text's end are taken for it


class Client:
    """An endpoint, over connections that are opened as calls need them, each for one call at a time.

    httpx's own pool looks through all of its connections at each call, which took half of a call's time at 16 of them.
    """

    def __init__(self, endpoint: Endpoint, key: str | None, opened: Callable[[], Awaitable[httpx.AsyncClient]]) -> None:
        self.endpoint = endpoint
        self._key = key
        self._opened = opened
        self._idle: list[httpx.AsyncClient] = []

    async def ask(self, asked: Mapping[str, Any], most_input: int) -> tuple[Reply, float]:
        """Send what a task asks, once.

        Args:
            asked: fields of the request that the task gives.
            most_input: input tokens that it cannot exceed.

        Returns:
            The reply, and the seconds until it was complete.

        Raises:
            CallError: there is no usable reply.
        """
        body = json.dumps(body_of(asked, self.endpoint), ensure_ascii=False, separators=(",", ":")).encode()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.endpoint.call_timeout_s):
                status, retry_after, text = await self._exchange(body)
        except TimeoutError:
            limit = self.endpoint.call_timeout_s
            raise CallError("time-out of the call", f"longer than {limit:g} s", paid=True) from None
        seconds = time.monotonic() - began
        if not 200 <= status < 300:
            raise refused(status, retry_after, text)
        return read(text, self.endpoint, most_input), seconds

    async def _exchange(self, body: bytes) -> tuple[int, str | None, str]:
        """Status, Retry-After and body of the reply, the key hidden where an endpoint repeats it."""
        import httpx

        received = bytearray()
        try:
            async with self._connection() as http, http.stream("POST", self.endpoint.url, content=body) as response:
                async for piece in response.aiter_bytes():
                    received += piece
                    if len(received) > LARGEST_REPLY_BYTES:
                        said = f"over {LARGEST_REPLY_BYTES:,} bytes"
                        raise CallError("reply too large", said, paid=True, again=False)
                return response.status_code, response.headers.get("retry-after"), self._text(received)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise CallError("no connection", self._said(error), paid=False) from None
        except httpx.ReadTimeout:
            said = f"no byte for {self.endpoint.read_timeout_s:g} s"
            raise CallError("time-out of reading", said, paid=True, reply=self._text(received)) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            cause = "cut off" if received else "closed without a reply"
            raise CallError(cause, self._said(error), paid=True, reply=self._text(received)) from None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncClient]:
        """The connection that was used last, which is the likeliest to be alive; a new one where all are in use."""
        http = self._idle.pop() if self._idle else await self._opened()
        try:
            yield http
        finally:
            self.give_back(http)

    def give_back(self, http: httpx.AsyncClient) -> None:
        """Have a connection for another call."""
        self._idle.append(http)

    def _text(self, received: bytearray) -> str:
        return self._hidden(received.decode("utf-8", "replace"))

    def _said(self, error: Exception) -> str:
        return self._hidden(str(error) or type(error).__name__)

    def _hidden(self, text: str) -> str:
        return hidden(text, self._key) if self._key and len(self._key) >= SHORTEST_SECRET else text


def hidden(text: str, key: str) -> str:
    """A text without a key: not as it is, nor as JSON or Python write it, nor its beginning where the text was cut off.

    >>> hidden("no such key: sk-1/2 (sk-1", "sk-1/2")
    'no such key: [key] ([key]'
    """
    quoted = json.dumps(key)[1:-1]
    for spelling in (key, quoted, quoted.replace("/", r"\/"), repr(key)[1:-1]):
        text = text.replace(spelling, HIDDEN_KEY)
    begun = next((size for size in range(len(key) - 1, TOLD_BY - 1, -1) if text.endswith(key[:size])), 0)
    return text[: len(text) - begun] + HIDDEN_KEY if begun else text


def certificates_of_this_machine() -> SSLContext:
    """What servers are trusted by; reading it takes longer than some calls.

    Raises:
        InputError: the variables SSL_CERT_FILE or SSL_CERT_DIR lead to none.
    """
    import httpx

    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise InputError(f"certificates cannot be read ({error}): check SSL_CERT_FILE and SSL_CERT_DIR") from None


@asynccontextmanager
async def connected(endpoint: Endpoint, key: str | None, certificates: SSLContext) -> AsyncIterator[Client]:
    """A client of an endpoint, over HTTP/2 where the server offers it.

    Args:
        endpoint: its URL, limits and time-outs.
        key: sent as a bearer token, if there is one.
        certificates: that servers are trusted by.
    """
    import httpx

    # At their debug level these write down headers: hpack the key, httpcore what an endpoint makes of it.
    for name in ("hpack", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    timeout = httpx.Timeout(
        connect=endpoint.connect_timeout_s, read=endpoint.read_timeout_s, write=WRITE_TIMEOUT_SECONDS, pool=None
    )
    single = httpx.Limits(max_connections=1)
    async with AsyncExitStack() as stack:

        async def another() -> httpx.AsyncClient:
            return await stack.enter_async_context(
                httpx.AsyncClient(http2=True, headers=headers, timeout=timeout, limits=single, verify=certificates)
            )

        try:
            first = await another()
        except (ImportError, ValueError) as error:
            raise InputError(f"the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: {error}") from None
        client = Client(endpoint, key, another)
        client.give_back(first)
        yield client
