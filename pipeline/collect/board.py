"""What a collection has come to so far: the numbers that are shown, and nothing that is needed to go on."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

RATE_SECONDS = 60.0


@dataclass(slots=True)
class Score:
    """One tier's numbers.

    Attributes:
        total: requests of the run.
        before: of them, answered in earlier runs.
        done: answered in this run.
        in_flight: sent and not answered.
        retried: tries after a failed one.
        failed: requests given up in this run.
        spent_usd: charged in this run.
        causes: how often a try failed, by cause.
        gave_up: how many requests were given up, by the cause of the last try.
        doubts: replies whose usage was not believed, by reason.
        models: who answered.
        examples: what was said of the first failure of a cause.
        cut: answers of this run that ended at the output limit.
        latest: cause of a failed try after which there was no answer yet; else "".
    """

    total: int = 0
    before: int = 0
    done: int = 0
    in_flight: int = 0
    retried: int = 0
    failed: int = 0
    spent_usd: float = 0.0
    causes: Counter[str] = field(default_factory=Counter)
    gave_up: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    latest: str = ""
    _recent: deque[float] = field(default_factory=deque)

    @property
    def left(self) -> int:
        return self.total - self.before - self.done - self.failed

    def answered(self, model: str, now: float | None = None) -> None:
        self.done += 1
        self.latest = ""
        self.models[model] += 1
        self._recent.append(time.monotonic() if now is None else now)

    def per_minute(self, now: float | None = None) -> float:
        """Answers a minute, over the last minute; 0 before there are two."""
        now = time.monotonic() if now is None else now
        while self._recent and self._recent[0] < now - RATE_SECONDS:
            self._recent.popleft()
        if len(self._recent) < 2:
            return 0.0
        return 60 * len(self._recent) / max(now - self._recent[0], 1e-3)

    def seconds_left(self, now: float | None = None) -> float | None:
        """Until all is answered at the present rate; None while there is none."""
        rate = self.per_minute(now)
        return 60 * self.left / rate if rate else None


@dataclass(slots=True)
class Board:
    """All tiers' numbers, and why it ended.

    Attributes:
        scores: by tier.
        budget_usd: the limit.
        charged_usd: against it, over all runs.
        unsure_usd: of that, what calls may have cost at most of which no usage is known.
        ending: why no further task is taken up, "" as long as they are.
        needed_usd: what the next task may cost at most, where the budget has no room for it.
    """

    scores: dict[str, Score]
    budget_usd: float
    charged_usd: float = 0.0
    unsure_usd: float = 0.0
    ending: str = ""
    needed_usd: float = 0.0

    @property
    def asked(self) -> bool:
        """Whether there was anything to ask."""
        return any(score.total for score in self.scores.values())

    @property
    def complete(self) -> bool:
        return not any(score.left or score.failed for score in self.scores.values())
