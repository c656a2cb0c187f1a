"""Stops `ship` and `rollback` at their every step, in several ways, and prints what a reader finds then.

A program of its own, because it forks: python tests/stopping.py SCENARIO FOLDER VERSION...
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from features.errors import StorageError
from pipeline import pointer, verified
from pipeline.destination import LOCK
from pipeline.runtime.opened import Opened
from pipeline.ship import rollback, ship

STEPS = {os: ("mkdir", "open", "write", "fsync", "replace", "unlink", "rmdir"), fcntl: ("flock",)}
KILL, INTERRUPT, FAIL = WAYS = ("kill", "interrupt", "fail")
DONE, DISTURBED, FAILED, INTERRUPTED, KILLED = "done", "disturbed", "failed", "interrupted", "killed"
TEMPLATE, FINISHED = "template", "finished"
MOST_STEPS = 500
Work = Callable[[Path], object]


@dataclass(frozen=True)
class Scenario:
    """What is there, and what is done to it."""

    prepare: Work
    perform: Work


@dataclass(frozen=True)
class Found:
    """What was found after a stop.

    Attributes:
        end: "done" where nothing was left to stop at, "disturbed" where it was done all the same, or how it ended.
        served: name of the version that a reader finds and can open.
        untouched: whether the folder is as before, to the byte.
        complete: whether it is as after work that nobody stopped.
        afterwards: the same, once the work was done again.
    """

    end: str
    served: str | None
    untouched: bool
    complete: bool
    afterwards: bool


def scenarios(versions: list[Path]) -> dict[str, Scenario]:
    """By name; the versions are shipped in their order."""
    first, second, third = versions

    def two(dest: Path) -> None:
        ship(first, dest)
        ship(second, dest)

    def damaged(dest: Path) -> None:
        two(dest)
        (dest / str(served(dest)) / "scorer.onnx").write_bytes(b"damaged")

    def back(dest: Path) -> None:
        found = pointer.read(dest)
        if found and found.earlier:
            rollback(dest)

    return {
        "first": Scenario(lambda _: None, lambda dest: ship(first, dest)),
        "next": Scenario(two, lambda dest: ship(third, dest, keep=2)),
        "mending": Scenario(damaged, lambda dest: ship(second, dest)),
        "rollback": Scenario(two, back),
    }


def stop(way: str) -> NoReturn:
    """End here and now."""
    if way == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if way == INTERRUPT:
        raise KeyboardInterrupt
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def stopping(last: int, way: str) -> Iterator[Callable[[], bool]]:
    """Count steps that change files, and stop before the last one; files are written in several pieces.

    Yields:
        What says whether it was reached.
    """
    taken = 0

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*arguments: Any, **named: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == last:
                stop(way)
            return step(*arguments, **named)

        return take

    write = os.write
    kept = [(module, name, getattr(module, name)) for module, names in STEPS.items() for name in names]
    os.write = lambda handle, data: write(handle, data[: len(data) * 9 // 10 + 1])
    for module, name, _ in kept:
        setattr(module, name, counted(getattr(module, name)))
    try:
        yield lambda: taken >= last
    finally:
        for module, name, step in kept:
            setattr(module, name, step)


def stopped(work: Work, dest: Path, last: int, way: str) -> str:
    """How the work ended, if it was stopped before a step."""
    if way == KILL:
        return killed(work, dest, last)
    with stopping(last, way) as reached:
        try:
            work(dest)
        except StorageError:
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
        return DISTURBED if reached() else DONE


def killed(work: Work, dest: Path, last: int) -> str:
    """How a process ended that did the work."""
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return KILLED if code == -signal.SIGKILL else DONE if code == 0 else f"exit code {code}"
    code = 1
    try:
        with stopping(last, KILL):
            work(dest)
        code = 0
    finally:
        os._exit(code)


def remembering(open_version: Callable[[Path], Opened]) -> Callable[[Path], Opened]:
    """Opening takes most of the time, and gives the same for the same bytes."""
    known: dict[tuple[bytes, bytes], Opened] = {}

    def remembered(folder: Path) -> Opened:
        try:
            read = (folder / "router.onnx").read_bytes(), (folder / "manifest.json").read_bytes()
        except OSError:
            return open_version(folder)
        if read not in known:
            known[read] = open_version(folder)
        return known[read]

    return remembered


def served(dest: Path) -> str | None:
    """What a reader finds."""
    found = pointer.read(dest)
    if found is None:
        return None
    assert verified.Opened.open(dest / found.current).name == found.current
    return found.current


def contents(dest: Path) -> dict[str, bytes]:
    """Every file of a folder by its path, but the lock; of the pointer what does not change with time."""
    found = {str(path.relative_to(dest)): path.read_bytes() for path in sorted(dest.rglob("*")) if path.is_file()}
    found.pop(LOCK, None)
    if pointer.POINTER in found:
        table = json.loads(found[pointer.POINTER])
        found[pointer.POINTER] = json.dumps([table["current"], table["earlier"]]).encode()
    return found


def tried(case: Scenario, way: str, folder: Path) -> list[Found]:
    """What is found after a stop at each step, until there is none to stop at."""
    before, after = (contents(folder / name) for name in (TEMPLATE, FINISHED))
    found: list[Found] = []
    while len(found) < MOST_STEPS and not (found and found[-1].end == DONE):
        dest = copied(folder, f"{way}-{len(found)}")
        end = stopped(case.perform, dest, len(found) + 1, way)
        now, name = contents(dest), served(dest)
        case.perform(dest)
        found.append(Found(end, name, now == before, now == after, contents(dest) == after))
        shutil.rmtree(dest)
    return found


def copied(folder: Path, name: str) -> Path:
    """A copy of what was prepared, if anything was."""
    if (folder / TEMPLATE).exists():
        shutil.copytree(folder / TEMPLATE, folder / name)
    return folder / name


def main(name: str, folder: Path, versions: list[Path]) -> None:
    """Print what was served before and after, and what was found after each stop in each way."""
    verified.Opened.open = remembering(Opened.open)  # type: ignore[method-assign,assignment]
    os.fsync = lambda _: None  # takes most of what is left, and nothing here loses what was not flushed
    case = scenarios(versions)[name]
    case.prepare(folder / TEMPLATE)
    case.perform(copied(folder, FINISHED))
    told: dict[str, Any] = {"old": served(folder / TEMPLATE), "new": served(folder / FINISHED)}
    print(json.dumps(told | {way: [asdict(each) for each in tried(case, way, folder)] for way in WAYS}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [Path(each) for each in sys.argv[3:]])
