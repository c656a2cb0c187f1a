"""MLflow beside the work: a process of its own loads it and opens the store while versions are made or shipped.

Both take seconds and neither needs what the work computes. The two processes speak in lines of JSON: the folder of the
store goes in first, then questions such as ["record", "models/v1"], and for each of them comes out what was found, or
the complaint, which is the last thing that is said.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from features.errors import StorageError, TierRouterError

if TYPE_CHECKING:
    from pipeline.findings import Findings

Opened = TypeVar("Opened")

WORKER = "pipeline.tracking"
ADDRESS = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
CHAMPION = "champion"
# What a version folder is called among the artifacts of its run.
LOGGED_AS = "artifact"
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
        """Begin to open the store; whether that went well is known when something is asked."""
        self._say(str(out.resolve()))

    def record(self, folder: Path) -> Tracked:
        """Log a version as a run with its artifact, and register it: the first becomes champion, later ones challenger.

        Raises:
            StorageError: the store refuses; the version itself is complete.
        """
        try:
            tracked = Tracked(**self.ask("record", str(folder.resolve())))
        except StorageError as error:
            raise StorageError(f"{error}; the version {folder} is complete, and not recorded") from error
        self.leave()
        return tracked

    def find(self, digest: str) -> str:
        """The number of the newest model version that was made from a `router.onnx` of this SHA-256; "" if none was.

        Raises:
            StorageError: the store refuses.
        """
        return str(self.ask("find", digest))

    def crown(self, number: str) -> str:
        """Give the alias `champion` to a model version, or take it from all where "" is given; returns which had it.

        Raises:
            StorageError: the store refuses.
        """
        return str(self.ask("crown", number))

    def reigning(self) -> str:
        """SHA-256 of the `router.onnx` of the version with the alias `champion`; "" if none has it.

        Raises:
            StorageError: the store refuses.
        """
        return str(self.ask("reigning", CHAMPION))

    def leave(self) -> None:
        """End the process: it has nothing left to do, and would take its time to say goodbye."""
        self.process.kill()

    def ask(self, verb: str, argument: str) -> Any:
        """What the process found.

        Raises:
            StorageError: its complaint.
        """
        assert self.process.stdout is not None
        self._say([verb, argument])
        line = self.process.stdout.readline()
        said = json.loads(line) if line else {"complaint": "MLflow ended unexpectedly; what it said stands above"}
        if "complaint" in said:
            raise StorageError(said["complaint"])
        return said["found"]

    def _say(self, what: str | list[str]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # what it said before it ended is still to be read


def has_store(out: Path) -> bool:
    """Whether there is a store to speak of: a server in MLFLOW_TRACKING_URI, or an embedded one in the folder."""
    return bool(os.environ.get(ADDRESS)) or (out / DATABASE).exists()


@contextmanager
def recorder(out: Path, worker: str = WORKER) -> Iterator[Recorder]:
    """Start to load MLflow and to open the store.

    Args:
        out: existing folder of the embedded store; not used where MLFLOW_TRACKING_URI is set.
        worker: the module that the process runs.
    """
    # -P: no module in the working directory may stand in for one of ours. A session of its own: Ctrl-C is for us.
    command = [sys.executable, "-P", "-m", worker]
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


def serve(prepare: Callable[[Path], Opened], verbs: Mapping[str, Callable[[Opened, str], Any]]) -> None:
    """The process's own side: open the store, then do what is asked until nobody asks any more.

    Args:
        prepare: opens the store of a folder.
        verbs: what can be asked, by name; each takes the store and a text, and returns JSON values.
    """
    signal.signal(signal.SIGTERM, _leave)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is no answer

    def answer(said: dict[str, Any]) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    lines = (json.loads(line) for line in sys.stdin)
    try:
        opened = prepare(Path(next(lines)))
        for verb, argument in lines:
            answer({"found": verbs[verb](opened, argument)})
    except TierRouterError as error:
        answer({"complaint": str(error)})


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what breaks off complains, and nobody wants to know
    raise SystemExit
