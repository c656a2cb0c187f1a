"""The bench's one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.goals import Goal

HEADINGS = ("what", "measured", "bar", "aim", "met?")


@dataclass(frozen=True, slots=True)
class Line:
    """One figure.

    Attributes:
        what: is measured, on what.
        value: the figure; NaN where it is not defined.
        behind: the interval or repetitions behind it, and what it was measured beside.
        goal: what it is held against; None for baselines and facts.
        form: format of the figure, the bar and the aim.
    """

    what: str
    value: float
    behind: str
    goal: Goal | None = None
    form: str = ".3f"

    def cells(self) -> tuple[str, ...]:
        """The line as text, by `HEADINGS`."""
        measured = f"{self.value:{self.form}}" if self.value == self.value else "not defined"
        goal = self.goal
        limits = ("", "", "") if goal is None else (self._limit(goal.bar), self._limit(goal.aim), self.met)
        return (self.what, f"{measured} {self.behind}".strip(), *limits)

    @property
    def met(self) -> str:
        """The verdict; "" where there is no goal or no figure."""
        return self.goal.verdict(self.value) if self.goal and self.value == self.value else ""

    def plain(self) -> dict[str, Any]:
        """The line as JSON values."""
        value = self.value if self.value == self.value else None
        goal = asdict(self.goal) if self.goal else None
        return {"what": self.what, "value": value, "behind": self.behind, "goal": goal, "met": self.met or None}

    def _limit(self, value: float | None) -> str:
        return "" if value is None else f"{value:{self.form}}"


def markdown(lines: Iterable[Line]) -> str:
    """The table."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(line.cells() for line in lines)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
