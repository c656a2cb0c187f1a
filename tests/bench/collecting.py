"""Collecting from the simulated pair: through kills and faults, at a limit, at what cost of its own."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.simulate import prepare
from pipeline.simulate.child import running
from pipeline.simulate.ledger import Entry, read
from pipeline.simulate.options import Options
from tests.bench import goals
from tests.bench.data import Data
from tests.bench.processes import TIER_ROUTER, measured, python
from tests.bench.table import Line

TASKS, FAULTS, KILLS = 2_000, 0.2, 20
# A collector is killed when so many more calls have arrived at the server.
KILLED_AFTER_CALLS = (1, 90)
LITTLE_USD, ENOUGH_USD = 5.0, 50.0
LOOK_S = 0.02
GIVEN_AGAIN = 3
# Faults that leave the client without an answer for tokens that were billed.
SPOILED = {"cut_off", "malformed", "insufficient"}
LIMIT_PER_MINUTE, LIMITED_TASKS = 2_000, 5_000
FEW, MORE, MANY = 1_000, 11_000, 100_000
QUICK = {"flash_latency_s": 0.0, "pro_latency_s": 0.0}
ROUTERS = 3
# The same calls by httpx alone: its fastest use, a client of one connection for each call at once.
BARE = """
import asyncio, json, sys
import httpx

