"""Version folders: written whole or not at all, the manifest last.

Manifest schema 3 (1 knew relative costs only, 2 had no golden rows). A new key may be added at any time; a key
that changes its meaning raises `SCHEMA`, and readers refuse a schema they do not know.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from features.errors import ArtifactError, StorageError
from pipeline.beside import PARTIAL, flush

SCHEMA = 3
MANIFEST = "manifest.json"
NEEDED = (
    "version",
    "threshold",
    "operating_point",
    "tariff",
    "costs",
    "data",
    "held_out",
    "onnx",
    "config",
    "golden",
    "warnings",
)
# Known only once the files are made: the copy of the manifest inside them lacks it.
KNOWN_LATER = ("onnx", "parity", "golden")
VERSION_NAME = re.compile(r"v[1-9][0-9]*")
STALE_SECONDS = 24 * 3600


def make_parent(out: Path) -> None:
    """Make the parent of versions, if it is not there.

    Raises:
        StorageError: it cannot be made or is no folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{out} cannot be a folder for versions: {error.strerror or error}: choose another"
        ) from error


@contextmanager
def new_version(out: Path) -> Iterator[Path]:
    """A folder to write a version into, already under the next free number but hidden until `publish`.

    Yields:
        `out/.partial-vN`. After a failure in the block nothing of it is left.

    Raises:
        StorageError: the folder cannot be written.
    """
    import shutil  # nothing for those who only read versions

    folder = None
    make_parent(out)
    try:
        folder = _reserve(out)
        yield folder
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror or error}; nothing was left behind") from error
    finally:
        if folder is not None and folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _reserve(out: Path) -> Path:
    """Make the hidden folder of the first number that no version has and no other training is writing."""
    import shutil

    for stale in out.glob(f"{PARTIAL}*"):
        if time.time() - stale.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(stale, ignore_errors=True)
    taken = [int(path.name.removeprefix(PARTIAL)[1:]) for path in versions(out, hidden=True)]
    number = max(taken, default=0)
    while True:
        number += 1
        with suppress(FileExistsError):
            folder = out / f"{PARTIAL}v{number}"
            folder.mkdir()
            return folder


def versions(out: Path, *, hidden: bool = False) -> list[Path]:
    """The version folders under `out`, oldest first; with `hidden` those being written as well."""
    found = [
        path for path in out.glob("*") if VERSION_NAME.fullmatch(path.name.removeprefix(PARTIAL if hidden else ""))
    ]
    return sorted(found, key=lambda path: int(path.name.removeprefix(PARTIAL)[1:]))


def version_of(folder: Path) -> str:
    """The name that a hidden folder will have."""
    return folder.name.removeprefix(PARTIAL)


def publish(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write the manifest, flush everything to disk, and give the folder its name; returns it."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    for path in [*folder.iterdir(), folder]:
        flush(path)
    version = folder.with_name(version_of(folder))
    folder.rename(version)
    flush(version.parent)
    return version


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a version.

    Raises:
        ArtifactError: it is missing, not readable, or of another schema.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{folder} is not a version: {path.name} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged ({error}): train again, or restore it") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtifactError(
            f"{path}: expected a manifest of schema {SCHEMA}, found {found!r}: train again, or restore it"
        )
    return manifest


def read_whole(folder: Path) -> dict[str, Any]:
    """The manifest of a version, with all that a version is opened by.

    Raises:
        ArtifactError: as `read_manifest`, or a part is missing.
    """
    manifest = read_manifest(folder)
    if missing := [name for name in NEEDED if name not in manifest]:
        raise ArtifactError(f"{folder / MANIFEST} is damaged ('{missing[0]}' is missing): train again, or restore it")
    return manifest


def verified(folder: Path, name: str, stated: Mapping[str, Any]) -> bytes:
    """The content of a file of a version.

    Args:
        folder: of the version.
        name: of the file.
        stated: what the manifest says of it; its digest is checked.

    Raises:
        ArtifactError: it cannot be read, or is not the file that the manifest describes.
    """
    import hashlib  # it loads OpenSSL, which takes longer than all else that a decision needs of Python

    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}): restore it, or train again") from error
    if hashlib.sha256(content).hexdigest() != stated.get("sha256"):
        raise ArtifactError(f"{path} is not the file that its manifest describes: restore it, or train again")
    return content
