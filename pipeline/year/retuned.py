"""The retune, without its files: as `tier-router retune` does it, and as a draft of how it could do better here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.errors import LearningError
from features.measure import measure
from pipeline import heads, parts, router
from pipeline.challenger import Contender, propose
from pipeline.costs import Tariff
from pipeline.gate import MARGIN, Verdict
from pipeline.retune.division import divide
from pipeline.retune.judging import contest
from pipeline.router import LeftOut, Router
from pipeline.year import distinct
from pipeline.year.known import Rows
from pipeline.year.past import Past
from pipeline.year.policies import OBJECTIVE, RULE, believed
from pipeline.year.world import DAYS

HALF_LIFE_DAYS = 90.0
CLIP = 4.0
DRAFT_MARGIN = 0.02


@dataclass
class Retuned:
    """What `tier-router retune` does: division, challenger and gate are its own."""

    serving: Contender
    seed: int
    audits: int
    explores: bool = True

    def retune(self, past: Past, tariff: Tariff) -> str:
        traces = past.traces(past.everything)
        division = divide(traces, RULE, DAYS)
        fit, recent, judged = (traces.take(getattr(division, name)) for name in ("fit", "recent", "judged"))
        try:
            proposal = propose(fit, recent, self.serving, tariff, OBJECTIVE, self.seed)
            found, *_ = contest(judged, self.serving, proposal.contender, tariff, MARGIN, self.seed)
        except LearningError as error:
            return f"{Verdict.NOT_ENOUGH.value}: {error}"
        if found.verdict is not Verdict.PROMOTE:
            return f"{found.verdict.value}: {found.why}"
        self.serving = proposal.contender
        return "new threshold" if proposal.fitted is None else "new coefficients"


@dataclass
class Draft:
    """Another way to learn, not what `tier-router retune` does.

    A group counts once however often it was asked, weights are clipped early, what was labelled is not forgotten, heads
    are fitted to the traffic as it is, and the threshold believes the router's own probabilities.

    Attributes:
        gated: whether a fifth of the groups is kept to judge by, and a challenger that is shown to be worse than
            `DRAFT_MARGIN` does not serve. One about which too little is known does, other than in `tier-router retune`.
    """

    serving: Contender
    seed: int
    audits: int = 0
    gated: bool = False
    explores: bool = True

    def retune(self, past: Past, tariff: Tariff) -> str:
        learned = (
            [_of_parts(each, past, ("fit", "tune")) for each in past.everything] if self.gated else past.everything
        )
        rows, newest = distinct.once(past.tasks, learned, past.day, HALF_LIFE_DAYS, CLIP), past.traces(past.logs[-1:])
        made, left_out = _fitted(rows, self.serving)
        challenger = believed(made, left_out, newest, tariff, self.serving.smoothing)
        if self.gated and self._worse(challenger, past, tariff):
            return Verdict.KEEP.value
        self.serving = challenger
        return "new coefficients"

    def _worse(self, challenger: Contender, past: Past, tariff: Tariff) -> bool:
        judged = [_of_parts(each, past, ("test",)) for each in (past.labelled, *past.audits[-1:], *past.logs[-1:])]
        try:
            found, *_ = contest(past.traces(judged), self.serving, challenger, tariff, DRAFT_MARGIN, self.seed)
        except LearningError:
            return False
        return found.verdict is Verdict.KEEP


def _fitted(rows: distinct.Distinct, champion: Contender) -> tuple[Router, LeftOut]:
    """As `router.fit`, but every kind of task counts as much as the traffic has of it."""
    smoothing, traces = champion.smoothing, rows.traces
    words = router.counts(traces, rows.weights)
    left_out = LeftOut(*measure(traces.tally, words.leave_one_out(smoothing.strength)))
    fitted = heads.fit(left_out.features, traces.outcomes, smoothing.regularisation, rows.weights)
    return Router(words.vocabulary(smoothing.strength), fitted, smoothing), left_out


def _of_parts(rows: Rows, past: Past, names: Sequence[str]) -> Rows:
    divided = parts.split(past.tasks, RULE)
    kept = np.isin(rows.tasks, np.concatenate([getattr(divided, name) for name in names]))
    return rows.take(np.flatnonzero(kept))
