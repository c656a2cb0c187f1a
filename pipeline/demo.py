"""The whole loop on simulated tiers, as the commands that a user would give."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import TierRouterError
from features.graph import REQUEST_INPUTS
from features.request import Request
from pipeline.beside import replacing
from pipeline.metrics import Ranking
from pipeline.simulate import kinds, prepare
from pipeline.simulate.child import running
from pipeline.simulate.options import Options

BUDGET_USD = "5"
FLASH_SECONDS, PRO_SECONDS = 0.005, 0.01
FRESH_SEED = 1_000_003  # of tasks that are collected nowhere
FRESH_TASKS = 5_000
ROWS_AT_ONCE = 250
DECISIONS = 100

Say = Callable[[str], None]


def demo(folder: Path, count: int, seed: int, say: Say) -> None:
    """Simulate, collect, grade, label, train, tune, export and decide.

    Args:
        folder: for all that is made.
        count: tasks.
        seed: of the tasks.
        say: shows a line.

    Raises:
        TierRouterError: a command failed; it has said why.
    """
    say(f"{count:,} simulated tasks with known answers, and two simulated models: no key, no cost, and no measurement.")
    truth = prepare.found_or_made(folder, count, seed)
    tasks, journal, traces, pair = (
        str(folder / name) for name in ("tasks.jsonl", "tasks.journal", "traces.parquet", "pair.toml")
    )
    options = Options(truth.count, truth.seed, flash_latency_s=FLASH_SECONDS, pro_latency_s=PRO_SECONDS)
    with running(folder, options) as address:
        prepare.write_config(folder, address)
        _run(say, "collect", tasks, "--config", pair, "--budget", BUDGET_USD)
    _run(say, "grade", journal)
    _run(say, "label", journal, traces)
    _run(say, "train", "--traces", traces, "--config", pair, "--out", str(folder))
    trained = newest(folder)
    _run(say, "tune", str(trained), "--min-quality", "0.95", "--config", pair)
    found = decided(newest(folder), truth.best_apgr.value)
    with replacing(folder / "demo.json") as partial:
        partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for line in told(found):
        say(line)


def newest(folder: Path) -> Path:
    """The version that was made last."""
    return max(folder.glob("v[0-9]*"), key=lambda path: int(path.name[1:]))


def _run(say: Say, *words: str) -> None:
    say(f"\n$ tier-router {shlex.join(words)}")
    start = "from pipeline.cli import main; main()"
    ended = subprocess.run(  # noqa: S603  # this project's own command line
        [sys.executable, "-P", "-c", start, *words], check=False
    )
    if ended.returncode:
        raise TierRouterError(f"tier-router {words[0]} ended with exit code {ended.returncode}")


def decided(version: Path, best_apgr: float) -> dict[str, Any]:
    """What the exported file decides on fresh tasks, one at a time, and how well it ranks more of them.

    Args:
        version: folder of a version.
        best_apgr: that any router could reach.

    Returns:
        `router`, its path; `seconds` of a decision; `pro_rate`; `accuracy` of its decisions and of the tiers alone, in
        expectation; `apgr`, `best_apgr`.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(version / "router.onnx")
    fresh = [kinds.task(FRESH_SEED, number) for number in range(FRESH_TASKS)]
    requests = [Request.from_payload(payload(task.made.asked)) for task in fresh]
    began = time.perf_counter()
    use_pro = np.concatenate([session.run(["use_pro"], inputs([each]))[0] for each in requests[:DECISIONS]])
    seconds = (time.perf_counter() - began) / DECISIONS
    chances = np.array([task.chances for task in fresh])
    first = chances[:DECISIONS]
    return {
        "simulated": True,
        "router": str(version / "router.onnx"),
        "seconds": seconds,
        "pro_rate": float(use_pro.mean()),
        "accuracy": float(np.where(use_pro, first[:, 1], first[:, 0]).mean()),
        "always_flash": float(first[:, 0].mean()),
        "always_pro": float(first[:, 1].mean()),
        "apgr": ranked(session, requests, chances),
        "best_apgr": best_apgr,
    }


def told(found: dict[str, Any]) -> list[str]:
    """What `decided` found, in lines."""
    reached = (found["apgr"] - 0.5) / (found["best_apgr"] - 0.5)
    return [
        f"\n{found['router']}: {DECISIONS} decisions on fresh simulated tasks, {found['seconds'] * 1e6:.0f} µs each",
        (
            f"  {found['pro_rate']:.0%} to pro; {found['accuracy']:.1%} right, where always-pro has "
            f"{found['always_pro']:.1%} and always-flash {found['always_flash']:.1%}"
        ),
        (
            f"  APGR {found['apgr']:.3f} on {FRESH_TASKS:,} fresh tasks; the best that any router could reach is "
            f"{found['best_apgr']:.3f}: {reached:.0%} of the way from random"
        ),
    ]


def payload(asked: dict[str, object]) -> dict[str, object]:
    """What a simulated task asks, as chat completions take it."""
    return asked if "messages" in asked else {**asked, "messages": [{"role": "user", "content": asked["prompt"]}]}


def inputs(requests: Sequence[Request]) -> dict[str, NDArray[np.generic]]:
    """The inputs of `router.onnx`."""
    numbers = {name: np.array([getattr(each, name) for each in requests]) for name in REQUEST_INPUTS}
    return {"prompt": np.array([each.prompt for each in requests], object), **numbers}


def ranked(session: object, requests: Sequence[Request], chances: NDArray[np.float64]) -> float:
    """APGR of the file's gain, in expectation over the outcomes.

    Args:
        session: of `router.onnx`.
        requests: N.
        chances: P(right) of flash and pro, float64[N, 2].
    """
    gains = [
        session.run(["gain"], inputs(requests[at : at + ROWS_AT_ONCE]))[0]  # type: ignore[attr-defined]  # no types
        for at in range(0, len(requests), ROWS_AT_ONCE)
    ]
    return float(Ranking.by(np.concatenate(gains).astype(float), chances).curve().apgr())
