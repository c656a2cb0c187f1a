"""`tier-router ship` and `rollback`: what is verified, what is written, and the way back."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from shipping import another
from stopping import contents

from features.errors import ArtifactError, InputError, StorageError
from pipeline import destination, history, pointer, ship_commands
from pipeline.runtime.opened import Opened
from pipeline.ship import OvertakenError, Shipped, rollback, ship

Run = Callable[..., subprocess.CompletedProcess[str]]
FILES = ["manifest.json", "router.onnx", "scorer.onnx"]
WAIT_SECONDS = 60
# Opens and ships as a service and a deployment do, and prints what was loaded that could run code.
AUDITED = """
import sys
seen = []
def audit(event, args):
    if event == "pickle.find_class" or event == "open" and str(args[0]).endswith((".joblib", ".pkl")):
        seen.append(f"{event} {args}")
sys.addaudithook(audit)
from pathlib import Path
from pipeline.runtime.opened import Opened
from pipeline.ship import rollback, ship
for version in sys.argv[2:]:
    shipped = ship(Path(version), Path(sys.argv[1]))
rollback(Path(sys.argv[1]))
Opened.open(shipped.folder)
heavy = ("joblib", "mlflow", "onnx", "pandas", "pyarrow", "pydantic", "sklearn")
print([*seen, *(name for name in heavy if name in sys.modules)])
"""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, priced: Any) -> list[Path]:
    """v1 to v4."""
    return [another(priced.folder, tmp_path_factory.mktemp("versions"), number) for number in (1, 2, 3, 4)]


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture
def mine(tmp_path: Path, versions: list[Path]) -> Path:
    """A copy of v2 to damage."""
    return Path(shutil.copytree(versions[1], tmp_path / "v2"))


def served(dest: Path) -> pointer.Pointer:
    """What a reader finds, and can open."""
    found = pointer.read(dest)
    assert found is not None
    assert Opened.open(dest / found.current).name == found.current
    return found


def folders(dest: Path) -> set[str]:
    return {path.name.split("-")[0] for path in dest.iterdir() if path.is_dir()}


def numbers(names: tuple[str, ...]) -> list[str]:
    return [name.split("-")[0] for name in names]


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest in place."""
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_first_ship_copies_what_is_for_serving_and_points_at_it(dest: Path, versions: list[Path]) -> None:
    shipped = ship(versions[0], dest)
    assert sorted(path.name for path in shipped.folder.iterdir()) == FILES
    assert all((shipped.folder / name).read_bytes() == (versions[0] / name).read_bytes() for name in FILES)
    assert (served(dest).current, served(dest).earlier) == (shipped.name, ())
    assert (shipped.before, shipped.copied, shipped.notes) == (None, True, ())
    assert sorted(path.name for path in dest.iterdir()) == sorted([".lock", "current.json", shipped.name])


def test_name_tells_the_version_and_the_file(dest: Path, versions: list[Path]) -> None:
    digest = json.loads((versions[0] / "manifest.json").read_text())["onnx"]["router"]["sha256"]
    assert ship(versions[0], dest).name == f"v1-{digest[:12]}"


def test_newest_of_a_folder_of_versions_is_shipped(dest: Path, versions: list[Path]) -> None:
    together = dest.parent / "models"
    for version in versions:
        shutil.copytree(version, together / version.name)
    assert ship(together, dest).manifest["version"] == "v4"


def test_earlier_versions_are_kept_as_many_as_asked_for(dest: Path, versions: list[Path]) -> None:
    for version in versions:
        shipped = ship(version, dest, keep=3)
    assert numbers(shipped.earlier) == numbers(served(dest).earlier) == ["v3", "v2"]
    assert folders(dest) == {"v4", "v3", "v2"}


def test_version_that_is_shipped_again_is_served_and_not_listed_twice(dest: Path, versions: list[Path]) -> None:
    for at in (0, 1, 2, 0):
        shipped = ship(versions[at], dest)
    assert (shipped.manifest["version"], shipped.copied, numbers(shipped.earlier)) == ("v1", False, ["v3", "v2"])


