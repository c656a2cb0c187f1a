"""A retune that is killed between any two things that it changes is finished by the next one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from retuning import BETTER, Month, Place, digest_of, month, place, recorded

from features.errors import ArtifactError
from pipeline import artifact
from pipeline.pointer import name_of
from pipeline.retune import monthly, record
from pipeline.retune.monthly import Ended
from pipeline.ship import rollback, ship
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


# Between the others nothing is written.
STEPS = ("reading decisions", "writing", "reading traces", "judging", "writing the version", "promoting")
KILLED_AT_A_STEP = """
import os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from retuning import Place, Month, recorded
from pipeline.retune import monthly

where, last = Path(sys.argv[2]), sys.argv[3]

def step(name):
    if name.split(":")[0] == last:
        os.kill(os.getpid(), signal.SIGKILL)

monthly.recorder = recorded
monthly.retune(Place(where / "out", where / "dest").settings(Month(*(Path(each) for each in sys.argv[4:7]))), step)
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


@pytest.fixture(scope="module")
def promoted(fresh: tuple[Path, Month], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, stopped when all has followed from the decision and it is not marked as done."""
    return stopped(fresh, tmp_path_factory.mktemp("promoted"), "finish", record)


def stopped(fresh: tuple[Path, Month], folder: Path, at: str, owner: Any = monthly, **more: Any) -> Path:
    where = shutil.copytree(fresh[0], folder / "here")

    def stop(*_: Any) -> None:
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monthly, "recorder", recorded)
        patch.setattr(owner, at, stop)
        with pytest.raises(StoppedError):
            monthly.retune(Place(where / "out", where / "dest").settings(fresh[1], **more))
    return where


def run(made: Place, files: Month, **more: Any) -> Ended:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monthly, "recorder", recorded)
        return monthly.retune(made.settings(files, **more))


def again(where: Path, files: Month) -> Place:
    made = Place(where / "out", where / "dest")
    assert run(made, files).promoted
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


def test_run_that_is_killed_as_each_step_begins_is_done_in_the_end(fresh: tuple[Path, Month], tmp_path: Path) -> None:
    where, files = shutil.copytree(fresh[0], tmp_path / "here"), fresh[1]
    made = Place(where / "out", where / "dest")
    for last in STEPS:
        told = [str(Path(__file__).parent), where, last, files.logs, files.outcomes, files.audit]
        ended = subprocess.run(
            [sys.executable, "-c", KILLED_AT_A_STEP, *map(str, told)], timeout=WAIT_SECONDS, check=False
        )
        assert (last, ended.returncode) == (last, -signal.SIGKILL)
        assert made.served.startswith("v1-")
        assert verify(made.dest / made.served).name == made.served
        assert made.registry.reigning() == digest_of(made.out / "v1")
    assert_consistent(again(where, files))


@pytest.mark.parametrize("at", ["_leave", "inquire"])
def test_run_stopped_before_it_decided_is_done_anew(fresh: tuple[Path, Month], tmp_path: Path, at: str) -> None:
    where = stopped(fresh, tmp_path, at)
    made = Place(where / "out", where / "dest")
    assert made.served.startswith("v1-")
    assert_consistent(again(where, fresh[1]))


def test_alias_that_was_not_moved_with_the_pointer_is_moved_by_the_next_run(
    fresh: tuple[Path, Month], promoted: Path, tmp_path: Path
) -> None:
    where = shutil.copytree(promoted, tmp_path / "here")
    Place(where / "out", where / "dest").registry.crown("1")
    assert_consistent(again(where, fresh[1]))


def test_promotion_that_was_gone_back_from_after_a_kill_is_not_made_again(
    fresh: tuple[Path, Month], promoted: Path, tmp_path: Path
) -> None:
    where = shutil.copytree(promoted, tmp_path / "here")
    made = Place(where / "out", where / "dest")
    back = rollback(made.dest, None, made.registry).name
    ended = run(made, fresh[1])
    assert (made.served, made.registry.reigning()) == (back, digest_of(made.out / "v1"))
    assert (ended.again, ended.promoted, ended.served) == (True, False, back)
    assert "| promoted |" in made.lines[0]
    assert f"| superseded | {back} | {back} | v2 was to serve, but {made.dest} serves {back} by now" in made.lines[1]
    assert "Superseded: v2 was to serve" in made.page
    assert record.unfinished(made.out) == []
    run(made, fresh[1])
    assert len(made.lines) == 2


def test_version_that_was_shipped_again_after_a_kill_serves_on(
    fresh: tuple[Path, Month], promoted: Path, tmp_path: Path
) -> None:
    where = shutil.copytree(promoted, tmp_path / "here")
    made = Place(where / "out", where / "dest")
    rollback(made.dest, None, made.registry)
    ship(made.out / "v2", made.dest)
    assert_consistent(again(where, fresh[1]))


def test_alias_that_was_given_to_another_version_after_a_kill_stays(fresh: tuple[Path, Month], tmp_path: Path) -> None:
    where = stopped(fresh, tmp_path, "_carry_out", dest=None)
    made = Place(where / "out", where / "dest")
    copy = Path(shutil.copytree(made.out / "v1", made.out / "v3"))
    (copy / artifact.MANIFEST).write_text(
        (copy / artifact.MANIFEST).read_text().replace(digest_of(copy), f"{3:064x}")
    )  # fmt: skip
    made.registry.crown(made.registry.record(copy).model_version)
    with pytest.raises(ArtifactError):  # v3 cannot be opened
        run(made, fresh[1], dest=None)
    assert made.registry.reigning() == f"{3:064x}"
    assert "| superseded |" in made.lines[0]
    assert record.unfinished(made.out) == []


def test_decision_whose_version_is_gone_is_named_and_removing_it_helps(
    fresh: tuple[Path, Month], decided: Path, tmp_path: Path
) -> None:
    where, files = shutil.copytree(decided, tmp_path / "here"), fresh[1]
    made = Place(where / "out", where / "dest")
    shutil.rmtree(made.out / "v2")
    (folder,) = (made.out / record.FOLDER).glob("*/")
    for _ in range(2):
        with pytest.raises(ArtifactError, match=rf"v2 is not a version.*{folder} says that .* or remove {folder}, and"):
            run(made, files)
    assert made.served.startswith("v1-")
    assert len(made.lines) == 1
    shutil.rmtree(folder)
    (made.out / "HISTORY.md").unlink()
    assert_consistent(again(where, files))


def test_key_of_a_newer_decision_is_left_alone(tmp_path: Path) -> None:
    decision = record.Decision("0" * 64, "keep", "why", "v1-0", "", "2026-02-01T00:00:00+00:00")
    record.write(tmp_path, decision)
    path = record.folder_of(tmp_path, decision.key) / record.FILE
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 1, "newer": true'))
    assert record.read(tmp_path, decision.key) == decision
