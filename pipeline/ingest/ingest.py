"""Decision logs and the outcomes that arrived later, made into evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import EvidenceError, InputError
from pipeline.ingest import clocks, statements
from pipeline.ingest.joined import COULD_NOT, DISAGREEING, KNOWN, WAITING, Joined, join
from pipeline.ingest.layouts import PASSED_OVER
from pipeline.ingest.logs import Found, find
from pipeline.ingest.once import Once, numbers, once
from pipeline.ingest.result import NOBODY, Ingested
from pipeline.ingest.spill import Rows, folder_for, gather
from pipeline.ingest.statements import Statements
from pipeline.ingest.traced import Experiment, Traced, assessments
from pipeline.ingest.usable import WORDLESS, tiers, why_not
from pipeline.ingest.writing import Judged, write
from pipeline.schema import TIERS
from pipeline.traces import digest

Step = Callable[[str], object]


def ingest(
    logs: Sequence[Path],
    outcomes: Sequence[Path],
    out: Path,
    *,
    experiment: Experiment | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    now: datetime | None = None,
    newest_days: float = clocks.NEWEST_DAYS,
    step: Step = lambda _: None,
) -> Ingested:
    """Join logs with outcomes, and write evidence: traces in which the tier that did not answer is not observed.

    Rows that must not be used for estimates have no propensity, and the column `unusable` says why; rows whose outcome
    has not arrived have none, and `outcome` says "waiting". The same logs and outcomes make the same bytes.

    Args:
        logs: folders of decision logs, and files of them.
        outcomes: CSV, JSON lines or Parquet, with `task_id` and `correct`.
        out: a Parquet file; replaced as a whole.
        experiment: of MLflow, whose traces were assessed; None: none.
        since: first moment of decisions to take; None: any.
        until: moment from which on they are left out; None: none.
        now: the time; None: as this machine knows it.
        newest_days: after which a newest decision is so old that it is noted, unless `until` is given.
        step: told what is being done.

    Raises:
        EvidenceError: there is no decision in that time, or none that an outcome is of.
        InputError: a file or an option cannot be used.
        StorageError: the evidence cannot be written; what was there before is still there.
    """
    _check(out, since, until)
    found, now = find(logs), now or datetime.now(UTC)
    with folder_for(out) as folder:
        rows = gather(found.files, folder, lambda done: step(f"reading decisions: {done:,}"))
        decisions = once(rows.keys)
        kept = _kept(rows, decisions, since, until)
        traced = assessments(experiment, folder, since, step) if experiment else Traced()
        said = statements.read([*outcomes, *traced.files], lambda done: step(f"reading outcomes: {done:,}"))
        said = statements.together(said, statements.of_log(rows.keys, rows.files))
        clocks.check(rows, said, now)
        step("joining")
        joined = join(decisions.ids, tiers(rows.keys["served"])[decisions.row], said)
        judged = _judged(rows, decisions, joined, kept)
        last = rows.keys["time"][int(decisions.row[kept[-1]])].as_py()
        doubts = [
            *(() if until else clocks.ended(last, newest_days, now)),
            *clocks.doubts(rows, numbers(rows.keys["time"])[decisions.row], said, joined),
            *_asides(found),
            *traced.notes,
        ]
        write(rows, judged, out, lambda done: step(f"writing: {done:,}"))
        return _result(out, rows, decisions, said, joined, judged, doubts)


def _check(out: Path, since: datetime | None, until: datetime | None) -> None:
    if out.suffix != ".parquet":
        raise InputError(f"{out}: expected a file that ends in .parquet")
    if since and until and since >= until:
        raise InputError(
            f"since {since:%Y-%m-%d %H:%M} until {until:%Y-%m-%d %H:%M}: there is no time between: swap them"
        )


def _asides(found: Found) -> list[str]:
    said = []
    if found.damaged:
        said.append(f"{found.damaged[0]}: set aside by the log as damaged, with its rows; {len(found.damaged):,} are")
    if found.others:
        said.append(
            f"{found.others[0]}: not named as a log's file, and not read; {len(found.others):,} are: name them to"
        )
    return said


def _kept(rows: Rows, decisions: Once, since: datetime | None, until: datetime | None) -> Ints:
    """The decisions of the time that is asked for, ordered by time and id."""
    times = numbers(rows.keys["time"])[decisions.row]
    within = np.ones(len(times), np.bool_)
    if since:
        within &= times >= clocks.microseconds(since)
    if until:
        within &= times < clocks.microseconds(until)
    if not within.any():
        asked = f" since {since:%Y-%m-%d %H:%M}" if since else "", f" until {until:%Y-%m-%d %H:%M}" if until else ""
        there = (
            f"; there are some of {clocks.written(times.min())} to {clocks.written(times.max())}" if len(times) else ""
        )
        raise EvidenceError(f"{rows.files[0]}: there is no decision{''.join(asked)} in the logs{there}: wait for some")
    table = pa.table({"time": times, "id": decisions.ids})
    order = pc.sort_indices(table, [("time", "ascending"), ("id", "ascending")]).to_numpy().astype(np.int64)
    return np.asarray(order[within[order]])


def _judged(rows: Rows, decisions: Once, joined: Joined, kept: Ints) -> Judged:
    """The decisions to write, and what is to be said of them."""
    keys = rows.keys.take(decisions.row[kept])
    outcome = replace(
        joined, correct=joined.correct[kept], state=joined.state[kept], source=joined.source.take(pa.array(kept))
    )
    reasons = why_not(keys, decisions.contradicted[kept])
    return Judged(decisions.row[kept], tiers(keys["served"]), outcome, reasons)


def _result(
    out: Path, rows: Rows, decisions: Once, said: Statements, joined: Joined, judged: Judged, doubts: list[str]
) -> Ingested:
    keys = rows.keys.take(judged.rows)
    usable = np.array([why is None for why in judged.why_not])
    states = Counter(judged.outcome.state.tolist())
    reasons = Counter(why for why in judged.why_not.tolist() if why is not None)
    if reasons[WORDLESS] == len(judged):
        doubts.append('no decision has words: let the service log them (log_text = "counts"), or nothing is learned')
    chances = numbers(keys["propensity"])[usable]
    first, last = (keys["time"][at].as_py() for at in (0, -1))
    by = Counter(judged.served.tolist())
    return Ingested(
        path=out, sha256=digest([out]), logs=len(rows.files), read=len(rows),
        duplicates=decisions.same, logged_again=decisions.again, outside=len(decisions.ids) - len(judged),
        rows=len(judged), first=first, last=last,
        served={tier: by[at] for at, tier in enumerate(TIERS)} | {NOBODY: by[-1]},
        versions=_versions(keys["decided_by"]),
        propensities=(float(chances.min()), float(chances.max())) if len(chances) else None,
        usable=int(usable.sum()), unusable=dict(reasons), statements=len(said), joined=states[KNOWN],
        waiting=states[WAITING], ungraded=states[COULD_NOT] + states[DISAGREEING],
        usable_joined=int((usable & _known(judged)).sum()), repeated_outcomes=joined.repeated, unknown=joined.unknown,
        corrected=joined.corrected, disagreeing=joined.disagreeing, of_other_tier=joined.of_other_tier,
        unanswered=joined.unanswered, ignored=_ignored(*rows.unknown, *said.unknown), doubts=tuple(doubts),
    )  # fmt: skip


def _ignored(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name not in PASSED_OVER))


def _known(judged: Judged) -> NDArray[np.bool_]:
    return np.asarray(judged.outcome.state == KNOWN)


def _versions(column: pa.ChunkedArray) -> dict[str, int]:
    counts = {each["values"] or "": each["counts"] for each in column.value_counts().to_pylist()}
    return dict(sorted(counts.items()))
