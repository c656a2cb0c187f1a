"""The decision log: every row in a file once, whole files only, and nothing that a service would notice."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from features.errors import InputError
from features.request import legible, well_formed
from features.words import Tokenizer
from pipeline.reading import read
from pipeline.runtime.lines import line_of
from pipeline.runtime.log import MOST_WAITING_BYTES, DecisionLog, LogOptions
from pipeline.traces import load

WAIT_SECONDS = 30
HEADER = """
import os, sys, threading, time
from pathlib import Path
from pipeline.runtime.log import DecisionLog, LogOptions
folder, form = Path(sys.argv[1]), sys.argv[2]
log = DecisionLog(LogOptions(folder, form))
log.start()
def split(prompts):
    return [prompt.split() for prompt in prompts]
def put(number, log=log):
    log.put({"task_id": str(number)}, "one two two", split)
def until(done):
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
"""
ENDLESS = """
for number in range(10**9):
    put(number)
    time.sleep(0.0005)
"""
IDLE = """
put(1)
until(lambda: log.written)
print("open", flush=True)
sys.stdin.read()
"""
FORKED = """
threads = [threading.Thread(target=lambda: [put(at) for at in range(20_000)], daemon=True) for _ in range(2)]
put("parent")  # first, for those of the threads leave no room for it where the disk is slow
for thread in threads:
    thread.start()
for child in range(8):
    if not os.fork():
        put(f"child {child}")
        log.close()
        os._exit(log.written != 1 or log.dropped != 0)
for child in range(8):
    assert os.wait()[1] == 0
for thread in threads:
    thread.join()
log.close()
"""
# The way a process is kept from writing on, and is let again.
FULL = {
    "limit": """
import resource
def full():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
def free():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
""",
    "disk": """
import subprocess
folder.mkdir(exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
log = DecisionLog(LogOptions(folder, form))
log.start()
def full():
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1000))
        except OSError:
            pass
def free():
    (folder / "ballast").unlink(missing_ok=True)
""",
}
FILL = """
import json, logging
logging.basicConfig()
put(0, log)
until(lambda: log.written)
full()
for number in range(1, 300):
    put(number, log)
until(lambda: log.trouble)
if sys.argv[3] == "returns":
    free()
    until(lambda: not log.trouble)
log.close(0.2)
free()
log.close()
after = DecisionLog(log.options)
after.start()
after.close()
rows = [json.loads(line)["task_id"] for path in sorted(folder.glob("*.jsonl")) for line in path.open()]
print(json.dumps([log.written, log.dropped, rows]))
"""

Row = dict[str, Any]


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[DecisionLog]:
    """A started log, closed at the end."""
    log = DecisionLog(LogOptions(folder, **options))
    log.start()
    try:
        yield log
    finally:
        log.close()


def rows(folder: Path) -> list[Row]:
    """The rows of the finished JSON files, oldest file first."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines]


def wait_for(done: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def open_bytes(folder: Path) -> int:
    """The size of the files that are being written; one that was only tried out may vanish meanwhile."""
    with suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in folder.glob(".*.open"))
    return 0


def split(prompts: Sequence[str]) -> list[list[str]]:
    return [prompt.split() for prompt in prompts]


def no_words(prompts: Sequence[str]) -> list[list[str]]:
    return [[] for _ in prompts]


def put(log: DecisionLog, *prompts: str) -> None:
    for at, prompt in enumerate(prompts):
        log.put({"task_id": str(at)}, prompt, split)


def script(*parts: str, folder: Path, form: str = "jsonl", more: Sequence[str] = ()) -> list[str]:
    return [sys.executable, "-c", "".join((HEADER, *parts)), str(folder), form, *more]


# What is written


def test_rows_are_written_as_they_were_put(tmp_path: Path) -> None:
    put_in = [{"task_id": str(at), "gain": -0.25, "chosen": "pro", "pro_model": None, "n": at} for at in range(1000)]
    with opened(tmp_path, text="none") as log:
        for row in put_in:
            log.put(dict(row), "a prompt", split)
    assert rows(tmp_path) == put_in
    assert (log.written, log.dropped, log.failed, log.trouble) == (1000, 0, 0, "")


