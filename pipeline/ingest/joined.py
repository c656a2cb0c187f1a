"""Outcomes beside the decisions that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import EvidenceError, TraceError
from pipeline.ingest.statements import RIGHT, UNGRADED, WHOEVER, WRONG, Statements

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
        disagreeing: ids of decisions with two outcomes.
        of_other_tier: ids of which a tier that did not answer has an outcome.
        unanswered: statements about decisions that no tier answered.
    """

    correct: Ints
    state: NDArray[np.object_]
    source: pa.Array
    decision: Ints
    repeated: int
    unknown: Some
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
    right, wrong = marks[RIGHT] > 0, marks[WRONG] > 0
    both = right & wrong
    disagreeing = some(ids.filter(pa.array(both)).to_pylist())
    _check_agreement(disagreeing, int((right | wrong).sum()), both, decision, of_it, said)
    state = np.select([both, right | wrong, marks[UNGRADED] > 0], [DISAGREEING, KNOWN, COULD_NOT], WAITING)
    return Joined(
        np.where(right & ~wrong, 1, np.where(wrong & ~right, 0, -1)),
        state.astype(object),
        _sources(said, decision, of_it & graded, state == KNOWN),
        decision,
        int(sum(np.maximum(counts - 1, 0).sum() for counts in marks.values())),
        unknown,
        disagreeing,
        some(said.task_id.filter(pa.array(other)).to_pylist()),
        int((known & (answered < 0) & graded).sum()),
    )


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
    of_it: NDArray[np.bool_],
    said: Statements,
) -> None:
    if disagreeing.count <= MOST_DISAGREEING * outcomes:
        return
    first = np.flatnonzero(of_it & both[decision] & (said.correct != UNGRADED))[0]
    same = np.flatnonzero(of_it & (decision == decision[first]) & (said.correct == 1 - said.correct[first]))[0]
    raise TraceError(
        f"{said.where(first)}, field 'correct': {disagreeing.first[0]!r} has another outcome in {said.where(same)}, as "
        f"{disagreeing.count:,} of {outcomes:,} decisions with an outcome have two that disagree, more than "
        f"{MOST_DISAGREEING:.0%}: find out which of the labels is right"
    )


def _sources(said: Statements, decision: Ints, counts: NDArray[np.bool_], known: NDArray[np.bool_]) -> pa.Array:
    """The source of the first label of each decision that has an outcome."""
    at = np.flatnonzero(counts)
    first = np.full(len(known), -1)
    first[decision[at[::-1]]] = at[::-1]
    first[~known] = -1
    return said.source.combine_chunks().take(pa.array(first, mask=first < 0))
