"""The population of generated tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from pipeline.simulate import lookup, reckoning, talking
from pipeline.simulate.ability import TIERS, is_right, log_odds, probability
from pipeline.simulate.made import Made, digest

KINDS = {
    "arithmetic": reckoning.arithmetic,
    "steps": reckoning.steps,
    "extraction": lookup.extraction,
    "ordering": lookup.ordering,
    "record": lookup.record,
    "tools": talking.tools,
    "dialogue": talking.dialogue,
}
CHINESE_SHARE = 0.2
# Every so many tasks, one asks what the one before asked, in slightly other words.
COPY_EVERY = 12
GREETINGS = {"en": "Hello. ", "zh": "你好。"}
# Beta distribution of what tasks demand: more of the easy and the hard than of those between.
EASY, HARD = 0.4, 0.55


@dataclass(frozen=True)
class SimTask:
    """A generated task.

    Attributes:
        id: "arithmetic/17"; the number counts all tasks.
        group: the id of the first task of near copies.
        kind: one of `KINDS`, which is its category.
        made: what is asked, and what is right and wrong.
        seed: of the population.
    """

    id: str
    group: str
    kind: str
    made: Made
    seed: int

    @property
    def line(self) -> dict[str, Any]:
        """The task as a line of a task file."""
        names = {"category": self.kind, "group": self.group}
        return {"id": self.id, **self.made.asked, **names, "grader": self.made.grader}

    def request(self, model: str) -> dict[str, Any]:
        """The chat-completions body that asks it."""
        asked = {key: value for key, value in self.made.asked.items() if key != "prompt"}
        prompt = [{"role": "user", "content": self.made.asked.get("prompt")}]
        return {"model": model, "messages": prompt, **asked}

    @cached_property
    def digest(self) -> bytes:
        """What the server knows it by."""
        return digest(self.made.asked)

    def log_odds(self, tier: str) -> float:
        """Of a right answer of a tier."""
        return log_odds(self.kind, self.made.load, tier)

    @property
    def chances(self) -> tuple[float, float]:
        """P(right) of flash and of pro."""
        flash, pro = (probability(self.log_odds(tier)) for tier in TIERS)
        return flash, pro

    def right(self, tier: str, less: float = 0.0) -> bool:
        """Whether the tier's answer is right, always the same; `less` log-odds if a worse model answers for it."""
        return is_right(self.seed, self.id, tier, probability(self.log_odds(tier) - less))


def is_copy(number: int) -> bool:
    """Whether the task of that number is a near copy of the one before."""
    return number % COPY_EVERY == COPY_EVERY - 1


def task(seed: int, number: int, attempt: int = 0) -> SimTask:
    """The task of that number; a further attempt makes another one. A near copy has the attempt of its original."""
    copy = is_copy(number)
    original = number - copy
    draw = Random(f"{seed}/{original}/{attempt}")  # noqa: S311  # no secret
    kind = draw.choice(list(KINDS))
    language = "zh" if draw.random() < CHINESE_SHARE else "en"
    made = KINDS[kind](draw, draw.betavariate(EASY, HARD), language)
    load = {**made.load, **({"chinese": 2.0} if language == "zh" else {})}
    asked = _greeted(made.asked, GREETINGS[language]) if copy else made.asked
    name = f"{kind}/{number}"
    made = Made(asked, made.grader, made.right, made.wrong, load)
    return SimTask(name, f"{kind}/{original}" if copy else name, kind, made, seed)


def _greeted(asked: dict[str, Any], greeting: str) -> dict[str, Any]:
    if "prompt" in asked:
        return asked | {"prompt": greeting + asked["prompt"]}
    *before, last = asked["messages"]
    return asked | {"messages": [*before, last | {"content": greeting + last["content"]}]}


def drawn(count: int, seed: int) -> Iterator[tuple[SimTask, int]]:
    """Tasks, no two of which ask the same, each with the attempt that made it."""
    known: set[bytes] = set()
    attempt = 0
    for number in range(count):
        attempt = attempt if is_copy(number) else 0
        while (found := task(seed, number, attempt)).digest in known:
            attempt += 1
        known.add(found.digest)
        yield found, attempt


def tasks(count: int, seed: int) -> Iterator[SimTask]:
    """Tasks, no two of which ask the same: those of a smaller count begin those of a larger one."""
    return (found for found, _ in drawn(count, seed))
