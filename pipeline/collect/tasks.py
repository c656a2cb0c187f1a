"""Task files: JSON Lines, a task a line, checked as a whole before anything is asked.

Format 1. A new optional field is added to `Task` alone; what is asked, and so what a digest stands for, is the fields
in `ASKED`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import InputError
from features.request import Request, well_formed
from pipeline.collect.grader import Grader
from pipeline.collect.human import Human
from pipeline.tables import Strict, validated

# What is sent, so what makes two tasks the same: a task with another grader is not asked again.
ASKED = ("messages", "tools", "tool_choice", "response_format")
LARGEST_LINE_BYTES = 64_000_000
DIGEST_BYTES = 16
ROLES = ("system", "developer", "user", "assistant", "tool")


class Line(Strict):
    """A line of a task file.

    Attributes:
        id: names the task; None: a name made from what it asks.
        prompt: a bare prompt, or
        messages: a conversation as chat completions take it.
        tools: tool definitions offered.
        tool_choice: as chat completions take it.
        response_format: as chat completions take it.
        category: kind of work, of the trace.
        group: like tasks, which stay in one part of the trace.
        grader: how its answers are graded; None: by people.
    """

    id: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    category: str | None = None
    group: str | None = None
    grader: Grader = Human(kind="human")


@dataclass(frozen=True, slots=True)
class Task:
    """A task to ask both tiers.

    Attributes:
        id: names it among all tasks.
        digest: of what is asked, as 32 hexadecimal digits.
        asked: what is asked, as compact JSON with the fields of `ASKED`.
        category: "" where none is given.
        group: "" where none is given.
        grader: as JSON.
        place: file and line.
    """

    id: str
    digest: str
    asked: str
    category: str
    group: str
    grader: str
    place: str


def read(paths: Sequence[Path]) -> Iterator[Task]:
    """The tasks of some files, in order, each checked when its turn comes.

    Raises:
        InputError: names the file, the line, the field, the value and what to do.
    """
    places: dict[bytes, tuple[Path, int]] = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                for at, task in _of_file(file, path):
                    key = hashlib.blake2b(task.id.encode(), digest_size=DIGEST_BYTES).digest()
                    if key in places:
                        before, line = places[key]
                        named = "the same question without an id" if task.id == task.digest else "this id"
                        raise InputError(
                            f"{task.place}: id = {task.id!r}: {named} stood before, in {before}, line {line}: "
                            "give each task an id of its own"
                        )
                    places[key] = path, at
                    yield task
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; give the path of a task file") from None
    if not places:
        raise InputError(f"{', '.join(map(str, paths))}: no tasks in it: write one JSON object a line")


def _of_file(file: Any, path: Path) -> Iterator[tuple[int, Task]]:
    """Each task with its line."""
    at = 0
    while raw := file.readline(LARGEST_LINE_BYTES):
        at += 1
        place = f"{path}, line {at}"
        if len(raw) == LARGEST_LINE_BYTES:
            raise InputError(f"{place}: {LARGEST_LINE_BYTES:,} bytes or more: shorten the task")
        if raw.strip():
            yield at, task_of(_object(raw, place), place)


def _object(raw: bytes, place: str) -> dict[str, Any]:
    try:
        table = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: byte {error.start + 1} is not valid UTF-8: save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not a JSON object ({error}): write one task a line") from None
    if not isinstance(table, dict):
        raise InputError(f"{place}: expected a JSON object such as {{'id': ..., 'prompt': ..., 'grader': ...}}")
    return table


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def task_of(table: Mapping[str, Any], place: str) -> Task:
    """A task from a line's object.

    Raises:
        InputError: names the place, the field, the value and what to do.
    """
    line = validated(Line, table, place)
    if (line.prompt is None) == (line.messages is None):
        raise InputError(f"{place}: give either prompt or messages" + ("" if line.prompt is None else ", not both"))
    messages = line.messages if line.prompt is None else [{"role": "user", "content": line.prompt}]
    asked = {"messages": messages} | {name: getattr(line, name) for name in ASKED[1:] if getattr(line, name)}
    _check(asked, place)
    try:
        text = well_formed(json.dumps(asked, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except (ValueError, RecursionError) as error:  # the former: 1e999
        raise InputError(f"{place}: cannot be sent as JSON ({error}): mend that value") from None
    digest = digest_of(text)
    return Task(
        id=well_formed(line.id or digest),
        digest=digest,
        asked=text,
        category=well_formed(line.category or ""),
        group=well_formed(line.group or ""),
        grader=well_formed(json.dumps(table.get("grader") or {"kind": line.grader.kind}, ensure_ascii=False)),
        place=place,
    )


def _named(function: Mapping[str, Any]) -> bool:
    return isinstance(function.get("name"), str) and bool(function["name"])


def digest_of(asked: str) -> str:
    """The digest of what is asked."""
    return hashlib.blake2b(asked.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _check(asked: dict[str, Any], place: str) -> None:
    """What an endpoint would refuse, refused before it costs a call."""
    try:
        request = Request.from_payload(asked)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    if not request.prompt.strip() and not request.other_modalities:
        raise InputError(f"{place}: the last user message is empty: there is nothing to ask")
    for at, message in enumerate(asked["messages"]):
        if message.get("role") not in ROLES:
            raise InputError(
                f"{place}: messages[{at}].role = {message.get('role')!r}: expected one of {', '.join(ROLES)}"
            )
    if asked["messages"][-1]["role"] == "assistant":
        raise InputError(f"{place}: messages end with the assistant's turn: end with what is to be answered")
    for at, tool in enumerate(asked.get("tools", ())):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict) or not _named(function):
            raise InputError(
                f"{place}: tools[{at}]: expected {{'type': 'function', 'function': {{'name': ..., 'parameters': ...}}}}"
            )
