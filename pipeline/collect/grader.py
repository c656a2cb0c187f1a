"""The graders that a task may name."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from pydantic import Field, TypeAdapter

from pipeline.collect.human import Human
from pipeline.collect.judge import Judge
from pipeline.grade.choices import Choice
from pipeline.grade.code import Code
from pipeline.grade.numbers import Number
from pipeline.grade.structures import Schema, Tools
from pipeline.grade.texts import Exact, Pattern

Grader = Annotated[
    Exact | Choice | Pattern | Number | Schema | Tools | Code | Judge | Human, Field(discriminator="kind")
]
_ADAPTER: TypeAdapter[Grader] = TypeAdapter(Grader)


@lru_cache  # both tiers' answers, and often many tasks, have the same
def restored(text: str) -> Grader:
    """A grader from JSON as the journal holds it."""
    return _ADAPTER.validate_json(text)
