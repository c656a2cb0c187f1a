"""The front before a tier on loopback, in turns with the same tier asked directly by the same client."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from pipeline.metrics import Reals
from pipeline.served import Served
from tests.bench import goals
from tests.bench.data import BUNDLE_NAME, Data
from tests.bench.processes import TIER_ROUTER, measured, python
from tests.bench.table import Line
from tests.bench.timing import spread

CHARACTERS = (200, 2_000)
REQUESTS, WARM_UP, ROUNDS = 2_000, 100, 20
ADDED_MS = goals.at_most(2.0, 1.0)
# A tier that takes no time: a constant answer, whole or as a stream, to whatever is asked.
TIER = """
import asyncio, json

choice = {"index": 0, "message": {"role": "assistant", "content": "word " * 100}, "finish_reason": "stop"}
usage = {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120}
whole = json.dumps({"id": "1", "model": "m", "choices": [choice], "usage": usage}).encode()
delta = json.dumps({"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "word "}}]}).encode()
stream = (b"data: " + delta + b"\\n\\n") * 20 + b"data: [DONE]\\n\\n"
head = b"HTTP/1.1 200 OK\\r\\ncontent-type: "
answer = head + b"application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(whole), whole)
pieces = head + b"text/event-stream\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n"
pieces += b"%x\\r\\n%s\\r\\n0\\r\\n\\r\\n" % (len(stream), stream)

class Tier(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\\r\\n\\r\\n")
        if end and len(body) >= int(head.lower().split(b"content-length:")[1].split()[0]):
            self.received = b""
            self.transport.write(pieces if b'"stream":true' in body else answer)

async def main():
    server = await asyncio.get_running_loop().create_server(Tier, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    data.say("forwarding: training on the bundle")
    with tempfile.TemporaryDirectory() as folder:
        measured([TIER_ROUTER, "train", "--out", f"{folder}/models"])
        version = Path(folder, "models", "v1")
        text = "\n".join(Served.open(version)[0].texts(data.load(BUNDLE_NAME))[:200])
        with _ports(version) as ports:
            data.say("forwarding: asking")
            return [
                line
                for characters in CHARACTERS
                for streamed in (False, True)
                for line in _lines(ports, text[:characters], streamed=streamed)
            ]


@contextmanager
def _ports(version: Path) -> Iterator[dict[str, int]]:
    """The ports of the tier and of the service before it, each in a process of its own."""
    with subprocess.Popen(python(TIER), stdout=subprocess.PIPE, text=True) as tier:
        assert tier.stdout is not None
        direct = int(tier.stdout.readline())
        config = version.parent / "tier-router.toml"
        table = f'base_url = "http://127.0.0.1:{direct}/v1"\nmodel = "m-'
        config.write_text(
            f'[tiers.flash]\n{table}flash"\n[tiers.pro]\n{table}pro"\n[serving]\nlog = "{version.parent / "log"}"\n'
        )
        command = [TIER_ROUTER, "serve", str(version), "--port", "0", "--json", "--config", str(config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as service:
            assert service.stdout is not None
            try:
                yield {"tier": direct, "front": int(json.loads(service.stdout.readline())["address"].rsplit(":", 1)[1])}
            finally:
                service.terminate()
                tier.kill()


def _lines(ports: dict[str, int], prompt: str, *, streamed: bool) -> list[Line]:
    asked = {"model": "auto", "messages": [{"role": "user", "content": prompt}]} | (
        {"stream": True} if streamed else {}
    )
    body = json.dumps(asked, separators=(",", ":")).encode()
    took = _took(ports, body)
    what = f"{'the first byte of a stream' if streamed else 'an answer'}, {len(prompt):,} characters"
    middle = {name: np.median(times.reshape(ROUNDS, -1), 1) for name, times in took.items()}
    added = middle["front"] - middle["tier"]
    late = {name: float(np.quantile(times, 0.99)) for name, times in took.items()}
    alone = float(np.median(middle["tier"]))
    return [
        Line(f"added by the front to {what}, p50, ms", float(np.median(added)), f"{spread(added)}, the tier itself "
             f"{alone:.2f} ({REQUESTS:,} requests each, in turns)", ADDED_MS, ".2f"),
        Line(f"added by the front to {what}, p99, ms", late["front"] - late["tier"],
             f"(the tier itself {late['tier']:.2f})", form=".2f"),
    ]  # fmt: skip


def _took(ports: dict[str, int], body: bytes) -> dict[str, Reals]:
    """Milliseconds until the first byte of a body that is a stream, else until its end, float64[REQUESTS] each."""
    connections = {name: _connection(port) for name, port in ports.items()}
    took: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(WARM_UP + REQUESTS):
        for name, connection in connections.items():
            took[name].append(_asked(connection, body))
    for connection in connections.values():
        connection.close()
    return {name: 1_000 * np.array(times[WARM_UP:]) for name, times in took.items()}


def _connection(port: int) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _asked(connection: HTTPConnection, body: bytes) -> float:
    started = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    response = connection.getresponse()
    first = response.read(1)
    begun = time.perf_counter()
    rest = response.read()
    ended = time.perf_counter()
    if response.status != 200 or not first + rest:
        raise RuntimeError(f"status {response.status}: {(first + rest)[:200]!r}")
    return (begun if response.getheader("content-type") == "text/event-stream" else ended) - started
