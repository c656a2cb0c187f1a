"""Outcomes beside the decisions that they are of.

Two that disagree count as none, unless times say which of them was known later: then that one corrects the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import EvidenceError, TraceError
from pipeline.ingest.statements import NEVER, RIGHT, UNGRADED, WHOEVER, WRONG, Statements

SHOWN = 3
# More than that share of the decisions with an outcome may not have two that disagree.
MOST_DISAGREEING = 0.01
KNOWN, WAITING, COULD_NOT, DISAGREEING = "known", "waiting", "ungraded", "disagreeing"


@dataclass(frozen=True, slots=True)
class Some:
    """How many there are of something, and the first of them by name."""

    count: int
    first: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return f"{self.count:,} ({', '.join(self.first)}{', ...' if self.count > len(self.first) else ''})"


@dataclass(frozen=True, slots=True)
class Joined:
    """What is known of the outcomes of M decisions.

    Attributes:
        correct: int64[M], 1 or 0 for the tier that answered; -1 where not known.
        state: text[M], `KNOWN`, `WAITING`, `COULD_NOT` or `DISAGREEING`.
        source: text[M], of the label; null where not known.
        decision: int64[N], the decision of each of N statements; -1 where it is not known.
        repeated: statements that say what another one says.
        unknown: ids of decisions that no log has.
        corrected: ids of decisions of which a later outcome stands instead of an earlier one.
        disagreeing: ids of decisions with two outcomes of which none is later.
        of_other_tier: ids of which a tier that did not answer has an outcome.
        unanswered: statements about decisions that no tier answered.
    """

    correct: Ints
    state: NDArray[np.object_]
    source: pa.Array
    decision: Ints
    repeated: int
    unknown: Some
    corrected: Some
    disagreeing: Some
    of_other_tier: Some
    unanswered: int


def join(ids: pa.Array, served: Ints, said: Statements) -> Joined:
    """Find the outcome of each decision.

    Args:
        ids: text[M], of the decisions.
        served: int64[M], place in `TIERS` of the tier that answered; -1 for none.
        said: of any decisions.

    Raises:
        EvidenceError: none of the statements is of a decision that is known.
        TraceError: too many disagree.
    """
    decision = np.asarray(pc.index_in(said.task_id, value_set=ids).fill_null(-1).to_numpy()).astype(np.int64)
    known = decision >= 0
    unknown = some(said.task_id.filter(pa.array(~known)).to_pylist())
    _check_known(unknown, said, known)
    answered = np.where(known, served[decision] if len(ids) else -1, -1)
    of_it = known & (answered >= 0) & ((said.tier == WHOEVER) | (said.tier == answered))
    graded = said.correct != UNGRADED
    other = known & (answered >= 0) & ~of_it & graded
    marks = {
        mark: np.bincount(decision[of_it & (said.correct == mark)], minlength=len(ids))
        for mark in (RIGHT, WRONG, UNGRADED)
    }
    contested = (marks[RIGHT] > 0) & (marks[WRONG] > 0)
    stands = of_it & graded & ~_outdated(said, decision, of_it & graded & contested[decision], len(ids))
    right, wrong = (_any(decision[stands & (said.correct == mark)], len(ids)) for mark in (RIGHT, WRONG))
    both = right & wrong
    disagreeing = some(ids.filter(pa.array(both)).to_pylist())
    _check_agreement(disagreeing, int((right | wrong).sum()), both, decision, stands, said)
    state = np.select([both, right | wrong, marks[UNGRADED] > 0], [DISAGREEING, KNOWN, COULD_NOT], WAITING)
    return Joined(
        np.where(right & ~wrong, 1, np.where(wrong & ~right, 0, -1)),
        state.astype(object),
        _sources(said, decision, stands, state == KNOWN),
        decision,
        int(sum(np.maximum(counts - 1, 0).sum() for counts in marks.values())),
        unknown,
        some(ids.filter(pa.array(contested & ~both)).to_pylist()),
        disagreeing,
        some(said.task_id.filter(pa.array(other)).to_pylist()),
        int((known & (answered < 0) & graded).sum()),
    )


def _outdated(said: Statements, decision: Ints, contested: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Which of the contested statements were known before another one of their decision, bool[N]."""
    latest = np.full(count, NEVER)
    np.maximum.at(latest, decision[contested], said.time[contested])
    found = contested & (said.time != NEVER)
    return np.asarray(found & (said.time < latest[decision]))


def _any(decisions: Ints, count: int) -> NDArray[np.bool_]:
    return np.asarray(np.bincount(decisions, minlength=count) > 0)


def some(names: Sequence[str]) -> Some:
    """The distinct ones of some names."""
    distinct = list(dict.fromkeys(names))
    return Some(len(distinct), tuple(distinct[:SHOWN]))


def _check_known(unknown: Some, said: Statements, known: NDArray[np.bool_]) -> None:
    if unknown and not known.any():
        raise EvidenceError(
            f"none of the outcomes is of a decision in the logs, such as that of {unknown.first[0]!r} "
            f"({said.where(0)}): give the logs of the service that they are of, and as task_id the decision's id"
        )


def _check_agreement(
    disagreeing: Some,
    outcomes: int,
    both: NDArray[np.bool_],
    decision: Ints,
    stands: NDArray[np.bool_],
    said: Statements,
) -> None:
    if disagreeing.count <= MOST_DISAGREEING * outcomes:
        return
    first = np.flatnonzero(stands & both[decision])[0]
    same = np.flatnonzero(stands & (decision == decision[first]) & (said.correct == 1 - said.correct[first]))[0]
    raise TraceError(
        f"{said.where(first)}, field 'correct': {disagreeing.first[0]!r} has another outcome in {said.where(same)}, as "
        f"{disagreeing.count:,} of {outcomes:,} decisions with an outcome have two that disagree, more than "
        f"{MOST_DISAGREEING:.0%}: find out which of the labels is right, or give both their 'time': the later stands"
    )


def _sources(said: Statements, decision: Ints, counts: NDArray[np.bool_], known: NDArray[np.bool_]) -> pa.Array:
    """The source of the first label of each decision that has an outcome."""
    at = np.flatnonzero(counts)
    first = np.full(len(known), -1)
    first[decision[at[::-1]]] = at[::-1]
    first[~known] = -1
    return said.source.combine_chunks().take(pa.array(first, mask=first < 0))
