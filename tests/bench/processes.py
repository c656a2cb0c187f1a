"""Commands as subprocesses: time, processor time and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

METER = Path(__file__).with_name("meter.py")
TIER_ROUTER = str(Path(sys.executable).with_name("tier-router"))


@dataclass(frozen=True, slots=True)
class Took:
    """What a command took: wall seconds, processor seconds, peak resident gigabytes."""

    seconds: float
    processor_seconds: float
    peak_gigabytes: float


def measured(command: Sequence[str], good: Sequence[int] = (0,)) -> Took:
    """Run a command that must end with a good exit code.

    Raises:
        RuntimeError: it did not; holds the end of what it said.
    """
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    ran = subprocess.run(
        [sys.executable, "-S", str(METER), *command], env=environment, capture_output=True, check=True, text=True
    )
    took = json.loads(ran.stdout)
    if took["code"] not in good:
        raise RuntimeError(f"{' '.join(command)} ended with {took['code']}: {took['complaints']}")
    return Took(took["seconds"], took["processor_seconds"], took["peak_bytes"] / 1e9)


def python(code: str) -> list[str]:
    """The command that runs some Python."""
    return [sys.executable, "-c", code]


def interleaved(commands: Mapping[str, Sequence[str]], repetitions: int) -> dict[str, list[Took]]:
    """Each command so many times, in turns, so that a noisy minute hits all of them."""
    runs: dict[str, list[Took]] = {name: [] for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            runs[name].append(measured(command))
    return runs