def test_counts_tell_the_words_but_neither_their_order_nor_their_padding(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.put({}, "to be or not to be", lambda prompts: [[*prompt.split(), "", ""] for prompt in prompts])
    assert rows(tmp_path) == [{"words": {"to": 2, "be": 2, "or": 1, "not": 1}}]
    assert list(rows(tmp_path)[0]["words"]) == ["be", "not", "or", "to"]


@pytest.mark.parametrize(("text", "kept"), [("counts", {"words": {"hidden": 1, "prompt": 1}}), ("none", {})])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_no_text_of_a_prompt_is_kept_unless_asked_for(tmp_path: Path, form: str, text: str, kept: Row) -> None:
    with opened(tmp_path, form=form, text=text) as log:
        log.put({"task_id": "1"}, "hidden prompt", split)
    (path,) = tmp_path.iterdir()
    assert b"hidden prompt" not in path.read_bytes()
    found = rows(tmp_path) if form == "jsonl" else pq.read_table(path).to_pylist(maps_as_pydicts="strict")
    assert found == [{"task_id": "1"} | kept]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_prompt_is_kept_where_asked_for(tmp_path: Path, form: str) -> None:
    prompts = ["", "line\nbreak\u2028\r", "NUL \0", "证明 🙂", "lone \ud800 surrogate", "x" * 1_000_000]
    with opened(tmp_path, form=form, text="prompt") as log:
        put(log, *prompts)
    (path,) = tmp_path.iterdir()
    found = [prompt for chunk in read_loosely(path) for prompt in chunk]
    assert found == [legible(prompt) for prompt in prompts]


def read_loosely(path: Path) -> Iterator[list[str]]:
    """Prompts of a file that has no outcomes yet."""
    if path.suffix == ".parquet":
        yield pq.read_table(path)["prompt"].to_pylist()
    else:
        yield [json.loads(line)["prompt"] for line in path.read_bytes().decode().split("\n")[:-1]]


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters()) | st.integers() | st.none()))
def test_any_row_is_one_line_of_json(row: Row) -> None:
    line = line_of(row, "jsonl")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {well_formed(name): _legible(value) for name, value in row.items()}


def _legible(value: Any) -> Any:
    return well_formed(value) if isinstance(value, str) else value


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "value", [float("nan"), object(), np.float32(1), b"bytes", {1, 2}], ids=lambda value: type(value).__name__
)
def test_a_row_with_a_value_that_is_not_plain_is_dropped_alone(tmp_path: Path, form: str, value: Any) -> None:
    with opened(tmp_path, form=form, text="none") as log:
        log.put({"task_id": "good"}, "", no_words)
        log.put({"task_id": "bad", "chosen": value}, "", no_words)
        wait_for(lambda: log.dropped)
        assert "cannot be logged" in log.trouble
    assert (log.written, log.dropped) == (1, 1)


@pytest.mark.parametrize(
    "error", [Fail("secret"), ValueError("secret"), KeyError("secret"), MemoryError(), ZeroDivisionError()], ids=repr
)
def test_a_row_whose_words_cannot_be_counted_is_written_without_them(tmp_path: Path, error: Exception) -> None:
    def fail(_: Sequence[str]) -> list[list[str]]:
        raise error

    with opened(tmp_path) as log:
        log.put({"task_id": "1"}, "secret", fail)
        wait_for(lambda: log.written)
        assert type(error).__name__ in log.trouble
        assert "secret" not in log.trouble
        log.put({"task_id": "2"}, "a", split)
    assert rows(tmp_path) == [{"task_id": "1"}, {"task_id": "2", "words": {"a": 1}}]
    assert (log.failed, log.trouble) == (1, "")


