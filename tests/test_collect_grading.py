"""Grading what is in a journal: by rule, by people, by another model."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripted import Bench, Reply, Seen, answer, bench, error, task, task_file

from features.errors import InputError
from pipeline.collect import human
from pipeline.collect.grading import WITHOUT_CODE, grade, take_in
from pipeline.collect.journal import Journal, existing, opened
from pipeline.collect.judge import INSTRUCTION, Judge, verdicts, winner
from pipeline.collect.marks import NOT_GRADED, Marks, count, tasks, ungraded
from pipeline.grade.answer import Answer

JUDGED = {"kind": "judge", "rubric": "Is it right?"}
REFERRED = {**JUDGED, "reference": "the reference"}
CODE = {"kind": "code", "tests": "assert True"}
WINNERS = {"A": '{"winner": "A"}', "B": '{"winner": "B"}', "tie": '{"winner": "tie"}'}


def marks(found: Bench, *, allow_code: bool = False) -> dict[str, Marks]:
    """Grade, and count."""
    with opened(found.journal) as journal:
        grade(journal, allow_code=allow_code)
        return count(journal)


def grades(found: Bench) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(found.journal)) as journal:
        return journal.execute("SELECT * FROM grades ORDER BY task, tier, source").fetchall()


def verdict(found: Bench, name: str = "one") -> dict[str, tuple[bool | None, str, str]]:
    """The grade that counts of each tier's answer to a task: whether it is right, why, by whom."""
    with existing(found.journal) as journal:
        [graded] = [graded for row, graded in tasks(journal) if row["id"] == name]
    return {tier: (each.correct, each.reason, each.source) for tier, each in graded.items()}


def by_tier(flash: str = "42", pro: str = "43") -> Any:
    return lambda seen: answer({"flash": flash, "pro": pro}[seen.tier])


def labelled(found: Bench, text: str) -> int:
    path = found.folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with opened(found.journal) as journal:
        return take_in(journal, human.read(path))


@contextmanager
def collected(folder: Path, rows: list[dict[str, Any]], script: Any = None, **more: Any) -> Iterator[Bench]:
    with bench(folder, script or by_tier(), rows, **more) as found:
        found.collect()
        yield found


# By rule


def test_every_answer_is_graded_by_its_tasks_grader(tmp_path: Path) -> None:
    with collected(tmp_path, [task("one"), task("two", grader={"kind": "exact", "answer": "43"})]) as found:
        assert marks(found) == {"flash": Marks(right=1, wrong=1), "pro": Marks(right=1, wrong=1)}


def test_grading_again_gives_the_same_and_asks_nothing(tmp_path: Path) -> None:
    with collected(tmp_path, [task("one"), task("two")]) as found:
        first = marks(found), grades(found)
        assert (marks(found), grades(found)) == first
        assert len(found.server.seen) == 4


def test_a_page_of_answers_is_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("grading", "marks"):
        monkeypatch.setattr(f"pipeline.collect.{module}.PAGE", 3)
    with collected(tmp_path, [task(f"task-{at}") for at in range(10)]) as found:
        assert marks(found)["flash"] == Marks(right=10)


def test_a_task_without_an_answer_is_missing_and_not_wrong(tmp_path: Path) -> None:
    script = lambda seen: error(503) if seen.tier == "pro" else answer()  # noqa: E731
    with collected(tmp_path, [task("one")], script) as found:
        assert marks(found) == {"flash": Marks(right=1), "pro": Marks(missing=1)}


def test_a_changed_grader_is_applied_without_asking_again(tmp_path: Path) -> None:
    with collected(tmp_path, [task("one")]) as found:
        marks(found)
        task_file(tmp_path, [task("one", grader={"kind": "exact", "answer": "43"})])
        found.collect()
        assert verdict(found)["flash"] == (None, NOT_GRADED, "")
        assert marks(found) == {"flash": Marks(wrong=1), "pro": Marks(right=1)}
        assert len(found.server.seen) == 2


def test_two_tasks_that_ask_the_same_are_graded_each_by_its_own(tmp_path: Path) -> None:
    rows = [task("one", prompt="What?"), task("two", prompt="What?", grader={"kind": "exact", "answer": "43"})]
    with collected(tmp_path, rows) as found:
        assert marks(found)["flash"] == Marks(right=1, wrong=1)


def test_tasks_of_another_file_do_not_count_in_this_run(tmp_path: Path) -> None:
    with collected(tmp_path, [task("one")]) as found:
        task_file(tmp_path, [task("two")])
        found.collect()
        assert marks(found)["flash"] == Marks(right=1)


