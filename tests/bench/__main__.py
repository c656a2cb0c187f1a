"""Run the bench: `python -m tests.bench [PART ...] [--data DIR] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path

from threadpoolctl import threadpool_limits

from tests.bench.data import Data
from tests.bench.table import Line, markdown

PARTS = (
    "quality", "embedding", "ablation", "unseen", "hostile", "speed", "latency", "parity", "scale", "guarantee",
    "retuning", "collecting", "ingesting", "monthly", "runtime", "serving", "forwarding", "watching", "drifting",
    "off_policy", "gating",
)  # fmt: skip
DATA = Path("../shared/data")


def main() -> None:
    """Measure, then print the table."""
    options = _options()
    folder = options.data or (DATA if DATA.is_dir() else None)
    data = Data(folder, say)
    if folder is None:
        say("there is no folder of trace files (--data DIR): only the bundle is measured")
    lines: list[Line] = []
    for part in options.parts or PARTS:
        started = time.perf_counter()
        with threadpool_limits(1):  # as in training
            lines += import_module(f"tests.bench.{part}").run(data)
        say(f"{part}: done in {time.perf_counter() - started:.0f} s")
    print(markdown(lines))
    if options.json:
        options.json.write_text(json.dumps([line.plain() for line in lines], indent=2, ensure_ascii=False) + "\n")


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--data", type=Path, help=f"folder of trace files; {DATA} where it exists, else the bundle")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    main()