def test_a_prompt_whose_words_cannot_be_counted_harms_no_other(tmp_path: Path) -> None:
    going, go_on = threading.Event(), threading.Event()

    def fail(prompts: Sequence[str]) -> list[list[str]]:
        going.set()
        go_on.wait(WAIT_SECONDS)
        if "bad" in prompts:
            raise ValueError
        return split(prompts)

    with opened(tmp_path) as log:
        for at, prompt in enumerate(["first", "a b", "bad", "b"]):
            log.put({"task_id": str(at)}, prompt, fail)
            going.wait(WAIT_SECONDS)  # the first is in the thread's hands, and the others come into them together
        go_on.set()
    assert [row.get("words") for row in rows(tmp_path)] == [{"first": 1}, {"a": 1, "b": 1}, None, {"b": 1}]
    assert log.failed == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whatever_ends_the_thread_the_next_row_begins_another(tmp_path: Path) -> None:
    def leave(_: Sequence[str]) -> list[list[str]]:
        raise SystemError("nobody expects it")

    with opened(tmp_path) as log:
        log.put({"task_id": "1"}, "", leave)
        for thread in threading.enumerate():
            if thread.name == "tier-router log":
                thread.join(WAIT_SECONDS)  # and what it raised is reported
        put(log, "a")
    assert rows(tmp_path) == [{"task_id": "0", "words": {"a": 1}}]
    assert (log.written, log.dropped) == (1, 1)


# Taking rows


def test_rows_of_many_threads_are_all_there_once(tmp_path: Path) -> None:
    def many(thread: int) -> None:
        for at in range(2000):
            log.put({"task_id": f"{thread}/{at}"}, "a b", split)

    with opened(tmp_path, rotate_bytes=50_000, most_waiting=16_000) as log:
        threads = [threading.Thread(target=many, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = Counter(row["task_id"] for row in rows(tmp_path))
    assert found == Counter(f"{thread}/{at}" for thread in range(8) for at in range(2000))
    assert len(list(tmp_path.iterdir())) > 1
    assert log.written == 16_000


def test_rows_that_find_no_room_are_dropped_and_counted(tmp_path: Path) -> None:
    going, go_on = threading.Event(), threading.Event()

    def slow(prompts: Sequence[str]) -> list[list[str]]:
        going.set()
        go_on.wait(WAIT_SECONDS)
        return no_words(prompts)

    with opened(tmp_path, most_waiting=10) as log:
        log.put({}, "", slow)  # in the thread's hands from now on
        going.wait(WAIT_SECONDS)
        for _ in range(15):
            log.put({}, "", no_words)
        assert log.dropped == 5
        go_on.set()
    assert log.written == len(rows(tmp_path)) == 11


def test_prompts_that_wait_are_bounded_in_bytes(tmp_path: Path) -> None:
    going, go_on, prompt = threading.Event(), threading.Event(), "x" * 1_000_000

    def slow(prompts: Sequence[str]) -> list[list[str]]:
        going.set()
        go_on.wait(WAIT_SECONDS)
        return no_words(prompts)

    with opened(tmp_path) as log:
        log.put({}, "", slow)
        going.wait(WAIT_SECONDS)
        for _ in range(100):
            log.put({}, prompt, no_words)
        assert log.dropped == 100 - MOST_WAITING_BYTES // sys.getsizeof(prompt)
        go_on.set()
        wait_for(lambda: log.written + log.dropped == 101)
        log.put({}, prompt, no_words)  # there is room again
    assert log.written + log.dropped == 102
    assert log.dropped == 100 - MOST_WAITING_BYTES // sys.getsizeof(prompt)


def test_what_was_dropped_is_said_once_and_not_for_every_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tier_router"), opened(tmp_path, text="none") as log:
        for _ in range(5):
            log.put({"gain": float("nan")}, "", no_words)
            wait_for(lambda: not log._waiting)
    assert [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()] == [
        f"{tmp_path}: so far 1 decisions were dropped, and 0 were logged without the words of their prompts"
    ]
    assert log.dropped == 5


def test_a_closed_log_drops_and_may_be_closed_again(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        put(log, "a")
    put(log, "b")
    log.close()
    assert (len(rows(tmp_path)), log.dropped) == (1, 1)


def test_a_log_in_which_nothing_was_put_leaves_no_file(tmp_path: Path) -> None:
    with opened(tmp_path / "new" / "folder"):
        pass
    assert list((tmp_path / "new" / "folder").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "csv"}, "form = 'csv': expected jsonl or parquet"),
        ({"text": "all"}, "text = 'all': expected counts or prompt or none"),
        ({"rotate_bytes": 0}, "rotate_bytes = 0: expected 1 to 1,000,000,000"),
        ({"rotate_seconds": 0.0}, "rotate_seconds = 0.0: expected seconds, more than 0"),
        ({"keep": 0}, "keep = 0: expected 1 or more"),
        ({"most_waiting": 0}, "most_waiting = 0: expected 1 or more"),
    ],
)
def test_options_out_of_their_range_are_refused(tmp_path: Path, options: Row, said: str) -> None:
    with pytest.raises(InputError, match=said):
        DecisionLog(LogOptions(tmp_path, **options)).start()


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot hold the decision log: File exists: choose another folder"):
        DecisionLog(LogOptions(tmp_path / "file")).start()


