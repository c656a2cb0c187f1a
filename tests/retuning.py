"""Months to retune on, folders to retune in, and a registry of versions in a file where MLflow would be."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from conftest import generate, write_rows
from production import BEGIN, Row, log, outcomes, requests

from pipeline import artifact, history, pointer
from pipeline.recorder import Tracked
from pipeline.retune import record
from pipeline.settings import Retuning, Settings
from pipeline.ship import ship

REGISTRY = "registry.json"
# How often flash is right: seldom more often than it was in training, or as often as pro and more.
AS_BEFORE, BETTER = None, 0.98
ENOUGH, FEW = 3_000, 600


@dataclass(frozen=True)
class Month:
    """Files of a month: logged decisions of a version, outcomes, and an audit."""

    logs: Path
    outcomes: Path
    audit: Path


@dataclass(frozen=True)
class Place:
    """A folder of versions, and one that services read."""

    out: Path
    dest: Path

    @property
    def registry(self) -> Registry:
        return Registry(self.out / REGISTRY)

    @property
    def served(self) -> str:
        """Name of what a reader finds."""
        found = pointer.read(self.dest)
        assert found is not None
        return found.current

    @property
    def lines(self) -> list[str]:
        """Rows of the history."""
        path = self.out / history.HISTORY
        return path.read_text(encoding="utf-8").splitlines()[4:] if path.exists() else []

    @property
    def versions(self) -> list[str]:
        return [folder.name for folder in artifact.versions(self.out)]

    @property
    def page(self) -> str:
        """Of the one decision that there is."""
        (found,) = (self.out / record.FOLDER).glob(f"*/{record.PAGE}")
        return found.read_text(encoding="utf-8")

    def settings(self, month: Month, **more: Any) -> Settings:
        """What the file of this place and a month says."""
        named = dict(logs=(str(month.logs),), outcomes=(str(month.outcomes),), audit=(str(month.audit),))
        return Settings(retune=Retuning(**{**named, "out": str(self.out), "dest": str(self.dest), **more}))


class Registry:
    """Model versions by the digests of their routers, in a file; the first becomes champion."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def digests(self) -> list[str]:
        return self._read()["digests"]

    def record(self, folder: Path) -> Tracked:
        known = self._read()
        known["digests"].append(digest_of(folder))
        number = str(len(known["digests"]))
        self._write(known | {"champion": known["champion"] or number})
        return Tracked("", number, "", "")

    def find(self, digest: str) -> str:
        numbers = [at for at, known in enumerate(self.digests, 1) if known == digest]
        return str(max(numbers, default=""))

    def crown(self, number: str) -> str:
        known = self._read()
        self._write(known | {"champion": number})
        return str(known["champion"])

    def reigning(self) -> str:
        known = self._read()
        return known["digests"][int(known["champion"]) - 1] if known["champion"] else ""

    def _read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {"digests": [], "champion": ""}

    def _write(self, known: dict[str, Any]) -> None:
        self.path.write_text(json.dumps(known))


@contextmanager
def recorded(out: Path) -> Iterator[Registry]:
    """Stands for `pipeline.recorder.recorder`."""
    yield Registry(out / REGISTRY)


def digest_of(folder: Path) -> str:
    return str(artifact.read_manifest(folder)["onnx"]["router"]["sha256"])


def place(version: Path, folder: Path) -> Place:
    """A folder with a copy of a version, which is champion and served."""
    made = Place(folder / "models", folder / "dest")
    copy = shutil.copytree(version, made.out / version.name)
    made.registry.record(copy)
    ship(copy, made.dest)
    return made


def month(version: Path, folder: Path, *, flash: float | None = AS_BEFORE, count: int = ENOUGH, audits: int = 400,
          explore: float = 0.1, half: int | None = None) -> Month:  # fmt: skip
    """A month that a version decided, in which flash is right with a chance of its own; or a random half of it."""
    folder.mkdir()
    drawn = requests(count, 1)
    drawn = drawn if half is None else random.Random(3).sample(drawn, count)[half::2]
    rows, asked = answered(drawn, flash, 5), answered(requests(audits, 9), flash, 6)
    for at, row in enumerate(asked):
        row["time"] = (BEGIN + timedelta(days=20, seconds=at)).isoformat()
    logged = log(folder / "logs", version, rows, explore=explore)
    said = outcomes(folder / "outcomes.jsonl", rows, logged, arrive=0.8)
    return Month(folder / "logs", said, write_rows(folder / "audit.jsonl", asked))


def turned_about(version: Path, folder: Path) -> tuple[Month, Path]:
    """A month, and labelled traces, in which flash is right where it was wrong: new coefficients pay."""
    folder.mkdir()
    rows, asked = (_turned(requests(count, seed), seed) for count, seed in ((4_000, 1), (600, 9)))
    for at, row in enumerate(asked):
        row["time"] = (BEGIN + timedelta(days=20, seconds=at)).isoformat()
    logged = log(folder / "logs", version, rows, explore=0.2)
    said = outcomes(folder / "outcomes.jsonl", rows, logged, arrive=0.8)
    labelled = [row | {"time": "2025-06-01T00:00:00Z"} for row in _turned(generate(1_500, 77, usage=True), 77)]
    made = Month(folder / "logs", said, write_rows(folder / "audit.jsonl", asked))
    return made, write_rows(folder / "labelled.jsonl", labelled)


def _turned(rows: list[Row], seed: int) -> list[Row]:
    draw = random.Random(seed)
    return [row | {"flash_correct": draw.random() < (0.95 if " = ?" in row["prompt"] else 0.3)} for row in rows]


def answered(rows: list[Row], flash: float | None, seed: int) -> list[Row]:
    """Requests, of which flash answers so many rightly."""
    draw = random.Random(seed)
    return [row if flash is None else row | {"flash_correct": draw.random() < flash} for row in rows]
