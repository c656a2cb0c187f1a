"""What production says of the tiers: decisions as one version sees them, with the chances they were made by.

Of a logged decision the tier that was asked is known, and the probability with which it was; of an audited task both
tiers are. Where another tier answered than was chosen (a hard limit, a fall-back), or where no probability is known,
nothing sound can be said about the tiers: such rows count as traffic, and as nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.heads import Features
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.observed import Observed, observed
from pipeline.traces import Texts, Traces

Mask = NDArray[np.bool_]

# First and last code points of the letters of a script, as far as prompts are told apart by it.
SCRIPTS = {
    "latin": ((0x41, 0x24F), (0x1E00, 0x1EFF)),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F),),
    "hebrew": ((0x590, 0x5FF),),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F)),
    "indic": ((0x900, 0xDFF),),
    "thai": ((0xE00, 0xE7F),),
    "kana": ((0x3040, 0x30FF),),
    "han": ((0x3400, 0x9FFF), (0x20000, 0x3FFFF)),
    "hangul": ((0x1100, 0x11FF), (0xAC00, 0xD7AF)),
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """N requests as one version sees them, and what came of the tiers that were asked.

    Attributes:
        rows: the requests; outcomes are NaN where not observed.
        asked: bool[N, 2], whether the tier was asked by a chance that is known; its outcome may not have arrived. Both
            in an audit, neither where nothing can be said about the tiers.
        chances: float64[N, 2], that chance, in [0, 1], given the request; 1 in an audit, NaN where nothing can be said.
        script: text[N], the script that most of the prompt's letters are of, "" where it has none.
        decided_by: text[N], the version that chose; "" in an audit.
    """

    rows: Observed
    asked: Mask
    chances: Reals
    script: Texts
    decided_by: Texts

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def usable(self) -> Mask:
        """Rows that say something about the tiers, bool[N]."""
        return np.asarray(self.asked.any(1))

    @property
    def audited(self) -> Mask:
        """Rows of which both tiers were asked for certain, bool[N]."""
        return np.asarray(self.asked.all(1))

    @classmethod
    def labelled(cls, rows: Observed) -> Evidence:
        """Rows of which both outcomes are known, as an audit: both tiers were asked for certain."""
        certain, blank = np.ones(rows.outcomes.shape), np.full(len(rows), "", object)
        return cls(rows, certain > 0, certain, blank, blank)

    def take(self, rows: NDArray[np.integer]) -> Evidence:
        """Some of the rows, in that order."""
        return Evidence(
            self.rows.take(rows), self.asked[rows], self.chances[rows], self.script[rows], self.decided_by[rows]
        )


def evidence(
    traces: Traces, features: Features, known: NDArray[np.float32], probabilities: Reals, seed: int
) -> Evidence:
    """Traces, as a version sees them.

    Args:
        traces: logged decisions and audited tasks.
        features, known, probabilities: float32[N, 10], float32[N] and float64[N, 2] that the version gives them; the
            second is what it knows of their words.
        seed: of the order of groups.
    """
    rows = observed(traces, features, known, probabilities, seed)
    return Evidence(rows, *asked_by_chance(traces), scripts(traces), traces.decided_by)


def asked_by_chance(traces: Traces) -> tuple[Mask, Reals]:
    """Which tiers were asked by a chance that is known, bool[N, 2], and that chance, float64[N, 2]; see `Evidence`."""
    audited = traces.both_observed
    logged = (traces.chosen >= 0) & (traces.served == traces.chosen) & (traces.propensity > 0)
    of_pro = np.where(traces.chosen == PRO, traces.propensity, 1 - traces.propensity)
    chances = np.where((logged & ~audited)[:, None], np.stack([1 - of_pro, of_pro], 1), np.nan)
    asked = (logged & ~audited)[:, None] & (traces.chosen[:, None] == [FLASH, PRO])
    chances[audited], asked[audited] = 1.0, True
    return asked, chances


def scripts(traces: Traces) -> Texts:
    """The script that most letters of each prompt are of, text[N]; "" where it has none."""
    firsts = np.array([ord(word[0]) if word else 0 for word in traces.encoder.lexicon])
    letters = np.array([word[:1].isalpha() for word in traces.encoder.lexicon], np.bool_)
    sums: dict[str, list[NDArray[np.int64]]] = {name: [] for name in SCRIPTS}
    members = {
        name: letters & np.any([(firsts >= low) & (firsts <= high) for low, high in ranges], axis=0)
        for name, ranges in SCRIPTS.items()
    }
    for _, part in traces.bags.slices():
        for name, member in members.items():
            sums[name].append(part.row_sums(np.where(member[part.ids], part.counts, 0)))
    counts = np.stack([np.concatenate(sums[name]) for name in SCRIPTS], 1)
    names = np.array([*SCRIPTS], dtype=object)[counts.argmax(1)]
    return np.where(counts.any(1), names, "")
