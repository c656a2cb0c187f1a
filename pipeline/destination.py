"""A folder of shipped versions, on whatever is mounted there, changed by one command at a time.

    DEST/current.json           which version is served, replaced in one step: `pointer` says what stands in it
    DEST/v3-1a2b3c4d5e6f/       router.onnx, scorer.onnx, manifest.json
    DEST/.lock                  held by the command that changes something

A version is complete, on disk and read back before the pointer names it, and nobody looks at one that the pointer never
named. So no folder is renamed, which mounts of object stores cannot do, and no link is made. A file takes its place by
being renamed; where a mount cannot do that either, it is written in place, since such mounts show a file when it is
closed. They may lack locks and the flushing of folders too.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from features.errors import StorageError
from pipeline.alone import LONGEST_WAIT_S, acquire
from pipeline.artifact import MANIFEST
from pipeline.beside import PARTIAL
from pipeline.pointer import POINTER, SCHEMA, SHIPPED_NAME, Pointer

FILES = ("router.onnx", "scorer.onnx", MANIFEST)
LOCK = ".lock"
READABLE = 0o666
# What file systems answer that do not know how; a disk that fails answers otherwise.
UNABLE = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
NO_RENAMES = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def held(dest: Path) -> Iterator[None]:
    """Have the folder alone, over all processes; where the file system knows no locks, go on without.

    Raises:
        StorageError: another command has it and keeps it, or something in it could not be written or removed.
    """
    try:
        lock = os.open(dest / LOCK, os.O_RDWR | os.O_CREAT, READABLE)
        try:
            _wait(dest, lock)
            yield
        finally:
            os.close(lock)
    except OSError as error:
        raise StorageError(
            f"{dest} cannot be written ({error.strerror or error}): see to that, and give the command again; "
            "what it serves is whole"
        ) from error


def _wait(dest: Path, lock: int) -> None:
    busy = (
        f"{dest}: another ship or rollback is at work there for {LONGEST_WAIT_S:g} s: wait for it, and give the "
        "command again"
    )
    try:
        acquire(lock, LONGEST_WAIT_S, busy)
    except OSError as error:
        if error.errno not in UNABLE:
            raise


def place(folder: Path, contents: Mapping[str, bytes]) -> bool:
    """Have files in a folder and on disk; those that are there, byte for byte, are not touched.

    Replaced one by one, so that of a damaged version a reader finds at worst what it found before.

    Args:
        folder: is made where it is missing.
        contents: by file name, in the order of writing.

    Returns:
        Whether anything was written.

    Raises:
        OSError: it could not be written.
    """
    folder.mkdir(exist_ok=True)
    missing = [name for name, content in contents.items() if not _holds(folder / name, content)]
    for name in missing:
        _put(folder / name, contents[name])
    _settle(folder)
    _settle(folder.parent)
    return bool(missing)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:  # missing, or damaged
        return False


def point(dest: Path, pointer: Pointer) -> None:
    """Serve another version, from one moment to the next.

    Raises:
        OSError: it could not be written.
    """
    table = {"schema": SCHEMA, "current": pointer.current, "earlier": pointer.earlier, "at": pointer.at}
    _put(dest / POINTER, (json.dumps(table, indent=2) + "\n").encode())
    _settle(dest)


def tidy(dest: Path, named: Collection[str]) -> list[str]:
    """Remove versions that are not named, and what killed commands left; nothing else.

    Returns:
        Names of those that could not be removed.
    """
    stuck = []
    for folder in sorted(dest.iterdir()):
        if SHIPPED_NAME.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            try:
                _clear(folder) if folder.name in named else remove(folder)
            except OSError:
                stuck.append(folder.name)
    with suppress(OSError):
        _partial(dest / POINTER).unlink(missing_ok=True)
    return stuck


def remove(folder: Path) -> None:
    """Remove a version, its manifest first; a folder that holds other things as well stays with these.

    Raises:
        OSError: it could not be removed.
    """
    for name in reversed(FILES):
        (folder / name).unlink(missing_ok=True)
    _clear(folder)
    try:
        folder.rmdir()
    except FileNotFoundError:  # an object store has no empty folders
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _clear(folder: Path) -> None:
    for name in FILES:
        _partial(folder / name).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f"{PARTIAL}{path.name}")


def _put(path: Path, content: bytes) -> None:
    """`beside.replacing`, for mounts that can do less than a disk."""
    partial = _partial(path)
    try:
        _write(partial, content)
        try:
            os.replace(partial, path)  # noqa: PTH105  # as the other steps, by a call that a test can count
        except OSError as error:
            if error.errno not in NO_RENAMES:
                raise
            _write(path, content)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, READABLE)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left) :]
        _flush(handle)
    finally:
        os.close(handle)


def _settle(folder: Path) -> None:
    """Have the names in a folder on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _flush(handle)
    finally:
        os.close(handle)


def _flush(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