def test_shipping_what_is_served_changes_nothing(dest: Path, versions: list[Path]) -> None:
    def found() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in dest.rglob("*")}

    ship(versions[0], dest)
    ship(versions[1], dest)
    before = found()
    again = ship(versions[1], dest)
    assert (again.before, again.copied, numbers(again.earlier)) == (again.name, False, ["v1"])
    assert found() == before


def test_version_is_followed_where_it_is_the_expected_one(dest: Path, versions: list[Path]) -> None:
    first = ship(versions[0], dest)
    second = ship(versions[1], dest, expected=first.name)
    assert served(dest).current == second.name
    assert ship(versions[1], dest, expected=first.name).before == second.name  # once more: it is served already


def test_version_that_nobody_expected_is_not_followed(dest: Path, versions: list[Path]) -> None:
    first, second = ship(versions[0], dest), ship(versions[1], dest)
    before = contents(dest)
    with pytest.raises(OvertakenError, match=f"{dest} serves {second.name} by now, and {first.name} no more") as told:
        ship(versions[2], dest, expected=first.name)
    assert (told.value.served, contents(dest)) == (second.name, before)


@pytest.mark.parametrize("meanwhile", ["another", "none"])
def test_expected_version_is_looked_for_when_nobody_else_can_change_it(
    dest: Path, versions: list[Path], monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    first, real = ship(versions[0], dest), destination.held

    @contextmanager
    def after(folder: Path) -> Iterator[None]:
        with real(folder):
            if meanwhile == "none":
                (dest / "current.json").unlink()
            else:
                destination.point(dest, pointer.Pointer("v9-abcdefabcdef", (), ""))
            yield

    monkeypatch.setattr(destination, "held", after)
    with pytest.raises(OvertakenError, match="serves v9-abcdefabcdef by now" if meanwhile == "another" else "nothing"):
        ship(versions[1], dest, expected=first.name)
    assert folders(dest) == {"v1"}


@pytest.mark.parametrize("keep", [-1, 0, 1])
def test_fewer_than_two_are_not_kept(dest: Path, versions: list[Path], keep: int) -> None:
    with pytest.raises(InputError, match=f"keep {keep}: expected 2 or more"):
        ship(versions[0], dest, keep)
    assert not dest.exists()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "router truncated": lambda folder: _truncated(folder / "router.onnx"),
    "scorer missing": lambda folder: (folder / "scorer.onnx").unlink(),
    "manifest altered": lambda folder: changed(folder / "manifest.json", lambda manifest: manifest.update(threshold=9)),
    "all gone": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("current", [True, False], ids=["served", "earlier"])
def test_damaged_copy_is_mended_by_shipping_it_again(
    dest: Path, versions: list[Path], damage: Callable[[Path], object], current: bool
) -> None:
    folder = ship(versions[0], dest).folder
    if not current:
        ship(versions[1], dest)
    damage(folder)
    shipped = ship(versions[0], dest)
    assert shipped.copied
    assert served(dest).current == shipped.name
    assert all((folder / name).read_bytes() == (versions[0] / name).read_bytes() for name in FILES)


def _of_other(name: str) -> Callable[[Path, Path], object]:
    return lambda folder, other: shutil.copyfile(other / name, folder / name)


def _told(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], object]:
    return lambda folder, _: changed(folder / "manifest.json", change)


def _swapped(folder: Path, _: Path) -> None:
    (folder / "router.onnx").rename(folder / "kept")
    (folder / "scorer.onnx").rename(folder / "router.onnx")
    (folder / "kept").rename(folder / "scorer.onnx")


def _swapped_and_stated(folder: Path, other: Path) -> None:
    _swapped(folder, other)
    changed(
        folder / "manifest.json",
        lambda it: it.update(onnx={"router": it["onnx"]["scorer"], "scorer": it["onnx"]["router"]}),
    )


def _one_more_byte(name: str) -> Callable[[Path, Path], object]:
    return lambda folder, _: (folder / name).write_bytes((folder / name).read_bytes() + b"\0")


def _golden(name: str, value: Any) -> Callable[[Path, Path], object]:
    return _told(lambda manifest: manifest["golden"][3].update({name: value}))


