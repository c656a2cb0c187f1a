"""What a caller who wants the expensive model may do to a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle, islice

import numpy as np

from features.words import NUMBERS
from tests.bench.reasoning import REASONING_WORDS

Attack = Callable[[str], str]

FILLERS = ("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on")
CODE = ("{", "}", "(", ")", "=>", ";", "==", "&&", "[]", "+=", "`", "\\", "<", ">", "!=", "::")
DOSES = (1, 5, 20, 100)
LONG_DOSES = (100, 1000)
REPEATS = (10, 100)
UNKNOWN_COUNT = 100


def attacks(weights: Mapping[str, np.ndarray]) -> dict[str, Attack]:
    """Attacks by name; `weights` are the served vocabulary's, for the caller who has read the file."""
    loved = sorted(weights, key=lambda word: weights[word][0] - weights[word][1])[: max(DOSES)]
    numbers = sorted(NUMBERS)
    unknown = [word for word in _nonsense() if word not in weights]
    return {
        **{f"{dose} filler words appended": appended(FILLERS, dose) for dose in LONG_DOSES},
        **{f"{dose} reasoning words appended": appended(REASONING_WORDS, dose) for dose in DOSES},
        **{f"{dose} words most in favour of pro appended (white box)": appended(loved, dose) for dose in DOSES},
        **{f"the prompt {times} times over": repeated(times) for times in REPEATS},
        **{f"{dose} runs of code symbols appended": appended(CODE, dose) for dose in LONG_DOSES},
        **{f"{dose} numbers appended": appended(numbers, dose) for dose in LONG_DOSES},
        **{f"{dose} unknown words appended": appended(unknown, dose) for dose in (*DOSES, max(LONG_DOSES))},
    }


def appended(words: tuple[str, ...] | list[str], dose: int) -> Attack:
    """So many words after the prompt, the list over again where it is too short."""
    suffix = " ".join(islice(cycle(words), dose))
    return lambda prompt: f"{prompt} {suffix}"


def repeated(times: int) -> Attack:
    """The prompt several times."""
    return lambda prompt: " ".join([prompt] * times)


def _nonsense() -> list[str]:
    letters = np.random.default_rng(0).choice(list("bcdfghjklmnpqrstvwxz"), (UNKNOWN_COUNT, 12))
    return ["".join(row) for row in letters]