def test_code_is_not_run_unless_it_is_allowed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    script = by_tier(f"open({str(made)!r}, 'w')", f"open({str(made)!r}, 'w')")
    with collected(tmp_path, [task("one", grader=CODE)], script) as found:
        assert marks(found)["flash"].ungraded == {WITHOUT_CODE: 1}
        assert verdict(found)["pro"] == (None, WITHOUT_CODE, "code")
        assert not made.exists()


def test_code_that_was_run_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.collect import grading

    with collected(tmp_path, [task("one", grader=CODE)], by_tier("x = 1", "x = 2")) as found:
        first = marks(found, allow_code=True)
        if first["flash"].ungraded:
            pytest.skip(f"left out: code cannot be isolated here: {set(first['flash'].ungraded)}")
        assert first["flash"] == Marks(right=1)
        monkeypatch.setattr(grading.Code, "grade", None)
        assert marks(found, allow_code=True) == first
        assert marks(found) == first


# By people


def test_a_persons_label_counts_before_a_graders(tmp_path: Path) -> None:
    with collected(tmp_path, [task("one")]) as found:
        marks(found)
        assert labelled(found, "task_id,tier,correct,note\none,flash,0,sloppy\n") == 1
        assert verdict(found)["flash"] == (False, "sloppy", "human")
        assert marks(found)["flash"] == Marks(wrong=1, people=1)
        assert marks(found)["pro"] == Marks(wrong=1)


def test_a_person_who_cannot_tell_leaves_it_ungraded(tmp_path: Path) -> None:
    with collected(tmp_path, [task("one")]) as found:
        labelled(found, "task_id,tier,correct\none,flash,null\n")
        assert marks(found)["flash"].ungraded == {"as a person says": 1}


def test_a_label_of_an_answer_does_not_stand_for_another_one(tmp_path: Path) -> None:
    with collected(tmp_path, [task("one", grader={"kind": "human"})]) as found:
        labelled(found, "task_id,tier,correct\none,flash,1\n")
        task_file(tmp_path, [task("one", prompt="Something else?", grader={"kind": "human"})])
        found.collect()
        assert marks(found)["flash"].right == 0


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("nobody,flash,1", r"row 3: the journal has no answer of flash to task 'nobody'"),
        ("one,judge,1", r"row 3, field 'tier': 'judge': expected flash or pro"),
        ("one,flash,maybe", r"row 3, field 'correct': 'maybe': expected 1, 0"),
        (",flash,1", r"row 3, field 'task_id': empty"),
        ("one", None),
    ],
)
def test_labels_are_taken_as_a_whole_or_not_at_all(tmp_path: Path, rows: str, complaint: str | None) -> None:
    text = f"task_id,tier,correct\none,flash,0\n{rows}\n"
    with collected(tmp_path, [task("one")]) as found:
        if complaint is None:  # a row that waits for its label
            assert labelled(found, text) == 1
            return
        with pytest.raises(InputError, match=complaint):
            labelled(found, text)
        assert grades(found) == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"task,tier,correct\n", r"there is no column 'task_id': rename 'task'"),
        (b"task_id,tier\n", r"there is no column 'correct'; columns: task_id, tier"),
        (b"", r"there is no column 'task_id'; columns: none"),
        (b"task_id,tier,correct\nz\xfc,flash,1\n", r"not readable as CSV in UTF-8"),
        (b'task_id,tier,correct\n"one,flash,1\n', r"not readable as CSV"),
    ],
)
def test_a_file_that_holds_no_labels_says_why(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        list(human.read(path))


def test_a_missing_file_of_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        list(human.read(tmp_path / "nowhere.csv"))


def test_what_is_written_for_people_comes_back_as_labels(tmp_path: Path) -> None:
    answers = 'a, "b"\nc', "=1+1"
    path = tmp_path / "people.csv"
    rows = [task("one", grader={"kind": "human"}), task("two", grader={"kind": "human"}), task("three")]
    with collected(tmp_path, rows, by_tier(*answers)) as found:
        marks(found)
        with existing(found.journal) as journal:
            assert human.write(path, ungraded(journal)) == 4
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        # An apostrophe keeps a spreadsheet from taking an answer for a formula.
        assert [row["answer"] for row in table] == [answers[0], "'=1+1"] * 2
        assert table[0]["asked"] == "What is one?"
        assert labelled(found, path.read_text(encoding="utf-8")) == 0  # nobody has said anything yet
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows({**row, "correct": "1"} for row in table)
        assert labelled(found, path.read_text(encoding="utf-8")) == 4
        assert marks(found)["flash"].right == 2


# By a judge


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"winner": "A"}', "A"), ('{ "winner" : "tie" }', "tie"), ('```json\n{"winner": "B"}\n```', "B"),
        ('{"winner": "A"} {"winner": "A"}', "A"), ('{"winner": "A"} {"winner": "B"}', None), ("A", None), ("", None),
        ('{"winner": "C"}', None), ('{"winner": "a"}', None),
    ],
)  # fmt: skip
def test_a_winner_is_named_once_or_not_at_all(reply: str, expected: str | None) -> None:
    assert winner(reply) == expected


