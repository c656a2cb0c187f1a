"""Listening on a port: what the project's servers share."""

from __future__ import annotations

import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from features.errors import InputError

LOOPBACK = "127.0.0.1"
BACKLOG = 1024
LARGEST_PORT = 65_535


class Announcing(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self.listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        self.listening()


def listen(command: str, host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        command: named in complaints.
        host: an address of this machine.
        port: 0 takes a free one.

    Raises:
        InputError: the address is not this machine's, or the port is taken or none.
    """
    if not 0 <= port <= LARGEST_PORT:  # getaddrinfo would take its lowest 16 bits
        raise InputError(f"{command}: port {port}: expected 1 to {LARGEST_PORT}, or 0 for a free one")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio sends at once, instead of collecting for 40 ms, only where the protocol is named.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(f"{command}: host {host!r}, port {port}: {error}; choose another") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"{command}: host {host!r}, port {port}: {error}; choose another, or 0 for a free one"
        ) from None
    return listener


def is_loopback(host: str) -> bool:
    """Whether a name or an address is only ever this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@contextmanager
def quiet_signals() -> Iterator[None]:
    """Uvicorn raises again the signal that stopped it; here it has then done its work."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
