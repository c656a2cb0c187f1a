r"""The word rule: one RE2 pattern, run by onnxruntime in training and in serving alike.

A run of letters in any script is one word; a character of Han, Kana or Hangul is one word; digits come in
chunks of up to three and ASCII symbols in chunks of up to two, so that there are few enough of them for one
table to name them all; every other character that is not white space is a word of its own.

>>> Tokenizer()(["Prove  x²>=1234 证明"]).tolist()
[['Prove', 'x', '²', '>=', '123', '4', '证', '明']]
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from itertools import product

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

# RE2 has no class subtraction: `[^\P{L}...]` is "letters, less the scripts whose characters are words".
SINGLE_SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\x{30FC}\x{FF70}"
ASCII_SYMBOLS = r"!-/:-@\[-`{-~"
# RE2's \s is ASCII only, so Unicode's White_Space is spelled out.
WHITE_SPACE = r"\x{9}-\x{D} \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"
# The operator takes the longest alternative, so the classes are disjoint and their order means nothing.
WORD_PATTERN = "|".join(
    (
        rf"(?:[^\P{{L}}{SINGLE_SCRIPTS}]|\p{{M}})+",
        r"[0-9]{1,3}",
        rf"[{ASCII_SYMBOLS}]{{1,2}}",
        rf"[{SINGLE_SCRIPTS}]",
        rf"[^\p{{L}}\p{{M}}0-9{ASCII_SYMBOLS}{WHITE_SPACE}]",
    )
)
PADDING = ""

KINDS = ("word", "number", "symbol")
# No prompt contains these as one word, since symbols and letters never share one.
PLACEHOLDERS = {kind: f"<{kind}>" for kind in KINDS}

NUMBERS = frozenset(
    "".join(digits) for size in (1, 2, 3) for digits in product(string.digits, repeat=size)
) | frozenset(chr(zero + digit) for zero in (0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0xFF10) for digit in range(10))
SYMBOLS = (
    frozenset("".join(marks) for size in (1, 2) for marks in product(string.punctuation, repeat=size))
    | frozenset("\u00ac\u00b1\u00d7\u00f7")
    | frozenset(map(chr, range(0x2190, 0x2300)))
)

HASHES = ("low_hash", "high_hash")
LONGEST_BATCH = 1024
LARGEST_BATCH_CHARACTERS = 500_000


def kind_of(word: str) -> str:
    """One of `KINDS`; a placeholder is of the kind that it stands for."""
    if word in NUMBERS or word == PLACEHOLDERS["number"]:
        return "number"
    return "symbol" if word in SYMBOLS or word == PLACEHOLDERS["symbol"] else "word"


def tokenizer_node(prompt: str, tokens: str) -> NodeProto:
    """The operator that applies the rule: string[N] -> string[N, W], rows padded with `PADDING`."""
    return helper.make_node(
        "Tokenizer", [prompt], [tokens], name=tokens, domain="com.microsoft",
        mark=0, mincharnum=1, pad_value=PADDING, tokenexp=WORD_PATTERN,
    )  # fmt: skip


class Tokenizer:
    """Splits prompts into words."""

    def __init__(self) -> None:
        hashes = [
            helper.make_node("MurmurHash3", ["tokens"], [name], domain="com.microsoft", seed=seed, positive=0)
            for seed, name in enumerate(HASHES)
        ]
        graph = helper.make_graph(
            [tokenizer_node("prompt", "tokens"), *hashes],
            "words",
            [helper.make_tensor_value_info("prompt", TensorProto.STRING, ["N"])],
            [
                helper.make_tensor_value_info("tokens", TensorProto.STRING, ["N", "W"]),
                *(helper.make_tensor_value_info(name, TensorProto.INT32, ["N", "W"]) for name in HASHES),
            ],
        )
        domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = helper.make_model(graph, opset_imports=domains, ir_version=10)
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def __call__(self, prompts: Sequence[str]) -> NDArray[np.object_]:
        """Words of N prompts in order, object[N, W], shorter rows padded with ""."""
        tokens: NDArray[np.object_] = self._session.run(["tokens"], {"prompt": np.array(prompts, dtype=object)})[0]
        return tokens

    def distinct(self, prompts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
        """The K distinct words of N prompts, padding included, and which of them stands where, int64[N, W] in [0, K).

        Words are told apart by 64 bits of hash, so that of a million tokens only the distinct ones become Python's.
        """
        import pyarrow as pa

        tokens, low, high = self._session.run(["tokens", *HASHES], {"prompt": np.array(prompts, dtype=object)})
        keys = (high.astype(np.int64) << 32) | low.view(np.uint32)
        encoded = pa.array(keys.ravel()).dictionary_encode()
        places = encoded.indices.to_numpy().astype(np.int64)
        first = np.empty(len(encoded.dictionary), np.int64)
        first[places[::-1]] = np.arange(len(places))[::-1]
        return tokens.ravel()[first].tolist(), places.reshape(tokens.shape)


def batches_by_length(prompts: Sequence[str]) -> list[list[int]]:
    """Row numbers in batches of similar length: one long prompt must not pad hundreds of short ones."""
    batches: list[list[int]] = []
    for row in sorted(range(len(prompts)), key=lambda row: len(prompts[row])):
        longest = max(len(prompts[row]), 1)
        room = max(1, min(LONGEST_BATCH, LARGEST_BATCH_CHARACTERS // longest))
        if not batches or len(batches[-1]) >= room:
            batches.append([])
        batches[-1].append(row)
    return batches
