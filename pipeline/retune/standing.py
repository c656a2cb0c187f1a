"""The champion: what is served, with all that a retune has to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import ArtifactError, InputError
from pipeline import artifact, chosen_on, held_out
from pipeline.challenger import Contender
from pipeline.evidence import Evidence
from pipeline.held_out import HeldOut
from pipeline.pointer import name_of
from pipeline.recorder import CHAMPION, Recorder
from pipeline.router import Smoothing
from pipeline.served import Files
from pipeline.ship import served_at
from pipeline.tune import OperatingPoint


@dataclass(frozen=True, slots=True)
class Champion:
    """A version that serves.

    Attributes:
        folder: of the version, with the rows that it was tuned and tested on.
        name: it is shipped under.
        manifest: of the version.
        held: rows that it was not fitted on.
        chosen_on: logged decisions that a retune chose it on; None where it was trained, or made before such were kept.
        contender: its router, its rules and its operating point.
    """

    folder: Path
    name: str
    manifest: Mapping[str, Any]
    held: HeldOut
    chosen_on: Evidence | None
    contender: Contender


def reigning(out: Path, dest: Path | None, recorder: Recorder) -> Champion:
    """The champion: what `dest` serves, else the version with the alias. The alias is moved to what is served.

    Who was killed between the two, or shipped with `--no-alias`, finds them agreeing again.

    Args:
        out: folder of versions.
        dest: folder that services read.
        recorder: of MLflow's store.

    Raises:
        InputError: nothing serves yet.
        ArtifactError: the version is not in `out`, or not whole.
        StorageError: the store refuses.
    """
    if dest is None:
        digest = recorder.reigning()
        if not digest:
            raise InputError(f"no version has the alias {CHAMPION} in MLflow's store: train one, or name 'dest'")
        return opened(_found(out, digest[:12], f"the alias {CHAMPION}"))
    champion = opened(_found(out, served_at(dest).current, str(dest)))
    if number := recorder.find(champion.manifest["onnx"]["router"]["sha256"]):
        recorder.crown(number)
    return champion


def opened(folder: Path) -> Champion:
    """A version as a champion.

    Raises:
        ArtifactError: it is not whole.
    """
    manifest = artifact.read_whole(folder)
    held = held_out.read(folder, manifest["held_out"])
    kept = chosen_on.read(folder, manifest["chosen_on"]) if "chosen_on" in manifest else None
    vocabulary = manifest["vocabulary"]
    smoothing = Smoothing(float(vocabulary["strength"]), float(vocabulary["regularisation"]))
    point = OperatingPoint(**manifest["operating_point"])
    return Champion(
        folder, name_of(manifest), manifest, held, kept, Contender(Files.open(folder), held.rules, point, smoothing)
    )


def _found(out: Path, name: str, said_by: str) -> Path:
    """The folder of a version, by the name it is shipped under or the end of it."""
    for folder in reversed(artifact.versions(out)):
        try:
            if name_of(artifact.read_manifest(folder)).endswith(name):
                return folder
        except ArtifactError:  # not the one that is looked for, or it would be shipped by nobody
            continue
    raise ArtifactError(
        f"{out}: the version {name} that {said_by} names is not there, and a retune needs the rows it was tuned on: "
        "restore its folder, or name the one with the versions as 'out'"
    )
