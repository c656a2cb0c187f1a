"""What one service has to learn from at the end of a month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.traces import Traces
from pipeline.year import known
from pipeline.year.known import Rows


@dataclass(frozen=True, slots=True)
class Past:
    """All that has been written down.

    Attributes:
        tasks: of the world, with their words; the outcomes in it are nobody's to read.
        labelled: rows that were at hand before the year.
        audits, logs: of the other service, a part for each month.
        day: today; what is not known yet is not to be learned from.
    """

    tasks: Traces
    labelled: Rows
    audits: Sequence[Rows]
    logs: Sequence[Rows]
    day: float

    @property
    def everything(self) -> Sequence[Rows]:
        """All parts."""
        return [self.labelled, *self.audits, *self.logs]

    def traces(self, parts: Sequence[Rows]) -> Traces:
        """Some parts as traces, in the state of today."""
        return known.traces(self.tasks, parts, self.day)