# Files


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_only_finished_files_bear_their_name(tmp_path: Path, form: str) -> None:
    with opened(tmp_path, form=form) as log:
        put(log, "a")
        wait_for(lambda: log.written)
        (path,) = tmp_path.iterdir()
        assert path.name.startswith(".decisions-")
        assert path.suffix == ".open"
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("decisions-")
    assert path.suffix == f".{form}"
    assert path.stat().st_mode & 0o077 == 0  # for its owner alone


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_file_is_finished_after_its_time_though_no_row_comes(tmp_path: Path, form: str) -> None:
    with opened(tmp_path, form=form, rotate_seconds=0.2) as log:
        put(log, "a")
        wait_for(lambda: list(tmp_path.glob(f"*.{form}")))


def test_a_file_is_finished_when_it_is_large_enough(tmp_path: Path) -> None:
    with opened(tmp_path, rotate_bytes=1) as log:
        for number in range(1, 4):
            put(log, "a")
            wait_for(lambda number=number: len(rows(tmp_path)) == number)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_newest_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "decisions-20200101T000000Z-1-1.jsonl").touch()
    (tmp_path / "decisions-of-mine.jsonl").touch()
    with opened(tmp_path, rotate_bytes=1, keep=2, text="none") as log:
        for number in range(12):
            log.put({"number": number}, "", no_words)
            wait_for(lambda number=number: log.written == number + 1)
    (tmp_path / "decisions-of-mine.jsonl").unlink()
    assert sorted(row["number"] for row in rows(tmp_path)) == [10, 11]


