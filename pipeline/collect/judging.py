"""Comparisons for the judge: what it has to be asked, and what it said."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline.collect.asking import Ask
from pipeline.collect.grader import restored
from pipeline.collect.journal import Journal, Row
from pipeline.collect.judge import TIE, Judge, verdicts
from pipeline.collect.lines import JUDGE, Way
from pipeline.collect.protocol import answer_in
from pipeline.collect.tasks import digest_of
from pipeline.grade.answer import Answer, Verdict

ORDERS = 2  # in which two answers are shown
TASKS = """
SELECT tasks.position, tasks.grader, tasks.digest, requests.asked FROM tasks JOIN requests USING (digest)
WHERE tasks.run = (SELECT max(run) FROM tasks) AND json_extract(tasks.grader, '$.kind') = 'judge' AND tasks.position > ?
ORDER BY tasks.position LIMIT 250
"""
REPLIES = "SELECT tier, reply FROM calls WHERE digest = ? AND state = 'answered' AND reply IS NOT NULL"


def asks(journal: Journal, way: Way) -> Iterator[list[Ask]]:
    """What the judge was not asked yet, the two orders of a comparison together; noted in the journal on the way."""
    begun: set[str] = set()  # tasks that ask the same, and equal answers, lead to the same questions
    for row in _tasks(journal):
        for _, *pair in _comparisons(journal, row):
            questions = {_digest(journal, text): text for text in pair} if pair[0] != pair[1] else {}
            missing = {digest: journal.unanswered(digest, (JUDGE,)) for digest in questions if digest not in begun}
            begun.update(missing)
            wanted = [(digest, questions[digest], left[JUDGE]) for digest, left in missing.items() if left]
            journal.wrote(
                "INSERT OR IGNORE INTO requests (digest, asked) VALUES (?, ?)",
                [(digest, text) for digest, text, _ in wanted],
            )
            if wanted:
                yield [_ask(digest, text, attempts, way) for digest, text, attempts in wanted]


def _tasks(journal: Journal) -> Iterator[Row]:
    last = -1
    while page := journal.rows(TASKS, last):
        yield from page
        last = page[-1]["position"]


def _digest(journal: Journal, text: str) -> str:
    """Of a question to this judge: another one is asked anew."""
    return digest_of(f"{json.dumps(journal.fact(JUDGE))}\n{text}")


def _ask(digest: str, text: str, attempts: int, way: Way) -> Ask:
    asked = json.loads(text)
    most = way.most_input(text, asked)
    return Ask(digest, JUDGE, asked, most, way.worst_usd(most), attempts)


def _comparisons(journal: Journal, row: Row) -> Iterator[tuple[str, str, str]]:
    """The tier that a comparison begins with, and its two questions as JSON."""
    judge = restored(row["grader"])
    if not isinstance(judge, Judge):
        return
    answers = {row["tier"]: answer_in(row["reply"]) for row in journal.rows(REPLIES, row["digest"])}
    for tier, pair in judge.comparisons(answers).items():
        forward, backward = (
            json.dumps(question, ensure_ascii=False, separators=(",", ":"))
            for question in judge.questions(json.loads(row["asked"]), pair)
        )
        yield tier, forward, backward


def judged(journal: Journal, row: Row) -> Verdict | None:
    """What the judge said of an answer; None where it was not asked both ways."""
    judge = restored(row["grader"])
    found: dict[str, Verdict] = {}
    for tier, *pair in _comparisons(journal, row):
        if isinstance(judge, Judge) and pair[0] == pair[1]:  # what is equal need not be compared
            found |= verdicts(judge, tier, TIE, TIE)
            continue
        forward, backward = (_said(journal, text) for text in pair)
        if isinstance(judge, Judge) and forward and backward:
            found |= verdicts(judge, tier, forward.text, backward.text)
    return found.get(row["tier"])


def _said(journal: Journal, text: str) -> Answer | None:
    replies = journal.rows(REPLIES, _digest(journal, text))
    return answer_in(replies[0]["reply"]) if replies else None
