"""The retune, without its files: division, challenger and gate are those of `tier-router retune`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from features.errors import LearningError
from pipeline.challenger import Contender, propose
from pipeline.costs import Tariff
from pipeline.gate import MARGIN, Verdict
from pipeline.retune.division import divide
from pipeline.retune.judging import contest
from pipeline.year.past import Past
from pipeline.year.policies import OBJECTIVE, RULE, Exploring
from pipeline.year.world import DAYS


@dataclass
class Retuned:
    """What `tier-router retune` does each month.

    Attributes:
        promote_unsure: [retune] unsure = "promote".
    """

    serving: Contender
    seed: int
    audits: int
    promote_unsure: bool = False
    explores: Exploring = Exploring.NEAR

    def retune(self, past: Past, tariff: Tariff) -> str:
        traces = past.traces(past.everything)
        sizes = [len(past.labelled.tasks), *(len(each.tasks) for each in chain(past.audits, past.logs))]
        of_audits = [False, *(True for _ in past.audits), *(False for _ in past.logs)]
        division = divide(traces, np.repeat(of_audits, sizes), RULE, DAYS, hold_out=False)
        fit, asked, judged = (traces.take(getattr(division, name)) for name in ("fit", "asked", "judged"))
        try:
            proposal = propose(fit, asked, self.serving, tariff, OBJECTIVE, self.seed)
            found = contest(
                judged, self.serving, proposal.contender, tariff, MARGIN, self.seed, promote_unsure=self.promote_unsure
            ).judged
        except LearningError as error:
            return f"{Verdict.NOT_ENOUGH.value}: {error}"
        if found.verdict is Verdict.PROMOTE:
            self.serving = proposal.contender
        return f"{found.verdict.value}: {found.why}"
