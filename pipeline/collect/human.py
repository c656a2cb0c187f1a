"""Labels by people: the grader that waits for them, and the file that brings them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from features.errors import InputError
from pipeline.beside import replacing
from pipeline.grade.answer import Answer, Verdict
from pipeline.schema import TIERS, CellError, outcome
from pipeline.tables import Strict, nearest

SOURCE = "human"
COLUMNS = ("task_id", "tier", "correct", "note")
REQUIRED = COLUMNS[:3]
LARGEST_CELL = 64_000_000


class Human(Strict):
    """Answers that only people grade."""

    kind: Literal["human"]

    def grade(self, _: Answer) -> Verdict:
        """Nothing before people have said."""
        return Verdict(None, "waits for a person's label")


@dataclass(frozen=True, slots=True)
class Label:
    """What a person says of a tier's answer to a task; correct is None where they cannot tell."""

    task_id: str
    tier: str
    correct: bool | None
    note: str
    place: str


def read(path: Path) -> Iterator[Label]:
    """The labels of a CSV file with the columns task_id, tier and correct, and perhaps note.

    Other columns, such as those of a file written for people, are passed over.

    Raises:
        InputError: names the file, the row, the field and what to do.
    """
    csv.field_size_limit(LARGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            _check_header(list(table.fieldnames or ()), path)
            for row in table:
                yield from _label(row, f"{path}, row {table.line_num}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the path of a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as CSV in UTF-8 ({error}): save it so") from None


def _check_header(names: list[str], path: Path) -> None:
    for name in REQUIRED:
        if name not in names:
            near = nearest(name, set(names) - set(COLUMNS))
            raise InputError(
                f"{path}: there is no column '{name}'"
                + (f": rename '{near[0]}'" if near else f"; columns: {', '.join(names) or 'none'}")
            )


def _label(row: dict[str, str | None], place: str) -> Iterator[Label]:
    """The label of a row; a row without one, as in a file that a person is still at work on, has none."""
    tier, said = row["tier"], (row["correct"] or "").strip()
    if not said:
        return
    if not row["task_id"]:
        raise InputError(f"{place}, field 'task_id': empty: name the task")
    if tier not in TIERS:
        raise InputError(f"{place}, field 'tier': {tier!r}: expected {' or '.join(TIERS)}")
    try:
        correct = outcome(said)
    except CellError as error:
        raise InputError(f"{place}, field 'correct': {said!r}: {error}") from None
    yield Label(row["task_id"], tier, correct, (row.get("note") or "").strip(), place)


def _harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write(path: Path, answers: Iterable[tuple[str, str, str, str, str]]) -> int:
    """Write answers for people to label, the column `correct` empty.

    Args:
        path: of the CSV file.
        answers: task, tier, why it could not be graded, what was asked, and the answer, of each.

    Returns:
        How many.

    Raises:
        StorageError: the file cannot be written.
    """
    written = 0
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow((*COLUMNS, "reason", "asked", "answer"))
        for task, tier, *shown in answers:
            table.writerow((task, tier, "", "", *map(_harmless, shown)))
            written += 1
    return written
