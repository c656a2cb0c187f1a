"""What callers send: heads and bodies of requests, read within limits, and what is said of those that are refused."""

from __future__ import annotations

import asyncio
import json
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from features.errors import InputError

# Marks a request whose first token must come soon. A header, because fields of the body are for the model.
REALTIME = b"x-tier-router-realtime"
YES, NO = (b"1", b"true"), (b"", b"0", b"false")
# What is still on its way is read for so long after a refusal: a reset would destroy the answer.
LINGER_S = 1.0
MOST_HELD_BYTES = 256_000_000

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Refusal(InputError):  # noqa: N818  # the service does what it should
    """A request that is not served, as OpenAI's clients expect to be told.

    Attributes:
        status: of HTTP.
        code: for programs, such as "request_too_large".
        param: what is wrong with the request, or None.
        closes: the connection ends with the answer.
    """

    def __init__(self, status: int, code: str, message: str, param: str | None = None, *, closes: bool = False) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.closes = status, code, param, closes

    def __reduce__(self) -> tuple[Any, ...]:
        return _refusal, (self.status, self.code, str(self), self.param, self.closes)

    @property
    def body(self) -> bytes:
        """The answer's JSON."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        table = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": table}).encode()


class Left(Exception):  # noqa: N818  # nothing is wrong: nobody waits for the answer any more
    """The caller has left."""


@dataclass(slots=True)
class Head:
    """What the head of a request says; the texts as they came, None where it says nothing."""

    length: int | None = None
    encoding: bytes | None = None
    authorization: bytes | None = None
    origin: bytes | None = None
    realtime: bytes | None = None
    host: bytes | None = None

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> Head:
        """Read the headers of an ASGI scope."""
        head = cls()
        for name, value in headers:
            if name == b"content-length":
                head.length = int(value)  # digits: the parser has seen to that
            elif name == b"content-encoding":
                head.encoding = value
            elif name == b"authorization":
                head.authorization = value
            elif name == b"origin":
                head.origin = value
            elif name == b"host":
                head.host = value
            elif name == REALTIME:
                head.realtime = value
        return head

    @property
    def is_realtime(self) -> bool:
        """Whether the first token must come soon.

        Raises:
            Refusal: it cannot be told.
        """
        if self.realtime is None or self.realtime.lower() in NO:
            return False
        if self.realtime.lower() in YES:
            return True
        name = REALTIME.decode()
        raise Refusal(400, "invalid_header", f"{name}: expected 1 or 0", name)


class Bodies:
    """Reads bodies, of which there is never more in memory than there may be.

    Args:
        most_bytes: >= 1, of one.
        seconds: > 0, until it has arrived.
    """

    def __init__(self, most_bytes: int, seconds: float) -> None:
        self.most_bytes, self.seconds = most_bytes, seconds
        self._held = 0

    async def read(self, head: Head, receive: Receive, *, there: bool = False, copies: int = 1) -> bytes:
        """The body of a request, to be dropped by `drop`.

        Args:
            head: of the request.
            receive: gives the pieces.
            there: all of it has arrived, so that there is nothing to wait for.
            copies: >= 1, how often it will be held, in one form or another.

        Raises:
            Refusal: it is compressed, too large, too slow, or one too many.
            Left: the caller left before its end.
        """
        if head.encoding is not None and head.encoding.lower() != b"identity":
            raise Refusal(415, "unsupported_encoding", "content-encoding: expected none: send plain JSON", closes=True)
        if head.length is not None and head.length > self.most_bytes:
            raise self._too_large()
        pieces: list[bytes] = []
        whole = False
        try:
            gathering = self._gather(pieces, receive, copies)
            await (gathering if there else self._in_time(gathering))
            whole = True
        finally:
            if not whole:
                self._held -= copies * sum(map(len, pieces))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def drop(self, body: bytes, copies: int = 1) -> None:
        """A body is not needed any more, nor any of its copies."""
        self._held -= copies * len(body)

    async def _in_time(self, gathering: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                await gathering
        except TimeoutError:
            said = f"the body did not arrive within {self.seconds:g} seconds: send it faster, or less"
            raise Refusal(408, "request_timeout", said, closes=True) from None

    async def _gather(self, pieces: list[bytes], receive: Receive, copies: int) -> None:
        size, more = 0, True
        most_held = max(MOST_HELD_BYTES, 2 * copies * self.most_bytes)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Left
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            self._held += copies * len(pieces[-1])
            if size > self.most_bytes:
                raise self._too_large()
            if self._held > most_held:
                raise Refusal(503, "overloaded", "too many large requests at once: try again", closes=True)
            more = message.get("more_body", False)

    def _too_large(self) -> Refusal:
        said = f"the body has more than {self.most_bytes:,} bytes: send less, or raise serving.largest_body_bytes"
        return Refusal(413, "request_too_large", said, closes=True)


async def drain(receive: Receive) -> None:
    """Read what is still on its way, and drop it."""
    try:
        async with asyncio.timeout(LINGER_S):
            while (message := await receive())["type"] != "http.disconnect" and message.get("more_body", False):
                pass
    except TimeoutError:
        return


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in a body: UTF-8, with or without a byte order mark.

    What Python takes beyond the standard is taken here too (NaN, the last of equal keys, lone surrogates): what the
    tier says of it, it says itself.

    Raises:
        Refusal: there is none.
    """
    try:
        value = json.loads(body.removeprefix(BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        raise _unreadable(f"byte {error.start:,} of the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _unreadable(f"the body is not JSON: {error.msg} at character {error.pos:,}") from None
    except RecursionError:
        raise _unreadable("the body is nested too deep") from None
    except ValueError:  # a number of thousands of digits
        raise _unreadable("the body holds a number that is too long") from None
    if not isinstance(value, dict):
        raise _unreadable("the body is not a JSON object")
    return value


def _refusal(status: int, code: str, message: str, param: str | None, closes: bool) -> Refusal:
    return Refusal(status, code, message, param, closes=closes)


def _unreadable(said: str) -> Refusal:
    return Refusal(400, "invalid_json", f"{said}: send a chat-completions request, an object with messages")
