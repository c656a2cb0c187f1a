"""The Python runtime: what a decision costs above the bare file, what importing it costs, and 10,000 hot swaps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from features.graph import REQUEST_INPUTS
from features.request import Request
from pipeline.destination import point
from pipeline.pointer import Pointer
from pipeline.runtime.decider import Decider, Options
from pipeline.runtime.decision import Decision
from pipeline.runtime.log_options import LogOptions
from pipeline.runtime.opened import Opened
from pipeline.ship import ship
from tests.bench import goals
from tests.bench.data import Data
from tests.bench.processes import TIER_ROUTER, measured
from tests.bench.table import Line
from tests.bench.timing import Call, medians, spread

SWAPS = 10_000
IMPORTS = 21
TEXT = "Which of these is prime, and why? Prove it for n = {}, then write def f(x): return x ** 2. "
BASE = "import numpy, onnxruntime"
RUNTIME = f"{BASE}; from pipeline.runtime.decider import Decider"
TIMED = "import time; started = time.perf_counter(); {}; print(time.perf_counter() - started)"


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data.say("runtime: making two versions of the bundle")
        versions = _versions(folder)
        data.say("runtime: decisions and imports")
        lines = [*_decisions(versions[0], folder), _imports()]
        data.say(f"runtime: {SWAPS:,} hot swaps")
        return lines + _swaps(versions, folder / "dest", data)


def _versions(folder: Path) -> tuple[Path, Path]:
    """Two versions with the same coefficients and thresholds far apart."""
    measured([TIER_ROUTER, "train", "--out", str(folder / "models")])
    measured([TIER_ROUTER, "tune", str(folder / "models" / "v1"), "--pro-rate", "0.2"])
    return folder / "models" / "v1", folder / "models" / "v2"


def _decisions(version: Path, folder: Path) -> list[Line]:
    bare = Opened.open(version).session
    logging = LogOptions(folder / "log")
    with Decider.open(version) as decider, Decider.open(version, Options(log=logging)) as logged:
        return [line for size in (200, 2_000) for line in _decision(size, bare, decider, logged)]


def _decision(size: int, bare, decider: Decider, logged: Decider) -> list[Line]:  # type: ignore[no-untyped-def]  # onnxruntime has no types
    text = "".join(TEXT.format(at) for at in range(size // 80 + 1))[:size]
    payload = {"messages": [{"role": "user", "content": text}]}
    feeds = {"prompt": np.array([text], object)} | {name: np.ones(1, np.int64) for name in REQUEST_INPUTS}
    calls: dict[str, Call] = {
        "decide": lambda: decider.decide(payload),
        "log": lambda: logged.decide(payload),
        "bare": lambda: bare.run(["use_pro"], feeds),
    }
    took = medians(calls)
    labels = {"decide": "without a log", "log": "with word counts logged"}
    return [
        Line(
            f"Decider.decide, {label}, against router.onnx alone, {size:,} characters",
            float(np.median(took[name] / took["bare"])),
            f"times {spread(took[name] / took['bare'])}; p50 {np.median(took[name]):.0f} against "
            f"{np.median(took['bare']):.0f} µs",
            None,
            ".2f",
        )
        for name, label in labels.items()
    ]


def _imports() -> Line:
    """In turns, each in a fresh process."""
    took = {
        name: np.array([_imported(code) for _ in range(IMPORTS)]) for name, code in (("base", BASE), ("with", RUNTIME))
    }
    more = 1e3 * (np.median(took["with"]) - np.median(took["base"]))
    behind = f"ms more than numpy and onnxruntime, {1e3 * np.median(took['base']):.0f} ms; medians of {IMPORTS}"
    return Line("importing the runtime", float(more), behind, goals.IMPORT_MS, ".1f")


def _imported(code: str) -> float:
    # A service compiles its modules once, and not at each start.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", TIMED.format(code)]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@dataclass
class Load:
    """Decides all the time, and holds each decision against what its version says of the prompt."""

    decider: Decider
    expected: dict[str, list[tuple[str, float | None]]]
    requests: list[Request]
    stop: threading.Event = field(default_factory=threading.Event)
    wrong: int = 0
    seconds: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Until stopped."""
        while not self.stop.is_set():
            for at, request in enumerate(self.requests):
                started = time.perf_counter()
                decision = self.decider.decide(request)
                self.seconds.append(time.perf_counter() - started)
                self.wrong += said(decision) != self.expected[decision.version][at]


def said(decision: Decision) -> tuple[str, float | None]:
    """What tells of the version: the tier, and the threshold it was decided with."""
    return decision.tier, decision.threshold


def _swaps(versions: tuple[Path, Path], dest: Path, data: Data) -> list[Line]:
    requests = [Request(TEXT.format(at) * (1 + at % 5)) for at in range(50)]
    options = Options(explore=0.0, poll_s=1e-4)
    deciders = [Decider.open(version, options) for version in versions]
    expected = {each.version: [said(each.decide(request)) for request in requests] for each in deciders}
    names = [ship(version, dest).name for version in versions]
    pointers = [Pointer(name, (), "") for name in names]
    with Decider.open(dest, options) as decider:
        load = Load(decider, expected, requests)
        quiet = _alone(load)
        thread = threading.Thread(target=load.run)
        thread.start()
        for swap in range(SWAPS):
            point(dest, pointers[swap % 2])
            while decider.swaps <= swap:
                time.sleep(1e-4)
            if swap % 1000 == 0:
                data.say(f"runtime: {swap:,} of {SWAPS:,} swaps, {len(load.seconds):,} decisions")
        load.stop.set()
        thread.join()
    shutil.rmtree(dest)
    p99 = 1e6 * float(np.quantile(load.seconds, 0.99))
    behind = f"of {len(load.seconds):,} decisions during {SWAPS:,} swaps; refused: {decider.refused or 'none'}"
    return [
        Line("failed or mixed-version decisions", load.wrong, behind, goals.NONE, ".0f"),
        Line("p99 of a decision during swaps back to back", p99, f"µs; without swaps {1e6 * quiet:.0f}", None, ".0f"),
    ]


def _alone(load: Load) -> float:
    """The p99 without swaps, in seconds."""
    timer = threading.Timer(5.0, load.stop.set)
    timer.start()
    load.run()
    load.stop.clear()
    p99 = float(np.quantile(load.seconds, 0.99))
    load.seconds.clear()
    return p99
