"""From a chat-completions payload to a request."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import RequestError
from features.request import Request, tools_bytes, well_formed

USER = {"role": "user", "content": "the question"}
any_text = st.text(max_size=30)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.sampled_from(["\ud83d", "\ude00", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]) | any_text, inner, max_size=3)
    ),
    max_leaves=10,
)
TOOL = {"type": "function", "function": {"name": "größe", "parameters": {"b": 1, "a": [2, None]}}}


def request_of(*messages: dict[str, Any], **more: Any) -> Request:
    return Request.from_payload({"messages": list(messages), **more})


def test_bare_prompt_is_the_payload_of_one_user_message() -> None:
    assert request_of(USER) == Request("the question")


def test_prompt_is_the_last_user_message() -> None:
    found = request_of(USER, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "and?"})
    assert (found.prompt, found.context_bytes, found.turn_count) == ("and?", len("the question") + len("ok"), 3)


def test_messages_after_the_last_user_message_are_context() -> None:
    found = request_of(USER, {"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "é"})
    assert (found.prompt, found.context_bytes, found.turn_count) == ("the question", 2, 3)


def test_text_parts_are_joined_by_a_line_break() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert request_of({"role": "user", "content": parts}).prompt == "one\ntwo"


def test_parts_that_are_not_text_are_named_once_in_order() -> None:
    parts = [{"type": kind} for kind in ("input_audio", "image_url", "input_audio")]
    found = request_of({"role": "user", "content": [*parts, {"type": "text", "text": "what is it?"}]})
    assert (found.prompt, found.other_modalities) == ("what is it?", ("input_audio", "image_url"))


def test_tools_count_as_compact_json_in_their_own_order_unescaped() -> None:
    spelled = '[{"type":"function","function":{"name":"größe","parameters":{"b":1,"a":[2,null]}}}]'
    found = request_of(USER, tools=[TOOL])
    assert (found.tool_count, found.context_bytes) == (1, len(spelled.encode()))


@pytest.mark.parametrize("tools", [None, []])
def test_no_tools_are_no_bytes(tools: list[Any] | None) -> None:
    assert request_of(USER, tools=tools) == request_of(USER)


@given(any_text)
def test_prompt_is_always_valid_unicode(prompt: str) -> None:
    Request(prompt).prompt.encode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_valid_text_is_left_as_it_is(text: str) -> None:
    assert well_formed(text) == text


def test_nul_in_a_prompt_is_a_replacement_character() -> None:
    assert Request("a\0b\0").prompt == "a\ufffdb\ufffd"


def test_lone_surrogates_become_replacement_characters_one_each() -> None:
    assert well_formed("a\ud83db\ude00\udc80") == "a\ufffdb\ufffd\ufffd"


def test_pair_of_surrogates_becomes_its_character() -> None:
    assert well_formed("\ud83d\ude00") == "😀"


def test_lone_surrogate_in_the_context_has_the_bytes_of_its_replacement() -> None:
    assert request_of({"role": "system", "content": "\ud83d"}, USER).context_bytes == len("\ufffd".encode())


def test_surrogates_in_tools_are_escapes_unless_they_pair() -> None:
    assert tools_bytes(["\ud83d", "\ud83d\ude00"]) == len('["\\ud83d","😀"]'.encode())


@pytest.mark.parametrize(
    ("number", "spelled"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (-1.5e-5, "-0.000015"),
        (1e-7, "1e-7"),
        (1e16, "10000000000000000"),
        (1.5e21, "1.5e+21"),
        (2**53 + 1, "9007199254740992"),
        (-(10**21), "-1e+21"),
        (10**400, "null"),
        (float("inf"), "null"),
        (float("nan"), "null"),
        (True, "true"),
    ],
)
def test_numbers_in_tools_are_spelled_as_in_javascript(number: float, spelled: str) -> None:
    assert tools_bytes([{"a": [number, "1.0"]}, number]) == len(f'[{{"a":[{spelled},"1.0"]}},{spelled}]')


@given(any_json)
def test_tools_bytes_survive_a_round_trip_through_json(value: Any) -> None:
    assert tools_bytes([value]) == tools_bytes(json.loads(json.dumps([value])))


@given(st.lists(any_json | st.fixed_dictionaries({"role": st.just("user"), "content": any_json}), max_size=3), any_json)
def test_any_json_is_read_or_refused(messages: list[Any], value: Any) -> None:
    for payload in (value, {"messages": value}, {"messages": messages, "tools": value}):
        with suppress(RequestError):
            Request.from_payload(payload).prompt.encode()


def in_itself() -> list[Any]:
    tools: list[Any] = [TOOL]
    tools.append(tools)
    return tools


def far_too_deep() -> list[Any]:
    tools: list[Any] = []
    for _ in range(100_000):
        tools = [tools]
    return tools


@pytest.mark.parametrize(
    "tools",
    [[{1, 2}], [b"lookup"], [{("a", "b"): 1}], in_itself(), far_too_deep()],
    ids=["set", "bytes", "key", "in itself", "deep"],
)
def test_tools_that_are_no_json_or_too_deep_are_refused(tools: list[Any]) -> None:
    with pytest.raises(RequestError, match="tools"):
        request_of(USER, tools=tools)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ([USER], "payload"),
        (None, "payload"),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"messages": [USER, "hello"]}, "messages[1]"),
        ({"messages": [{"role": "system", "content": "x"}]}, "role 'user'"),
        ({"messages": [USER | {"content": 7}]}, "messages[0].content"),
        ({"messages": [USER | {"content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [USER | {"content": [{"text": "x"}]}]}, "messages[0].content[0]"),
        ({"messages": [USER, USER | {"content": [{"type": "text", "text": 1}]}]}, "messages[1].content[0].text"),
        ({"messages": [USER | {"content": {"type": "text", "text": "x"}}]}, "messages[0].content"),
        ({"messages": [USER], "tools": "lookup"}, "tools"),
        ({"messages": [USER], "tools": {"name": "lookup"}}, "tools"),
    ],
)
def test_payload_that_is_none_is_refused_with_its_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as refusal:
        Request.from_payload(payload)
    assert field in str(refusal.value)
