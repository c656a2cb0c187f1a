"""What was billed: a line of JSON for every request that arrived, written before the reply goes out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from features.errors import InputError, StorageError

NAME = "ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One request.

    Attributes:
        time: of its arrival, seconds since 1970.
        tier: "flash", "pro" or "judge".
        task: id; None where it asked no task.
        digest: of what it asked, hexadecimal; None where it could not be read.
        input, cached, output: tokens; cached ones are part of the input, reasoning is part of the output.
        usd: billed; 0 for rejections.
        fault: what befell it, a kind of `pipeline.simulate.faults.KINDS` or "rate_limit"; None: nothing.
        status: of the reply; None where none was sent.
        delivered: whether the whole body was handed to a connection that was open.
    """

    time: float
    tier: str
    task: str | None = None
    digest: str | None = None
    input: int = 0
    cached: int = 0
    output: int = 0
    usd: float = 0.0
    fault: str | None = None
    status: int | None = None
    delivered: bool = False


class Ledger:
    """The ledger of a folder, open for more lines.

    Args:
        folder: where `ledger.jsonl` is or will be.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        try:
            self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}; choose another folder") from None

    def write(self, entry: Entry) -> None:
        """Add a line; it is with the operating system when this returns."""
        os.write(self.file, json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Nothing more will be written."""
        os.close(self.file)


def read(folder: Path) -> Iterator[Entry]:
    """The entries of a folder's ledger, in the order of their replies.

    Raises:
        InputError: there is none.
    """
    path = folder / NAME
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield Entry(**json.loads(line))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; serve a pair from that folder first") from None
