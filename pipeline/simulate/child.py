"""The pair in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from features.errors import StorageError
from pipeline.simulate.options import Options

LONGEST_GOODBYE_S = 10


@contextmanager
def running(folder: Path, options: Options) -> Iterator[str]:
    """Serve a pair from a child process, which ends with the block or with this process.

    Args:
        folder: where its ledger is kept.
        options: how it behaves.

    Yields:
        The base URL.

    Raises:
        StorageError: it does not start; says why.
    """
    # The options go in through a pipe, so that the key stands in no list of processes.
    with subprocess.Popen(  # noqa: S603  # the command is fixed
        [sys.executable, "-m", "pipeline.simulate", str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(asdict(options)) + "\n")
            child.stdin.flush()
            address = child.stdout.readline().strip()
            if not address.startswith("http"):
                raise StorageError(f"the simulated pair does not start: {address or 'it ended without a word'}")
            yield address
        finally:
            _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(LONGEST_GOODBYE_S)
    except subprocess.TimeoutExpired:
        child.kill()
