"""The pair over HTTP on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.listening import LOOPBACK, Announcing, listen, quiet_signals
from pipeline.simulate.ledger import Ledger
from pipeline.simulate.options import Options
from pipeline.simulate.pair import Exchange, Pair
from pipeline.simulate.prepare import check
from pipeline.simulate.replies import PRICES

GOODBYE_S = 1
BLANK_LINES = 3
OWN = "tier_router.transport"

Sending = Callable[[Scope, Receive, Send], Awaitable[None]]


class Connection(HttpToolsProtocol):
    """Tells the application which connection a request came by: faults close it, and the ledger asks if it is open."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {OWN: self.transport}  # type: ignore[dict-item]  # ASGI says dicts, and means data


def application(pair: Pair, ledger: Ledger) -> Starlette:
    """The pair as an ASGI application."""
    return Starlette(
        routes=[
            Route("/{tier}/v1/chat/completions", partial(complete, pair, ledger), methods=["POST"]),
            Route("/{tier}/v1/models", partial(models, pair), methods=["GET"]),
        ]
    )


async def models(pair: Pair, request: Request) -> JSONResponse:
    """The one model of an endpoint."""
    tier = request.path_params["tier"]
    if tier not in PRICES:
        return JSONResponse({"error": {"message": "No such endpoint.", "type": "invalid_request_error"}}, 404)
    if not pair.knows(request.headers.get("authorization")):
        return JSONResponse({"error": {"message": "Authentication fails.", "type": "authentication_error"}}, 401)
    model = {"id": f"simulated-{tier}", "object": "model", "owned_by": "tier-router simulation"}
    return JSONResponse({"object": "list", "data": [model]})


async def complete(pair: Pair, ledger: Ledger, request: Request) -> JSONResponse | Sending:
    """Answer a request, or do to it what befalls it."""
    tier = request.path_params["tier"]
    if tier not in PRICES:
        return JSONResponse({"error": {"message": "No such endpoint.", "type": "invalid_request_error"}}, 404)
    exchange = pair.take(tier, request.headers.get("authorization"), await request.body(), time.time())
    return partial(hand_over, ledger, exchange)


async def hand_over(ledger: Ledger, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
    """Wait, enter the request in the ledger, and send the reply, or what the fault leaves of it."""
    entry, transport = exchange.entry, scope["extensions"][OWN]
    delivered = False
    try:
        if entry.fault == "blank_lines":
            await _start(exchange, send, whole=False)
        await _pause(exchange, send)
        delivered = entry.fault not in ("closed", "cut_off") and not transport.is_closing()
    finally:
        # Also where the server is told to stop meanwhile: tokens were generated.
        ledger.write(replace(entry, delivered=delivered))
    if entry.fault in ("closed", "cut_off"):
        await _break_off(exchange, transport, receive, send)
        return
    if entry.fault != "blank_lines":
        await _start(exchange, send, whole=True)
    await send({"type": "http.response.body", "body": exchange.body})


async def _pause(exchange: Exchange, send: Send) -> None:
    """Wait as long as the reply takes."""
    if exchange.entry.fault != "blank_lines":
        await asyncio.sleep(exchange.wait_s)
        return
    for _ in range(BLANK_LINES):
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        await asyncio.sleep(exchange.wait_s / BLANK_LINES)


async def _start(exchange: Exchange, send: Send, *, whole: bool) -> None:
    """Send the head; a body in pieces has no length beforehand."""
    headers = [(b"content-type", b"application/json")]
    if whole:
        headers.append((b"content-length", str(len(exchange.body)).encode()))
    headers += [(name.encode(), value.encode()) for name, value in exchange.headers.items()]
    await send({"type": "http.response.start", "status": exchange.entry.status, "headers": headers})


async def _break_off(exchange: Exchange, transport: Any, receive: Receive, send: Send) -> None:
    """Close the connection, after half of the body if there is one."""
    if exchange.body:
        await _start(exchange, send, whole=True)
        half = exchange.body[: len(exchange.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def serve(folder: Path, options: Options, port: int = 0, ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve a pair until SIGINT or SIGTERM.

    Args:
        folder: where its ledger is kept.
        options: how it behaves.
        port: 0 takes a free one.
        ready: called with the base URL, such as "http://127.0.0.1:8000", when it listens.

    Raises:
        InputError: the port is taken; other tasks were prepared in the folder.
        StorageError: the ledger cannot be written.
    """
    check(folder, options.count, options.seed)
    pair, listener = Pair(options), listen("simulate", LOOPBACK, port)
    pair.learn()
    ledger = Ledger(folder)
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        application(pair, ledger), http=Connection, ws="none", lifespan="off", log_config=None, log_level="critical",
        access_log=False, timeout_graceful_shutdown=GOODBYE_S, timeout_keep_alive=60, server_header=False,
    )  # fmt: skip
    with listener, quiet_signals():
        Announcing(config, partial(ready, address)).run([listener])
    ledger.close()
