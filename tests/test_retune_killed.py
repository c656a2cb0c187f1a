"""A retune that is killed between any two things that it changes is finished by the next one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from retuning import BETTER, Month, Place, month, place, recorded

from pipeline import artifact
from pipeline.pointer import name_of
from pipeline.retune import monthly, record
from pipeline.verified import verify

WAIT_SECONDS = 120
# What a promotion changes, in order; it is killed before and after each.
CHANGES = ("Registry.record", "Registry.crown", "destination.place", "destination.point", "history.append",
           "record.finish")  # fmt: skip
CHILD = """
import os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from retuning import Place, Month, Registry, recorded
from pipeline import destination, history
from pipeline.retune import monthly, record

where, change, moment = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
owner, name = change.split(".")
owner = {"Registry": Registry, "destination": destination, "history": history, "record": record}[owner]
real = getattr(owner, name)

def killed(*given, **named):
    if moment == "after":
        real(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, killed)
monthly.recorder = recorded
made = Place(where / "out", where / "dest")
files = Month(*(Path(each) for each in sys.argv[5:8]))
monthly.retune(made.settings(files))
"""


class StoppedError(BaseException):
    """Stands for a kill where nothing is left to clean up."""


@pytest.fixture(scope="module")
def fresh(priced: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Month]:
    """A folder with a champion, and a month that promotes a challenger."""
    root = tmp_path_factory.mktemp("fresh")
    made = place(priced.folder, root / "at")
    (root / "copy").mkdir()
    shutil.copytree(made.out, root / "copy" / "out")
    shutil.copytree(made.dest, root / "copy" / "dest")
    return root / "copy", month(priced.folder, root / "month", flash=BETTER)


@pytest.fixture(scope="module")
def decided(fresh: tuple[Path, Month], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, stopped when the decision stands and nothing has followed from it."""
    return stopped(fresh, tmp_path_factory.mktemp("decided"), "_carry_out")


def stopped(fresh: tuple[Path, Month], folder: Path, at: str) -> Path:
    where = shutil.copytree(fresh[0], folder / "here")

    def stop(*_: Any) -> None:
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monthly, "recorder", recorded)
        patch.setattr(monthly, at, stop)
        with pytest.raises(StoppedError):
            monthly.retune(Place(where / "out", where / "dest").settings(fresh[1]))
    return where


def again(where: Path, files: Month) -> Place:
    made = Place(where / "out", where / "dest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monthly, "recorder", recorded)
        ended = monthly.retune(made.settings(files))
    assert ended.decision.promotes
    return made


def assert_consistent(made: Place) -> None:
    """Pointer, alias and history agree, and every version is whole."""
    newest = made.out / made.versions[-1]
    assert made.versions == ["v1", "v2"]
    assert made.served == name_of(artifact.read_manifest(newest))
    assert made.registry.reigning() == artifact.read_manifest(newest)["onnx"]["router"]["sha256"]
    assert len(made.lines) == 1
    assert "promoted" in made.lines[0]
    assert record.unfinished(made.out) == []
    assert [verify(made.out / name).name for name in made.versions]
    assert verify(made.dest / made.served).name == made.served


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("change", CHANGES)
def test_killed_promotion_is_finished_by_the_next_run(
    fresh: tuple[Path, Month], decided: Path, tmp_path: Path, change: str, moment: str
) -> None:
    where, files = shutil.copytree(decided, tmp_path / "here"), fresh[1]
    told = [str(Path(__file__).parent), where, change, moment, files.logs, files.outcomes, files.audit]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, told)], capture_output=True, text=True, check=False,
        timeout=WAIT_SECONDS,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    made = Place(where / "out", where / "dest")
    assert verify(made.dest / made.served).name == made.served
    assert_consistent(again(where, files))


@pytest.mark.parametrize("at", ["_leave", "inquire"])
def test_run_stopped_before_it_decided_is_done_anew(fresh: tuple[Path, Month], tmp_path: Path, at: str) -> None:
    where = stopped(fresh, tmp_path, at)
    made = Place(where / "out", where / "dest")
    assert made.served.startswith("v1-")
    assert_consistent(again(where, fresh[1]))
