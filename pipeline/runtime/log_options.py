"""What can be said about a decision log."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from features.errors import InputError

FORMS = ("jsonl", "parquet")
TEXTS = ("counts", "prompt", "none")
LARGEST_FILE_BYTES = 1_000_000_000  # Parquet is made of a whole file at once


class LogOptions(NamedTuple):
    """Where and how decisions are logged.

    Attributes:
        folder: of the files; made where it is missing.
        form: "jsonl" or "parquet".
        text: what is kept of a prompt: "counts" of its words, the "prompt", or "none".
        rotate_bytes: in [1, 1e9], a file of so many bytes of JSON is finished and another begun.
        rotate_seconds: > 0, so is a file that was begun so long ago.
        keep: >= 1, finished files that stay, the newest of the folder; None: all.
        most_waiting: >= 1, rows that may wait to be written; those that come on top are dropped and counted.
    """

    folder: Path
    form: str = "jsonl"
    text: str = "counts"
    rotate_bytes: int = 64_000_000
    rotate_seconds: float = 3600.0
    keep: int | None = None
    most_waiting: int = 10_000

    def check(self) -> None:
        """Raise InputError if a value is out of its range."""
        for name, known in (("form", FORMS), ("text", TEXTS)):
            if (value := getattr(self, name)) not in known:
                raise InputError(f"log: {name} = {value!r}: expected {' or '.join(known)}")
        if not 1 <= self.rotate_bytes <= LARGEST_FILE_BYTES:
            raise InputError(f"log: rotate_bytes = {self.rotate_bytes}: expected 1 to {LARGEST_FILE_BYTES:,}")
        if not self.rotate_seconds > 0:
            raise InputError(f"log: rotate_seconds = {self.rotate_seconds}: expected seconds, more than 0")
        for name in ("keep", "most_waiting"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise InputError(f"log: {name} = {number}: expected 1 or more")
