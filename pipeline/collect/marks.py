"""The grades that count: a person's before a grader's, and none of another answer or another grader."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from features.request import Request
from pipeline.collect.grading import LAST_RUN, PAGE
from pipeline.collect.human import SOURCE
from pipeline.collect.journal import Journal, Row
from pipeline.collect.judge import shown
from pipeline.collect.protocol import answer_in
from pipeline.collect.tasks import digest_of
from pipeline.schema import TIERS

NOT_GRADED = "not graded yet: give 'tier-router grade'"
TASKS = f"""
SELECT tasks.*, requests.asked, requests.erased FROM tasks JOIN requests USING (digest)
WHERE tasks.run = {LAST_RUN} AND tasks.position > ? AND tasks.position <= ? ORDER BY tasks.position
"""  # noqa: S608  # ours
CALLS = "SELECT * FROM calls WHERE digest = ? AND tier = ? ORDER BY attempt"
GRADES = "SELECT * FROM grades WHERE task = ? AND tier = ? AND digest = ? AND attempt = ?"


@dataclass(frozen=True, slots=True)
class Graded:
    """A tier's answer to a task, and the grade that counts.

    Attributes:
        call: the journal's row of the answer.
        paid: calls that were, or may have been, paid for until there was the answer, itself included.
        correct: None where it could not be graded.
        reason: for people.
        source: the grader's kind, or "human".
    """

    call: Row
    paid: int
    correct: bool | None
    reason: str
    source: str


@dataclass(slots=True)
class Marks:
    """One tier's grades.

    Attributes:
        right, wrong: answers.
        missing: tasks without an answer.
        ungraded: answers that could not be graded, by reason.
        people: answers whose grade is a person's.
    """

    right: int = 0
    wrong: int = 0
    missing: int = 0
    ungraded: Counter[str] = field(default_factory=Counter)
    people: int = 0


def tasks(journal: Journal) -> Iterator[tuple[Row, dict[str, Graded]]]:
    """The tasks of the last run, with what each tier that has answered is worth."""
    last = journal.one(f"SELECT coalesce(max(position), -1) FROM tasks WHERE run = {LAST_RUN}")  # noqa: S608  # ours
    for before in range(-1, last, PAGE):
        for task in journal.rows(TASKS, before, before + PAGE):
            found = {tier: _graded(journal, task, tier) for tier in TIERS}
            yield task, {tier: graded for tier, graded in found.items() if graded}


def _graded(journal: Journal, task: Row, tier: str) -> Graded | None:
    calls = journal.rows(CALLS, task["digest"], tier)
    answer = next((call for call in calls if call["state"] == "answered"), None)
    if answer is None:
        return None
    paid = sum(bool(call["paid"]) for call in calls if call["attempt"] <= answer["attempt"])
    grades = journal.rows(GRADES, task["id"], tier, task["digest"], answer["attempt"])
    standing = [grade for grade in grades if grade["source"] == SOURCE or _stands(grade, task)]
    grade = min(standing, key=lambda grade: grade["source"] != SOURCE, default=None)
    if grade is None:
        return Graded(answer, paid, None, NOT_GRADED, "")
    correct = None if grade["correct"] is None else bool(grade["correct"])
    return Graded(answer, paid, correct, grade["reason"], grade["source"])


def _stands(grade: Row, task: Row) -> bool:
    """Whether the task still has the grader that gave the grade; without its text none can have taken its place."""
    return task["grader"] is None or grade["grader"] == digest_of(task["grader"])


def left_out(journal: Journal) -> int:
    """Tasks of earlier runs, which stand in no file of the last one."""
    return int(journal.one(f"SELECT count(*) FROM tasks WHERE run != {LAST_RUN}"))  # noqa: S608  # ours


def count(journal: Journal) -> dict[str, Marks]:
    """The grades of the last run's tasks, by tier."""
    found = {tier: Marks() for tier in TIERS}
    for _, graded in tasks(journal):
        for tier, marks in found.items():
            _count(marks, graded.get(tier))
    return found


def _count(marks: Marks, graded: Graded | None) -> None:
    if graded is None:
        marks.missing += 1
        return
    marks.people += graded.source == SOURCE and graded.correct is not None
    if graded.correct is None:
        marks.ungraded[graded.reason] += 1
    elif graded.correct:
        marks.right += 1
    else:
        marks.wrong += 1


def ungraded(journal: Journal) -> Iterator[tuple[str, str, str, str, str]]:
    """Answers without a grade: task, tier, why, the prompt, and the answer."""
    for task, graded in tasks(journal):
        for tier, each in graded.items():
            if each.correct is None and each.call["reply"] is not None:
                prompt = Request.from_payload(json.loads(task["asked"])).prompt
                yield task["id"], tier, each.reason, prompt, shown(answer_in(each.call["reply"]))