async def main(url, count):
    bodies = [
        json.dumps({"model": "simulated-flash", "messages": [{"role": "user", "content": f"Is {at} prime?"}]})
        for at in range(count)
    ]
    context, waiting = httpx.create_ssl_context(), iter(bodies)

    async def worker():
        async with httpx.AsyncClient(verify=context) as client:
            for body in waiting:
                reply = await client.post(url, content=body)
                reply.json()

    await asyncio.gather(*(worker() for _ in range(16)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    lines = []
    for name, part in (("kills", _kills), ("limit", _limit), ("overhead", _overhead), ("routers", _routers)):
        data.say(f"collecting: {name}")
        with tempfile.TemporaryDirectory() as folder:
            lines += part(Path(folder))
    return lines


def _command(folder: Path, budget_usd: float) -> list[str]:
    tasks, pair = folder / "tasks.jsonl", folder / "pair.toml"
    return [TIER_ROUTER, "collect", str(tasks), "--config", str(pair), "--budget", f"{budget_usd}"]


def _configure(folder: Path, address: str, more: str = "") -> None:
    """The pair's config, with more keys for both tiers."""
    text = prepare.config(address)
    for tier in ("flash", "pro"):
        text = text.replace(f"[tiers.{tier}]\n", f"[tiers.{tier}]\n{more}")
    (folder / "pair.toml").write_text(text)


def _kills(folder: Path) -> list[Line]:
    """A collector killed at random, first with a budget that does not suffice."""
    prepare.prepare(folder, TASKS, 0)
    chance, killed, spent = random.Random(0), 0, []
    options = Options(count=TASKS, fault_share=FAULTS, slow_s=1.0, retry_after_s=1)
    with running(folder, options) as address:
        _configure(folder, address)
        for budget_usd, kills in ((LITTLE_USD, KILLS // 2), (ENOUGH_USD, KILLS)):
            while killed < kills and _killed(_command(folder, budget_usd), folder, chance):
                killed += 1
            ended = _until_done(_command(folder, budget_usd))
            spent.append(sum(entry.usd for entry in read(folder)) / budget_usd)
    entries = list(read(folder))
    books = _books(folder / "tasks.journal", entries)
    billed = sum(entry.usd for entry in entries)
    behind = f"({TASKS:,} simulated tasks at 2 tiers, {FAULTS:.0%} faults, {killed} kills, exit code {ended}"
    return [
        Line("(task, tier) pairs without exactly one accepted answer", books.wrong, f"{behind})", goals.NONE, ".0f"),
        Line(
            "answers billed twice that were not in flight at a kill", books.twice,
            f"{behind}; {books.flying} in flight at kills, {books.again} of them billed again, {books.spoiled} spoiled "
            "by a fault and asked again)", goals.NONE, ".0f",
        ),
        Line("USD billed above what the journal charged", max(0.0, billed - books.charged), f"{behind})", goals.NONE),
        Line(
            "share of the budget billed at most", max(spent),
            f"({spent[0]:.2f} of {LITTLE_USD:g} USD, then {spent[1]:.2f} of {ENOUGH_USD:g} USD)", goals.WITHIN,
        ),
    ]  # fmt: skip


def _until_done(command: Sequence[str]) -> int:
    """The exit code of the same command given again, as long as it leaves with 3 and answers more."""
    for _ in range(GIVEN_AGAIN):
        ended = subprocess.run(command, check=False, capture_output=True)
        if ended.returncode != 3:
            break
    return ended.returncode


def _killed(command: Sequence[str], folder: Path, chance: random.Random) -> bool:
    """Whether it was killed before it ended by itself."""
    ledger = folder / "ledger.jsonl"
    until = _calls(ledger) + chance.randint(*KILLED_AFTER_CALLS)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if _calls(ledger) >= until:
                process.kill()
                return True
            time.sleep(LOOK_S)
    return False


def _calls(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n")


@dataclass(frozen=True, slots=True)
class Books:
    """What journal and ledger say of each other.

    Attributes:
        wrong: pairs without exactly one accepted answer.
        twice: whole answers billed beyond the first and beyond what was in flight at a kill.
        again: whole answers billed beyond the first.
        flying: calls in flight at a kill.
        spoiled: answers billed that a fault kept from arriving.
        charged: USD in the journal.
    """

    wrong: int
    twice: int
    again: int
    flying: int
    spoiled: int
    charged: float


def _books(journal: Path, entries: Sequence[Entry]) -> Books:
    connection = sqlite3.connect(journal)
    rows = connection.execute("SELECT id, tier, state, charged_usd FROM tasks JOIN calls USING (digest)").fetchall()
    charged = connection.execute("SELECT sum(charged_usd) FROM calls").fetchone()[0]
    connection.close()
    answered = Counter((task, tier) for task, tier, state, _ in rows if state == "answered")
    flying = Counter((task, tier) for task, tier, state, _ in rows if state == "asked")
    whole = Counter((entry.task, entry.tier) for entry in entries if entry.usd and entry.fault not in SPOILED)
    return Books(
        wrong=2 * TASKS - sum(times == 1 for times in answered.values()),
        twice=sum(max(0, times - 1 - flying[pair]) for pair, times in whole.items()),
        again=sum(times - 1 for times in whole.values()),
        flying=flying.total(),
        spoiled=sum(bool(entry.usd) and entry.fault in SPOILED for entry in entries),
        charged=charged,
    )


def _limit(folder: Path) -> list[Line]:
    """At a limit of requests a minute, as the server sees it."""
    prepare.prepare(folder, LIMITED_TASKS, 0)
    with running(folder, Options(count=LIMITED_TASKS, requests_per_minute=LIMIT_PER_MINUTE)) as address:
        _configure(folder, address, f"requests_per_minute = {LIMIT_PER_MINUTE}\n")
        measured(_command(folder, ENOUGH_USD))
    entries = list(read(folder))
    refused = sum(entry.status == 429 for entry in entries)
    kept, most = [], []
    for tier in ("flash", "pro"):
        times = np.sort([entry.time for entry in entries if entry.tier == tier])
        kept.append(60 * (len(times) - 1) / (times[-1] - times[0]) / LIMIT_PER_MINUTE)
        most.append(int((np.searchsorted(times, times + 60.0) - np.arange(len(times))).max()))
    behind = f"({LIMITED_TASKS:,} simulated tasks; flash and pro {kept[0]:.3f} and {kept[1]:.3f})"
    return [
        Line(f"share of {LIMIT_PER_MINUTE:,} requests a minute that is kept", min(kept), behind, goals.KEPT),
        Line("most requests in any minute", max(most), f"({refused} refused with 429)", goals.PER_MINUTE, ".0f"),
    ]


def _overhead(folder: Path) -> list[Line]:
    """Processor time and memory of the collector, beside httpx alone."""
    took = {}
    for count in (FEW, MORE, MANY):
        place = folder / str(count)
        prepare.prepare(place, count, 0)
        with running(place, Options(count=count, **QUICK)) as address:
            _configure(place, address)
            took[count] = measured(_command(place, 10 * ENOUGH_USD))
            if count == MORE:
                url = f"{address}/flash/v1/chat/completions"
                bare = [measured([*python(BARE), url, str(calls)]) for calls in (2 * FEW, 2 * MORE)]
    calls = 2 * (MORE - FEW)
    own = 1_000 * (took[MORE].processor_seconds - took[FEW].processor_seconds) / calls
    alone = 1_000 * (bare[1].processor_seconds - bare[0].processor_seconds) / calls
    few, many = took[FEW].peak_gigabytes, took[MANY].peak_gigabytes
    rate = 2 * MANY / took[MANY].seconds
    return [
        Line(
            "processor time of a call, ms, journal, prices and grading included", own,
            f"({calls:,} calls; httpx alone {alone:.2f}, {own / alone:.2f} times)", goals.CALL_MS, ".2f",
        ),
        Line("the same above httpx alone, ms", own - alone, f"({own / alone:.2f} times)", goals.CALL_MS, ".2f"),
        Line(
            f"peak memory with {MANY:,} tasks, GB", many,
            f"({few:.2f} with {FEW:,}, {took[MORE].peak_gigabytes:.2f} with {MORE:,}; {rate:,.0f} calls a second)",
            goals.COLLECT_GIGABYTES,
        ),
    ]  # fmt: skip


def _routers(folder: Path) -> list[Line]:
    """The routers of the demo, on fresh tasks."""
    reached, seconds = [], []
    for seed in range(ROUTERS):
        place = folder / str(seed)
        seconds.append(measured([TIER_ROUTER, "demo", "--seed", str(seed), "--out", str(place)]).seconds)
        found = json.loads((place / "demo.json").read_text())
        reached.append((found["apgr"] - 0.5) / (found["best_apgr"] - 0.5))
    behind = f"({min(reached):.3f} to {max(reached):.3f} in {ROUTERS} seeds; best APGR {found['best_apgr']:.3f})"
    return [
        Line(
            "the demo's router: share of the way to the best APGR, simulated",
            float(np.mean(reached)),
            behind,
            goals.REACHED,
        ),
        Line("`tier-router demo`, seconds", max(seconds), f"(the longest of {ROUTERS})", goals.DEMO_SECONDS, ".0f"),
    ]
