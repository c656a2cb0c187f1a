"""The final answer of a text: what a model marks as its answer, apart from how it got there.

What counts as a mark, the stronger kind first; within a kind the last line that has one decides, because models
correct themselves:

1. `\\boxed{X}`; `#### X` on the last line; `Answer: X`, `**Final answer:** X`, `答案：X` at the start of a line or of a
   sentence. Where nothing follows on the line, the rest of the text is X.
2. `the answer is X`, `the correct option is X`, `答案是X` anywhere.

Two different answers marked on that line leave open which is meant: could not be graded. This, like everything else
that graders leave undecided, rests on the answer alone and never on what was expected, so that what is left ungraded
does not depend on whether it is right.
"""

# ruff: noqa: RUF001, RUF002  # signs as models write them
from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from pipeline.grade.answer import Verdict

# Characters; some 50,000 tokens. What is longer is not an answer to a task with a checkable result.
LONGEST = 200_000
SHOWN = 60
LAYERS = 8

# Full-width forms as their ASCII twins; marks that are not seen (direction, joining, soft hyphen) as nothing.
# A full-width comma lists things and never groups digits, hence the space.
_WIDE = {0xFF01 + at: 0x21 + at for at in range(94)} | {0xFF0C: ", ", 0x3000: " ", 0x2028: "\n", 0x2029: "\n"}
_UNSEEN = dict.fromkeys([0xAD, 0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF])
_FOLD = _WIDE | _UNSEEN

