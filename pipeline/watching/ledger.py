"""What a watch remembers of a version between looks: bets that are going on, and which groups they have counted.

A JSON file, schema 1: the version's name, the smallest chance by which a tier was asked so far, and two bets, one on
audits and logs together (`evidence`) and one on audits alone (`audits`), each with the hashes of the groups it has
counted (base64 of 64-bit integers, ascending). A new key may be added; another meaning raises the schema.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from pipeline.beside import PRIVATE, replacing
from pipeline.sequential import BETS, Bets

SCHEMA = 1
FOLDER = "watch"
Hashes = NDArray[np.uint64]


def _none() -> Hashes:
    return np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Account:
    """A bet and the groups that it has counted: uint64[G], ascending."""

    bets: Bets = field(default_factory=Bets)
    seen: Hashes = field(default_factory=_none)

    def new(self, groups: Hashes) -> NDArray[np.intp]:
        """Places of the rows whose group was not counted before and does not stand before them, ascending."""
        _, first = np.unique(groups, return_index=True)
        first.sort()
        return np.asarray(first[~np.isin(groups[first], self.seen)])


@dataclass(frozen=True, slots=True)
class Ledger:
    """All of it.

    Attributes:
        version: name of the version that is watched.
        least: in (0, 1], smallest chance so far by which a tier was asked in a log that was counted.
        evidence: on audits and logs.
        audits: on audits alone. Requests are often audited when their log was counted long ago; here they count anyway.
    """

    version: str
    least: float = 1.0
    evidence: Account = field(default_factory=Account)
    audits: Account = field(default_factory=Account)


def place(store: Path, version: str) -> Path:
    """Where the ledger of a version is, in a folder of versions."""
    return store / FOLDER / f"{version}.json"


def hashes(groups: Iterable[str]) -> Hashes:
    """A number for each group, uint64[N], that is the same in all files and at all times."""
    digests = b"".join(hashlib.blake2b(group.encode(), digest_size=8).digest() for group in groups)
    return np.frombuffer(digests, np.uint64)


def write(path: Path, ledger: Ledger) -> None:
    """Replace the file as a whole.

    Raises:
        StorageError: it cannot be written; what was there before is still there.
    """
    table = {
        "schema": SCHEMA, "version": ledger.version, "least": ledger.least,
        "evidence": _plain(ledger.evidence), "audits": _plain(ledger.audits),
    }  # fmt: skip
    with replacing(path, PRIVATE) as partial:
        partial.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def read(path: Path, version: str) -> Ledger:
    """The ledger of a version; a new one where the file is missing, or is of another version.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Ledger(version)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(table, dict) or table.get("schema") != SCHEMA:
        raise _damaged(path, f"expected the state of a watch, schema {SCHEMA}")
    if table.get("version") != version:
        return Ledger(version)
    try:
        least = float(table["least"])
        ledger = Ledger(version, least, _account(table["evidence"]), _account(table["audits"]))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not 0 < least <= 1:
        raise _damaged(path, f"least = {least}: expected a chance")
    return ledger


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is damaged ({why}): restore it, or remove it to begin the watch of this version anew with all evidence"
    )


def _plain(account: Account) -> dict[str, Any]:
    return {**asdict(account.bets), "seen": base64.b64encode(account.seen.tobytes()).decode()}


def _account(table: Mapping[str, Any]) -> Account:
    seen = np.frombuffer(base64.b64decode(table["seen"], validate=True), np.uint64)
    if not (seen[1:] > seen[:-1]).all():
        raise ValueError("seen: expected ascending numbers")
    kinds = {"live": tuple, "stakes": int, "rows": int}
    values = {item.name: kinds.get(item.name, float)(table[item.name]) for item in fields(Bets)}
    bets = Bets(**values)
    numbers = [*bets.live, *(value for name, value in values.items() if name != "live")]
    if len(bets.live) != len(BETS) or not all(math.isfinite(number) for number in numbers):
        raise ValueError("a sum is no finite number, or one is missing")
    if not 0 < bets.reserve < 1 or bets.stakes < 0 or bets.rows != len(seen):
        raise ValueError("the sums do not fit together")
    return Account(bets, seen)
