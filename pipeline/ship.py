"""Publishing: a verified copy of a version where services look for it, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.errors import ArtifactError, InputError, StorageError
from pipeline import artifact, destination, pointer
from pipeline.pointer import POINTER, Pointer
from pipeline.recorder import CHAMPION, Recorder
from pipeline.verified import Verified, newest, verify

KEEP = 5
# Who has just read the pointer still opens what was served before.
FEWEST_KEPT = 2
SERVED_ELSEWHERE = f"MLflow has no record of this version: the alias {CHAMPION} stays where it was"
UNREADABLE = f"{POINTER} could not be read and was written anew: what was served before is not known"

Step = Callable[[str], None]


class OvertakenError(InputError):
    """Another version is served than the one that was to be left: nothing has changed.

    Attributes:
        served: name of it; "" where none is.
    """

    def __init__(self, where: object, served: str, expected: str) -> None:
        """Store, and say it."""
        super().__init__(f"{where} serves {served or 'nothing'} by now, and {expected} no more: nothing has changed")
        self.served = served


@dataclass(frozen=True, slots=True)
class Shipped:
    """What a folder serves now.

    Attributes:
        name: of the version.
        folder: it stands in.
        before: name of what was served before; the same where nothing changed, None where nothing was served.
        earlier: names of what can be gone back to, the latest first.
        manifest: of the version.
        copied: whether anything of it was written, and not all of it there already.
        model_version: its number in MLflow's registry, if the alias was moved there.
        notes: sentences that must not be missed.
    """

    name: str
    folder: Path
    before: str | None
    earlier: tuple[str, ...]
    manifest: Mapping[str, Any]
    copied: bool
    model_version: str | None
    notes: tuple[str, ...]


def ship(
    version: Path,
    dest: Path,
    keep: int = KEEP,
    recorder: Recorder | None = None,
    step: Step = lambda _: None,
    *,
    expected: str | None = None,
) -> Shipped:
    """Serve a version from a folder.

    Whatever happens, readers find the old version or the new one, whole. Shipping a version again is harmless, and
    mends what is damaged of it.

    Args:
        version: folder of a version, or of versions: the newest of them.
        dest: folder that services read, made where it is missing.
        keep: >= 2, versions to leave there, the served one among them; others of this project are removed.
        recorder: of the store whose alias `champion` is moved along; None leaves it alone.
        step: called with the name of each step as it begins.
        expected: name of the version that is to be followed, whichever is served if None; where `version` itself is
            served already, that is harmless too.

    Raises:
        OvertakenError: another version is served than expected.
        ArtifactError: the version cannot be served: nothing was written.
        StorageError: `dest` cannot be written, or the store refuses: what was served is still served.
    """
    if keep < FEWEST_KEPT:
        raise InputError(f"keep {keep}: expected {FEWEST_KEPT} or more, the served version and one to go back to")
    step("verifying")
    source = verify(newest(version))
    artifact.make_parent(dest)
    with destination.held(dest):
        before, folder = _served(dest), dest / source.name
        if expected is not None and (before is None or before.current not in (expected, source.name)):
            raise OvertakenError(dest, before.current if before else "", expected)
        notes = [UNREADABLE] if before is None and (dest / POINTER).exists() else []
        served = _after(before, source.name, keep)
        with ExitStack() as undo:
            if not folder.exists():
                undo.callback(_discard, folder)
            step("copying")
            copied = destination.place(folder, source.contents)
            _compare(folder, source)
            step("changing over")
            model_version = _crown(source, dest, recorder, undo)
            if served != before:
                destination.point(dest, served)
            undo.pop_all()
        stuck = destination.tidy(dest, (served.current, *served.earlier))
    notes += [SERVED_ELSEWHERE] if recorder and not model_version else []
    notes += [f"{name} could not be removed from {dest}" for name in stuck]
    return Shipped(
        source.name, folder, before.current if before else None, served.earlier, source.manifest, copied,
        model_version, tuple(notes),
    )  # fmt: skip


def rollback(
    dest: Path,
    to: str | None = None,
    recorder: Recorder | None = None,
    step: Step = lambda _: None,
    *,
    expected: str | None = None,
) -> Shipped:
    """Serve again what was served before. What is left is not listed any more; it can be shipped again.

    Its folder stays until the next ship, for readers that have just read the pointer.

    Args:
        dest: folder that `ship` filled.
        to: name of an earlier version, the latest if None; those after it are not listed any more either.
        recorder: of the store whose alias `champion` is moved along; None leaves it alone.
        step: called with the name of each step as it begins.
        expected: name of the version that is to be left, whichever is served if None.

    Raises:
        InputError: there is no earlier version, or none of that name.
        OvertakenError: another version is served than expected.
        ArtifactError: it cannot be served, or the pointer cannot be read: nothing has changed.
        StorageError: `dest` cannot be written, or the store refuses: what was served is still served.
    """
    served_at(dest)  # complains before a lock is made
    with destination.held(dest):
        before = served_at(dest)
        if expected is not None and expected != before.current:
            raise OvertakenError(dest, before.current, expected)
        name = _chosen(dest, before, to)
        step("verifying")
        target = _verified_again(dest, name, before.earlier)
        step("changing over")
        earlier = before.earlier[before.earlier.index(name) + 1 :]
        with ExitStack() as undo:
            model_version = _crown(target, dest, recorder, undo)
            destination.point(dest, Pointer(name, earlier, _now()))
            undo.pop_all()
    notes = (SERVED_ELSEWHERE,) if recorder and not model_version else ()
    return Shipped(name, dest / name, before.current, earlier, target.manifest, False, model_version, notes)


def served_at(dest: Path) -> Pointer:
    """What a folder serves.

    Raises:
        InputError: nothing was shipped there, or the pointer cannot be read.
    """
    found = pointer.read(dest)
    if found is None:
        raise InputError(f"{dest / POINTER} does not exist: nothing was shipped there; name the folder of `ship`")
    return found


def _chosen(dest: Path, before: Pointer, to: str | None) -> str:
    if not before.earlier:
        raise InputError(f"{dest}: there is no version before {before.current}: ship another one")
    if to is not None and to not in before.earlier:
        raise InputError(f"{dest}: {to} is not among the earlier versions: name one of {', '.join(before.earlier)}")
    return to or before.earlier[0]


def _verified_again(dest: Path, name: str, earlier: tuple[str, ...]) -> Verified:
    try:
        found = verify(dest / name)
        if found.name != name:
            raise ArtifactError(f"{dest / name} holds {found.name}: ship {name} again")  # noqa: TRY301  # as the others
    except ArtifactError as error:
        others = ", ".join(each for each in earlier if each != name)
        way = f"name another with --to: {others}" if others else "ship a version"
        raise ArtifactError(f"{error}; nothing has changed: {way}") from error
    return found


def _served(dest: Path) -> Pointer | None:
    """What a folder serves, if that can be said."""
    with suppress(ArtifactError):
        return pointer.read(dest)
    return None


def _after(before: Pointer | None, name: str, keep: int) -> Pointer:
    """The pointer once a version is shipped; the same as before where that changes nothing."""
    if before is None:
        return Pointer(name, (), _now())
    earlier = tuple(each for each in dict.fromkeys((before.current, *before.earlier)) if each != name)[: keep - 1]
    changed = before._replace(current=name, earlier=earlier)
    return changed if changed == before else changed._replace(at=_now())


def _compare(folder: Path, source: Verified) -> None:
    """Raises StorageError where a copy is not what was copied, or does not answer as it did."""
    try:
        copy = verify(folder)
    except ArtifactError as error:
        raise StorageError(f"the copy was not good, and is not served: {error}") from error
    if copy.contents != source.contents:
        raise StorageError(f"{folder}: the copy was changed by somebody else, and is not served: ship again")


def _crown(served: Verified, dest: Path, recorder: Recorder | None, undo: ExitStack) -> str | None:
    """Move the alias, if MLflow knows the version, and back again if the pointer does not follow."""
    number = recorder.find(served.digest) if recorder else ""
    if recorder is None or not number:
        return None
    had = recorder.crown(number)

    def give_back() -> None:
        now = _served(dest)
        if had != number and (now is None or now.current != served.name):
            recorder.crown(had)

    undo.callback(give_back)
    return number


def _discard(folder: Path) -> None:
    """Remove a version that could not be shipped; after all it may be served, if only what came then failed."""
    served = _served(folder.parent)
    if served is None or served.current != folder.name:
        with suppress(OSError):
            destination.remove(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
