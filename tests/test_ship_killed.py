"""Publishing that is killed, interrupted or fails at any step: readers find the old version or the new one, whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from shipping import another
from stopping import DISTURBED, DONE, FAILED, INTERRUPTED, KILLED, WAYS, contents

from features.errors import StorageError
from pipeline import pointer
from pipeline.runtime.opened import Opened
from pipeline.ship import rollback, ship

WAIT_SECONDS = 120
ENDS = {"kill": {KILLED, DONE}, "interrupt": {INTERRUPTED, DONE}, "fail": {FAILED, DISTURBED, DONE}}
# Enough to know that the files of a version, the pointer and the folders were all stopped at.
FEWEST_STEPS = {"first": 30, "next": 35, "mending": 15, "rollback": 8}
Stopped = dict[str, Any]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, priced: Any) -> list[Path]:
    return [another(priced.folder, tmp_path_factory.mktemp("versions"), number) for number in (1, 2, 3)]


@pytest.fixture(scope="module", params=sorted(FEWEST_STEPS))
def stopped(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, versions: list[Path], project: Path,
    environment: Callable[..., dict[str, str]],
) -> Stopped:  # fmt: skip
    """What a program found that stopped the same work at its every step, in every way."""
    script = Path(__file__).with_name("stopping.py")
    done = subprocess.run(
        [sys.executable, str(script), request.param, str(tmp_path_factory.mktemp("stopped")), *map(str, versions)],
        env=environment(PYTHONPATH=str(project), OPENBLAS_NUM_THREADS="1"),
        capture_output=True, text=True, check=False, timeout=WAIT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {"scenario": request.param, **json.loads(done.stdout)}


@pytest.mark.parametrize("way", WAYS)
def test_every_step_was_stopped_at(stopped: Stopped, way: str) -> None:
    assert len(stopped[way]) > FEWEST_STEPS[stopped["scenario"]]
    assert {each["end"] for each in stopped[way]} <= ENDS[way]
    assert stopped[way][-1] == {
        "end": DONE, "served": stopped["new"], "untouched": False, "complete": True, "afterwards": True,
    }  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_reader_finds_the_old_version_or_the_new_one(stopped: Stopped, way: str) -> None:
    assert {each["served"] for each in stopped[way]} == {stopped["old"], stopped["new"]}


def test_version_changes_at_one_step(stopped: Stopped) -> None:
    found = [each["served"] for each in stopped["kill"]]
    assert sum(one != other for one, other in pairwise(found)) == (stopped["old"] != stopped["new"])


@pytest.mark.parametrize("way", WAYS)
def test_doing_it_again_succeeds_and_leaves_no_rubbish(stopped: Stopped, way: str) -> None:
    assert all(each["afterwards"] for each in stopped[way])


@pytest.mark.parametrize("way", ["interrupt", "fail"])
def test_what_was_begun_in_vain_is_removed(stopped: Stopped, way: str) -> None:
    in_vain = [each for each in stopped[way] if each["served"] == stopped["old"] != stopped["new"]]
    assert all(each["untouched"] for each in in_vain)
    assert bool(in_vain) == (stopped["old"] != stopped["new"])


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system with so much room."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True, timeout=10).returncode:
        pytest.skip("left out: a real full disk needs the right to mount one; failing writes stood in for it")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=10)


def test_real_full_disk_changes_nothing(tmp_path: Path, versions: list[Path]) -> None:
    with small_disk(tmp_path, "200k") as disk:
        dest = disk / "router"
        ship(versions[0], dest)
        before = contents(dest)
        with pytest.raises(StorageError, match="No space left"):
            ship(versions[1], dest)
        assert contents(dest) == before
        found = pointer.read(dest)
        assert found is not None
        assert Opened.open(dest / found.current).name == found.current


def test_no_temporary_file_of_a_killed_command_is_taken_for_a_version(tmp_path: Path, versions: list[Path]) -> None:
    ship(versions[0], tmp_path)
    ship(versions[1], tmp_path)
    (tmp_path / ".partial-current.json").write_text('{"schema": 1, "curr')
    found = pointer.read(tmp_path)
    assert found is not None
    assert rollback(tmp_path).before == found.current
