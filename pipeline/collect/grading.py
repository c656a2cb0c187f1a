"""Grading: every answer of the journal's tasks, as often as wanted, and free but for a judge."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from features.errors import InputError
from pipeline.collect import human
from pipeline.collect.grader import Grader, restored
from pipeline.collect.journal import Journal, Row
from pipeline.collect.judge import Judge
from pipeline.collect.judging import judged
from pipeline.collect.protocol import CUT, answer_in, finish_in
from pipeline.collect.tasks import digest_of
from pipeline.grade import sandbox
from pipeline.grade.answer import Verdict
from pipeline.grade.code import Code

PAGE = 250
WITHOUT_CODE = "code is run with --allow-code only"
LAST_RUN = "(SELECT max(run) FROM tasks)"
ANSWERS = f"""
SELECT tasks.id, tasks.grader, tasks.digest, requests.asked, calls.tier, calls.attempt, calls.reply,
    grades.correct, grades.reason, grades.grader AS graded_by
FROM tasks JOIN requests USING (digest) JOIN calls ON calls.digest = tasks.digest AND calls.state = 'answered'
LEFT JOIN grades ON grades.task = tasks.id AND grades.tier = calls.tier AND grades.digest = tasks.digest
    AND grades.attempt = calls.attempt AND grades.source = json_extract(tasks.grader, '$.kind')
WHERE tasks.run = {LAST_RUN} AND tasks.position > ? AND tasks.position <= ? AND calls.tier IN ('flash', 'pro')
    AND tasks.grader IS NOT NULL AND calls.reply IS NOT NULL
"""  # noqa: S608  # names of ours
ANSWERED = f"""
SELECT digest, attempt, asked FROM tasks JOIN requests USING (digest) JOIN calls USING (digest)
WHERE id = ? AND tier = ? AND state = 'answered' AND tasks.run = {LAST_RUN}
"""  # noqa: S608  # names of ours
WRITE = "INSERT OR REPLACE INTO grades VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def grade(journal: Journal, *, allow_code: bool) -> None:
    """Grade all answers to the tasks of the last run.

    What is free is graded anew each time. Code is run again only where its task changed; the judge's word is taken from
    the journal.

    Args:
        journal: open for writing.
        allow_code: run the code of answers whose grader is `code`, isolated.
    """
    no_code = (sandbox.unavailable() or "") if allow_code else WITHOUT_CODE
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for page in _pages(journal):
            graders = [restored(row["grader"]) for row in page]
            said = [
                judged(journal, row) if isinstance(grader, Judge) else None
                for row, grader in zip(page, graders, strict=True)
            ]
            found = pool.map(_verdict, page, graders, said, [no_code] * len(page))
            journal.wrote(WRITE, (_row(*graded) for graded in zip(page, graders, found, strict=True)))


def _pages(journal: Journal) -> Iterator[list[Row]]:
    last = journal.one(f"SELECT coalesce(max(position), -1) FROM tasks WHERE run = {LAST_RUN}")  # noqa: S608  # ours
    for before in range(-1, last, PAGE):
        # A person's label has no grader, and none may take its place.
        yield [row for row in journal.rows(ANSWERS, before, before + PAGE) if row["graded_by"] != ""]


def _verdict(row: Row, grader: Grader, said: Verdict | None, no_code: str) -> Verdict:
    if finish_in(row["reply"]) == CUT:
        return Verdict(None, "ended at the output limit: raise output_limit, in another journal")
    if isinstance(grader, Code):
        if row["correct"] is not None and row["graded_by"] == digest_of(row["grader"]):
            return Verdict(bool(row["correct"]), row["reason"])
        if no_code:
            return Verdict(None, no_code)
    return said or grader.grade(answer_in(row["reply"]))


def _row(row: Row, grader: Grader, verdict: Verdict) -> tuple[Any, ...]:
    return (
        row["id"], row["tier"], grader.kind, row["digest"], row["attempt"], digest_of(row["grader"]), verdict.correct,
        verdict.reason,
    )  # fmt: skip


def take_in(journal: Journal, labels: Iterable[human.Label]) -> int:
    """Write down what people say of the answers to the tasks of the last run: all labels, or none if one is refused.

    Returns:
        How many.

    Raises:
        InputError: a label of a task that is not there, or that the tier has not answered.
    """
    rows: dict[tuple[str, str], tuple[Any, ...]] = {}
    for label in labels:
        row = _of_person(journal, label)
        if rows.setdefault((label.task_id, label.tier), row) != row:
            raise InputError(f"{label.place}: another label of {label.tier}'s answer to '{label.task_id}' stood before")
    journal.wrote(WRITE, rows.values())
    return len(rows)


def _of_person(journal: Journal, label: human.Label) -> tuple[Any, ...]:
    found = journal.rows(ANSWERED, label.task_id, label.tier)
    if found and found[0]["asked"] == "{}":
        raise InputError(f"{label.place}: the text of task '{label.task_id}' was removed before it had a grade")
    if not found:
        raise InputError(f"{label.place}: the journal has no answer of {label.tier} to task '{label.task_id}'")
    reason = label.note or "as a person says"
    return (label.task_id, label.tier, human.SOURCE, *found[0][:2], "", label.correct, reason)
