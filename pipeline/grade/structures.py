"""Answers compared as structures: kinds `schema` (JSON) and `tools` (tool calls)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, model_validator

from pipeline.grade.answer import Answer, ToolCall, Verdict
from pipeline.grade.final import fenced, glimpse, oversized
from pipeline.grade.json_schema import checked, held
from pipeline.grade.json_text import comparable, parsed
from pipeline.tables import Strict


class Schema(Strict):
    """Right where the whole answer is JSON that fits a JSON Schema.

    A key twice in one object, NaN, infinity and more than 50 levels are no JSON here.

    Attributes:
        json_schema: `schema` in a file; of draft 2020-12 unless its `$schema` says otherwise, see
            `pipeline.grade.json_schema`.
        equals: the value it has to be, besides; 1 is 1.0 but not true. Left out, any value that fits is right.
        fence: whether a Markdown code fence may stand around the JSON.
    """

    kind: Literal["schema"]
    json_schema: Annotated[dict[str, Any], AfterValidator(checked)] = Field(alias="schema")
    equals: Any = None
    fence: StrictBool = True

    @model_validator(mode="after")
    def _possible(self) -> Self:
        comparable(self.equals)
        if "equals" in self.model_fields_set and not (found := held(self.equals, self.json_schema)).correct:
            raise ValueError(f"equals {found.reason}, so that nothing could be right; mend one of them")
        return self

    def grade(self, answer: Answer) -> Verdict:
        """Whether it fits; None where the answer is too long or holding it against the schema too much work."""
        if refusal := oversized(answer.text):
            return refusal
        try:
            value = parsed(fenced(answer.text) if self.fence else answer.text)
        except ValueError as error:
            return Verdict(correct=False, reason=f"not JSON ({glimpse(str(error))}): {glimpse(answer.text)!r}")
        found = held(value, self.json_schema)
        if found.correct and "equals" in self.model_fields_set and comparable(value) != comparable(self.equals):
            return Verdict(correct=False, reason=f"another value than the expected one: {glimpse(answer.text)!r}")
        return found


def _finite(value: Any) -> Any:
    comparable(value)
    return value


Finite = Annotated[Any, AfterValidator(_finite)]
OneOf = Annotated[list[Finite], Field(min_length=1)]


class ExpectedCall(Strict):
    """A call that has to be made.

    Attributes:
        name: of the tool.
        arguments: that have to be given, with their values. 1 is 1.0, but texts have to be the same.
        any_of: that have to be given, each with the values of which any will do.
        optional: that may be left out, each with the values of which any will do.
    """

    name: Annotated[str, Field(min_length=1)]
    arguments: dict[str, Finite] = Field(default_factory=dict)
    any_of: dict[str, OneOf] = Field(default_factory=dict)
    optional: dict[str, OneOf] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        names = [*self.arguments, *self.any_of, *self.optional]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} stands twice; keep it under one of arguments, any_of and optional")
        return self

    def complaint(self, call: ToolCall) -> str | None:
        """What is wrong with a call; None where it fits."""
        if call.name != self.name:
            return f"expected a call of {self.name}"
        try:
            given = parsed(call.arguments) if call.arguments.strip() else {}  # some endpoints send "" for no arguments
        except ValueError as error:
            return f"arguments are not JSON ({error})"
        if not isinstance(given, dict):
            return "arguments are no object"
        return self._difference(given)

    def _difference(self, given: dict[str, Any]) -> str | None:
        allowed = {name: [value] for name, value in self.arguments.items()} | self.any_of | self.optional
        if missing := [name for name in allowed if name not in given and name not in self.optional]:
            return f"argument {missing[0]} is missing"
        for name, value in given.items():
            if name not in allowed:
                return f"unexpected argument {name}"
            if comparable(value) not in [comparable(each) for each in allowed[name]]:
                return f"argument {name} has another value"
        return None


class Tools(Strict):
    """Right where exactly the expected calls are made, each once; the text beside them does not matter.

    Attributes:
        calls: expected; empty where none may be made.
        ordered: whether their order counts.
    """

    kind: Literal["tools"]
    calls: Annotated[tuple[ExpectedCall, ...], Field(max_length=100)]
    ordered: StrictBool = False

    def grade(self, answer: Answer) -> Verdict:
        """Whether it makes the expected calls; None where they are too long."""
        if refusal := oversized("".join(call.arguments for call in answer.tool_calls)):
            return refusal
        made = answer.tool_calls
        if len(made) != len(self.calls):
            return Verdict(correct=False, reason=f"expected {len(self.calls)} tool calls, made {len(made)}")
        complaints = [[expected.complaint(call) for expected in self.calls] for call in made]
        fits = [[complaint is None for complaint in row] for row in complaints]
        correct = all(row[at] for at, row in enumerate(fits)) if self.ordered else _assignable(fits)
        if correct:
            return Verdict(correct=True, reason="makes the expected tool calls")
        return Verdict(correct=False, reason=_why(made, complaints, self.calls))


def _assignable(fits: list[list[bool]]) -> bool:
    """Whether every call can have an expected one of its own; Kuhn's augmenting paths, bool[N][N]."""
    taken: dict[int, int] = {}

    def place(call: int, tried: set[int]) -> bool:
        for expected, fit in enumerate(fits[call]):
            if fit and expected not in tried:
                tried.add(expected)
                if expected not in taken or place(taken[expected], tried):
                    taken[expected] = call
                    return True
        return False

    return all(place(call, set()) for call in range(len(fits)))


def _why(made: tuple[ToolCall, ...], complaints: list[list[str | None]], calls: tuple[ExpectedCall, ...]) -> str:
    for at, (call, row) in enumerate(zip(made, complaints, strict=True), 1):
        if all(row):
            # What is said of an expected call of that name says the most.
            told = next((each for each, expected in zip(row, calls, strict=True) if expected.name == call.name), row[0])
            return f"call {at}, {glimpse(call.name)}: {glimpse(str(told))}"
    return "no expected call is left for one that was made, or their order differs"
