"""What a retune decided, kept until all that follows from it is done.

`retunes/KEY/decision.json`, schema 1. It is written before anything is promoted, so a run that was killed is finished
by the next one, and the same evidence is decided on once. A new key may be added; another meaning raises the schema.
Keys that are not known are left alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from features.errors import StorageError
from pipeline.beside import replacing
from pipeline.gate import Verdict

FOLDER, FILE, PAGE = "retunes", "decision.json", "page.html"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision.

    Attributes:
        key: digest of the evidence and of what was asked of it.
        verdict: of the gate, the value of a `Verdict`.
        why: in one sentence.
        champion: name of the version that served.
        version: folder name of the version that is to serve; "" where the champion is kept.
        at: ISO 8601.
        done: whether all that follows has been done.
        since: since when services had been pointed at what served then, ISO 8601; "" without such a folder.
        superseded: why the version does not serve after all, in one sentence; "" where nothing came in between.
        audited: newest time of the audit that the guarantee was tested by, ISO 8601; "" where it was not.
    """

    key: str
    verdict: str
    why: str
    champion: str
    version: str
    at: str
    done: bool = False
    since: str = ""
    superseded: str = ""
    audited: str = ""

    @property
    def promotes(self) -> bool:
        """Whether another version is to serve."""
        return self.verdict == Verdict.PROMOTE.value


def folder_of(out: Path, key: str) -> Path:
    """Where a decision is kept."""
    return out / FOLDER / key[:12]


def write(out: Path, decision: Decision) -> None:
    """Keep a decision, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    with replacing(folder_of(out, decision.key) / FILE) as partial:
        partial.write_text(json.dumps({"schema": SCHEMA, **asdict(decision)}, indent=2) + "\n", encoding="utf-8")


def finish(out: Path, decision: Decision) -> Decision:
    """Keep that all of it is done."""
    finished = replace(decision, done=True)
    write(out, finished)
    return finished


def read(out: Path, key: str) -> Decision | None:
    """The decision on some evidence; None where there is none yet.

    Raises:
        StorageError: it cannot be read.
    """
    return _read(folder_of(out, key) / FILE)


def decided(out: Path) -> list[Decision]:
    """All decisions, oldest first.

    Raises:
        StorageError: one cannot be read.
    """
    found = (_read(path) for path in (out / FOLDER).glob(f"*/{FILE}"))
    return sorted((each for each in found if each is not None), key=lambda each: each.at)


def unfinished(out: Path) -> list[Decision]:
    """Decisions that something is still to be done for, oldest first."""
    return [each for each in decided(out) if not each.done]


def tested_by(out: Path, audited: str, key: str) -> int:
    """How many decisions, this one aside, tested the guarantee by an audit."""
    return sum(each.audited == audited and each.key != key for each in decided(out))


def _read(path: Path) -> Decision | None:
    try:
        table = json.loads(path.read_bytes())
        if table.pop("schema") != SCHEMA:
            raise StorageError(f"{path}: expected schema {SCHEMA}: it was written by a newer version of this program")
        return Decision(**{each.name: table[each.name] for each in fields(Decision) if each.name in table})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(f"{path} cannot be read ({error!r}): remove its folder, and it is decided anew") from error
