"""The schema grader: what is read as JSON, what fits a schema, which schemas are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from pipeline.grade.answer import Answer
from pipeline.grade.json_text import DEEPEST, comparable, parsed
from pipeline.grade.structures import Schema
from pipeline.tables import validated

PLACE = "tasks.jsonl, line 3: grader"
MEGABYTE = 1_000_000
ITEM = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "s": {"type": "string", "pattern": "^(a+)+$"}},
    "required": ["n"],
    "additionalProperties": False,
}
LEFT_RIGHT = {
    "oneOf": [
        {"properties": {"left": {"$ref": "#"}, "kind": {"const": kind}}, "required": ["kind"]} for kind in range(3)
    ]
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def schema(text: str, table: Any = None, **more: Any) -> bool | None:
    model = validated(Schema, {"kind": "schema", "schema": ITEM if table is None else table, **more}, PLACE)
    return model.grade(Answer(text)).correct


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    "text",
    [
        '{"n":1}',
        ' {"n": 1}\n',
        '{"n":1.0}',
        '{"s":"aa","n":1}',
        '```json\n{"n":1}\n```',
        '```\n{"n":1}\n```',
        '{"n":1e3}',
    ],
)
def test_schema_accepts(text: str) -> None:
    assert schema(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{}", '{"n":0}', '{"n":true}', '{"n":"1"}', '{"n":1.5}', '{"n":1,"x":2}', '{"n":1,"s":"b"}',
        "[]", "null",
        'Here it is: {"n":1}', '{"n":1} {"n":1}', '```json\n{"n":1}\n``` done',
        '```json\n{"n":1}\n```\n```json\n{"n":1}\n```',
        '{"n":1,"n":1}', '{"n":NaN}', '{"n":-Infinity}', '{"n":1e999}', "{'n':1}", '{"n":1,}', '{"n":1',
        '\ufeff{"n":1}', '{"n":1}\x00',
        '{"n":1,"s":"\\ud800"}', '{"n":' + "1" * 5000 + "}",
        "[" * 100_000, '{"a":' * 10_000, "]" * 100_000, '"\\' * 50_000, "\u202e{}",
        "是",
    ],
)  # fmt: skip
def test_schema_refuses(text: str) -> None:
    assert schema(text) is False


@pytest.mark.parametrize(
    ("text", "table", "more", "correct"),
    [
        ("```json\n1\n```", {}, {"fence": False}, False),
        ("1.0", {}, {"equals": 1}, True),
        ("true", {}, {"equals": 1}, False),
        ("0", {}, {"equals": False}, False),
        ("null", {}, {"equals": None}, True),
        ("1", {}, {"equals": None}, False),
        ('{"b":[1,2],"a":"巴黎"}', {}, {"equals": {"a": "巴黎", "b": [1.0, 2]}}, True),
        ("[2,1]", {}, {"equals": [1, 2]}, False),
        ('["a",{}]', {}, {"equals": ["a", []]}, False),
        ("19.99", {"multipleOf": 0.01}, {}, True),
        ("19.995", {"multipleOf": 0.01}, {}, False),
        ("1e308", {"multipleOf": 0.1}, {}, True),
        ('[1,true,"1"]', {"uniqueItems": True}, {}, True),
        ('[1,"a",[1],[1.0]]', {"uniqueItems": True}, {}, False),
        ('{"ab":1}', {"patternProperties": {"^a": {"type": "string"}}}, {}, False),
        (
            '{"ab":"x","c":1}',
            {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False},
            {},
            False,
        ),
        ('{"ab":"x"}', {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False}, {}, True),
        ('{"c":1}', {"additionalProperties": {"type": "string"}}, {}, False),
        ('"12"', {"$ref": "#/$defs/digits", "$defs": {"digits": {"pattern": "^\\d+$"}}}, {}, True),
        ('"x"', {"$ref": "#/$defs/digits", "$defs": {"digits": {"pattern": "^\\d+$"}}}, {}, False),
        ('"x"', {"$defs": {"a": {"$anchor": "q", "type": "integer"}}, "$ref": "#q"}, {}, False),
        ("[1,2]", {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, {}, False),
        ('{"$ref":"http://127.0.0.1:9/x"}', {"$ref": "https://json-schema.org/draft/2020-12/schema"}, {}, True),
    ],
)
def test_schema_compares_as_told(text: str, table: Any, more: dict[str, Any], correct: object) -> None:
    assert schema(text, table, **more) is correct


def test_patterns_take_linear_time_where_others_take_for_ever() -> None:
    assert schema('{"n":1,"s":"' + "a" * 100_000 + '!"}') is False
    assert schema('{"' + "a" * 100_000 + '!":1}', {"patternProperties": {"^(a+)+$": False}}) is True
    only = {"patternProperties": {"^(a+)+$": True}, "additionalProperties": False}
    assert schema('{"' + "a" * 100_000 + '!":1}', only) is False


def test_unique_items_are_found_without_comparing_all_pairs() -> None:
    assert schema(json.dumps([*range(10_000), "a", [0]]), {"uniqueItems": True}) is True


@pytest.mark.parametrize("text", ["1" * MEGABYTE, '{"kind":0,"left":' * 40 + '{"kind":1}' + "}" * 40])
def test_schema_leaves_ungraded_what_is_too_much_work(text: str) -> None:
    assert schema(text, LEFT_RIGHT) is None


def test_schema_leaves_ungraded_what_never_ends() -> None:
    assert schema('{"a":1}', {"properties": {"a": {"$ref": "#/properties/a"}}}) is None


def test_nesting_is_read_down_to_its_limit() -> None:
    itself = {"properties": {"a": {"$ref": "#"}}}
    assert schema(nested(DEEPEST), itself) is True
    assert schema(nested(DEEPEST + 1), itself) is False


@pytest.mark.parametrize("text", ["[[", '"[[', '\\"[[', "{"])
def test_brackets_within_strings_are_no_levels(text: str) -> None:
    assert schema(json.dumps([text * DEEPEST]), {}) is True


def test_brackets_side_by_side_are_no_levels() -> None:
    assert schema(json.dumps([[]] * 2 * DEEPEST), {}) is True


@given(JSON)
def test_a_value_equals_itself_however_it_is_written(value: Any) -> None:
    assert comparable(parsed(json.dumps(value, indent=1))) == comparable(value)
    assert schema(json.dumps(value, ensure_ascii=False), {}, equals=value) is True


@given(st.text() | st.lists(st.sampled_from(list('{}[]",:1a\\ ntu')), max_size=30).map("".join))
def test_grading_never_raises(text: str) -> None:
    assert schema(text) in (True, False, None)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"type": "nope"}, "not a JSON Schema, at $.type"),
        ({"multipleOf": 0}, "not a JSON Schema, at $.multipleOf"),
        ({"minimum": float("nan")}, "NaN and infinity are not JSON"),
        (
            {"$ref": "http://127.0.0.1:9/x"},
            "nothing at $ref 'http://127.0.0.1:9/x'; write into the schema what it means",
        ),
        ({"$ref": "#/nope"}, "nothing at $ref '#/nope'"),
        ({"allOf": [True], "$ref": "#/allOf/x"}, "nothing at $ref '#/allOf/x'"),
        ({"$ref": "#"}, "refers back to itself without end"),
        ({"$ref": "#/my/own", "my": {"own": {"type": "nope"}}}, "not a JSON Schema"),
        ({"$ref": "#/my/own", "my": {"own": {"pattern": "(?=a)"}}}, "which has neither lookaround nor back references"),
        ({"items": {"pattern": "("}}, "not a regular expression: missing )"),
        ({"patternProperties": {"(?!a)": {}}}, "write it in RE2 syntax"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "use additionalProperties"),
        ({"$schema": "urn:x"}, "unknown $schema; use https://json-schema.org/draft/2020-12/schema"),
        ([], "schema = []: expected a table"),
    ],
)
def test_a_bad_schema_is_refused(table: Any, said: str) -> None:
    with pytest.raises(InputError, match=r"^tasks\.jsonl, line 3: grader: schema = ") as error:
        schema("1", table)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "schema is missing"),
        ({"schema": {"type": "string"}, "equals": 1}, "equals breaks type of the schema"),
        ({"schema": {}, "equals": float("nan")}, "NaN and infinity are not JSON"),
        ({"schema": {}, "fence": 1}, "fence = 1"),
        ({"shema": {}}, "shema: unknown key; use schema"),
    ],
)
def test_a_bad_grader_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"^tasks\.jsonl, line 3: grader: ") as error:
        validated(Schema, {"kind": "schema", **table}, PLACE)
    assert said in str(error.value)
