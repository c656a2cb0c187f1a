"""What became of the champion, month by month: a Markdown table in the folder of versions, a line for each decision."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from features.errors import InputError, StorageError
from pipeline.alone import alone
from pipeline.beside import replacing

HISTORY = "HISTORY.md"
WHAT = ("promoted", "kept", "not enough evidence", "superseded", "rolled back", "failed")
HEADINGS = ("date (UTC)", "what", "champion before", "after", "why", "page")
BEGINNING = "# What became of the champion\n\n"
LONGEST_CELL = 500
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Line:
    """A decision.

    Attributes:
        what: one of `WHAT`.
        before, after: names of the champion before and after it; "" for none.
        why: in one clause.
        page: path or address of the page that says more; "" for none.
        at: ISO 8601; "": now.
    """

    what: str
    before: str
    after: str
    why: str
    page: str = ""
    at: str = ""

    def __post_init__(self) -> None:
        if self.what not in WHAT:
            raise InputError(f"history: what = {self.what!r}: expected one of {', '.join(WHAT)}")

    @property
    def row(self) -> str:
        """As a row of the table, which no text in it can leave."""
        dated = replace(self, at=self.at or datetime.now(UTC).isoformat(timespec="seconds"))
        *told, at = astuple(dated)
        return _row((at, *told))


def append(store: Path, line: Line, *, once: bool = False) -> Path:
    """Add a line at the end of `store/HISTORY.md`, which is begun where it is missing; returns its path.

    Who reads meanwhile finds the table without the line or with it. What stands in the file already is left as it is.

    Args:
        store: folder of the file.
        line: to add.
        once: leave it out where the last line says the same, at whatever time.

    Raises:
        StorageError: it cannot be read or written; what was there before is still there.
    """
    path = store / HISTORY
    with alone(path):
        before = _read(path)
        if once and _undated(before.rstrip().splitlines()[-1]) == _undated(line.row):
            return path
        with replacing(path) as partial:
            partial.write_text(before + line.row, encoding="utf-8")
    return path


def holds(store: Path, line: Line) -> bool:
    """Whether a line with a time of its own stands in the file already.

    Raises:
        StorageError: it cannot be read.
    """
    return line.row in _read(store / HISTORY)


def _read(path: Path) -> str:
    text = ""
    try:
        with suppress(FileNotFoundError):
            text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} cannot be read ({error}): move it away, and a new one is begun") from error
    if not text.strip():
        return BEGINNING + _row(HEADINGS) + _row(("---",) * len(HEADINGS))
    return text if text.endswith("\n") else text + "\n"


def _undated(row: str) -> str:
    """A row without its first cell."""
    return row.strip().partition(" | ")[2]


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |\n"


def _cell(text: str) -> str:
    """One line of text that is nothing but text: no cell, link, picture, code or element of a page begins in it."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if len(plain) > LONGEST_CELL:
        plain = plain[: LONGEST_CELL - 3] + "..."
    escaped = plain.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for letter in "|`[]":
        escaped = escaped.replace(letter, f"\\{letter}")
    return escaped or NOTHING
