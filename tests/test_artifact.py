"""Version folders: whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from features.errors import ArtifactError, StorageError
from pipeline import artifact
from pipeline.artifact import new_version, publish, read_manifest, versions
from pipeline.served import Served

WAIT_SECONDS = 60
MANIFEST = {"schema": artifact.SCHEMA, "version": "v1"}
# The real command line with one more command, which stops for a while in the middle of writing a version.
PAUSED = """
import sys, time
from pathlib import Path
from pipeline import artifact, cli

@cli.commands.command()
def pause():
    with artifact.new_version(Path(OUT)) as folder:
        (folder / "router.onnx").write_bytes(b"half a model")
        print("half written", flush=True)
        time.sleep(60)

OUT = sys.argv.pop()
sys.argv[1:] = ["pause"]
cli.main()
"""
# No file may grow beyond what the limit says: a disk that is full, for this process alone.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from features.errors import StorageError
from pipeline import artifact
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with artifact.new_version(Path(sys.argv[1])) as folder:
        (folder / "router.onnx").write_bytes(b"x" * int(sys.argv[2]))
        artifact.publish(folder, {"schema": 1, "filling": "y" * int(sys.argv[3])})
except StorageError as error:
    print(error)
"""


def make(out: Path) -> Path:
    with new_version(out) as folder:
        (folder / "router.onnx").write_bytes(b"model")
        return publish(folder, MANIFEST)


def test_versions_are_numbered_one_after_the_other(tmp_path: Path) -> None:
    assert [make(tmp_path / "models").name for _ in range(3)] == ["v1", "v2", "v3"]


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    for name in ("v2", "v10", "v9x", "notes"):
        (tmp_path / name).mkdir()
    assert make(tmp_path).name == "v11"
    assert [path.name for path in versions(tmp_path)] == ["v2", "v10", "v11"]


def test_two_trainings_at_once_get_two_numbers(tmp_path: Path) -> None:
    with new_version(tmp_path) as one, new_version(tmp_path) as other:
        names = {publish(one, MANIFEST).name, publish(other, MANIFEST).name}
    assert names == {"v1", "v2"}


def test_version_is_hidden_until_it_is_whole(tmp_path: Path) -> None:
    with new_version(tmp_path) as folder:
        assert folder.name.startswith(".")
        assert versions(tmp_path) == []
        publish(folder, MANIFEST)
    assert [path.name for path in versions(tmp_path)] == ["v1"]


def test_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_version(tmp_path) as folder:
        (folder / "router.onnx").write_bytes(bytes(1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_manifest_that_is_no_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"), new_version(tmp_path) as folder:
        publish(folder, {"threshold": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_manifest_comes_back(tmp_path: Path) -> None:
    assert read_manifest(make(tmp_path)) == MANIFEST


@pytest.mark.parametrize(("model", "manifest"), [(5000, 10), (10, 5000)], ids=["in a file", "in the manifest"])
def test_full_disk_leaves_no_version(tmp_path: Path, project: Path, model: int, manifest: int) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "models"), str(model), str(manifest)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True, timeout=WAIT_SECONDS)
    assert "nothing was left behind" in done.stdout
    assert list((tmp_path / "models").iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A file system of 400 kB: room for the files of one version and not for two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], check=False, capture_output=True, timeout=10
    )
    if mounted.returncode:
        pytest.skip("left out: a real full disk needs the right to mount one; a limit on file sizes stood in for it")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=10)


def test_real_full_disk_leaves_no_version(tiny_disk: Path) -> None:
    with pytest.raises(StorageError, match="No space left"), new_version(tiny_disk / "models") as folder:
        (folder / "router.onnx").write_bytes(b"x" * 500_000)
    assert list((tiny_disk / "models").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_interrupted_run_leaves_no_version(tmp_path: Path, project: Path, number: signal.Signals) -> None:
    out = tmp_path / "models"
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSED, str(out)], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "half written\n"
        assert [path.name for path in out.iterdir()] == [".partial-v1"]
        process.send_signal(number)
        _, stderr = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.communicate()
    assert versions(out) == []
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert stderr.strip() == "interrupted: nothing half-written was left; what exists is complete"
        assert list(out.iterdir()) == []


def test_leavings_of_a_killed_run_are_cleared_after_a_day(tmp_path: Path) -> None:
    stale, fresh = tmp_path / ".partial-v1", tmp_path / ".partial-v2"
    stale.mkdir()
    fresh.mkdir()
    os.utime(stale, (0, 0))
    make(tmp_path)
    assert not stale.exists()
    assert fresh.exists()


def test_folder_without_manifest_is_no_version(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a version"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "\udcff"])
def test_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("schema", [None, 1, "2"])
def test_manifest_of_another_schema_is_refused(tmp_path: Path, schema: object) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": schema}))
    with pytest.raises(ArtifactError, match="schema"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("damage", ["altered", "truncated", "missing", "manifest without digest"])
def test_version_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path, trained: object, damage: str) -> None:
    copy = Path(shutil.copytree(trained.folder, tmp_path / "v1"))
    model = copy / "router.onnx"
    content = model.read_bytes()
    if damage == "missing":
        model.unlink()
    elif damage == "manifest without digest":
        (copy / "manifest.json").write_text(json.dumps(MANIFEST))
    else:
        model.write_bytes(content[:-5] if damage == "truncated" else content.replace(b"prove", b"proof", 1))
    with pytest.raises(ArtifactError):
        Served.open(copy)