_START = r"(?:^|(?<=[.!?。]))[#>*_ \t]{0,8}"
_KIND = r"(?:final|correct|right|best|exact) "
_END = r"[*_ ]{0,4}(?:\([^()\n]{0,40}\)[*_ ]{0,4})?(?::[*_]{0,4}|$)"
_STRONG = re.compile(
    rf"{_START}(?:(?:(?:so|thus|therefore|hence),? )?(?:the |my )?(?:{_KIND}){{0,2}}answer"
    rf"|(?:最终|最終|最后|最後|正确|正確)?的?答案|答(?=:)){_END}",
    re.IGNORECASE | re.MULTILINE,
)
_WEAK = re.compile(
    rf"(?:(?:\b(?:the|my) (?:{_KIND})?|\b{_KIND}|{_START})answer|\b{_KIND}(?:option|choice))"
    r"(?: (?:to|for) [^.:\n]{1,60}?)? is\b(?! not\b|n['’]t\b):?|答案(?:应该|應該)?(?:是|为|為):?",
    re.IGNORECASE | re.MULTILINE,
)
_BRACES = re.compile(r"\\(?:boxed|fbox)\s?\{|\\[{}]|[{}]")
_PAIRS = (
    ("```", "```"), ("**", "**"), ("__", "__"), ("~~", "~~"), ("`", "`"), ("*", "*"), ("_", "_"), ('"', '"'),
    ("'", "'"), ("“", "”"), ("‘", "’"), ("«", "»"), ("「", "」"), ("『", "』"), ("$$", "$$"), ("$", "$"),
    ("\\(", "\\)"), ("\\[", "\\]"), ("\\text{", "}"), ("\\boxed{", "}"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Final:
    """The final answer.

    Attributes:
        text: folded, see `folded`; the whole text where nothing is marked.
        marked: whether the model marked it.
        after: what follows `\\boxed{...}` on its line, such as a unit.
    """

    text: str
    marked: bool
    after: str = ""


_Mark = tuple[int, Final]


def final(text: str) -> Final | Verdict:
    """The final answer of a text, or the verdict that it could not be graded; see the module."""
    if refusal := oversized(text):
        return refusal
    plain = folded(text)
    strong = _decisive([*_boxes(plain)], [*_marks(_STRONG, plain), *_hashes(plain)], plain)
    found = strong or _decisive([], [*_marks(_WEAK, plain)], plain)
    different = {peeled(each.text).casefold(): each for each in found}
    if len(different) > 1:
        return Verdict(None, f"several answers marked side by side: {glimpse(', '.join(different))}")
    return next(iter(different.values()), Final(plain, marked=False))


def oversized(text: str) -> Verdict | None:
    """The verdict on an answer that is longer than `LONGEST` characters, else None."""
    if len(text) <= LONGEST:
        return None
    return Verdict(None, f"{len(text):,} characters: answers above {LONGEST:,} are not graded")


def folded(text: str) -> str:
    """A text in NFC, full-width letters, digits and signs as ASCII, without invisible marks.

    Not NFKC, which takes "10²" for "102".
    """
    return unicodedata.normalize("NFC", text).translate(_FOLD).replace("\r\n", "\n").replace("\r", "\n")


def peeled(text: str) -> str:
    """A text in single spaces without what surrounds it: quotes, emphasis, code fence, a final full stop."""
    text = text.strip()
    for _ in range(LAYERS):
        inner = _inner(text).strip()
        if not inner or inner == text:
            break
        text = inner
    return " ".join(text.split())


def fenced(text: str) -> str:
    """The inside of the Markdown code fence that a whole text is; any other text as it is."""
    found = re.fullmatch(r"\s*```[\w+-]{0,20}[^\S\n]*\n(.*)```\s*", text, re.DOTALL)
    return found[1] if found and "```" not in found[1] else text


def glimpse(text: str) -> str:
    """A text for a reason: one line, at most 60 characters, nothing that is not printable."""
    line = "".join(mark if mark.isprintable() else " " for mark in text[: 4 * SHOWN])
    line = " ".join(line.split())
    cut = len(text) > 4 * SHOWN or len(line) > SHOWN
    return f"{line[: SHOWN - 1]}…" if cut else line


def _inner(text: str) -> str:
    if (inside := fenced(text)) is not text:
        return inside
    if text.endswith((".", "。")) and not text.endswith(".."):
        return text[:-1]
    for opening, closing in _PAIRS:
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
            return text[len(opening) : -len(closing)]
    return text


def _decisive(boxes: list[_Mark], marks: list[_Mark], text: str) -> list[Final]:
    """Of all marks those on the last line that has any; of these the boxes, where there are boxes."""
    start = text.rfind("\n", 0, max((at for at, _ in (*boxes, *marks)), default=0)) + 1
    return [each for at, each in boxes if at >= start] or [each for at, each in marks if at >= start]


def _boxes(text: str) -> Iterator[_Mark]:
    """What stands in boxes that are inside no other; one pass, however braces are nested."""
    opened: list[re.Match[str]] = []
    boxes = 0
    for brace in _BRACES.finditer(text):
        if brace[0] in ("\\{", "\\}"):
            continue
        if brace[0] != "}":
            opened.append(brace)
            boxes += len(brace[0]) > 1
        elif opened and len((box := opened.pop())[0]) > 1:
            boxes -= 1
            if not boxes:
                after = text[brace.end() : brace.end() + SHOWN].partition("\n")[0]
                yield box.start(), Final(text[box.end() : brace.start()].strip(), marked=True, after=after)


def _marks(mark: re.Pattern[str], text: str) -> Iterator[_Mark]:
    """What follows each mark up to the next one or the end of the line; the rest of the text where that is nothing."""
    found = list(mark.finditer(text))
    for this, following in zip_longest(found, found[1:]):
        until = following.start() if following else len(text)
        content = text[this.end() : until].partition("\n")[0]
        if not content.strip("*_ \t") and not following:
            content = text[this.end() :]
        if content.strip("*_ \t\n"):
            yield this.start(), Final(_closed(content.strip()), marked=True)


def _closed(content: str) -> str:
    """Without the end of an emphasis that began before the mark, as in `**Answer: X**`."""
    return content.removesuffix("**").rstrip() if content.count("**") % 2 else content


def _hashes(text: str) -> Iterator[_Mark]:
    """`#### X` on the last line; elsewhere it is a heading."""
    whole = text.rstrip()
    start = whole.rfind("\n") + 1
    if found := re.match(r"#### ?([^#\n]+)", whole[start:]):
        yield start, Final(found[1].strip(), marked=True)
