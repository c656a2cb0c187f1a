"""The golden rows of a version: requests with what its file answered where it was made.

Whoever opens the file elsewhere has to come by the same, or has another onnxruntime, processor or file than was tested.
"""

from __future__ import annotations

from typing import Any

import onnx

from features.graph import REQUEST_INPUTS
from features.request import Request
from pipeline.served import Served

TEXTS = (
    "",
    "Is 7 prime?",
    "Prove that there is no largest prime.",
    "def square(x):\n    return x ** 2",
    "什么是质数\uff1f",
    "Почему небо голубое?",
    "👩\u200d💻 हिन्दी שלום",
    "\0 1234567.89 <<= {}",
)
CONTEXTS = ((0, 0, 1), (20_000, 3, 9))
BAGS, WORDS_OF_A_BAG = 12, 9
# A request so close to a bound may be decided otherwise by another processor's last bit, and nothing be wrong.
CLEAR_OF_BOUNDS = 1e-4


def rows(model: onnx.ModelProto) -> list[dict[str, Any]]:
    """Requests of fixed texts and of the vocabulary's own words, no user's text, with the file's answers.

    Args:
        model: `router.onnx`.

    Returns:
        Inputs and outputs of each request as plain values; requests next to a bound are left out.
    """
    served = Served(model)
    texts = [*TEXTS, *_bags(list(served.weights))]
    requests = [Request(text, *context) for text in texts for context in CONTEXTS]
    found = [_answered(served, request) for request in requests]
    return [
        row for row in found if _clear(row["gain"], served.threshold) and _clear(row["evidence"], served.evidence_floor)
    ]


def _bags(words: list[str]) -> list[str]:
    """Texts of known words from all over the vocabulary."""
    step = max(1, len(words) // (BAGS * WORDS_OF_A_BAG))
    spread = words[::step][: BAGS * WORDS_OF_A_BAG]
    return [" ".join(spread[at::BAGS]) for at in range(min(BAGS, len(spread)))]


def _answered(served: Served, request: Request) -> dict[str, Any]:
    outputs = served.decide(request)
    return {
        "prompt": request.prompt,
        **{name: getattr(request, name) for name in REQUEST_INPUTS},
        "probabilities": outputs["probabilities"][0].tolist(),
        "gain": float(outputs["gain"][0]),
        "evidence": float(outputs["evidence"][0]),
        "use_pro": bool(outputs["use_pro"][0]),
    }


def _clear(value: float, bound: float) -> bool:
    return abs(value - bound) > CLEAR_OF_BOUNDS