REFUSED: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "router of another version": (_of_other("router.onnx"), r"router\.onnx is not the file"),
    "scorer of another version": (_of_other("scorer.onnx"), r"scorer\.onnx is not the file"),
    "manifest of another version": (_of_other("manifest.json"), r"router\.onnx is not the file"),
    "files exchanged": (_swapped, r"router\.onnx is not the file"),
    "files exchanged, and the manifest says so": (_swapped_and_stated, r"manifest\.json is not the one|router\.onnx"),
    "router longer": (_one_more_byte("router.onnx"), r"router\.onnx is not the file"),
    "scorer longer": (_one_more_byte("scorer.onnx"), r"scorer\.onnx is not the file"),
    "manifest longer": (_one_more_byte("manifest.json"), r"manifest\.json is damaged"),
    "router truncated": (lambda folder, _: _truncated(folder / "router.onnx"), r"router\.onnx is not the file"),
    "router empty": (lambda folder, _: (folder / "router.onnx").write_bytes(b""), r"router\.onnx is not the file"),
    "manifest truncated": (lambda folder, _: _truncated(folder / "manifest.json"), r"manifest\.json is damaged"),
    "scorer missing": (lambda folder, _: (folder / "scorer.onnx").unlink(), r"scorer\.onnx cannot be read"),
    "manifest missing": (lambda folder, _: (folder / "manifest.json").unlink(), "is not a version"),
    "nothing there": (lambda folder, _: shutil.rmtree(folder), "is not a version"),
    "another schema": (_told(lambda manifest: manifest.update(schema=2)), "expected a manifest of schema"),
    "threshold altered": (_told(lambda manifest: manifest.update(threshold=0.9)), "is not the one"),
    "version altered": (_told(lambda manifest: manifest.update(version="../v9")), "is not the one"),
    "no golden rows": (_told(lambda manifest: manifest.update(golden=[])), "no golden rows"),
    "golden decision altered": (
        _told(lambda manifest: manifest["golden"][3].update(use_pro=not manifest["golden"][3]["use_pro"])),
        "fails golden row 4 of .*: use_pro",
    ),
    "golden gain altered": (_golden("gain", 0.77), "fails golden row 4 of .*: gain"),
    "golden prompt altered": (_golden("prompt", "prove integral lemma prove 7 7 7"), "fails golden row 4 of"),
    "parity flipped": (_told(lambda manifest: manifest["parity"].update(flipped=1)), "parity: 1 flipped"),
    "parity too far": (
        _told(lambda manifest: manifest["parity"].update(largest_difference=1e-5)),
        "difference of 1e-05",
    ),
    "parity no number": (_told(lambda manifest: manifest["parity"].update(largest_difference=float("nan"))), "parity"),
    "parity missing": (_told(lambda manifest: manifest.pop("parity")), "'parity'"),
    "scorer not stated": (_told(lambda manifest: manifest["onnx"].pop("scorer")), "'scorer'"),
}


@pytest.mark.parametrize(("damage", "told"), REFUSED.values(), ids=REFUSED)
def test_version_that_is_not_good_is_refused_before_anything_is_written(
    dest: Path, mine: Path, versions: list[Path], damage: Callable[[Path, Path], object], told: str
) -> None:
    damage(mine, versions[0])
    with pytest.raises(ArtifactError, match=told) as refused:
        ship(mine, dest)
    assert str(mine) in str(refused.value)
    assert not dest.exists()


def test_refused_version_leaves_what_is_served(dest: Path, mine: Path, versions: list[Path]) -> None:
    ship(versions[0], dest)
    before = contents(dest)
    _truncated(mine / "scorer.onnx")
    with pytest.raises(ArtifactError):
        ship(mine, dest)
    assert contents(dest) == before


def test_copy_that_is_not_good_is_not_served(dest: Path, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ship(versions[0], dest)
    before, write = contents(dest), os.write

    def bad_cable(handle: int, data: bytes) -> int:
        return write(handle, bytes(data).replace(b"prove", b"prowe"))

    monkeypatch.setattr(os, "write", bad_cable)
    with pytest.raises(StorageError, match=r"the copy was not good, and is not served: .*router\.onnx is not the file"):
        ship(versions[1], dest)
    assert contents(dest) == before


def _below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


@pytest.mark.parametrize(
    "unusable",
    [_below_a_file, lambda folder: _below_a_file(folder) / "dest", lambda _: Path("/proc/self")],
    ids=["a file", "below a file", "not writable"],
)
def test_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, versions: list[Path], unusable: Callable[[Path], Path]
) -> None:
    path = unusable(tmp_path)
    with pytest.raises(StorageError, match=str(path)):
        ship(versions[0], path)


