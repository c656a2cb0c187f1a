"""What an ingest found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.ingest.joined import Some


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came of logs and outcomes, in numbers of rows where nothing else is said.

    Attributes:
        path: of the evidence.
        sha256: of the file, hexadecimal: the same for the same logs and outcomes.
        logs: files of the logs.
        read: log rows.
        duplicates: left out because they say the same as another row.
        logged_again: left out because their decision was logged once more, later.
        outside: decisions before or after the time that was asked for.
        rows: in the evidence.
        first, last: times of those rows.
        served: by tier, and "nobody".
        versions: by the version that decided; "" where not known.
        propensities: least and largest of the usable rows; None where there is none.
        usable: rows that may be used for estimates.
        unusable: why others may not, and how many.
        statements: said of outcomes, by files, MLflow and the logs themselves.
        joined: rows with an outcome.
        waiting: rows without, so far.
        ungraded: rows whose answers could not be graded.
        usable_joined: rows with an outcome that may be used for estimates.
        repeated_outcomes: statements that say what another one says.
        unknown: decisions that have an outcome and are in no log.
        corrected: decisions of which a later outcome stands instead of an earlier one.
        disagreeing: decisions with two outcomes that disagree, which count as ungraded.
        of_other_tier: decisions of which a tier that did not answer has an outcome, which is left out.
        unanswered: outcomes of decisions that no tier answered, which are left out.
        ignored: columns nobody knows.
        doubts: sentences on what may be wrong.
    """

    path: Path
    sha256: str
    logs: int
    read: int
    duplicates: int
    logged_again: int
    outside: int
    rows: int
    first: datetime
    last: datetime
    served: dict[str, int]
    versions: dict[str, int]
    propensities: tuple[float, float] | None
    usable: int
    unusable: dict[str, int]
    statements: int
    joined: int
    waiting: int
    ungraded: int
    usable_joined: int
    repeated_outcomes: int
    unknown: Some
    corrected: Some
    disagreeing: Some
    of_other_tier: Some
    unanswered: int
    ignored: tuple[str, ...]
    doubts: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        times = {"first": self.first.isoformat(), "last": self.last.isoformat()}
        return asdict(self) | {"path": str(self.path), **times}

    def summary(self) -> Iterator[str]:
        """What came of it, a line each."""
        yield f"{self.path}: {self.rows:,} decisions, {self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M} UTC"
        yield f"outcomes: {self.joined:,} known, {self.waiting:,} awaited, {self.ungraded:,} could not be graded"
        yield "answered by: " + ", ".join(f"{name} {count:,}" for name, count in self.served.items())
        chances = "" if self.propensities is None else ", propensities {:.3g} to {:.3g}".format(*self.propensities)
        yield f"usable for estimates: {self.usable:,}, {self.usable_joined:,} of them with an outcome{chances}"
        for reason, count in sorted(self.unusable.items(), key=lambda each: (-each[1], each[0])):
            yield f"  {count:,} are not: {reason}"

    def notes(self) -> Iterator[str]:
        """What should be looked at, a sentence each."""
        yield from self.doubts
        for count, said in (
            (self.duplicates, "log rows stand twice: one of each stays"),
            (self.logged_again, "decisions were logged twice: the later row of each stays"),
            (self.outside, "decisions are outside of the time asked for, and left out"),
            (self.unknown, "decisions have an outcome and are in no log that was given"),
            (self.corrected, "decisions have two outcomes that disagree, of which the later one stands"),
            (self.disagreeing, "decisions have two outcomes that disagree, which counts as not graded"),
            (self.of_other_tier, "decisions have an outcome of the tier that did not answer, which is left out"),
            (self.unanswered, "outcomes are of decisions that no tier answered, and left out"),
        ):
            if count:
                yield f"{count if isinstance(count, Some) else f'{count:,}'} {said}"
        yield from (
            f"{tier} never answered: nothing is learned of it"
            for tier, count in self.served.items()
            if not count and tier != NOBODY
        )
        if self.ignored:
            yield f"columns nobody knows, and ignored: {', '.join(self.ignored)}"


NOBODY = "nobody"
