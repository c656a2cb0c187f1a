"""Recording in MLflow beside the work: a process of its own loads it and opens the store while versions are made.

Both take seconds and neither needs what the work computes. The two processes speak in lines of JSON: the folder of the
store goes in and "ready" comes out; a version goes in and what became of it comes out, or the complaint.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from features.errors import StorageError, TierRouterError

if TYPE_CHECKING:
    from pipeline.findings import Findings

Opened = TypeVar("Opened")

WORKER = "pipeline.tracking"
LONGEST_GOODBYE_S = 3
# What a user's environment may overrule: nobody is told what is trained here, and a dead server is soon given up.
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass(frozen=True, slots=True)
class Tracked:
    """Where a run went: its id, the model version, the alias it was given, and the store's address."""

    run_id: str
    model_version: str
    alias: str
    store: str


@dataclass(frozen=True, slots=True)
class Made:
    """What a training or a re-tuning left: a version, what was measured, and where it was recorded."""

    folder: Path
    manifest: Mapping[str, Any]
    findings: Findings
    tracked: Tracked


@dataclass(frozen=True, slots=True)
class Recorder:
    """The other end of a process that records."""

    process: subprocess.Popen[str]

    def open(self, out: Path) -> None:
        """Begin to open the store; whether that went well is known when a version is recorded."""
        self._say(str(out.resolve()))

    def record(self, folder: Path) -> Tracked:
        """Log a version as a run with its artifact, and register it: the first becomes champion, later ones challenger.

        Raises:
            StorageError: the store refuses; the version itself is complete.
        """
        self._say(str(folder.resolve()))
        try:
            self._answer()
            tracked = Tracked(**self._answer())
        except StorageError as error:
            raise StorageError(f"{error}; the version {folder} is complete, and not recorded") from error
        self.process.kill()  # it has nothing left to do, and would take its time to say goodbye
        return tracked

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(line) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # what it said before it ended is still to be read

    def _answer(self) -> dict[str, str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"complaint": "MLflow ended unexpectedly; what it said stands above"}
        if "complaint" in answer:
            raise StorageError(answer["complaint"])
        return dict(answer)


@contextmanager
def recorder(out: Path) -> Iterator[Recorder]:
    """Start to load MLflow and to open the store.

    Args:
        out: existing folder of the embedded store; not used where MLFLOW_TRACKING_URI is set.
    """
    # -P: no module in the working directory may stand in for one of ours. A session of its own: Ctrl-C is for us.
    command = [sys.executable, "-P", "-m", WORKER]
    quiet = {**DEFAULTS, **os.environ}
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, env=quiet
    )
    with process:
        try:
            started = Recorder(process)
            started.open(out)
            yield started
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(LONGEST_GOODBYE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def serve(prepare: Callable[[Path], Opened], record: Callable[[Opened, Path], Tracked]) -> None:
    """The process's own side: open the store, then record versions until nobody asks any more."""
    signal.signal(signal.SIGTERM, _leave)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is no answer

    def answer(said: dict[str, Any]) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    lines = (Path(json.loads(line)) for line in sys.stdin)
    try:
        opened = prepare(next(lines))
        answer({})
        for folder in lines:
            answer(asdict(record(opened, folder)))
    except TierRouterError as error:
        answer({"complaint": str(error)})


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what breaks off complains, and nobody wants to know
    raise SystemExit