@pytest.mark.skipif(os.geteuid() == 0, reason="left out: root may write everywhere; /proc stood in for it")
def test_folder_without_permission_is_refused(dest: Path, versions: list[Path]) -> None:
    dest.mkdir(mode=0o555)
    with pytest.raises(StorageError, match="Permission denied"):
        ship(versions[0], dest)


def test_what_others_keep_there_stays(dest: Path, versions: list[Path]) -> None:
    strange = [
        "notes.txt",
        "v1/router.onnx",
        "v0-aaaaaaaaaaaa/x",
        "v9-AAAAAAAAAAAA/x",
        ".partial-notes/x",
        "v9-abcdefabcdef",
    ]
    for name in strange:
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        (dest / name).write_text("mine")
    (dest / "v8-abcdefabcdef").symlink_to(versions[0], target_is_directory=True)
    first = ship(versions[0], dest).folder
    (first / "README").write_text("mine")
    for version in versions[1:]:
        ship(version, dest, keep=2)
    assert all((dest / name).read_text() == "mine" for name in strange)
    assert [path.name for path in first.iterdir()] == ["README"]
    assert (versions[0] / "router.onnx").exists()


def test_leavings_of_killed_commands_are_removed(dest: Path, versions: list[Path]) -> None:
    ship(versions[0], dest)
    half = dest / "v7-abcdefabcdef"
    half.mkdir()
    leavings = [
        dest / ".partial-current.json",
        half / "router.onnx",
        dest / served(dest).current / ".partial-scorer.onnx",
    ]
    for path in leavings:
        path.write_bytes(b"half")
    ship(versions[1], dest)
    assert not any(path.exists() for path in (*leavings, half))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "current": "../x", "earlier": []}'])
def test_damaged_pointer_is_written_anew_and_that_is_said(dest: Path, versions: list[Path], text: str) -> None:
    ship(versions[0], dest)
    (dest / "current.json").write_text(text)
    shipped = ship(versions[1], dest)
    assert served(dest).current == shipped.name
    assert (shipped.before, len(shipped.notes)) == (None, 1)
    assert "could not be read" in shipped.notes[0]