@pytest.mark.parametrize(
    ("forward", "backward", "flash", "pro"),
    [
        ("A", "B", True, False), ("B", "A", False, True), ("tie", "tie", True, True), ("A", "tie", True, False),
        ("tie", "B", True, False), ("B", "tie", False, True), ("tie", "A", False, True), ("A", "A", None, None),
        ("B", "B", None, None),
    ],
)  # fmt: skip
def test_a_comparison_in_both_orders_decides_about_both_tiers(
    forward: str, backward: str, flash: bool | None, pro: bool | None
) -> None:
    judge = Judge(kind="judge", rubric="r")
    found = verdicts(judge, "flash", WINNERS[forward], WINNERS[backward])
    assert {tier: each.correct for tier, each in found.items()} == {"flash": flash, "pro": pro}


def test_a_comparison_with_a_reference_decides_about_one_tier() -> None:
    judge = Judge(kind="judge", rubric="r", reference="x")
    assert {tier: each.correct for tier, each in verdicts(judge, "pro", WINNERS["B"], WINNERS["A"]).items()} == {
        "pro": False
    }


def preferring(text: str) -> Any:
    """Tiers with answers of their own, and a judge who names the place where a text stands."""

    def script(seen: Seen) -> Reply:
        if seen.tier != "judge":
            return answer(f"by {seen.tier}")
        first = seen.prompt.index(text) < seen.prompt.index("<answer_b>") if text in seen.prompt else None
        return answer(WINNERS["tie" if first is None else "A" if first else "B"])

    return script


def judged_tasks(count: int = 1, grader: dict[str, Any] = JUDGED) -> list[dict[str, Any]]:
    return [task("one" if not at else f"task-{at}", grader=grader) for at in range(count)]


def test_a_judge_is_asked_both_orders_once(tmp_path: Path) -> None:
    with collected(tmp_path, judged_tasks(3), preferring("by pro"), judge={}) as found:
        assert found.consult().complete
        assert len(found.server.seen) == 6 + 6
        assert marks(found) == {"flash": Marks(wrong=3), "pro": Marks(right=3)}
        again = found.consult()
        assert again.scores["judge"].total == 0
        assert marks(found)["pro"] == Marks(right=3)
        assert len(found.server.seen) == 12


def test_a_judge_sees_task_rubric_and_both_answers_in_each_order(tmp_path: Path) -> None:
    with collected(tmp_path, judged_tasks(), preferring("by pro"), judge={}) as found:
        found.consult()
        asked = [seen for seen in found.server.seen if seen.tier == "judge"]
        assert all(seen.body["messages"][0]["content"] == INSTRUCTION for seen in asked)
        assert all("Is it right?" in seen.prompt and "What is one?" in seen.prompt for seen in asked)
        orders = {seen.prompt.index("by flash") < seen.prompt.index("by pro") for seen in asked}
        assert orders == {True, False}


def test_a_judge_with_a_reference_compares_each_tier_with_it(tmp_path: Path) -> None:
    with collected(tmp_path, judged_tasks(1, REFERRED), preferring("by flash"), judge={}) as found:
        found.consult()
        assert sum(seen.tier == "judge" for seen in found.server.seen) == 4
        # Of pro and the reference, neither holds the preferred text: a tie, which is good enough.
        assert marks(found) == {"flash": Marks(right=1), "pro": Marks(right=1)}
        assert verdict(found)["flash"] == (True, "better than the reference", "judge")
        assert verdict(found)["pro"] == (True, "as good as the reference", "judge")


def test_a_judge_that_prefers_a_place_decides_nothing(tmp_path: Path) -> None:
    script = lambda seen: answer(WINNERS["A"] if seen.tier == "judge" else f"by {seen.tier}")  # noqa: E731
    with collected(tmp_path, judged_tasks(), script, judge={}) as found:
        found.consult()
        reason = "the judge prefers the place A, whatever stands there"
        assert marks(found)["flash"].ungraded == {reason: 1}


