"""`tier-router serve` on one core, asked from another: how fast, how evenly, and among callers who mean harm."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.served import Served
from tests.bench import goals, load
from tests.bench.attackers import attackers
from tests.bench.data import BUNDLE_NAME, Data
from tests.bench.load import Heard
from tests.bench.processes import TIER_ROUTER, measured
from tests.bench.table import Line

ASKED = "routellm_mmlu"
REQUESTS = 2_000
RATES = (1_000.0, 2_000.0)  # half of the bar's, and that
SECONDS, CONNECTIONS = 12.0, 32
HOSTILE_SHARE = 0.01
QUICK_SECONDS = 5.0
P99_MS = goals.at_most(5.0, 2.5)
HEALTH = [load.asking("/healthz")]


@dataclass(frozen=True, slots=True)
class Running:
    """A service: where it listens, its process."""

    port: int
    pid: int

    @property
    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_gigabytes(self) -> float:
        [line] = [line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmHWM" in line]
        return float(line.split()[1]) / 1e6


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    data.say("serving: training on the bundle")
    with tempfile.TemporaryDirectory() as folder:
        measured([TIER_ROUTER, "train", "--out", f"{folder}/models"])
        version = Path(folder, "models", "v1")
        bodies = load.bodies(_prompts(data, version))
        asked = [load.posted("/route", body) for body in bodies]
        behind = f"{len(bodies):,} of the set's requests, median {np.median([*map(len, bodies)]):,.0f} bytes"
        lines = []
        for log in (None, Path(folder, "log")):
            data.say(f"serving: {'with' if log else 'without'} a log")
            with _running(version, log) as service:
                lines += _fast(service, asked, f"{behind}, {'with' if log else 'without'} a log")
        data.say("serving: among hostile callers")
        with _running(version, None) as service:
            return [*lines, *(line for rate in RATES for line in _among_attackers(service, asked, rate))]


def _prompts(data: Data, version: Path) -> list[str]:
    traces = data.load(ASKED if data.folder else BUNDLE_NAME)
    texts = Served.open(version)[0].texts(traces)
    return [texts[at] for at in np.random.default_rng(0).permutation(len(texts))[:REQUESTS]]


@contextmanager
def _running(version: Path, log: Path | None) -> Iterator[Running]:
    """A service on the first core, while this process keeps to the others."""
    cores = sorted(os.sched_getaffinity(0))
    config = version.parent / "tier-router.toml"
    config.write_text(f'[serving]\nlog = "{log}"\n' if log else "")
    os.sched_setaffinity(0, cores[:1])
    try:
        child = subprocess.Popen(
            [TIER_ROUTER, "serve", str(version), "--port", "0", "--json", "--config", str(config)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        os.sched_setaffinity(0, cores[1:] or cores)
        with child:
            assert child.stdout is not None
            yield Running(int(json.loads(child.stdout.readline())["address"].rsplit(":", 1)[1]), child.pid)
            child.terminate()
    finally:
        os.sched_setaffinity(0, cores)


def _fast(service: Running, asked: Sequence[bytes], behind: str) -> list[Line]:
    """As fast as it goes, then at the rates; /healthz, which answers a constant, beside it."""
    most, constant = (_at_most(service, requests) for requests in (asked, HEALTH))
    what = f"decisions a second over HTTP, one core ({behind})"
    than = f"({most[1]:.0f} µs of processor each; GET /healthz {constant[0]:,.0f} a second, {constant[1]:.0f} µs)"
    return [Line(what, most[0], than, form=",.0f"), *(line for rate in RATES for line in _steady(service, asked, rate))]


def _steady(service: Running, asked: Sequence[bytes], rate: float) -> list[Line]:
    steady, level = (
        _run(load.steady(service.port, requests, rate, SECONDS, CONNECTIONS)) for requests in (asked, HEALTH)
    )
    than = f"GET /healthz {level.quantile(0.5):.2f} and {level.quantile(0.99):.2f}; {CONNECTIONS} connections"
    return [_late(f"p99 at {rate:,.0f} a second, ms", steady, rate, than), _lost("requests lost", steady)]


def _among_attackers(service: Running, asked: Sequence[bytes], rate: float) -> list[Line]:
    kinds = attackers(service.port)

    def attack(number: int) -> Coroutine[Any, Any, None]:
        return kinds[number % len(kinds)]()

    heard = _run(load.steady(service.port, asked, rate, SECONDS, CONNECTIONS, attack, HOSTILE_SHARE))
    after = _run(load.steady(service.port, asked, rate, QUICK_SECONDS, CONNECTIONS))
    behind = f"at {rate:,.0f} a second, {HOSTILE_SHARE:.0%} of them hostile, of {len(kinds)} kinds"
    than = f"afterwards p99 {after.quantile(0.99):.2f}, {after.lost} lost; peak memory {service.peak_gigabytes:.2f} GB"
    return [
        _lost(f"good requests lost {behind}", heard),
        _late(f"p99 of the good ones {behind}, ms", heard, rate, than),
    ]


def _late(what: str, heard: Heard, rate: float, than: str) -> Line:
    behind = f"(p50 {heard.quantile(0.5):.2f}, p99.9 {heard.quantile(0.999):.2f}; {than})"
    return Line(what, heard.quantile(0.99), behind, P99_MS if rate == RATES[-1] else None, ".2f")


def _lost(what: str, heard: Heard) -> Line:
    return Line(what, heard.lost, f"(of {len(heard.times_ms):,})", goals.NONE, ".0f")


def _at_most(service: Running, requests: Sequence[bytes]) -> tuple[float, float]:
    """Answers a second, and µs of processor each."""
    before = service.processor_seconds
    heard = _run(load.as_fast_as_it_goes(service.port, requests, QUICK_SECONDS, CONNECTIONS))
    answers = len(heard.times_ms)
    return answers / heard.seconds, 1e6 * (service.processor_seconds - before) / answers


def _run(work: Coroutine[Any, Any, Heard]) -> Heard:
    return asyncio.run(work)
