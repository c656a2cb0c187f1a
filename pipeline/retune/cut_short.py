"""A retune that is cut short, by a failure or by whoever stops it: what stands then, and what a failure leaves.

`retunes/failed-DIGEST/page.html`: the same failure of the same champion has one page, which is written anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from features.errors import ArtifactError, StorageError, TierRouterError
from pipeline import history, pointer
from pipeline.beside import replacing
from pipeline.report import template
from pipeline.retune import page, record
from pipeline.retune.found import Found
from pipeline.retune.record import Decision

TEMPLATE = "failed.html.j2"
DIGITS = 12
# What no UTF-8 can say, half a pair of surrogates, is spelled out: a message quotes what is in a file.
SPELLED = "backslashreplace"


class StoppedError(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; says what stands."""


@dataclass(slots=True)
class Known:
    """What a retune knows so far.

    Attributes:
        champion: name of the version that serves; "" where that is not known yet.
        found: what was found out; None where it has not come to anything.
    """

    champion: str = ""
    found: Found | None = None


@contextmanager
def noted(out: Path, dest: Path | None) -> Iterator[Known]:
    """Have a failure leave a page and a line, and a stop say what stands.

    Args:
        out: folder of versions.
        dest: folder that services read; None: only the alias in MLflow says what serves.

    Raises:
        StoppedError: somebody stopped it.
        TierRouterError: what was raised, whether page and line could be written or not.
    """
    known, before = Known(), None
    try:
        before = record.decided(out)
        yield known
    except TierRouterError as error:
        _note(out, dest, known, str(error))
        raise
    except KeyboardInterrupt as stop:
        raise StoppedError(_told(out, before)) from stop


def _note(out: Path, dest: Path | None, known: Known, why: str) -> None:
    """Leave what can be left: a disk that is full is no news, and would hide what is."""
    champion, left = known.champion or _serving(dest), _unfinished(out)
    where = Path(record.FOLDER) / f"failed-{_digest(champion, why)}" / record.PAGE if champion else None
    if where is not None:
        try:
            with replacing(out / where) as partial:
                partial.write_text(_page(champion, known.found, why, left), encoding="utf-8", errors=SPELLED)
        except StorageError:
            where = None
    line = history.Line("failed", champion, "" if left else champion, why, where.as_posix() if where else "")
    with suppress(StorageError):
        history.append(out, line, once=True)


def _serving(dest: Path | None) -> str:
    """What services are pointed at; "" where nothing says."""
    with suppress(ArtifactError):
        found = pointer.read(dest) if dest is not None else None
        return found.current if found else ""
    return ""


def _digest(champion: str, why: str) -> str:
    return hashlib.sha256(f"{champion}: {why}".encode(errors=SPELLED)).hexdigest()[:DIGITS]


def _page(champion: str, found: Found | None, why: str, left: list[Decision]) -> str:
    """What failed, what was known by then, and what stands; without outside references."""
    return template(TEMPLATE).render(
        at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        champion=champion,
        why=why,
        stands=_stands(left),
        **page.evidence(found or Found(champion, "", "")),
    )


def _told(out: Path, before: list[Decision] | None) -> str:
    """What stands where a run was stopped that had found some decisions, or had not come to look for them."""
    try:
        now = record.decided(out)
    except StorageError as error:
        return f"what stands is not known: {error}"
    if stands := _stands([each for each in now if not each.done]):
        return stands
    if before is not None and {each.key for each in now} - {each.key for each in before}:
        return "the decision had been made and is carried out"
    if any(not each.done for each in before or ()):
        return "what an earlier run decided is carried out, and nothing more was decided: run it again"
    return "nothing was decided, and nothing has changed: run it again"


def _stands(left: list[Decision]) -> str:
    """The decision that something is still to be done for, in a clause; "" where there is none."""
    if not left:
        return ""
    decision = left[-1]
    what = f"{decision.version} is to serve" if decision.promotes else f"{decision.champion} serves on"
    return f"the decision that {what} stands, and the next run carries it out"


def _unfinished(out: Path) -> list[Decision]:
    """Decisions that something is to be done for; one that cannot be read is what the failure is about."""
    with suppress(StorageError):
        return record.unfinished(out)
    return []