def test_a_judge_that_names_nobody_decides_nothing(tmp_path: Path) -> None:
    script = lambda seen: answer("Both are nice." if seen.tier == "judge" else f"by {seen.tier}")  # noqa: E731
    with collected(tmp_path, judged_tasks(), script, judge={}) as found:
        found.consult()
        assert marks(found)["pro"].ungraded == {"the judge named no winner": 1}


def test_without_a_judge_the_answers_are_ungraded(tmp_path: Path) -> None:
    with collected(tmp_path, judged_tasks()) as found:
        [reason] = marks(found)["flash"].ungraded
        assert reason.startswith("the judge was not asked")


@pytest.mark.parametrize("grader", [JUDGED, REFERRED])
def test_equal_answers_of_both_tiers_are_equally_good_and_cost_no_question_twice(
    tmp_path: Path, grader: dict[str, Any]
) -> None:
    script = lambda seen: answer(WINNERS["tie"] if seen.tier == "judge" else "the same")  # noqa: E731
    with collected(tmp_path, judged_tasks(1, grader), script, judge={}) as found:
        assert found.consult().complete
        assert sum(seen.tier == "judge" for seen in found.server.seen) == (0 if grader is JUDGED else 2)
        assert marks(found) == {"flash": Marks(right=1), "pro": Marks(right=1)}


def test_two_tasks_with_the_same_comparison_ask_it_once(tmp_path: Path) -> None:
    rows = [task(name, prompt="What?", grader=JUDGED) for name in ("one", "two")]
    with collected(tmp_path, rows, preferring("by flash"), judge={}) as found:
        assert found.consult().complete
        assert sum(seen.tier == "judge" for seen in found.server.seen) == 2
        assert marks(found)["flash"] == Marks(right=2)


def test_an_answer_equal_to_the_reference_needs_no_judge(tmp_path: Path) -> None:
    with collected(tmp_path, judged_tasks(1, REFERRED), by_tier("the reference", "the reference"), judge={}) as found:
        found.consult()
        assert len(found.server.seen) == 2
        assert marks(found)["flash"] == Marks(right=1)


def test_what_the_judge_costs_counts_against_the_budget(tmp_path: Path) -> None:
    with collected(tmp_path, judged_tasks(5), preferring("by pro"), judge={"output_limit": 1000}) as found:
        with existing(found.journal) as journal:
            before, _ = journal.charged
        assert not found.consult(before + 0.003).complete
        assert sum(seen.tier == "judge" for seen in found.server.seen) == 0
        board = found.consult(1.0)
        assert board.complete
        assert board.charged_usd > before
        with existing(found.journal) as journal:
            assert journal.charged[0] == pytest.approx(board.charged_usd)


def test_a_judge_that_was_interrupted_is_asked_what_is_left(tmp_path: Path) -> None:
    broken = [True]

    def script(seen: Seen) -> Reply:
        if seen.tier == "judge" and "answer_a>\nby flash" in seen.prompt and broken:
            return error(503)
        return preferring("by flash")(seen)

    with collected(tmp_path, judged_tasks(), script, judge={}) as found:
        found.consult()
        assert marks(found)["flash"].right == 0
        broken.clear()
        assert found.consult().complete
        assert sum(seen.tier == "judge" for seen in found.server.seen) == 3
        assert marks(found)["flash"] == Marks(right=1)


def test_a_judge_is_shown_tool_calls_too(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}

    def script(seen: Seen) -> Reply:
        if seen.tier == "judge":
            return answer(WINNERS["tie"])
        return answer(None, message={"tool_calls": [call]} if seen.tier == "pro" else {"content": "I can not."})

    with collected(tmp_path, judged_tasks(), script, judge={}) as found:
        found.consult()
        assert 'add({"a": 1})' in found.server.seen[-1].prompt


def test_a_grader_is_kept_as_it_was_given() -> None:
    judge = Judge(kind="judge", rubric="r")
    assert json.loads(judge.model_dump_json(exclude_none=True)) == {"kind": "judge", "rubric": "r"}
    assert judge.comparisons({"flash": Answer("x")}) == {}


def test_a_journal_without_tasks_has_no_marks(tmp_path: Path) -> None:
    with opened(tmp_path / "new.journal") as journal:
        assert isinstance(journal, Journal)
        grade(journal, allow_code=False)
        assert count(journal) == {"flash": Marks(), "pro": Marks()}
