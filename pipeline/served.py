"""A router as it is served: `router.onnx` and nothing else. No pickle is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime import InferenceSession

from features.graph import FEATURES, REQUEST_INPUTS, session, unfold
from features.measure import Tally, measure
from features.request import Request
from features.vocabulary import WEIGHT_SCALE, sums
from features.words import NUMBERS, PLACEHOLDERS, SYMBOLS, Tokenizer, batches_by_length
from pipeline.artifact import read_whole, verified
from pipeline.schema import TIERS
from pipeline.traces import Traces

OUTPUTS = ("features", "probabilities", "gain", "evidence", "use_pro")
# Unknown to every vocabulary, and a word of its own by the word rule.
UNKNOWN_WORD = "\ue000"

Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class WordMove:
    """How much a word of the prompt moved the gain; positive means towards pro."""

    word: str
    gain: float


@dataclass(frozen=True, slots=True)
class Files:
    """A version's two files, open; what they give to traces is what serving would."""

    served: Served
    scorer: InferenceSession

    @classmethod
    def open(cls, folder: Path) -> Files:
        """Those of a version folder.

        Raises:
            ArtifactError: the folder is no version, or a file is not the one that the manifest describes.
        """
        known = read_whole(folder)["onnx"]
        router, scorer = (
            onnx.load_model_from_string(verified(folder, f"{name}.onnx", known[name])) for name in ("router", "scorer")
        )
        return cls(Served(router), session(scorer))

    def see(self, traces: Traces) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
        """Features float32[N, 10], evidence float32[N], probabilities float64[N, 2]; words are counted once."""
        sizes = sums(tuple(self.served.weights), self.served.weight_units, traces.bags, traces.encoder.lexicon)
        features, evidence = measure(traces.tally, sizes)
        (probabilities,) = self.scorer.run(["probabilities"], {"features": features})
        return features, evidence, probabilities.astype(float)


class Served:
    """An open router.

    Args:
        model: `router.onnx` in memory.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = session(model)
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        encoder = next(node for node in model.graph.node if node.op_type == "LabelEncoder")
        attributes = {attribute.name: attribute for attribute in encoder.attribute}
        rows = dict(
            zip(
                (key.decode() for key in attributes["keys_strings"].strings),
                attributes["values_int64s"].ints,
                strict=True,
            )
        )
        self.threshold, self.evidence_floor = (
            float(numpy_helper.to_array(constants[name])) for name in ("threshold", "evidence_floor")
        )
        table = unfold(numpy_helper.to_array(constants["weight_bytes"])).astype(np.int64)
        self._coefficients = numpy_helper.to_array(constants["coefficients"])
        known, low, high = table[:, 0], table[:, 1:3], table[:, 3:5]
        weights = (low + 256 * high) / WEIGHT_SCALE
        self.weights = {word: weights[row] for word, row in rows.items() if known[row]}

    @classmethod
    def open(cls, folder: Path) -> tuple[Served, dict[str, Any]]:
        """The router of a version folder, and its manifest.

        Raises:
            ArtifactError: the folder is no version, or its file is not the one that the manifest describes.
        """
        manifest = read_whole(folder)
        return cls(onnx.load_model_from_string(verified(folder, "router.onnx", manifest["onnx"]["router"]))), manifest

    @property
    def weight_units(self) -> NDArray[np.int32]:
        """The weights of the known words in units of 2**-12, int32[V, 2], in the order of `weights`."""
        weights = np.array(list(self.weights.values()), float).reshape(-1, len(TIERS))
        return np.asarray(np.rint(WEIGHT_SCALE * weights), dtype=np.int32)

    def run(self, prompts: Sequence[str], tally: Tally) -> Outputs:
        """All outputs for N requests, by name, in batches of similar length."""
        batches = batches_by_length(prompts)
        parts = [
            self._run([prompts[row] for row in rows], {name: getattr(tally, name)[rows] for name in REQUEST_INPUTS})
            for rows in batches
        ]
        back = np.argsort(np.concatenate(batches))
        return {name: np.concatenate([part[name] for part in parts])[back] for name in OUTPUTS}

    def _run(self, prompts: Sequence[str], inputs: dict[str, NDArray[Any]]) -> Outputs:
        values = self._session.run(OUTPUTS, {"prompt": np.array(prompts, dtype=object), **inputs})
        return dict(zip(OUTPUTS, values, strict=True))

    def decide(self, request: Request, threshold: float | None = None) -> Outputs:
        """All outputs for one request, each of length 1; with a threshold in the place of the tuned one, if given."""
        inputs = {name: np.array([getattr(request, name)], np.int64) for name in REQUEST_INPUTS}
        override = {} if threshold is None else {"threshold": np.array(threshold, np.float32)}
        return self._run([request.prompt], inputs | override)

    def texts(self, traces: Traces) -> list[str]:
        """The prompts, or texts with the same words: in sorted order, with unknown ones for the placeholders."""
        if traces.prompts is not None:
            return list(traces.prompts)
        unknown = {
            PLACEHOLDERS["word"]: UNKNOWN_WORD,
            PLACEHOLDERS["number"]: self._unknown(NUMBERS),
            PLACEHOLDERS["symbol"]: self._unknown(SYMBOLS),
        }
        words = [unknown.get(word, word) + " " for word in traces.encoder.lexicon]
        spelled = [
            words[word] * times
            for word, times in zip(traces.bags.ids.tolist(), traces.bags.counts.tolist(), strict=True)
        ]
        return ["".join(spelled[a:b]) for a, b in pairwise(traces.bags.starts.tolist())]

    def _unknown(self, words: frozenset[str]) -> str:
        return next((word for word in sorted(words) if word not in self.weights), UNKNOWN_WORD)

    def moves(self, request: Request) -> list[WordMove]:
        """What each known word of the prompt adds to the gain, to first order, the strongest first."""
        words = sorted({word for word in Tokenizer()([request.prompt])[0] if word in self.weights})
        if not words:
            return []
        chance = self.decide(request)["probabilities"][0].astype(float)
        vocabulary = [FEATURES.index("flash_vocabulary"), FEATURES.index("pro_vocabulary")]
        per_shift = self._coefficients[vocabulary] @ (chance * (1 - chance) * np.array([-1, 1]))
        moves = [WordMove(word, float(self.weights[word] @ per_shift) / len(words)) for word in words]
        return sorted(moves, key=lambda move: -abs(move.gain))
