"""What a model answered, as graders see it, and what a grader says of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asked for.

    Attributes:
        name: of the tool.
        arguments: JSON text, as the model wrote it, so not necessarily valid.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The final message of a model, without its reasoning.

    Attributes:
        text: its content, empty where there is none.
        tool_calls: in the order of the message.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader says.

    Attributes:
        correct: None where the answer could not be graded, which is neither right nor wrong.
        reason: one line that says why, for people; without more than a few words of the answer.
    """

    correct: bool | None
    reason: str
