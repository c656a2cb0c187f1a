"""The history of the champion: a table that stays one, whatever is written into it and whoever writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from features.errors import InputError, StorageError
from pipeline.alone import alone
from pipeline.history import HEADINGS, LONGEST_CELL, Line, append

LINE = Line("promoted", "v1-aaa", "v2-bbb", "cheaper by 4 %", "retune/2026-03.html", "2026-03-01T04:00:00+00:00")


def rows(store: Path) -> list[str]:
    """The table's lines below its head."""
    return (store / "HISTORY.md").read_text(encoding="utf-8").splitlines()[4:]


def test_first_line_begins_the_table(tmp_path: Path) -> None:
    path = append(tmp_path / "models", LINE)
    title, _, head, rule, row = path.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ")
    assert head == "| " + " | ".join(HEADINGS) + " |"
    assert rule.count("---") == len(HEADINGS)
    assert row == ("| 2026-03-01T04:00:00+00:00 | promoted | v1-aaa | v2-bbb | cheaper by 4 % | retune/2026-03.html |")


def test_later_lines_are_added_and_what_people_wrote_stays(tmp_path: Path) -> None:
    path = append(tmp_path, LINE)
    path.write_text(path.read_text() + "| a line of ours | | | | | |", encoding="utf-8")
    append(tmp_path, Line("kept", "v2-bbb", "v2-bbb", "no gain"))
    promoted, ours, kept = rows(tmp_path)
    assert ("| promoted |" in promoted, "| kept |" in kept) == (True, True)
    assert ours == "| a line of ours | | | | | |"


@pytest.mark.parametrize(
    "text",
    ["a | b", "line\nbreak", "\r\u2028|x|\x00", "\\|", "<script>x</script>", "[a](http://b)", "`|`", "| --- |", ""],
)
def test_no_text_leaves_its_cell(tmp_path: Path, text: str) -> None:
    append(tmp_path, Line("failed", text, text, text, text))
    (row,) = rows(tmp_path)
    assert row.replace("\\\\", "").replace("\\|", "").count("|") == len(HEADINGS) + 1
    assert not any(tag in row for tag in ("<s", "`|", "](")) or "\\]" in row


def test_long_reason_is_cut(tmp_path: Path) -> None:
    append(tmp_path, Line("failed", "", "", "x" * 10_000))
    assert len(rows(tmp_path)[0]) < LONGEST_CELL + 200


def test_many_writers_at_once_lose_no_line(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: append(tmp_path, Line("kept", "", "", f"line {at}")), range(24)))
    assert {row.split(" | ")[4] for row in rows(tmp_path)} == {f"line {at}" for at in range(24)}


def test_word_that_no_scheduler_knows_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of promoted, kept"):
        Line("demoted", "", "", "")


def test_file_that_is_no_text_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "HISTORY.md").write_bytes(b"\xff\xfe")
    with pytest.raises(StorageError, match="move it away"):
        append(tmp_path, LINE)
    assert (tmp_path / "HISTORY.md").read_bytes() == b"\xff\xfe"


def test_file_that_another_command_holds_is_not_touched(tmp_path: Path) -> None:
    with alone(tmp_path / "state"), pytest.raises(StorageError, match="another command is at work"), \
            alone(tmp_path / "state", wait_s=0):  # fmt: skip
        pytest.fail("both have it")
