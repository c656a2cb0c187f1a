"""Task files: what a line may be, what is said of one that may not, and what makes two tasks the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import task, task_file

from features.errors import InputError
from pipeline.collect.tasks import Task, digest_of, read, task_of

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def of(**line: Any) -> Task:
    return task_of({"prompt": "Hello", **line}, "tasks.jsonl, line 1")


def lines(folder: Path, *raw: bytes) -> list[Task]:
    path = folder / "tasks.jsonl"
    path.write_bytes(b"\n".join(raw))
    return list(read([path]))


# Good lines


def test_a_prompt_is_a_conversation_of_one_message() -> None:
    assert of().digest == of(prompt=None, messages=HELLO).digest
    assert json.loads(of().asked) == {"messages": HELLO}


def test_a_task_keeps_its_place_and_what_belongs_to_it(tmp_path: Path) -> None:
    path = task_file(tmp_path, [task("one", category="c", group="g")])
    [found] = read([path])
    assert (found.id, found.category, found.group, found.place) == ("one", "c", "g", f"{path}, line 1")
    assert json.loads(found.grader) == {"kind": "exact", "answer": "42"}


def test_a_task_without_a_name_is_named_by_what_it_asks() -> None:
    assert of().id == of().digest == digest_of(of().asked)


def test_a_task_without_a_grader_waits_for_people() -> None:
    assert json.loads(of().grader) == {"kind": "human"}


def test_everything_that_is_asked_is_kept() -> None:
    asked = {"tools": [TOOL], "tool_choice": "auto", "response_format": {"type": "json_object"}}
    assert json.loads(of(**asked).asked) == {"messages": HELLO, **asked}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Hello!"}, {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "required"},
        {"response_format": {"type": "json_object"}},
        {"prompt": None, "messages": [{"role": "system", "content": ""}, *HELLO]},
    ],
)  # fmt: skip
def test_what_is_asked_makes_the_digest(change: dict[str, Any]) -> None:
    assert of(**change).digest != of().digest


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"}, {"category": "c"}, {"group": "g"}, {"grader": {"kind": "exact", "answer": "x"}}, {"tools": []},
        {"tool_choice": None},
    ],
)  # fmt: skip
def test_what_is_not_asked_does_not_change_the_digest(change: dict[str, Any]) -> None:
    assert of(**change).digest == of().digest


@given(st.text(min_size=1).filter(str.strip))
def test_any_prompt_can_be_sent_and_found_again(prompt: str) -> None:
    found = of(prompt=prompt)
    assert found.asked.encode()
    assert task_of(json.loads(found.asked), "again").digest == found.digest


def test_blank_lines_and_a_mark_of_byte_order_are_passed_over(tmp_path: Path) -> None:
    found = lines(tmp_path, b'\xef\xbb\xbf{"prompt": "a"}', b"", b"  \r", b'{"prompt": "b"}\r')
    assert [each.place.rpartition(", ")[2] for each in found] == ["line 1", "line 4"]


def test_files_are_read_in_their_order(tmp_path: Path) -> None:
    first = task_file(tmp_path, [task("one")], "first.jsonl")
    second = task_file(tmp_path, [task("two")], "second.jsonl")
    assert [each.id for each in read([second, first])] == ["two", "one"]


def test_a_picture_without_words_is_something_to_ask() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert of(prompt=None, messages=[{"role": "user", "content": [part]}])


# Bad lines


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({}, "give either prompt or messages"),
        ({"prompt": "a", "messages": HELLO}, "give either prompt or messages, not both"),
        ({"prompt": "a", "promt": "b"}, "promt: unknown key; use prompt"),
        ({"prompt": 5}, "prompt = 5: expected a valid string"),
        ({"prompt": "a", "id": 5}, "id = 5: expected a valid string"),
        ({"prompt": "a", "tools": {}}, "tools = {...}: expected a valid list"),
        ({"prompt": "a", "grader": "exact"}, "grader"),
        ({"prompt": "a", "grader": {"kind": "magic"}}, "grader"),
        ({"prompt": "a", "grader": {"kind": "exact"}}, "grader.exact.answer is missing: add it"),
        ({"prompt": "a", "grader": {"kind": "exact", "answer": "x", "anser": "y"}}, "anser: unknown key; use answer"),
        ({"prompt": " \n "}, "the last user message is empty: there is nothing to ask"),
        ({"messages": []}, "payload.messages: expected a non-empty list"),
        ({"messages": [{"role": "system", "content": "x"}]}, "there is no message with role 'user'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: expected text or a list of parts"),
        (
            {"messages": [*HELLO, {"role": "bot", "content": "x"}]},
            "messages[1].role = 'bot': expected one of system, developer, user, assistant, tool",
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": "x"}]},
            "messages end with the assistant's turn: end with what is to be answered",
        ),
        ({"prompt": "a", "tools": [{"name": "add"}]}, "tools[0]: expected {'type': 'function'"),
        ({"prompt": "a", "tools": [{"type": "function", "function": {}}]}, "tools[0]: expected"),
    ],
)  # fmt: skip
def test_a_bad_task_is_told_by_file_line_field_and_remedy(tmp_path: Path, line: Any, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        lines(tmp_path, json.dumps(task("one")).encode(), json.dumps(line).encode())
    assert str(caught.value).startswith(f"{tmp_path / 'tasks.jsonl'}, line 2: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"{", "not a JSON object ("),
        (b'{"prompt": "a"} {"prompt": "b"}', "not a JSON object ("),
        (b'"prompt"', "expected a JSON object such as"),
        (b"[1]", "expected a JSON object such as"),
        (b"null", "expected a JSON object such as"),
        (b'{"prompt": "caf\xe9"}', "byte 16 is not valid UTF-8: save the file as UTF-8"),
        (b'{"prompt": NaN}', "not a JSON object (NaN is not a JSON number"),
        (b'{"prompt": "a", "response_format": {"limit": 1e999}}', "cannot be sent as JSON"),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "not a JSON object ("),
        (b"[" * 100_000, "not a JSON object ("),
    ],
)
def test_a_line_that_is_no_json_object_is_told_by_file_and_line(tmp_path: Path, raw: bytes, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        lines(tmp_path, b'{"prompt": "fine"}', raw)
    assert str(caught.value).startswith(f"{tmp_path / 'tasks.jsonl'}, line 2: {complaint}")


def test_a_line_beyond_all_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.collect.tasks.LARGEST_LINE_BYTES", 1000)
    with pytest.raises(InputError, match=r"line 2: 1,000 bytes or more: shorten the task"):
        lines(tmp_path, b'{"prompt": "fine"}', json.dumps({"prompt": "x" * 2000}).encode())


def test_a_name_that_stood_before_is_refused_with_both_places(tmp_path: Path) -> None:
    path = task_file(tmp_path, [task("one"), task("two"), task("one", prompt="Else?")])
    with pytest.raises(
        InputError, match=r"line 3: id = 'one': this id stood before, in .*line 1: give each task an id of its own"
    ):
        list(read([path]))


def test_a_name_that_stood_in_another_file_is_refused(tmp_path: Path) -> None:
    paths = [task_file(tmp_path, [task("one")], name) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(InputError, match=r"b\.jsonl, line 1: id = 'one': this id stood before, in .*a\.jsonl, line 1"):
        list(read(paths))


def test_a_file_without_tasks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tasks in it: write one JSON object a line"):
        lines(tmp_path, b"\n\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: cannot be read: No such file"):
        list(read([tmp_path / "nowhere.jsonl"]))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_task_or_a_complaint(raw: bytes) -> None:
    from pipeline.collect.tasks import _object

    try:
        task_of(_object(raw, "place"), "place")
    except InputError as error:
        assert str(error).startswith("place: ")  # noqa: PT017  # either is fine