def _answering(code: int) -> Callable[..., Any]:
    def answer(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return answer


LACKING = {
    "locks": (fcntl, "flock", errno.ENOTSUP),
    "flushing": (os, "fsync", errno.EINVAL),
    "renames": (os, "replace", errno.ENOSYS),
    "links": (os, "symlink", errno.EPERM),
    "hard links": (os, "link", errno.EPERM),
    "permissions": (os, "chmod", errno.EPERM),
}


@pytest.mark.parametrize(("module", "name", "code"), LACKING.values(), ids=LACKING)
def test_mount_that_can_do_less_will_do(
    dest: Path, versions: list[Path], monkeypatch: pytest.MonkeyPatch, module: Any, name: str, code: int
) -> None:
    monkeypatch.setattr(module, name, _answering(code))
    for version in versions:
        ship(version, dest, keep=2)
    assert numbers((served(dest).current, *served(dest).earlier)) == ["v4", "v3"]
    assert rollback(dest).name == served(dest).current
    assert not list(dest.rglob(".partial-*"))


@contextmanager
def held(dest: Path) -> Iterator[None]:
    """The lock, as another command has it."""
    dest.mkdir(exist_ok=True)
    with (dest / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("command", [lambda dest, version: ship(version, dest), lambda dest, _: rollback(dest)])
def test_second_command_gives_up_in_the_end(
    dest: Path, versions: list[Path], monkeypatch: pytest.MonkeyPatch, command: Callable[[Path, Path], Shipped]
) -> None:
    ship(versions[0], dest)
    monkeypatch.setattr(destination, "LONGEST_WAIT_S", 0.0)
    with held(dest), pytest.raises(StorageError, match="another ship or rollback is at work"):
        command(dest, versions[1])


def test_second_command_waits_for_the_first(dest: Path, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    waits = threading.Event()
    monkeypatch.setattr(time, "sleep", lambda _: waits.set())
    with held(dest):
        thread = threading.Thread(target=ship, args=(versions[0], dest))
        thread.start()
        assert waits.wait(WAIT_SECONDS)
        assert pointer.read(dest) is None
    thread.join(WAIT_SECONDS)
    assert numbers((served(dest).current,)) == ["v1"]


def test_ships_at_once_all_happen(dest: Path, versions: list[Path]) -> None:
    threads = [threading.Thread(target=ship, args=(version, dest)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    found = served(dest)
    assert sorted(numbers((found.current, *found.earlier))) == ["v1", "v2", "v3", "v4"]
    assert folders(dest) == {"v1", "v2", "v3", "v4"}


def test_rollback_serves_what_was_before(dest: Path, versions: list[Path]) -> None:
    for version in versions[:3]:
        ship(version, dest)
    back = rollback(dest)
    assert (numbers((back.name, str(back.before))), numbers(back.earlier)) == (["v2", "v3"], ["v1"])
    assert served(dest).current == back.name
    assert back.manifest["version"] == "v2"
    assert folders(dest) == {"v1", "v2", "v3"}  # who has just read the pointer still finds v3


def test_what_was_left_can_be_shipped_again(dest: Path, versions: list[Path]) -> None:
    ship(versions[0], dest)
    ship(versions[1], dest)
    rollback(dest)
    again = ship(versions[1], dest)
    assert (again.copied, numbers(again.earlier)) == (False, ["v1"])


def test_next_ship_removes_what_was_left(dest: Path, versions: list[Path]) -> None:
    ship(versions[0], dest)
    ship(versions[1], dest)
    rollback(dest)
    ship(versions[2], dest)
    assert folders(dest) == {"v1", "v3"}


def test_rollback_to_a_named_version_forgets_those_after_it(dest: Path, versions: list[Path]) -> None:
    names = [ship(version, dest).name for version in versions]
    back = rollback(dest, names[1])
    assert (back.name, back.earlier) == (names[1], (names[0],))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_earlier_version_is_refused_and_another_may_be_named(
    dest: Path, versions: list[Path], damage: Callable[[Path], object]
) -> None:
    names = [ship(version, dest).name for version in versions[:3]]
    damage(dest / names[1])
    before = contents(dest)
    with pytest.raises(ArtifactError, match=rf"{names[1]}.*nothing has changed: name another with --to: {names[0]}"):
        rollback(dest)
    assert contents(dest) == before
    assert rollback(dest, names[0]).name == served(dest).current == names[0]


def test_folder_with_another_version_under_its_name_is_refused(dest: Path, versions: list[Path]) -> None:
    names = [ship(version, dest).name for version in versions[:3]]
    shutil.rmtree(dest / names[1])
    shutil.copytree(dest / names[0], dest / names[1])
    with pytest.raises(ArtifactError, match=f"holds {names[0]}"):
        rollback(dest)


def test_rollback_without_an_earlier_version_is_refused(dest: Path, versions: list[Path]) -> None:
    ship(versions[0], dest)
    with pytest.raises(InputError, match=r"there is no version before v1-.*: ship another one"):
        rollback(dest)


def test_rollback_to_a_version_that_is_not_listed_is_refused(dest: Path, versions: list[Path]) -> None:
    names = [ship(version, dest).name for version in versions[:2]]
    with pytest.raises(InputError, match=f"v7-abc is not among the earlier versions: name one of {names[0]}"):
        rollback(dest, "v7-abc")


def test_rollback_where_nothing_was_shipped_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="nothing was shipped there"):
            rollback(path)
    assert list(tmp_path.iterdir()) == []


def test_neither_shipping_nor_serving_loads_a_pickle(dest: Path, versions: list[Path], project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, str(dest), *map(str, versions[:2])],
        cwd=project, capture_output=True, text=True, check=True, timeout=WAIT_SECONDS,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_pickle_for_analysts_begins_with_a_warning(priced: Any) -> None:
    assert b"Load none that you did not make" in (priced.folder / "router.joblib").read_bytes()[:300]


def test_commands_tell_what_is_served_and_how_to_go_back(
    tmp_path: Path, dest: Path, versions: list[Path], tier_router: Run
) -> None:
    first = json.loads(tier_router("ship", versions[0], dest, "--no-alias", "--json", cwd=tmp_path).stdout)
    assert (first["before"], first["earlier"], first["model_version"]) == (None, [], None)
    second = tier_router("ship", versions[1], dest, cwd=tmp_path)
    assert f"{dest} serves {served(dest).current}, before it was {first['served']}" in second.stdout
    assert f"to go back: tier-router rollback {dest}" in second.stdout
    assert "no MLflow store in" in second.stderr
    back = tier_router("rollback", dest, "--no-alias", cwd=tmp_path)
    assert f"{dest} serves {first['served']}" in back.stdout
    assert "to go back: there is nothing before it" in back.stdout
    assert "note" not in back.stderr


def rolled_back(dest: Path, store: Path) -> Any:
    """The command, in this process."""
    return CliRunner().invoke(ship_commands.rollback, [str(dest), "--no-alias", "--store", str(store)])


def test_rollback_by_hand_is_noted_in_the_history_where_there_is_one(
    tmp_path: Path, dest: Path, versions: list[Path]
) -> None:
    names = [ship(version, dest).name for version in versions[:3]]
    assert rolled_back(dest, tmp_path / "models").exit_code == 0
    assert not (tmp_path / "models").exists()
    history.append(tmp_path / "models", history.Line("promoted", names[1], names[2], "why"))
    assert rolled_back(dest, tmp_path / "models").exit_code == 0
    row = (tmp_path / "models" / history.HISTORY).read_text().splitlines()[-1]
    assert f"| rolled back | {names[1]} | {names[0]} | by hand |" in row


def test_rollback_that_the_history_cannot_say_is_done_all_the_same(
    tmp_path: Path, dest: Path, versions: list[Path]
) -> None:
    names = [ship(version, dest).name for version in versions[:2]]
    (tmp_path / history.HISTORY).write_bytes(b"\xff")
    told = rolled_back(dest, tmp_path)
    assert (told.exit_code, served(dest).current) == (0, names[0])
    assert f"serves {names[0]} again, which the history does not say" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["ship", "nothing", "dest"], 2, "nothing is not a version"),
        (["ship", "VERSION", "dest", "--keep", "1"], 2, "--keep"),
        (["ship", "VERSION", "/proc/self", "--no-alias"], 1, "/proc/self cannot be written"),
        (["rollback", "dest"], 2, "nothing was shipped there"),
    ],
)
def test_command_that_cannot_be_done_says_why_and_writes_nothing(
    tmp_path: Path, versions: list[Path], tier_router: Run, arguments: list[str], code: int, told: str
) -> None:
    words = [str(versions[0]) if word == "VERSION" else word for word in arguments]
    done = tier_router(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def told_of(change: Callable[[dict[str, Any]], object], folder: Path, versions: list[Path]) -> Any:
    """What the command says of a version with another manifest, in its files too."""
    source = Path(shutil.copytree(versions[0], folder / "source"))
    changed(source / "manifest.json", change)
    version = another(source, folder, 9)
    return CliRunner().invoke(ship_commands.ship, [str(version), str(folder / "dest"), "--no-alias"])


@pytest.mark.parametrize("data", ["data", "retuned_on"])
def test_version_of_simulated_traces_is_shipped_with_a_loud_note(
    tmp_path: Path, versions: list[Path], data: str
) -> None:
    told = told_of(lambda manifest: manifest.setdefault(data, {}).update(simulated=True), tmp_path, versions)
    assert "note: TRAINED ON ANSWERS OF SIMULATED MODELS" in told.stderr
    assert "serves v9-" in told.stdout


@pytest.mark.parametrize("certified", [True, False])
def test_what_is_not_certified_is_said_in_a_line(tmp_path: Path, versions: list[Path], certified: bool) -> None:
    certificate = {"certified": certified, "verdict": "the verdict", "claim": "The claim."}
    told = told_of(lambda manifest: manifest.update(certificate=certificate), tmp_path, versions)
    line = "certificate: the verdict" if certified else "certificate: the verdict. What is not certified: The claim."
    assert line in told.stdout.splitlines()
    assert "SIMULATED" not in told.stderr
