"""What the simulated judge says of two answers."""

from __future__ import annotations

import json
import re

from pipeline.simulate.made import uniforms

ANSWERS = re.compile(r"<answer_a>\n(.*?)\n</answer_a>.*<answer_b>\n(.*?)\n</answer_b>", re.DOTALL)
ALIKE = 0.1


def judged(prompt: str) -> str:
    """The judge's reply to a prompt, as JSON text: {"winner": "A"}, "B" or "tie".

    Every answer has a merit that follows from its text alone, so the order in which two are shown does not matter; a
    prompt without two answers, and answers of much the same merit, are a tie.
    """
    found = ANSWERS.search(prompt)
    merits = [uniforms("merit", answer)[0] for answer in found.groups()] if found else [0.0, 0.0]
    winner = "tie" if abs(merits[0] - merits[1]) < ALIKE else "AB"[merits[1] > merits[0]]
    return json.dumps({"winner": winner})
