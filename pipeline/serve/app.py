"""The ASGI application: paths, tokens, refusals."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any

from starlette.responses import Response

from pipeline.listening import is_loopback
from pipeline.serve.bodies import Bodies, Head, Left, Receive, Refusal, drain
from pipeline.serve.connections import OWN, WHOLE
from pipeline.serve.front import Front
from pipeline.serve.measures import CONTENT_TYPE
from pipeline.serve.service import Service

JSON = b"application/json"
CHAT, MODELS = "/v1/chat/completions", "/v1/models"
PATHS = ("/route", "/healthz", "/metrics", CHAT, MODELS)
LEFT = 499  # as other servers count those whose caller did not wait
FAILED = Refusal(500, "internal_error", "the service failed: its log says how; try again, or ask a tier itself")
# In which a chat request is held: as it came, as text, its values, how they are spelled, what a tier is sent, and that
# once more for the other tier.
COPIES = 6
HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d*)?")

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Way = Callable[[Head, Scope, Receive, Send], Awaitable[int]]


class Application:
    """The service over HTTP.

    Args:
        service: what decides.
        bodies: reads them.
        token: that callers have to send; None: none is asked for, and what a web page may have sent is refused.
        front: what forwards; None: nothing does.
    """

    def __init__(self, service: Service, bodies: Bodies, token: str | None, front: Front | None = None) -> None:
        self.service, self.bodies, self.front = service, bodies, front
        self._token = None if token is None else token.encode()
        self._ways: dict[str, tuple[str, Way]] = {
            "/route": ("POST", self._route), "/healthz": ("GET", self._health), "/metrics": ("GET", self._metrics),
        }  # fmt: skip
        if front is not None:
            self._ways |= {CHAT: ("POST", self._chat), MODELS: ("GET", self._models)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; or begin and end, as the server does."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        measures, started, status, begun = self.service.measures, time.perf_counter(), FAILED.status, False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        measures.in_flight.inc()
        try:
            status = await self._serve(scope, receive, watched)
        except Refusal as refusal:
            status = refusal.status
            await _refuse(refusal, receive, watched)
        except Left:
            status = LEFT
        finally:
            measures.in_flight.dec()
            measures.answered(scope["path"], status, time.perf_counter() - started)
            if status == FAILED.status and not begun:  # the server logs the error, and ends the connection
                await _answer(send, FAILED.body, status=status, closes=True)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self.front is not None:
            await self.front.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        path, method = scope["path"], scope["method"]
        if path not in self._ways:
            raise self._unknown(path)
        expected, way = self._ways[path]
        if method != expected and (expected, method) != ("GET", "HEAD"):
            raise Refusal(405, "method_not_allowed", f"{path} takes {expected}, not {method}", closes=True)
        return await way(Head.of(scope["headers"]), scope, receive, send)

    def _unknown(self, path: str) -> Refusal:
        if path in PATHS:
            said = f"{path} is off: give a --config file that names base_url and model of both tiers"
        else:
            said = f"there is no such path: expected one of {', '.join(self._ways)}"
        return Refusal(404, "unknown_url", said, closes=True)

    async def _route(self, head: Head, scope: Scope, receive: Receive, send: Send) -> int:
        self._admit(head)
        realtime = head.is_realtime
        body = await self.bodies.read(head, receive, there=WHOLE in scope["extensions"])
        try:
            decision = await self.service.route(body, realtime=realtime)
        finally:
            self.bodies.drop(body)
        return await _answer(send, json.dumps(decision.plain()).encode())

    async def _health(self, head: Head, _: Scope, __: Receive, send: Send) -> int:
        decider = self.service.decider
        refused = decider.refused
        if refused and not (self._knows(head) and self._is_no_page(head)):
            refused = "the log says why"  # the reason names folders
        found = {"status": "ok", "version": decider.version, "created_at": decider.manifest["created_at"]}
        return await _answer(send, json.dumps(found | {"swaps": decider.swaps, "refused": refused}).encode())

    async def _metrics(self, head: Head, _: Scope, __: Receive, send: Send) -> int:
        self._admit(head)
        return await _answer(send, self.service.measures.text(), CONTENT_TYPE)

    async def _chat(self, head: Head, scope: Scope, receive: Receive, send: Send) -> int:
        assert self.front is not None
        self._admit(head)
        realtime = head.is_realtime
        body = await self.bodies.read(head, receive, there=WHOLE in scope["extensions"], copies=COPIES)

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        try:
            response = await self.front.complete(body, scope["headers"], realtime=realtime, gone=gone)
        finally:
            self.bodies.drop(body, COPIES)
        await _pass_on(response, scope, receive, send)
        return response.status_code

    async def _models(self, head: Head, scope: Scope, receive: Receive, send: Send) -> int:
        assert self.front is not None
        self._admit(head)
        response = await self.front.models()
        await response(scope, receive, send)
        return response.status_code

    def _admit(self, head: Head) -> None:
        """Let a caller in.

        Raises:
            Refusal: without the token, or from a web page, whose reader does not know that it asks.
        """
        if not self._knows(head):
            raise Refusal(
                401, "invalid_api_key", "the service's token is missing or wrong: send 'Authorization: Bearer TOKEN'",
                closes=True,
            )  # fmt: skip
        if not self._is_no_page(head):
            raise Refusal(
                403, "origin_not_allowed", "web pages may not ask a service without a token: ask for localhost "
                "and send no Origin, or set serving.token_env",
                closes=True,
            )  # fmt: skip

    def _is_no_page(self, head: Head) -> bool:
        """Whether no web page can have sent this: each names its origin, or the host that it came from itself."""
        return self._token is not None or (head.origin is None and (head.host is None or _is_here(head.host)))

    def _knows(self, head: Head) -> bool:
        if self._token is None:
            return True
        scheme, _, given = (head.authorization or b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)


@lru_cache(maxsize=64)  # callers choose what they send
def _is_here(host: bytes) -> bool:
    """Whether a Host header names this machine, with or without a port."""
    named = HOST.fullmatch(host.decode("latin-1"))
    return named is not None and is_loopback(named[1] or named[2])


async def _answer(send: Send, body: bytes, kind: bytes = JSON, status: int = 200, *, closes: bool = False) -> int:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    if closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return status


async def _pass_on(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer; one that breaks off ends the connection, so that nobody takes it for whole."""
    whole = False

    async def watched(message: MutableMapping[str, Any]) -> None:
        nonlocal whole
        await send(message)
        whole = message["type"] == "http.response.body" and not message.get("more_body", False)

    await response(scope, receive, watched)
    if not whole:
        scope["extensions"][OWN].close()
        await drain(receive)


async def _refuse(refusal: Refusal, receive: Receive, send: Send) -> None:
    body = refusal.body
    headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
    if refusal.closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": refusal.closes})
    if refusal.closes:
        await drain(receive)
        await send({"type": "http.response.body", "body": b""})