def test_two_logs_of_a_process_share_a_folder(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        put(one, "a")
        put(other, "b")
    assert sorted(str(row["words"]) for row in rows(tmp_path)) == ["{'a': 1}", "{'b': 1}"]


def test_no_finished_file_is_written_over(tmp_path: Path) -> None:
    """As where processes of two containers have the same id."""
    now = datetime.now(UTC)
    for second in range(WAIT_SECONDS):
        for number in range(1, 4):
            at = now + timedelta(seconds=second)
            (tmp_path / f"decisions-{at:%Y%m%dT%H%M%SZ}-{os.getpid()}-{number}.jsonl").write_text('{"old": 1}\n')
    with opened(tmp_path) as log:
        put(log, "a")
    assert sum(row == {"old": 1} for row in rows(tmp_path)) == 3 * WAIT_SECONDS
    assert len(rows(tmp_path)) == 3 * WAIT_SECONDS + 1


def test_rows_wait_while_the_folder_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "log"
    with caplog.at_level(logging.WARNING, "tier_router"), opened(folder) as log:
        folder.rmdir()
        put(log, "a", "b")
        wait_for(lambda: "No such file" in log.trouble)
        folder.mkdir()
        wait_for(lambda: log.written == 2)
    assert len(rows(folder)) == 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_a_removed_file_costs_no_later_rows(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        put(log, "a")
        wait_for(lambda: log.written == 1)
        for path in tmp_path.iterdir():
            path.unlink()
        put(log, "b")
    assert [row["words"] for row in rows(tmp_path)] == [{"b": 1}]


@pytest.mark.parametrize("way", ["limit", "disk"])
@pytest.mark.parametrize("end", ["returns", "stays"])
def test_a_full_disk_costs_no_row_if_it_comes_back_in_time(project: Path, tmp_path: Path, way: str, end: str) -> None:
    command = script(FULL[way], FILL, folder=tmp_path / "log", more=[end])
    if way == "disk":
        if os.geteuid():
            pytest.skip("only root can mount a small disk")
        command = ["unshare", "--mount", *command]  # the mount ends with the process
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True, timeout=WAIT_SECONDS)
    written, dropped, found = json.loads(done.stdout)
    assert written + dropped == 300
    assert found == [str(number) for number in range(written)]  # whole lines only, none twice
    assert done.stderr.count("decisions cannot be logged, and wait") == 1
    assert done.stderr.count("decisions are logged again") == (end == "returns")
    assert (dropped == 0) == (end == "returns")


# Processes


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_a_killed_process_left_is_finished_by_the_next(project: Path, tmp_path: Path, form: str) -> None:
    with subprocess.Popen(script(ENDLESS, folder=tmp_path, form=form), cwd=project) as process:
        try:
            wait_for(lambda: open_bytes(tmp_path) > 10_000)
        finally:
            process.kill()
    assert list(tmp_path.glob("decisions-*")) == []
    with opened(tmp_path, form="jsonl"):
        pass
    (path,) = tmp_path.iterdir()
    found = rows(tmp_path) if form == "jsonl" else pq.read_table(path).to_pylist(maps_as_pydicts="strict")
    assert len(found) > 100
    assert found == [{"task_id": str(at), "words": {"one": 1, "two": 2}} for at in range(len(found))]


@pytest.mark.parametrize(
    "torn", [b'{"task_id": "3', b"\0" * 5000, b'{"task_id": "\0\0\n\0\n', b"\0" + b" " * 1_000_000 + b"\n{}\n", b""]
)
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / ".decisions-20260101T000000Z-1-1.jsonl.open").write_bytes(b'{"a": 1}\n{"a": 2}\n' + torn)
    with opened(tmp_path):
        assert (tmp_path / "decisions-20260101T000000Z-1-1.jsonl").read_bytes() == b'{"a": 1}\n{"a": 2}\n'


def test_leftovers_without_a_whole_line_vanish(tmp_path: Path) -> None:
    (tmp_path / ".decisions-20260101T000000Z-1-1.jsonl.open").write_bytes(b'{"a": ')
    with opened(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_lines_that_no_parquet_can_be_made_of_are_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".decisions-20260101T000000Z-1-1.parquet.open").write_bytes(b"no json\n")
    with opened(tmp_path, form="parquet"):
        assert [path.name for path in tmp_path.iterdir()] == [".decisions-20260101T000000Z-1-1.parquet.damaged"]
    assert "set aside" in caplog.text


