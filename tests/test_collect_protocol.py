"""Requests as endpoints take them, replies as they send them, and what each failure means."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import completion

from features.errors import InputError
from pipeline.collect.failures import CallError, refused, seconds
from pipeline.collect.protocol import MOST_TOKENS, Used, answer_in, body_of, most_input_tokens, read
from pipeline.endpoint import Endpoint
from pipeline.grade.answer import Answer, ToolCall
from pipeline.settings import Settings, restored
from pipeline.tables import validated

MOST_INPUT = 1000
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
THOUGHT = {"role": "assistant", "content": "Hm.", "reasoning_content": "a secret thought"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
# Where a reply may go wrong: every place of it holds anything.
CALLS = st.lists(
    JSON | st.fixed_dictionaries({"function": JSON | st.fixed_dictionaries({"name": JSON, "arguments": JSON})})
)
PARTS = st.lists(JSON | st.fixed_dictionaries({"type": st.just("text"), "text": JSON}))
MESSAGES = st.fixed_dictionaries({}, optional={"content": JSON | PARTS, "tool_calls": JSON | CALLS})
LOGPROBS = st.fixed_dictionaries(
    {"content": JSON | st.lists(JSON | st.fixed_dictionaries({"logprob": JSON}), max_size=3)}
)
CHOICES = st.fixed_dictionaries(
    {"message": JSON | MESSAGES}, optional={"finish_reason": JSON, "logprobs": JSON | LOGPROBS}
)
USAGE = st.dictionaries(
    st.sampled_from(
        [
            "prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens", "prompt_tokens_details",
            "completion_tokens_details",
        ]
    ),
    JSON | st.integers(-1, 50) | st.fixed_dictionaries({"cached_tokens": JSON, "reasoning_tokens": JSON}),
)  # fmt: skip
REPLIES = JSON | st.fixed_dictionaries(
    {"choices": JSON | st.lists(JSON | CHOICES, max_size=2)},
    optional={"usage": JSON | USAGE, "model": JSON, "system_fingerprint": JSON, "error": JSON},
)


def endpoint(**more: Any) -> Endpoint:
    return validated(Endpoint, {"base_url": "http://localhost/v1", "model": "m", "output_limit": 100, **more}, "test")


def usage(**table: Any) -> tuple[Used | None, str]:
    reply = read(json.dumps(completion(usage=table)), endpoint(), MOST_INPUT)
    return reply.used, reply.doubt


# Requests


def test_a_request_has_the_model_the_limit_and_what_the_task_asks() -> None:
    assert body_of(HELLO, endpoint()) == {**HELLO, "model": "m", "max_tokens": 100}


@pytest.mark.parametrize(
    ("keys", "fields"),
    [
        ({"thinking": True}, {"thinking": {"type": "enabled"}}),
        ({"thinking": False}, {"thinking": {"type": "disabled"}}),
        ({"effort": "high"}, {"reasoning_effort": "high"}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"body": {"temperature": 0.5}}, {"temperature": 0.5}),
    ],
)
def test_what_the_config_says_is_asked_for_as_the_protocol_says_it(keys: Any, fields: Any) -> None:
    assert body_of(HELLO, endpoint(**keys)) == {**HELLO, "model": "m", "max_tokens": 100, **fields}


def test_the_limit_goes_by_the_name_that_the_endpoint_knows() -> None:
    body = body_of(HELLO, endpoint(output_limit_name="max_completion_tokens"))
    assert body["max_completion_tokens"] == 100
    assert "max_tokens" not in body


@pytest.mark.parametrize(("tools", "kept"), [({"tools": [TOOL]}, True), ({}, False), ({"tools": []}, False)])
def test_the_reasoning_of_earlier_turns_is_sent_with_tools_only(tools: Any, kept: bool) -> None:
    asked = {"messages": [*HELLO["messages"], THOUGHT, *HELLO["messages"]], **tools}
    sent = body_of(asked, endpoint())["messages"]
    assert ("reasoning_content" in sent[1]) is kept
    assert sent[1]["content"] == "Hm."
    assert THOUGHT["reasoning_content"] == "a secret thought"  # what the task asks is as it was


@given(st.text(max_size=200))
def test_the_most_input_is_never_below_a_token_a_byte(text: str) -> None:
    assert most_input_tokens(text, 3) > len(text.encode(errors="replace"))


# Replies


def test_a_reply_is_read() -> None:
    table = completion("Hi", model="m-2026", system_fingerprint="fp", choice={"finish_reason": "length"})
    reply = read(json.dumps(table), endpoint(), MOST_INPUT)
    assert reply.answer == Answer("Hi")
    assert (reply.model, reply.fingerprint, reply.finish, reply.doubt) == ("m-2026", "fp", "length", "")
    assert reply.used == Used(20, 0, 10, None)
    assert reply.confidence is None


def test_blank_lines_before_a_reply_are_how_an_endpoint_keeps_waiting() -> None:
    text = "\n\n\r\n  \n" + json.dumps(completion("Hi"))
    assert read(text, endpoint(), MOST_INPUT).answer == Answer("Hi")
    assert read(text, endpoint(), MOST_INPUT).text == text


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": None}, Answer("")),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}, Answer("ab")),
        ({"content": "x", "reasoning_content": "thought"}, Answer("x")),
        ({"content": "\ud800"}, Answer("\ufffd")),
        (
            {"content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"a": 1'}}]},
            Answer("", (ToolCall("f", '{"a": 1'),)),
        ),
        (
            {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            Answer("42", (ToolCall("f", '{"a": 1}'),)),
        ),
        ({"tool_calls": [{"function": {"name": "f"}}]}, Answer("42", (ToolCall("f", "{}"),))),
        ({"tool_calls": None}, Answer("42")),
    ],
)
def test_an_answer_is_read_as_it_stands_in_the_message(message: Any, expected: Answer) -> None:
    text = json.dumps(completion(message=message))
    assert read(text, endpoint(), MOST_INPUT).answer == expected
    assert answer_in(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "42", "not JSON", "<html>", '{"choices": []}', '{"choices": [{}]}', '{"choices": {}}',
        '{"choices": [{"message": null}]}', '{"choices": [{"message": "text"}]}', '{"choices": [{"message": []}]}',
        '{"choices": [{"message": {"content": 5}}]}', '{"choices": [{"message": {"content": ["text"]}}]}',
        '{"choices": [{"message": {"tool_calls": 1}}]}', '{"choices": [{"message": {"tool_calls": [{}]}}]}',
        '{"choices": [{"message": {"tool_calls": ["f"]}}]}', "[" * 100_000, '{"choices": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_a_body_without_an_answer_is_malformed_and_taken_as_paid_for(text: str) -> None:
    with pytest.raises(CallError) as caught:
        read(text, endpoint(), MOST_INPUT)
    assert caught.value.cause == "malformed body"
    assert caught.value.paid
    assert caught.value.again
    assert caught.value.reply == text


def test_an_error_in_a_reply_of_status_200_is_told() -> None:
    with pytest.raises(CallError, match=r"malformed body: .*overloaded"):
        read('{"error": {"message": "overloaded"}}', endpoint(), MOST_INPUT)


def test_an_answer_that_deepseek_gave_up_on_is_none() -> None:
    text = json.dumps(completion("Hal", choice={"finish_reason": "insufficient_system_resource"}))
    with pytest.raises(CallError) as caught:
        read(text, endpoint(), MOST_INPUT)
    assert (caught.value.cause, caught.value.paid, caught.value.again) == ("interrupted by the endpoint", True, True)


@given(REPLIES)
def test_any_json_is_an_answer_or_a_failure(table: Any) -> None:
    text = json.dumps(table)
    try:
        reply = read(text, endpoint(), MOST_INPUT)
    except CallError as failure:
        assert failure.paid  # noqa: PT017  # either is fine
    else:
        assert answer_in(text) == reply.answer
        assert (reply.used is None) is (reply.doubt != "")
        assert reply.confidence is None or 0 <= reply.confidence <= 1


@given(st.text())
def test_any_text_is_an_answer_or_a_failure(text: str) -> None:
    with pytest.raises(CallError):
        read(text, endpoint(), MOST_INPUT)


# Usage


@pytest.mark.parametrize(
    ("table", "used"),
    [
        ({"prompt_cache_hit_tokens": 15, "prompt_cache_miss_tokens": 5}, Used(20, 15, 10, None)),
        ({"prompt_tokens_details": {"cached_tokens": 12}}, Used(20, 12, 10, None)),
        ({"completion_tokens_details": {"reasoning_tokens": 8}}, Used(20, 0, 10, 8)),
        ({"completion_tokens_details": {"reasoning_tokens": 0}}, Used(20, 0, 10, 0)),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, Used(20, 0, 10, None)),
        ({"prompt_tokens": MOST_INPUT, "completion_tokens": 100}, Used(MOST_INPUT, 0, 100, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Used(0, 0, 0, None)),
    ],
)
def test_usage_is_read_as_deepseek_and_openai_say_it(table: Any, used: Used) -> None:
    assert usage(**({"prompt_tokens": 20, "completion_tokens": 10} | table)) == (used, "")


@pytest.mark.parametrize(
    ("table", "doubt"),
    [
        ({}, "usage is not made of counts"),
        ({"prompt_tokens": True}, "usage is not made of counts"),
        ({"prompt_tokens": 2.5}, "usage is not made of counts"),
        ({"prompt_tokens": "20"}, "usage is not made of counts"),
        ({"completion_tokens": -1}, "usage is not made of counts"),
        ({"prompt_cache_hit_tokens": 21}, "a part of usage is more than the whole"),
        ({"completion_tokens_details": {"reasoning_tokens": 11}}, "a part of usage is more than the whole"),
        ({"completion_tokens": MOST_TOKENS}, "usage is more than any request can take"),
        ({"completion_tokens": 10**400}, "usage is more than any request can take"),
    ],
)
def test_usage_that_cannot_be_true_is_not_believed(table: Any, doubt: str) -> None:
    whole = {"prompt_tokens": 20, "completion_tokens": 10} if table else {}
    assert usage(**{**whole, **table}) == (None, doubt)


@pytest.mark.parametrize("table", [{"prompt_tokens": MOST_INPUT + 1}, {"completion_tokens": 101}])
def test_a_bill_above_the_worst_case_is_believed_and_told(table: dict[str, int]) -> None:
    used, doubt = usage(**({"prompt_tokens": 20, "completion_tokens": 10} | table))
    assert used is not None
    assert doubt == "usage is more than the request allows"


@pytest.mark.parametrize("table", [None, [], 5, "20"])
def test_no_usage_is_said_so(table: Any) -> None:
    assert read(json.dumps(completion(usage=table)), endpoint(), MOST_INPUT).doubt == "no usage"


# Confidence


@pytest.mark.parametrize(
    ("logprobs", "confidence"),
    [
        ({"content": [{"logprob": math.log(0.5)}, {"logprob": math.log(0.125)}]}, 0.25),
        ({"content": [{"logprob": 0}]}, 1.0),
        ({"content": [{"logprob": 1e-9}]}, 1.0),
        ({"content": [{"logprob": -9999.0}]}, 0.0),
        ({"content": [{"logprob": -1.0}, {"logprob": None}]}, None),
        ({"content": [{"logprob": float("-inf")}]}, None),
        ({"content": [{"logprob": -(10**400)}]}, None),
        ({"content": []}, None),
        ({"content": None}, None),
        (None, None),
    ],
)
def test_confidence_is_the_mean_log_probability_where_all_are_given(logprobs: Any, confidence: float | None) -> None:
    reply = read(json.dumps(completion(choice={"logprobs": logprobs})), endpoint(), MOST_INPUT)
    assert reply.confidence == pytest.approx(confidence)


# Failures


@pytest.mark.parametrize("status", [409, 425, 429, 500, 503, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    failure = refused(status, None, "")
    assert (failure.again, failure.fatal, failure.paid) == (True, "", False)


@pytest.mark.parametrize("status", [408, 502, 504, 520, 524])
def test_what_a_gateway_gave_up_on_is_tried_again_and_may_have_been_paid_for(status: int) -> None:
    failure = refused(status, None, "")
    assert (failure.again, failure.fatal, failure.paid) == (True, "", True)


@pytest.mark.parametrize("status", [400, 403, 413, 415, 422, 451, 501, 505])
def test_what_stays_is_not_tried_again_and_does_not_stop_the_others(status: int) -> None:
    failure = refused(status, None, "")
    assert (failure.again, failure.fatal, failure.paid) == (False, "", False)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 402, 404, 405])
def test_what_all_calls_share_says_what_to_do(status: int) -> None:
    failure = refused(status, None, "")
    assert not failure.again
    assert failure.fatal


def test_what_an_endpoint_says_is_shown_in_short_and_kept_whole() -> None:
    failure = refused(400, None, "x" * 10_000)
    assert len(str(failure)) < 300
    assert len(failure.reply) == 10_000


@pytest.mark.parametrize(
    ("header", "waited"),
    [
        (None, None), ("5", 5.0), ("0", 0.0), ("0.25", 0.25), ("-3", 0.0), ("", None), ("soon", None), ("nan", None),
        ("inf", None), ("1e400", None), ("-inf", 0.0), ("86400000", 86_400_000.0), ("5 seconds", None),
        ("Mon, 23 Nov 2026 12:01:00 GMT", 60.0), ("Mon, 23 Nov 2026 13:01:00 +0100", 60.0),
        ("Mon, 23 Nov 2026 12:01:00 -0000", 60.0), ("Mon, 23 Nov 2020 12:01:00 GMT", 0.0),
        ("Mon, 99 Nov 2026 12:01:00 GMT", None), ("Mon, 23 Nov 99999 12:01:00 GMT", None),
        ("Mon, 23 Nov 2026 12:01:00 +99999999", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_or_nothing(header: str | None, waited: float | None) -> None:
    assert seconds(header, NOW) == waited


@given(
    st.text(max_size=40)
    | st.from_regex(r"(Mon, )?[0-9]{1,5} (Nov|Dec) [0-9]{1,6} [0-9]{1,3}:[0-9]{1,3}(:[0-9]{1,9})? [+-]?[0-9GMT]{1,12}")
)
def test_any_retry_after_is_seconds_or_nothing(header: str) -> None:
    waited = seconds(header, NOW)
    assert waited is None or 0 <= waited < float("inf")


# What an endpoint may be


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"modell": "m"}, "modell: unknown key; use model"),
        ({"concurency": 2}, "concurency: unknown key; use concurrency"),
        ({"base_url": "localhost:80"}, "base_url = 'localhost:80': expected an address"),
        ({"base_url": "ftp://localhost"}, "expected an address"),
        ({"base_url": "http://"}, "expected an address"),
        ({"base_url": "http://localhost:port"}, "base_url = "),
        ({"base_url": "http://localhost:99999"}, "base_url = "),
        ({"base_url": "http://local\nhost"}, "expected an address"),
        ({"base_url": "http://local host"}, "expected an address"),
        ({"base_url": "http://a\u200bb.example"}, "expected an address"),
        ({"base_url": "http://[::1"}, "base_url = "),
        ({"output_limit": 0}, "output_limit = 0: "),
        ({"output_limit": 1.5}, "output_limit = 1.5: "),
        ({"output_limit": True}, "output_limit = True: "),
        ({"requests_per_minute": 0}, "requests_per_minute = 0: "),
        ({"requests_per_minute": float("nan")}, "requests_per_minute = nan: "),
        ({"call_timeout_s": 0}, "call_timeout_s = 0: "),
        ({"call_timeout_s": 1e9}, "call_timeout_s = 1000000000.0: "),
        ({"tries": 0}, "tries = 0: "),
        ({"output_limit_name": "limit"}, "output_limit_name = 'limit': "),
        ({"body": {"model": "x"}}, "'model' has a key of its own or comes from the task"),
        ({"body": {"max_tokens": 5}}, "'max_tokens' has a key of its own"),
        ({"body": {"stream": True}}, "'stream' has a key of its own"),
        ({"body": {"top_p": float("nan")}}, "expected what JSON can say"),
        ({"body": {"since": NOW}}, "expected what JSON can say"),
    ],
)  # fmt: skip
def test_an_endpoint_that_cannot_be_is_refused_with_its_key(keys: Any, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        endpoint(**keys)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://h/v1", "http://h/v1/", "http://h/v1/chat/completions", "http://h/v1/chat/completions/"]
)
def test_an_address_may_be_given_with_or_without_its_end(url: str) -> None:
    assert endpoint(base_url=url).url == "http://h/v1/chat/completions"


def test_settings_of_a_manifest_from_before_endpoints_are_restored() -> None:
    printed = Settings().printed()
    del printed["judge"]
    old = (
        "price",
        "model",
        "tokens_per_word",
        "output_tokens",
        "cache_share",
        "latency_s",
        "attempts",
        "retry_success",
    )
    printed["tiers"] = {tier: {name: keys[name] for name in old} for tier, keys in printed["tiers"].items()}
    assert restored(json.loads(json.dumps(printed))) == Settings()


def test_settings_with_endpoints_are_restored() -> None:
    given = {"tiers": {"pro": {"base_url": "http://h", "model": "m", "body": {"top_p": 0.5}, "key_env": "KEY"}}}
    settings = validated(Settings, given, "test")
    assert restored(json.loads(json.dumps(settings.printed()))) == settings
