"""Answers compared as text: kinds `exact` and `pattern`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, model_validator

from pipeline.grade.answer import Answer, Verdict
from pipeline.grade.final import final, folded, glimpse, oversized, peeled
from pipeline.tables import Strict

NO_LOOKAROUND = "write it in RE2 syntax, which has neither lookaround nor back references"


def matching(pattern: str, texts: Sequence[str], *, case: bool = True) -> list[bool]:
    """Which texts a regular expression of RE2 syntax is found in, in time linear in their length.

    Args:
        pattern: `\\d`, `\\w` and `\\b` know ASCII alone, `.` stops at a new line, `$` is the end of the text.
        texts: lone surrogates are taken for U+FFFD.
        case: whether upper and lower case differ.

    Raises:
        ValueError: not a regular expression of RE2.
    """
    import pyarrow as pa
    from pyarrow import compute

    clean = [text.encode(errors="surrogatepass").decode(errors="replace") for text in texts]
    found = compute.match_substring_regex(pa.array(clean, pa.large_string()), pattern, ignore_case=not case)
    return [bool(each) for each in found.to_pylist()]


def re2(pattern: str) -> str:
    """The pattern itself.

    Raises:
        ValueError: not a regular expression of RE2: says why and what to do.
    """
    try:
        matching(pattern, [""])
    except ValueError as error:  # of which ArrowInvalid and UnicodeEncodeError are kinds
        reason = str(error).removeprefix("Invalid regular expression: ").strip()
        raise ValueError(f"not a regular expression: {reason}; {NO_LOOKAROUND}") from None
    return pattern


def _listed(answer: Any) -> Any:
    texts = [answer] if isinstance(answer, str) else answer
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(each, str) for each in texts):
        raise ValueError("expected a text, or a list of texts of which any will do")
    if not all(folded(each).strip() for each in texts):
        raise ValueError("expected something to compare with: a blank text is no answer")
    return tuple(texts)


class Exact(Strict):
    """Right where the whole answer, or the final answer that it marks, is the expected text.

    Compared in NFC and single spaces, with full-width letters and digits as ASCII. "The capital is Paris" is not
    "Paris"; "Answer: Paris" is, see `pipeline.grade.final`.

    Attributes:
        answer: the expected text, or several of which any will do.
        case: whether upper and lower case differ.
        punctuation: whether a final full stop, quotes, emphasis or a code fence around the whole answer count.
    """

    kind: Literal["exact"]
    answer: Annotated[tuple[str, ...], BeforeValidator(_listed)]
    case: StrictBool = False
    punctuation: StrictBool = False

    def grade(self, answer: Answer) -> Verdict:
        """Whether it is the expected text; None where it marks two answers, or is too long."""
        found = final(answer.text)
        if isinstance(found, Verdict):
            return found
        # The whole text too: what is expected may itself read "Answer: Paris".
        given = {self._plain(answer.text), self._plain(found.text)}
        if not given.isdisjoint(self._plain(each) for each in self.answer):
            return Verdict(correct=True, reason=f"answered {glimpse(found.text)!r}")
        return Verdict(correct=False, reason=f"expected {glimpse(self.answer[0])!r}, answered {glimpse(found.text)!r}")

    def _plain(self, text: str) -> str:
        text = folded(text)
        text = " ".join(text.split()) if self.punctuation else peeled(text)
        return text if self.case else unicodedata.normalize("NFC", text.casefold())


class Pattern(Strict):
    """Right where a regular expression is found in the answer, as it stands but in NFC.

    Attributes:
        pattern: in RE2 syntax, see `matching`.
        full: whether it has to match all of the answer, white space around it aside.
        case: whether upper and lower case differ.
    """

    kind: Literal["pattern"]
    pattern: Annotated[str, Field(min_length=1), AfterValidator(re2)]
    full: StrictBool = False
    case: StrictBool = True

    @model_validator(mode="after")
    def _whole(self) -> Self:
        re2(self._searched())  # an unfinished \\Q reads well alone only
        return self

    def grade(self, answer: Answer) -> Verdict:
        """Whether the pattern is found; None where the answer is too long."""
        if refusal := oversized(answer.text):
            return refusal
        text = unicodedata.normalize("NFC", answer.text).strip()
        found = matching(self._searched(), [text], case=self.case)[0]
        said = "matches" if found else "does not match"
        return Verdict(found, f"{said} {glimpse(self.pattern)}: {glimpse(text)!r}")

    def _searched(self) -> str:
        return rf"\A(?:{self.pattern})\z" if self.full else self.pattern
