"""One look at a served version: what is new in the evidence is counted, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import ArtifactError, InputError
from pipeline.alone import alone
from pipeline.guarantee import Claim
from pipeline.metrics import Estimate
from pipeline.pointer import Pointer, name_of
from pipeline.sequential import LEVEL, span
from pipeline.served import Served
from pipeline.ship import served_at
from pipeline.watching import ledger as ledgers
from pipeline.watching.ledger import Account, Ledger
from pipeline.watching.rows import REPEATED, UNEXPLORED, Rows, rows

# Of the level; the rest is that of audits and logs together. Either may alarm, and both errors together are the level.
SHARE_OF_AUDITS = 0.25
BLIND = "no row is explored: nothing tells what pro would have done; serve with --explore 0.02, or give an --audit"

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look has found.

    Attributes:
        pointer: what is served, and what was before.
        manifest: of the served version.
        new: rows that counted for the first time.
        left_out: how many others there were in the files, by why they did not count.
        ledger: what is known now.
        level: probability of a false alarm, over all looks at this version.
        notes: sentences that must not be missed.
    """

    pointer: Pointer
    manifest: Mapping[str, Any]
    new: int
    left_out: Mapping[str, int]
    ledger: Ledger
    level: float
    notes: tuple[str, ...]

    @property
    def alarm(self) -> str:
        """On what evidence the claim is broken: "evidence", "audits", or "" if it is not."""
        return next((name for name, (account, level) in self.accounts.items() if account.bets.alarm(level)), "")

    @property
    def accounts(self) -> dict[str, tuple[Account, float]]:
        """The two bets, by name, each with the level that it is played at."""
        return {
            "evidence": (self.ledger.evidence, (1 - SHARE_OF_AUDITS) * self.level),
            "audits": (self.ledger.audits, SHARE_OF_AUDITS * self.level),
        }

    @property
    def standing(self) -> Estimate | None:
        """Accuracy above the claim; see `Bets.standing`."""
        return self.ledger.evidence.bets.standing(self.level)


def look(
    dest: Path,
    evidence: Sequence[Path],
    audits: Sequence[Path],
    state: Path | None,
    store: Path,
    level: float = LEVEL,
    step: Step = lambda _: None,
) -> Look:
    """Count what is new about the version that a folder serves.

    Args:
        dest: folder that `ship` filled.
        evidence: files of logged decisions with outcomes, of whatever versions.
        audits: files of tasks that both tiers were asked.
        state: file to remember what was counted in; None: the version's own, in `store`.
        store: folder of versions.
        level: in (0, 1).
        step: called with the name of each step as it begins.

    Raises:
        InputError: nothing is served, the version or a file cannot be read, or the state is damaged: nothing changed.
        StorageError: another watch is at work, or the state cannot be written.
    """
    if not 0 < level < 1:
        raise InputError(f"level {level:g}: expected more than 0 and less than 1")
    if not evidence and not audits:
        raise InputError(
            "nothing to look at: name a file with --evidence, which 'tier-router ingest' writes, or --audit"
        )
    found = served_at(dest)
    served, manifest = Served.open(dest / found.current)
    if name_of(manifest) != found.current:
        raise ArtifactError(f"{dest / found.current} holds {name_of(manifest)}: ship a version again")
    claim = _claim(manifest)
    path = state or ledgers.place(store, found.current)
    with alone(path):
        known = ledgers.read(path, found.current)
        step("reading evidence")
        fresh = rows(evidence, audits, served, manifest, claim, known.evidence.seen)
        step("counting")
        ledger, new, repeated = counted(known, fresh, claim)
        if ledger is not known:
            ledgers.write(path, ledger)
    left_out = dict(fresh.left_out)
    if repeated:
        left_out[REPEATED] = left_out.get(REPEATED, 0) + repeated
    blind = left_out.get(UNEXPLORED, 0) > 0 and not len(fresh.groups)
    return Look(found, manifest, new, left_out, ledger, level, (*fresh.notes, *([BLIND] if blind else [])))


def _claim(manifest: Mapping[str, Any]) -> Claim:
    try:
        return Claim(*(manifest["certificate"][name] for name in ("form", "bound", "confidence_level")))
    except KeyError as error:
        raise ArtifactError(
            f"{manifest['version']} claims nothing (its manifest has no {error}): tune it again, and ship that"
        ) from error


def counted(known: Ledger, fresh: Rows, claim: Claim) -> tuple[Ledger, int, int]:
    """The ledger with what is new; how many rows that are, and how many of the others have a group that had counted."""
    new = known.evidence.new(fresh.groups)
    audited = fresh.take(np.flatnonzero(fresh.audited))
    logged = fresh.take(new[~fresh.audited[new]])
    least = min(known.least, float(logged.chance.min(initial=1.0)))
    evidence = _after(known.evidence, fresh.take(new), claim, least)
    audits = _after(known.audits, audited.take(known.audits.new(audited.groups)), claim, least)
    more = (evidence.bets.rows - known.evidence.bets.rows, audits.bets.rows - known.audits.bets.rows)
    if not any(more):
        return known, 0, len(fresh.groups)
    return replace(known, least=least, evidence=evidence, audits=audits), more[0], len(fresh.groups) - more[0]


def _after(account: Account, fresh: Rows, claim: Claim, least: float) -> Account:
    scale = fresh.weight * np.where(fresh.audited, 1 / span(claim, 1.0), 1 / span(claim, least))
    return Account(account.bets.after(fresh.shortfall, scale), np.union1d(account.seen, fresh.groups))
