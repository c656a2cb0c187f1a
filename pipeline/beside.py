"""Files that are written whole or not at all: beside their place first, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from features.errors import StorageError

PARTIAL = ".partial-"
READABLE, PRIVATE = 0o666, 0o600


@contextmanager
def replacing(path: Path, mode: int = READABLE) -> Iterator[Path]:
    """An empty hidden file to write into, which is on disk and takes the place of `path` when the block ends well.

    Args:
        path: to write; its folder is made where it is missing.
        mode: permissions of the file, less the umask.

    Raises:
        StorageError: it cannot be written; what was there before is still there.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode))
        yield partial
        flush(partial)
        partial.replace(path)
        flush(path.parent)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
