r"""The word rule: one RE2 pattern, run by onnxruntime in training and in serving alike.

A run of letters in any script is one word; a character of Han, Kana or Hangul is one word; digits come in
chunks of up to three and ASCII symbols in chunks of up to two, so that there are few enough of them for one
table to name them all; every other character that is not white space is a word of its own.

>>> Tokenizer()(["Prove  x²>=1234 证明"]).tolist()
[['Prove', 'x', '²', '>=', '123', '4', '证', '明']]
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

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

PROMPT = helper.make_tensor_value_info("prompt", TensorProto.STRING, ["N"])
TOKENS = helper.make_tensor_value_info("tokens", TensorProto.STRING, ["N", "W"])
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
        graph = helper.make_graph([tokenizer_node("prompt", "tokens")], "words", [PROMPT], [TOKENS])
        self._session = open_graph(graph)

    def __call__(self, prompts: Sequence[str]) -> NDArray[np.object_]:
        """Words of N prompts in order, object[N, W], shorter rows padded with ""."""
        tokens: NDArray[np.object_] = self._session.run(None, {"prompt": np.array(prompts, dtype=object)})[0]
        return tokens


class Numberer:
    """Splits prompts into words and numbers those of a lexicon; only words that it lacks become Python's strings.

    Args:
        lexicon: words and their numbers, not empty.
    """

    def __init__(self, lexicon: Mapping[str, int]) -> None:
        nodes = [
            tokenizer_node("prompt", "tokens"),
            helper.make_node(
                "LabelEncoder", ["tokens"], ["ids"], domain="ai.onnx.ml",
                keys_strings=list(lexicon), values_int64s=list(lexicon.values()), default_int64=-1,
            ),
            helper.make_node("Less", ["ids", "zero"], ["lacking"]),
            helper.make_node("Reshape", ["lacking", "flat"], ["lacking_flat"]),
            helper.make_node("Compress", ["tokens", "lacking_flat"], ["lacked"]),
        ]  # fmt: skip
        constants = [
            numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("zero", 0), ("flat", [-1]))
        ]
        ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "W"])
        lacked = helper.make_tensor_value_info("lacked", TensorProto.STRING, ["K"])
        self._session = open_graph(helper.make_graph(nodes, "numbers", [PROMPT], [ids, lacked], constants))
        self.size = len(lexicon)

    def __call__(self, prompts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
        """Numbers of the words of N >= 1 prompts, int64[N, W], -1 where the lexicon lacks one; and those it lacks."""
        ids, lacked = self._session.run(["ids", "lacked"], {"prompt": np.array(prompts, dtype=object)})
        return ids, lacked


def open_graph(graph: GraphProto) -> onnxruntime.InferenceSession:
    """Open a graph of the word rule, for one thread."""
    domains = [
        helper.make_opsetid("", 21),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("ai.onnx.ml", 4),
    ]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # domains that a graph does not use are no matter
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


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
