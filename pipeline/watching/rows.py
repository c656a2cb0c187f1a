"""What the evidence says of the version that is served: a shortfall for each request whose outcome has arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import manifest as manifests
from pipeline.evidence import asked_by_chance
from pipeline.guarantee import Claim
from pipeline.metrics import Reals
from pipeline.pointer import name_of
from pipeline.sequential import shortfalls
from pipeline.served import Served
from pipeline.traces import Traces, load
from pipeline.watching.ledger import Hashes, hashes

# Where a tier is asked more rarely, one row could take so much that nothing could be bet on any.
LEAST_CHANCE = 0.001
MOST_RARE = 0.01
REPEATED = "of a group that was counted before"
UNDATED = "audited nobody knows when, maybe before the version was made: fill in the column 'time'"
UNEXPLORED = f"not explored (a tier was asked with a chance below {LEAST_CHANCE:g})"


@dataclass(frozen=True, slots=True)
class Rows:
    """N requests with outcomes, in the order of arrival as far as it is known: by time, audits first.

    Attributes:
        shortfall: float64[N], see `sequential.shortfalls`.
        chance: float64[N], of the tier that was less likely to be asked; 1 in an audit.
        weight: float64[N] in (0, 1], more for requests whose outcomes arrive more rarely; 1 in an audit.
        groups: uint64[N], hashes.
        left_out: how many more there were, by why they are not among these.
        notes: sentences that must not be missed.
    """

    shortfall: Reals
    chance: Reals
    weight: Reals
    groups: Hashes
    left_out: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def audited(self) -> NDArray[np.bool_]:
        """Rows of which both tiers were asked for certain, bool[N]."""
        return np.asarray(self.chance == 1)

    def take(self, rows: NDArray[np.integer]) -> Rows:
        """Some of the rows, in that order."""
        taken = {name: getattr(self, name)[rows] for name in ("shortfall", "chance", "weight", "groups")}
        return replace(self, **taken)


def rows(
    evidence: Sequence[Path],
    audits: Sequence[Path],
    served: Served,
    manifest: Mapping[str, Any],
    claim: Claim,
    counted: Hashes,
) -> Rows:
    """What files say of a version.

    Args:
        evidence: files of logged decisions with outcomes. Those of other versions are left out.
        audits: files of tasks that both tiers were asked.
        served, manifest: the version.
        claim: of the version.
        counted: uint64[G], ascending, groups whose logged decisions are left out.

    Raises:
        TraceError: a file cannot be read.
    """
    files = (load(paths, waiting=True) for paths in (audits, evidence) if paths)
    parts = [_part(traces, served, manifest, claim, counted) for traces in files]
    left_out: dict[str, int] = {}
    for part in parts:
        for why, count in part.left_out.items():
            left_out[why] = left_out.get(why, 0) + count
    together = Rows(
        np.concatenate([part.shortfall for part in parts]),
        np.concatenate([part.chance for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.groups for part in parts]),
        left_out,
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )
    return together.take(np.argsort(~together.audited, kind="stable"))


def _part(traces: Traces, served: Served, manifest: Mapping[str, Any], claim: Claim, counted: Hashes) -> Rows:
    mine = np.asarray(traces.decided_by == name_of(manifest), np.bool_)
    made = np.datetime64(manifest["created_at"].split("+")[0], "us")
    asked, chances = asked_by_chance(traces)
    audited = asked.all(1)
    waiting = np.asarray((asked & np.isnan(traces.outcomes)).any(1))
    logged = asked.any(1) & ~audited & mine
    weight = np.ones(len(traces))
    chances[logged], weight[logged] = among_arrived(chances[logged], asked[logged], waiting[logged])
    rare = _rare(chances.min(1), logged)
    old = audited & ~(traces.time >= made)  # it may have been made from them, and from those without a time
    groups = hashes(traces.group)
    again = logged & ~rare & ~waiting & np.isin(groups, counted)
    used = np.flatnonzero((logged & ~rare & ~waiting & ~again) | (audited & ~old))
    used = used[np.argsort(traces.time[used], kind="stable")]
    left_out = {
        "neither decided by this version nor audited": int((~audited & ~mine).sum()),
        "not chosen by a chance that is known": int((~asked.any(1) & mine).sum()),
        UNEXPLORED: int(rare.sum()),
        "outcome not known": int((logged & ~rare & waiting).sum()),
        "audited before the version was made": int((old & ~np.isnat(traces.time)).sum()),
        UNDATED: int((old & np.isnat(traces.time)).sum()),
        REPEATED: int(again.sum()),
    }
    taken, seen = traces.take(used), asked[used]
    return Rows(
        _shortfalls(claim, taken, np.where(seen, taken.outcomes, np.nan), chances[used], served),
        chances[used].min(1, initial=1.0),
        weight[used],
        groups[used],
        {why: count for why, count in left_out.items() if count},
        tuple(_notes(traces, manifest)),
    )


def _rare(chances: Reals, logged: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows asked with too small a chance; all that were explored where they are many.

    How likely a request is to be explored depends on how near to the threshold it is, so those which are left would be
    other requests than the claim is made of.
    """
    rare = logged & (chances < LEAST_CHANCE)
    explored = logged & (chances > 0)
    return logged if (rare & explored).sum() > MOST_RARE * explored.sum() else rare


def _shortfalls(claim: Claim, traces: Traces, outcomes: Reals, chances: Reals, served: Served) -> Reals:
    if not len(traces):
        return np.empty(0)
    found = served.run(served.texts(traces), traces.tally)
    return shortfalls(claim, outcomes, chances, found["probabilities"].astype(float), found["use_pro"])


def among_arrived(chances: Reals, asked: NDArray[np.bool_], waiting: NDArray[np.bool_]) -> tuple[Reals, Reals]:
    """The chances of the tiers among rows whose outcome has arrived, float64[N, 2], and the weights of these rows, [N].

    Outcomes of one tier may arrive more often than those of the other. Then a row with an outcome is one of that tier
    more often than it was asked, and requests that mostly go to the other tier are too few. The shares that arrive are
    taken from these rows, with one more of each, and weights are those that undo it: inverse to the chance of arrival.
    """
    arrived = (asked & ~waiting[:, None]).sum(0)
    share = (arrived + 1) / (asked.sum(0) + 1)
    together = chances * share
    arrives = together.sum(1)
    return together / arrives[:, None], share.min() / arrives


def _notes(traces: Traces, manifest: Mapping[str, Any]) -> list[str]:
    said = manifests.practice({"source": traces.source, "simulated": traces.simulated})
    return [*said, *manifests.other_models(manifest["data"], traces.models)]
