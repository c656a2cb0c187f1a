"""From a journal to traces: what they hold, and what --no-text leaves of the texts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted import Bench, Reply, Seen, answer, bench, completion, error, says, task, task_file

from features.errors import InputError, StorageError
from pipeline import traces
from pipeline.collect import human
from pipeline.collect.grading import grade, take_in
from pipeline.collect.journal import existing, opened
from pipeline.collect.label import label, without_text
from pipeline.collect.marks import count

USAGE = {
    "prompt_tokens": 20, "prompt_cache_hit_tokens": 4, "completion_tokens": 10,
    "completion_tokens_details": {"reasoning_tokens": 6},
}  # fmt: skip
SECRETS = ("Zanzibar", "Quetzalcoatl", "Xylophone", "Yggdrasil", "Walnut", "Vermilion")


@contextmanager
def graded(folder: Path, rows: list[dict[str, Any]], script: Any = None, **more: Any) -> Iterator[Bench]:
    with bench(folder, script or (lambda seen: answer("42" if seen.tier == "pro" else "41")), rows, **more) as found:
        found.collect()
        regrade(found)
        yield found


def regrade(found: Bench) -> None:
    with opened(found.journal) as journal:
        grade(journal, allow_code=False)


def written(found: Bench, name: str = "traces.parquet") -> Path:
    with existing(found.journal) as journal:
        label(journal, found.folder / name)
    return found.folder / name


def stripped(found: Bench, name: str = "figures.parquet") -> Path:
    with opened(found.journal) as journal:
        without_text(journal, found.folder / name)
    return found.folder / name


def rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


# Traces


@pytest.mark.parametrize("name", ["traces.parquet", "traces.jsonl"])
def test_traces_are_read_by_the_trainer_as_they_were_collected(tmp_path: Path, name: str) -> None:
    tasks = [
        task("one", category="c", group="g", messages=[
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}
        ], prompt=None, tools=[{"type": "function", "function": {"name": "add"}}]),
        task("two"),
    ]  # fmt: skip
    with graded(tmp_path, tasks) as found:
        loaded = traces.load([written(found, name)])
    assert list(loaded.task_id) == ["one", "two"]
    assert len(loaded) == 2


def test_a_trace_holds_what_the_answer_took_and_who_graded_it(tmp_path: Path) -> None:
    logprobs = {"content": [{"logprob": 0.0}]}
    reply = says(completion("42", usage=USAGE, system_fingerprint="fp", choice={"logprobs": logprobs}))
    with graded(tmp_path, [task("one", category="c", group="g")], lambda _: reply) as found:
        [row] = rows(written(found))
    assert (row["task_id"], row["category"], row["group"], row["prompt"]) == ("one", "c", "g", "What is one?")
    assert (row["turn_count"], row["tool_count"], row["context_bytes"]) == (1, 0, 0)
    names = (
        "model", "fingerprint", "correct", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
        "attempts", "confidence", "label_source",
    )  # fmt: skip
    for tier in ("flash", "pro"):
        assert [row[f"{tier}_{name}"] for name in names] == ["scripted", "fp", True, 20, 4, 10, 6, 1, 1.0, "exact"]
        assert row[f"{tier}_cost_usd"] == pytest.approx((16 * 1 + 4 * 0.5 + 10 * 2) / 1e6)
        assert row[f"{tier}_latency_s"] > 0
    assert row["time"].tzinfo is not None


def test_attempts_count_those_that_were_paid_for(tmp_path: Path) -> None:
    replies = iter([error(503), Reply(b"not JSON"), answer("42")])
    script = lambda seen: next(replies) if seen.tier == "flash" else answer()  # noqa: E731
    with bench(tmp_path, script, 1) as found:
        for _ in range(3):
            found.collect()
        regrade(found)
        [row] = rows(written(found))
        assert (row["flash_attempts"], row["pro_attempts"]) == (2, 1)


def test_doubtful_usage_is_left_out_of_a_trace(tmp_path: Path) -> None:
    with graded(tmp_path, [task("one")], lambda _: says(completion(usage={"prompt_tokens": -1}))) as found:
        [row] = rows(written(found))
    assert [row[f"pro_{name}"] for name in ("input_tokens", "output_tokens", "cost_usd")] == [None, None, None]
    assert row["pro_correct"]


def test_simulated_models_are_marked(tmp_path: Path) -> None:
    script = lambda seen: answer("42", model=f"simulated-{seen.tier}")  # noqa: E731
    with graded(tmp_path, [task("one")], script) as found:
        [row] = rows(written(found))
    assert (row["flash_model"], row["flash_label_source"]) == ("simulated-flash", "simulated: exact")


def test_a_persons_label_is_marked_as_such(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("task_id,tier,correct\none,flash,1\n", encoding="utf-8")
    with graded(tmp_path, [task("one")]) as found:
        with opened(found.journal) as journal:
            take_in(journal, human.read(labels))
        [row] = rows(written(found))
    assert (row["flash_correct"], row["flash_label_source"], row["pro_label_source"]) == (True, "human", "exact")


def test_what_could_not_be_graded_is_left_out_and_counted(tmp_path: Path) -> None:
    with graded(tmp_path, [task("one"), task("two", grader={"kind": "human"})]) as found:
        assert [row["task_id"] for row in rows(written(found))] == ["one"]
        with existing(found.journal) as journal:
            assert sum(count(journal)["flash"].ungraded.values()) == 1


def test_a_task_that_one_tier_has_answered_is_a_trace_of_that_tier(tmp_path: Path) -> None:
    script = lambda seen: error(503) if seen.tier == "pro" else answer()  # noqa: E731
    with graded(tmp_path, [task("one")], script) as found:
        [row] = rows(written(found))
    assert (row["flash_correct"], row["pro_correct"], row["pro_model"]) == (True, None, None)


def test_two_tasks_that_ask_the_same_are_two_traces(tmp_path: Path) -> None:
    with graded(tmp_path, [task("one", prompt="What?"), task("two", prompt="What?")]) as found:
        assert [row["task_id"] for row in rows(written(found))] == ["one", "two"]


@pytest.mark.parametrize("name", ["traces.csv", "traces", "traces.parquet.gz"])
def test_another_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    with graded(tmp_path, [task("one")]) as found, pytest.raises(InputError, match=r"ends in \.parquet or \.jsonl"):
        written(found, name)


@pytest.mark.parametrize("name", ["figures.csv", "figures.jsonl"])
def test_figures_are_written_as_parquet_only(tmp_path: Path, name: str) -> None:
    with graded(tmp_path, [task("one")]) as found:
        with pytest.raises(InputError, match=r"give a file that ends in \.parquet"):
            stripped(found, name)
        assert b"What is one?" in bytes_of(found)


def test_with_nothing_graded_nothing_is_written_and_what_was_there_stays(tmp_path: Path) -> None:
    target = tmp_path / "traces.parquet"
    target.write_bytes(b"before")
    with graded(tmp_path, [task("one", grader={"kind": "human"})]) as found:
        with pytest.raises(InputError, match="no answer is graded yet"):
            written(found)
        assert target.read_bytes() == b"before"
        assert not list(tmp_path.glob(".partial*"))


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        graded(tmp_path, [task("one")]) as found,
        pytest.raises(StorageError, match=r"traces\.parquet cannot be written"),
    ):
        written(found, "file/traces.parquet")


# Without texts


def bytes_of(found: Bench, *more: Path) -> bytes:
    """All that is in the files of a journal."""
    files = sorted(found.folder.glob(f"{found.journal.name}*"))
    return b"\n".join(path.read_bytes() for path in [*files, *more])


def secretive(seen: Seen) -> Reply:
    if seen.tier == "judge":
        return answer('{"winner": "tie"} Walnut')
    return answer(f"Quetzalcoatl {seen.tier}", message={"reasoning_content": "Xylophone"})


SECRET_TASKS = [
    task(f"task-{at}", prompt=f"Zanzibar, number {at}?", grader=grader)
    for at, grader in enumerate(
        [
            {"kind": "exact", "answer": "Yggdrasil"},
            {"kind": "exact", "answer": "Quetzalcoatl pro"},
            {"kind": "judge", "rubric": "Vermilion?"},
            {"kind": "human"},
        ]
    )
]


def test_no_text_is_left_anywhere(tmp_path: Path) -> None:
    with bench(tmp_path, secretive, SECRET_TASKS, judge={}) as found:
        found.collect()
        found.consult()
        regrade(found)
        before = bytes_of(found)
        assert all(secret.encode() in before for secret in SECRETS)
        path = stripped(found)
        left = bytes_of(found, path)
        assert [secret for secret in SECRETS if secret.encode() in left or secret.lower().encode() in left] == []
        assert not list(tmp_path.glob("*texts*"))
        assert not list(tmp_path.glob(".*partial*"))
        assert b"Zanzibar" not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path != found.tasks)


def test_no_text_is_left_while_another_has_the_journal_open(tmp_path: Path) -> None:
    with graded(tmp_path, [task("one", prompt="Zanzibar?")]) as found, existing(found.journal) as reader:
        assert reader.one("SELECT count(*) FROM tasks") == 1
        stripped(found)
        assert found.journal.with_name(f"{found.journal.name}-wal").exists()
        assert b"Zanzibar" not in bytes_of(found)


def test_a_reader_that_keeps_texts_beside_the_journal_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.collect.storage.BUSY_SECONDS", 0.01)
    with graded(tmp_path, [task("one", prompt="Zanzibar?")]) as found:
        with closing(sqlite3.connect(found.journal, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM tasks").fetchall()
            with pytest.raises(
                StorageError, match="another command reads it, so texts are left beside it: do it again"
            ):
                stripped(found)
        stripped(found, "again.parquet")
        assert b"Zanzibar" not in bytes_of(found)


def test_no_text_is_left_of_a_refusal_either(tmp_path: Path) -> None:
    script = lambda seen: error(400, "Zanzibar") if "two" in seen.prompt else answer()  # noqa: E731
    with graded(tmp_path, [task("one"), task("two")], script) as found:
        stripped(found)
        assert b"Zanzibar" not in bytes_of(found)


def test_without_texts_nothing_is_asked_again_and_the_same_traces_can_be_written_again(tmp_path: Path) -> None:
    with graded(tmp_path, [task(f"task-{at}") for at in range(8)]) as found:
        first = rows(stripped(found))
        assert rows(stripped(found, "again.parquet")) == first
        assert found.collect().complete
        regrade(found)
        assert len(found.server.seen) == 16
        assert rows(stripped(found, "once-more.parquet")) == first
        assert [row["flash_correct"] for row in first] == [False] * 8


def test_grades_and_counts_stay_without_texts(tmp_path: Path) -> None:
    with graded(tmp_path, [task("one"), task("two", grader={"kind": "human"})]) as found:
        with existing(found.journal) as journal:
            before = count(journal)
        stripped(found)
        regrade(found)
        with existing(found.journal) as journal:
            after = count(journal)
        assert [(each.right, each.wrong, sum(each.ungraded.values())) for each in after.values()] == [
            (each.right, each.wrong, sum(each.ungraded.values())) for each in before.values()
        ]


def test_a_request_that_has_to_be_asked_again_gets_its_text_back(tmp_path: Path) -> None:
    broken = [True]
    script = lambda seen: error(503) if broken and seen.tier == "pro" else answer()  # noqa: E731
    with graded(tmp_path, [task("one")], script) as found:
        stripped(found)
        broken.clear()
        assert found.collect().complete
        assert found.server.seen[-1].prompt == "What is one?"
        regrade(found)
        [row] = rows(written(found))
        assert (row["flash_correct"], row["pro_correct"]) == (True, True)


def test_tasks_of_an_earlier_run_whose_texts_are_gone_are_neither_asked_again_nor_written(tmp_path: Path) -> None:
    with graded(tmp_path, [task("one")]) as found:
        task_file(tmp_path, [task("two")])
        found.collect()
        regrade(found)
        stripped(found)
        task_file(tmp_path, [task("one"), task("two")])
        assert found.collect().complete
        assert len(found.server.seen) == 4
        assert [row["task_id"] for row in rows(written(found))] == ["two"]


def test_a_label_for_an_answer_whose_text_is_gone_is_refused(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("task_id,tier,correct\ntwo,flash,1\n", encoding="utf-8")
    with graded(tmp_path, [task("one"), task("two", grader={"kind": "human"})]) as found:
        stripped(found)
        with (
            opened(found.journal) as journal,
            pytest.raises(InputError, match="'two' was removed before it had a grade"),
        ):
            take_in(journal, human.read(labels))
        assert [row["task_id"] for row in rows(written(found))] == ["one"]


def test_figures_are_read_by_the_trainer(tmp_path: Path) -> None:
    with graded(tmp_path, [task(f"task-{at}") for at in range(8)]) as found:
        assert len(traces.load([stripped(found)])) == 8


def test_a_failure_to_write_figures_leaves_the_texts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with graded(tmp_path, [task("one")]) as found:
        with pytest.raises(StorageError):
            stripped(found, "file/figures.parquet")
        with closing(sqlite3.connect(found.journal)) as journal:
            assert journal.execute("SELECT count(*) FROM calls WHERE reply IS NOT NULL").fetchone() == (2,)
        assert not list(tmp_path.glob("*texts*"))