def test_the_file_of_a_living_process_is_left_alone(project: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        script(IDLE, folder=tmp_path), cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        with opened(tmp_path):
            assert [path.suffix for path in tmp_path.iterdir()] == [".open"]
        process.communicate(timeout=WAIT_SECONDS)  # ends without closing its log
    with opened(tmp_path):
        assert len(rows(tmp_path)) == 1


def test_a_forked_process_logs_into_a_file_of_its_own(project: Path, tmp_path: Path) -> None:
    subprocess.run(script(FORKED, folder=tmp_path), cwd=project, check=True, timeout=WAIT_SECONDS)
    by_process = Counter(path.name.split("-")[2] for path in tmp_path.glob("*.jsonl"))
    assert len(by_process) == 9
    names = Counter(row["task_id"] for row in rows(tmp_path) if not row["task_id"].isdigit())
    assert names == Counter(["parent", *(f"child {child}" for child in range(8))])


def test_the_log_loads_nothing_heavy(project: Path) -> None:
    code = "import sys, pipeline.runtime.log; print({'pyarrow', 'onnxruntime', 'pandas', 'pydantic'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# A log with outcomes is a trace file


def decision(at: int) -> Row:
    chosen = ("flash", "pro")[at % 2]
    return {
        "task_id": f"{at:032x}", "time": f"2026-11-23T21:00:{at:02}.250+00:00", "version": "v3-1a2b3c4d5e6f",
        "chosen": chosen, "served": "pro", "propensity": 0.98, "reason": "no_gain", "gain": -0.125, "threshold": 0.25,
        "evidence": 0.75, "flash_probability": 0.5, "pro_probability": 0.375, "context_bytes": 12, "tool_count": 1,
        "turn_count": 2, "pro_model": "large-1", "pro_latency_s": 1.5, "pro_input_tokens": 20,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["counts", "prompt"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_log_with_outcomes_is_accepted_as_traces(tmp_path: Path, form: str, text: str) -> None:
    tokenizer, prompts = Tokenizer(), [f"prove that {at} + {at} is even, 证明" for at in range(40)]
    with opened(tmp_path, form=form, text=text) as log:
        for at, prompt in enumerate(prompts):
            log.put(decision(at), prompt, lambda texts: [tokenizer([text])[0].tolist() for text in texts])
    (path,) = tmp_path.iterdir()
    add_outcomes(path)
    traces = load([path])
    assert set(traces.ignored) == {
        "version", "reason", "gain", "threshold", "evidence", "flash_probability", "pro_probability",
    }  # fmt: skip
    assert traces.task_id.tolist() == [f"{at:032x}" for at in range(40)]
    assert traces.time[7] == np.datetime64("2026-11-23T21:00:07.250")
    assert traces.models == {"flash": "", "pro": "large-1"}
    assert traces.tally.words.tolist() == [len(tokenizer([prompt])[0]) for prompt in prompts]
    (chunk,) = read(path)
    assert chunk.columns["chosen"].to_pylist() == ["flash", "pro"] * 20
    assert set(chunk.columns["pro_latency_s"].to_pylist()) == {1.5}


def add_outcomes(path: Path) -> None:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        for name in ("flash_correct", "pro_correct"):
            table = table.append_column(name, pa.array([True] * len(table)))
        pq.write_table(table, path)
    else:
        observed = {"flash_correct": True, "pro_correct": True}
        labelled = [json.loads(line) | observed for line in path.read_text("utf-8").splitlines()]
        path.write_text("\n".join(map(json.dumps, labelled)), "utf-8")


def test_the_columns_of_parquet_have_the_types_of_traces(tmp_path: Path) -> None:
    more = ["2026-11-23T21:00:00Z", [1, 2], 3, None]  # which nothing is to be guessed of
    with opened(tmp_path, form="parquet") as log:
        for value in more:
            log.put(decision(0) | {"more": value}, "a a", split)
    table = pq.read_table(next(tmp_path.iterdir()))
    kinds = {name: str(table.schema.field(name).type) for name in ("time", "gain", "context_bytes", "reason", "more")}
    assert kinds == {
        "time": "timestamp[us, tz=UTC]", "gain": "double", "context_bytes": "int64", "reason": "string",
        "more": "string",
    }  # fmt: skip
    assert [json.loads(text or "null") for text in table["more"].to_pylist()] == more
    assert table["words"].to_pylist(maps_as_pydicts="strict") == [{"a": 2}] * 4


def test_a_value_that_no_trace_may_hold_spoils_no_parquet_file(tmp_path: Path) -> None:
    with opened(tmp_path, form="parquet") as log:
        log.put(decision(0), "a", split)
        log.put(decision(1) | {"pro_latency_s": -1.0}, "b", split)
    assert pq.read_table(next(tmp_path.iterdir())).num_rows == log.written == log.dropped == 1
