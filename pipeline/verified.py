"""A version that was found good to serve, with the files that are for serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import ArtifactError
from pipeline import artifact
from pipeline.pointer import SHIPPED_NAME
from pipeline.runtime.opened import LARGEST_DIFFERENCE, Opened


@dataclass(frozen=True, slots=True)
class Verified:
    """A version that was found good.

    Attributes:
        name: it is shipped under.
        manifest: of the version.
        contents: of its files for serving, by name, the manifest last.
    """

    name: str
    manifest: Mapping[str, Any]
    contents: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """SHA-256 of `router.onnx`."""
        return str(self.manifest["onnx"]["router"]["sha256"])


def newest(version: Path) -> Path:
    """The version folder that is meant: the folder itself, or the newest of the versions in it."""
    inside = [] if (version / artifact.MANIFEST).exists() else artifact.versions(version)
    return inside[-1] if inside else version


def verify(folder: Path) -> Verified:
    """Read a version's files for serving: their digests, the parity of its export, what it answers to its golden rows.

    Raises:
        ArtifactError: it is missing, altered, of another schema, or decides otherwise than where it was made.
    """
    opened = Opened.open(folder)
    manifest, path = opened.manifest, folder / artifact.MANIFEST
    try:
        onnx, parity = manifest["onnx"], manifest["parity"]
        contents = {
            f"{name}.onnx": artifact.verified(folder, f"{name}.onnx", onnx[name]) for name in ("router", "scorer")
        }
        flipped, difference = parity["flipped"], float(parity["largest_difference"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error!r}): restore it, or train again") from error
    if flipped != 0 or not difference <= LARGEST_DIFFERENCE:
        raise ArtifactError(
            f"{path}: parity: {flipped} flipped decisions and a difference of {difference:g}, expected 0 and at most "
            f"{LARGEST_DIFFERENCE:g}: train again"
        )
    if not SHIPPED_NAME.fullmatch(opened.name):
        raise ArtifactError(f"{path}: version: expected v and a number, found {manifest['version']!r}: train again")
    try:
        contents[artifact.MANIFEST] = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}): restore it, or train again") from error
    return Verified(opened.name, manifest, contents)
