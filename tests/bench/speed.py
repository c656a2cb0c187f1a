"""One training and one `--help`, each beside a baseline measured in turns with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tests.bench import goals
from tests.bench.data import Data
from tests.bench.goals import Goal
from tests.bench.processes import TIER_ROUTER, Took, interleaved, python
from tests.bench.table import Line
from tests.bench.timing import spread

TRAINING_REPETITIONS = 3
HELP_REPETITIONS = 15
HEAVY_IMPORTS = "import mlflow, sklearn, pandas"


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    data.say("speed: training on the bundle")
    lines = _training()
    data.say("speed: --help")
    return [*lines, _help()]


def _training() -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        outs = [str(Path(folder) / "models")]
        commands = {"train": [TIER_ROUTER, "train", "--out", *outs], "baseline": python(HEAVY_IMPORTS)}
        runs = interleaved(commands, TRAINING_REPETITIONS)
    seconds = _against("`tier-router train` on the bundle, seconds", runs, "seconds", goals.TRAIN_SECONDS)
    memory = _against("`tier-router train` on the bundle, peak GB", runs, "peak_gigabytes", goals.TRAIN_GIGABYTES)
    return [seconds, memory]


def _help() -> Line:
    runs = interleaved({"train": [TIER_ROUTER, "--help"], "baseline": python("pass")}, HELP_REPETITIONS)
    return _against("`tier-router --help`, seconds", runs, "seconds", goals.HELP_SECONDS, "python -c pass")


def _against(what: str, runs: dict[str, list[Took]], field: str, goal: Goal, label: str = HEAVY_IMPORTS) -> Line:
    ours, theirs = (np.array([getattr(each, field) for each in runs[name]]) for name in ("train", "baseline"))
    behind = (
        f"{spread(ours)}, {np.median(ours / theirs):.1f} times `{label}` ({np.median(theirs):.2f} {spread(theirs)})"
    )
    return Line(what, float(np.median(ours)), behind, goal, ".2f")
