"""Answers compared with the options of a question: kind `choice`."""

# signs as models write them

# ruff: noqa: RUF001  # signs as models write them

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from string import ascii_uppercase
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.grade.answer import Answer, Verdict
from pipeline.grade.final import Final, final, folded, glimpse, peeled
from pipeline.tables import Strict

# Labels looked at; a text with more of them chooses nothing.
MOST = 100
# Characters looked at on both sides of a label.
AROUND = 30

_SENTENCE = re.compile(r"(?<=[.!?])\s+|[。！？\n]")
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|except|excluding|rather than|instead of)|n['’]t|不是|并非|不选|除了|排除)"
    r"[\s*_(\[\"'“‘]{0,4}(?:(?:option|choice|answer)\s|选项)?[\s*_(\[\"'“‘]{0,4}\Z",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\s*_)\]\"'”’.:]{0,4}(?:(?:is|are|was)(?: not\b|n['’]t\b| (?:wrong|incorrect|false)\b)|can(?:not|['’]t) be"
    r"|不|是?错)",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?:\b(?:option|choice)|选项?)[\s*_(\[\"'“‘:]{0,4}\Z", re.IGNORECASE)
_CUE = re.compile(
    r"(?:\b(?:answer|pick|picked|choose|chose|select|go with|say|so|thus|hence|therefore|but)|选择)"
    r"[\s*_(\[\"'“‘:]{0,4}\Z",
    re.IGNORECASE,
)
_IS = re.compile(r"(?:\b(?:is|be|it['’]s|that['’]s)|[是为為])[\s*_(\[\"'“‘:]{0,4}\Z", re.IGNORECASE)
_PRAISED = re.compile(
    r"[\s*_)\]\"'”’]{0,4}(?:is|为|是)\s?(?:the )?(?:correct|right|best|answer|true|正确|对)", re.IGNORECASE
)
# After the article "A" and the pronoun "I" comes a word that none of these is.
_ARTICLE = re.compile(r"\s(?!(?:is|or|and|because|since|as|but|not|isn['’]t)\b)[a-z']")
_JOINED = re.compile(r"[\s*_)\]]{0,4}(?:or|and|/|,|&|或者?|和|、)[\s*_(\[]{0,4}\Z", re.IGNORECASE)
_OPENING, _CLOSING = "([{*_`\"'“‘", ")]}*_`\"'”’"


def _labelled(options: Any) -> Any:
    if not isinstance(options, list | tuple):
        return options
    if not all(isinstance(each, str) for each in options) or len(set(options)) < len(options):
        raise ValueError('expected a list of different labels, or a table such as {"A": "Paris", "B": "Rome"}')
    return dict.fromkeys(options, "")


class Choice(Strict):
    """Right where the answer chooses the expected option, by its label or, alone, by its text.

    Looked at is the first sentence of the answer that the text marks (`pipeline.grade.final`), else the whole text. A
    label counts where it stands apart: alone, as "(B)", "B)", "**B**", after a word such as "option" or "is", before
    "is correct"; "not B" and "B is wrong" do not count. Wrong is what chooses another option, several ("B or C"), none.
    Left ungraded is what mentions several, mentions one in passing, only says which it is not, states an option's text
    within a sentence, or gives one option's label and another's text.

    Attributes:
        answer: the label of the expected option.
        options: labels, or labels with their texts, at least two. Case does not matter.
        count: instead of options: how many there are, labelled A, B, C, ...; 2 to 26.
    """

    kind: Literal["choice"]
    answer: str
    options: Annotated[dict[str, str], BeforeValidator(_labelled)] = Field(default_factory=dict)
    count: Annotated[int, Field(strict=True, ge=2, le=len(ascii_uppercase))] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.options) == bool(self.count):
            raise ValueError("give either count (how many options there are) or options (their labels), and not both")
        labels, texts = (
            [_plain(each) for each in self._options],
            [_plain(each) for each in self._options.values() if each],
        )
        if len(labels) < 2 or not all(labels) or len({*labels}) < len(labels) or len({*texts}) < len(texts):
            raise ValueError("expected at least two options, whose labels and texts differ in more than case")
        if _plain(self.answer) not in labels:
            raise ValueError(
                f"the answer {self.answer!r} is none of the options {', '.join(self._options)}; mend one of them"
            )
        return self

    def grade(self, answer: Answer) -> Verdict:
        """Whether it chooses the expected option; None where that cannot be told, see the class."""
        found = final(answer.text)
        if isinstance(found, Verdict):
            return found
        scope = _scope(found)
        chosen = self._stated(found.text) or self._mentioned(scope, marked=found.marked)
        if isinstance(chosen, Verdict):
            return chosen
        expected = _plain(self.answer)
        return Verdict(chosen == {expected}, f"expected {self.answer}, answered {glimpse(scope)!r}")

    @property
    def _options(self) -> dict[str, str]:
        return self.options or dict.fromkeys(ascii_uppercase[: self.count], "")

    def _stated(self, text: str) -> set[str] | Verdict:
        """What a text chooses that is nothing but labels, or an option's text, or both; empty for any other."""
        plain = _plain(text)
        labels = {_plain(label): _plain(told) for label, told in self._options.items()}
        texts = {told: label for label, told in labels.items() if told}
        only = plain.strip("()[]{}.: ")
        if only in labels:
            return {only}
        if plain in texts:
            return {texts[plain]}
        parts = re.split(r"\s?(?:\bor\b|\band\b|[,/&、]|或者?|和)\s?", plain)
        if all(part.strip("()[]*. ") in labels for part in parts):
            return {part.strip("()[]*. ") for part in parts}
        led = re.fullmatch(rf"[*_`(\[]{{0,4}}({_either(labels)})[*_`)\].:,、–— -]{{1,6}}(.+)", plain)
        told = texts.get(_plain(led[2])) if led else None
        if led and told and told != led[1]:
            return Verdict(None, f"one option's label with another's text: {glimpse(text)!r}")
        return {told} if told else set()

    def _mentioned(self, scope: str, *, marked: bool) -> set[str] | Verdict:
        """What running text chooses."""
        mentions: dict[str, set[str]] = {"chosen": set(), "passing": set(), "denied": set()}
        label = rf"(?<![0-9A-Za-z_À-ɏ])(?:{_either(self._options)})(?![0-9A-Za-z_À-ɏ]|['’][a-z])"
        found = list(islice(re.finditer(label, scope, re.IGNORECASE), MOST + 1))
        if len(found) > MOST:
            return Verdict(None, f"mentions labels more than {MOST} times: {glimpse(scope)!r}")
        kinds = [_kind(each, scope) for each in found]
        if marked and found and kinds[0] in ("chosen", "passing") and _leads(found, scope):
            return {_plain(found[0][0])}
        for each, kind in zip(found, kinds, strict=True):
            if kind:
                mentions[kind].add(_plain(each[0]))
        chosen, passing, denied = mentions.values()
        # A text that begins with a line of nothing but the choice goes on to explain it.
        first = self._stated(scope.strip().partition("\n")[0])
        if len(chosen) == 1 and (passing <= chosen or chosen == first) and not chosen & denied:
            return chosen
        if told := chosen | passing | denied:
            return Verdict(None, f"mentions {', '.join(sorted(told))} without a clear choice: {glimpse(scope)!r}")
        plain = _plain(scope)
        if any(text and _plain(text) in plain for text in self._options.values()):
            return Verdict(None, f"states an option's text within a sentence: {glimpse(scope)!r}")
        return set()


def _leads(labels: list[re.Match[str]], scope: str) -> bool:
    """Whether a text begins with the first of its labels, and does not offer the second as well."""
    if scope[: labels[0].start()].strip(_OPENING + " "):
        return False
    return len(labels) == 1 or not _JOINED.match(scope[labels[0].end() : labels[1].start()])


def _plain(text: str) -> str:
    return peeled(folded(text)).casefold()


def _either(labels: Iterable[str]) -> str:
    return "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))


def _scope(found: Final) -> str:
    return next((each for each in _SENTENCE.split(found.text) if each.strip()), "") if found.marked else found.text


def _kind(label: re.Match[str], scope: str) -> str | None:
    """How running text mentions a label: chosen, in passing, denied, or None where it is but a word."""
    before, after = scope[max(0, label.start() - AROUND) : label.start()], scope[label.end() : label.end() + AROUND]
    letter = len(label[0]) == 1 and label[0].isascii()
    apart = _apart(before, after)
    named = _NAMED.search(before)
    if letter and not apart and not named and (label[0].islower() or (label[0] in "AI" and _ARTICLE.match(after))):
        return None
    if _DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after):
        return "denied"
    cued = _CUE.search(before) or _PRAISED.match(after) or (_IS.search(before) and not label[0].isdigit())
    if apart or named or cued:
        return "chosen"
    return None if label[0] == "I" or label[0].isdigit() else "passing"


def _apart(before: str, after: str) -> bool:
    """Whether a label is in brackets, emphasised or quoted, alone on its line, or begins it as in "B)" and "B."."""
    begins = not before.rpartition("\n")[2].strip(_OPENING + "#>- \t")
    ends = not after.partition("\n")[0].strip(_CLOSING + ".: \t")
    enclosed = before[-1:] in tuple(_OPENING) and after[:1] in tuple(_CLOSING)
    return enclosed or (begins and ends) or (begins and after.lstrip("*_`")[:1] in (")", ".", ":", "、"))
