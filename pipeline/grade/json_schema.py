"""JSON Schema with no network and no regular expression that backtracks.

jsonschema's own `pattern`, `patternProperties` and `additionalProperties` search with Python's `re`, which a hostile
answer can keep busy for years; its `uniqueItems` compares all pairs; its `multipleOf` divides doubles, by which 19.99
is no multiple of 0.01. Those five are replaced here. `format` is an annotation, as in the standard, and not checked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from pipeline.grade.answer import Verdict
from pipeline.grade.final import glimpse
from pipeline.grade.json_text import comparable
from pipeline.grade.texts import matching, re2

# References followed for one answer. Where branches of a schema refer back to it, their number is exponential in depth.
MOST_REFERENCES = 20_000
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

Table = Mapping[str, Any]

_left = threading.local()


def held(value: Any, schema: Table) -> Verdict:
    """Whether a JSON value fits a checked schema, with the first rule that it breaks.

    None where telling takes more than `MOST_REFERENCES`, or never ends.
    """
    validator = _bounded(_dialect(schema))(schema, registry=_registry())
    _left.references = MOST_REFERENCES
    try:
        error = next(validator.iter_errors(value), None)
    except RecursionError:
        return Verdict(None, "the schema refers back to itself without end, or too often for this answer")
    if error is None:
        return Verdict(correct=True, reason="fits the schema")
    return Verdict(correct=False, reason=f"breaks {error.schema_path[-1]} of the schema at {glimpse(error.json_path)}")


def checked(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself.

    Raises:
        ValueError: not a JSON Schema, a reference that leads nowhere, a pattern that is not RE2: says what to do.
    """
    comparable(schema)
    _check_once(json.dumps(schema))
    return schema


@lru_cache
def _check_once(text: str) -> None:
    """Tasks often share a schema."""
    from jsonschema import SchemaError

    schema = json.loads(text)
    try:
        _check(schema)
    except SchemaError as error:
        raise ValueError(f"not a JSON Schema, at {error.json_path}: {glimpse(error.message)}; mend it") from None
    except RecursionError:
        raise ValueError("nested too deeply; simplify it") from None
    if held(None, schema).correct is None:
        raise ValueError("it refers back to itself without end; mend the reference")


def _registry() -> Any:
    """The standard's own documents and nothing else, least of all from the network."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # ships no types

    return REGISTRY


def _dialect(schema: Table) -> Any:
    from jsonschema.validators import Draft202012Validator, validator_for

    found = validator_for(schema, default=None)
    if found is None and "$schema" in schema:
        raise ValueError("unknown $schema; use https://json-schema.org/draft/2020-12/schema, or leave it out")
    return found or Draft202012Validator


@lru_cache
def _bounded(dialect: Any) -> Any:
    """The dialect with the rules replaced, and with references that count what the thread has left of them."""
    from jsonschema.validators import extend

    def counted(follow: Any) -> Any:
        def following(*arguments: Any) -> Iterator[Any]:
            _left.references -= 1
            if _left.references < 0:
                raise RecursionError
            return follow(*arguments) or iter(())

        return following

    references = {key: counted(dialect.VALIDATORS[key]) for key in REFERENCES if key in dialect.VALIDATORS}
    return extend(dialect, REPLACED | references)


def _check(schema: Table) -> None:
    """Holds all that can be reached from a schema against the standard, its patterns against RE2."""
    from referencing import Resource
    from referencing.jsonschema import DRAFT202012

    dialect = _dialect(schema)
    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    ahead, seen = [(schema, _registry().resolver_with_root(root), True)], {}
    while ahead:
        part, resolver, whole = ahead.pop()
        if whole:
            dialect.check_schema(part, format_checker=None)
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen[id(part)] = part
        resource = Resource.from_contents(part, default_specification=DRAFT202012)
        ahead += [(each.contents, resolver.in_subresource(each), False) for each in resource.subresources()]
        ahead += [(*_target(resolver, part[key]), True) for key in REFERENCES if key in part]
    _check_patterns(list(seen.values()))


def _target(resolver: Any, reference: str) -> tuple[Any, Any]:
    from referencing.exceptions import Unresolvable

    try:
        found = resolver.lookup(reference)
    except (Unresolvable, ValueError):  # the latter: "#/allOf/x"
        raise ValueError(
            f"nothing at $ref {reference!r}; write into the schema what it means, none is fetched"
        ) from None
    return found.contents, found.resolver


def _check_patterns(parts: list[Table]) -> None:
    for part in parts:
        for pattern in (*part.get("patternProperties", ()), *([part["pattern"]] if "pattern" in part else ())):
            re2(pattern)
    # jsonschema looks for what has been evaluated by itself, with Python's `re`.
    if all(any(key in part for part in parts) for key in ("patternProperties", "unevaluatedProperties")):
        raise ValueError("patternProperties with unevaluatedProperties is not supported; use additionalProperties")


def _pattern(validator: Any, pattern: str, value: Any, _: Table) -> Iterator[Any]:
    if validator.is_type(value, "string") and not matching(pattern, [value])[0]:
        yield _error("no match")


def _pattern_properties(validator: Any, patterns: Table, value: Any, _: Table) -> Iterator[Any]:
    for pattern, part in patterns.items() if validator.is_type(value, "object") else ():
        for key in _keys(value, pattern):
            yield from validator.descend(value[key], part, path=key, schema_path=pattern)


def _additional_properties(validator: Any, part: Any, value: Any, schema: Table) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    known = {*schema.get("properties", ())}
    for pattern in schema.get("patternProperties", ()):
        known.update(_keys(value, pattern))
    for key in value.keys() - known:
        yield from validator.descend(value[key], part, path=key)


def _unique_items(validator: Any, unique: bool, value: Any, _: Table) -> Iterator[Any]:
    if unique and validator.is_type(value, "array") and len({comparable(each) for each in value}) < len(value):
        yield _error("an item stands twice")


def _multiple_of(validator: Any, step: float, value: Any, _: Table) -> Iterator[Any]:
    if validator.is_type(value, "number") and (Fraction(repr(value)) / Fraction(repr(step))).denominator > 1:
        yield _error("no multiple")


def _keys(table: Table, pattern: str) -> list[str]:
    return [key for key, found in zip(table, matching(pattern, list(table)), strict=True) if found]


def _error(message: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message)


REPLACED = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "multipleOf": _multiple_of,
}
