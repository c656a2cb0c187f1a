"""The features as ONNX nodes: prompt -> counts -> ten features. Training and serving run the same ones.

Part A, `prompt_to_counts`, turns a prompt into nine whole numbers. Training comes by the same numbers from
its bags of words, so that each prompt's own outcome can be left out of its sums. Part B,
`counts_to_features`, turns them into the ten features, in training as in serving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from features.vocabulary import WEIGHT_SCALE, Vocabulary
from features.words import NUMBERS, PADDING, SYMBOLS, tokenizer_node

FEATURES = (
    "prompt_size",
    "word_count",
    "context_size",
    "tool_count",
    "turn_count",
    "digit_share",
    "symbol_share",
    "distinct_share",
    "flash_vocabulary",
    "pro_vocabulary",
)
OCCURRENCES = ("words", "numbers", "symbols", "known")
# A sum of weights is low + 256 * high: two signed bytes per weight make the fastest exact product.
DISTINCT_SUMS = ("distinct", "flash_low", "pro_low", "flash_high", "pro_high")
# Integer products take sixteen columns in one go: the table's thirds side by side fill fifteen of them.
FOLDS = 3
REQUEST_INPUTS = ("context_bytes", "tool_count", "turn_count")
LOGARITHMS = {
    "prompt_size": "words",
    "context_size": "context_bytes",
    "tool_count": "tool_count",
    "turn_count": "turn_count",
}
SHARES = {
    "word_count": ("words", None, 1),
    "digit_share": ("numbers", "words", 1),
    "symbol_share": ("symbols", "words", 1),
    "distinct_share": ("distinct", "known", 1),
    "flash_vocabulary": ("flash_low", "distinct", WEIGHT_SCALE),
    "pro_vocabulary": ("pro_low", "distinct", WEIGHT_SCALE),
    "evidence": ("known", "words", 1),
}
MEASURES = (*LOGARITHMS, *SHARES)
IR_VERSION = 10
OPSETS = {"": 21, "ai.onnx.ml": 4, "com.microsoft": 1}
VALUES: dict[str, tuple[int, list[str | int]]] = {
    "prompt": (TensorProto.STRING, ["N"]),
    **{name: (TensorProto.INT64, ["N"]) for name in REQUEST_INPUTS},
    "words": (TensorProto.STRING, ["N", "W"]),
    "occurrences": (TensorProto.DOUBLE, ["N", len(OCCURRENCES)]),
    "distinct_sums": (TensorProto.INT32, ["N", len(DISTINCT_SUMS)]),
    "features": (TensorProto.FLOAT, ["N", len(FEATURES)]),
    "probabilities": (TensorProto.FLOAT, ["N", 2]),
    "gain": (TensorProto.FLOAT, ["N"]),
    "evidence": (TensorProto.FLOAT, ["N"]),
    "use_pro": (TensorProto.BOOL, ["N"]),
    "threshold": (TensorProto.FLOAT, []),
    "evidence_floor": (TensorProto.FLOAT, []),
}


@dataclass(frozen=True, slots=True)
class Part:
    """Some nodes of a graph and the constants they need. Nodes are named by their output."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant; returns its name."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output; returns its name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def split(self, source: str, outputs: Sequence[str], sizes: Sequence[int]) -> None:
        """Split the columns of a matrix."""
        lengths = self.constant(f"{source}_sizes", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [source, lengths], outputs, name=f"{source}_split", axis=1))


def prompt_to_counts(vocabulary: Vocabulary) -> Part:
    """Part A: `prompt` string[N] -> `words` string[N, W], rows padded with "", and what is counted of them.

    That is `occurrences` double[N, 4], columns `OCCURRENCES`, and `distinct_sums` int32[N, 45]: `DISTINCT_SUMS` nine
    times, of each third of the distinct words by the weights of each third of the table.
    """
    table = lookup_table(vocabulary)
    part = Part()
    part.nodes.append(tokenizer_node("prompt", "words"))
    part.node(
        "LabelEncoder", ["words"], "ids", domain="ai.onnx.ml",
        keys_strings=list(table.rows), values_int64s=list(table.rows.values()), default_int64=len(table.counts) - 1,
    )  # fmt: skip
    second_axis = part.constant("second_axis", np.array([1], np.int64))
    part.node("Gather", [part.constant("count_table", table.counts), "ids"], "token_counts", axis=0)
    part.node("ReduceSum", ["token_counts", second_axis], "occurrences", keepdims=0)
    # A sheet has a cell per row of the table; to mark one twice changes nothing, so the marks are the distinct words.
    part.node("Shape", ["ids"], "ids_shape")
    part.node("ConstantOfShape", ["ids_shape"], "marks", value=numpy_helper.from_array(np.array([1], np.uint8)))
    part.node("Shape", ["prompt"], "batch")
    width = part.constant("sheet_width", np.array([len(table.weight_bytes)], np.int64))
    part.node("Concat", ["batch", width], "sheet_shape", axis=0)
    part.node("ConstantOfShape", ["sheet_shape"], "sheet", value=numpy_helper.from_array(np.array([0], np.uint8)))
    part.node("ScatterElements", ["sheet", "ids", "marks"], "distinct_words", axis=1)
    # Each addition of a product waits for the one before: three short rows at once take half the time of a long one.
    weight_bytes = fold(table.weight_bytes)
    thirds = part.constant("thirds", np.array([-1, len(weight_bytes)], np.int64))
    part.node("Reshape", ["distinct_words", thirds], "distinct_thirds")
    part.node("MatMulInteger", ["distinct_thirds", part.constant("weight_bytes", weight_bytes)], "sums_of_thirds")
    whole = part.constant("whole", np.array([-1, FOLDS * weight_bytes.shape[1]], np.int64))
    part.node("Reshape", ["sums_of_thirds", whole], "distinct_sums")
    return part


@dataclass(frozen=True, slots=True)
class LookupTable:
    """What is added up for each string: a row per known word, then one for each class of the others.

    Attributes:
        rows: the row of every string that is looked up; all other strings have the last row.
        counts: float64[R, 4], per occurrence, columns `OCCURRENCES`: whole numbers, whose sums are exact.
        weight_bytes: int8[S, 5], per distinct word, columns `DISTINCT_SUMS`; S is R or the next multiple of `FOLDS`.
    """

    rows: dict[str, int]
    counts: NDArray[np.float64]
    weight_bytes: NDArray[np.int8]


def lookup_table(vocabulary: Vocabulary) -> LookupTable:
    """The table of a vocabulary. Unknown strings of one class share a row, which keeps the sheet narrow."""
    classes = ((PADDING,), sorted(NUMBERS), sorted(SYMBOLS))
    known = len(vocabulary.words)
    rows = {word: row for row, word in enumerate(vocabulary.words)}
    examples = list(vocabulary.words)
    for row, members in enumerate(classes, start=known):
        examples.append(members[0])
        for word in members:
            rows.setdefault(word, row)
    counts = np.array([_occurrence(word) for word in examples] + [_occurrence(None)], np.float64)
    counts[:known, OCCURRENCES.index("known")] = 1
    low = (vocabulary.weights + 128) % 256 - 128
    weight_bytes = np.zeros((-(-len(counts) // FOLDS) * FOLDS, len(DISTINCT_SUMS)), np.int8)
    weight_bytes[:known] = np.column_stack([np.ones(known), low, (vocabulary.weights - low) // 256])
    return LookupTable(rows, counts, weight_bytes)


def fold(table: NDArray[np.int8]) -> NDArray[np.int8]:
    """Thirds of a table side by side: int8[S, 5] -> int8[S / 3, 15]."""
    return np.hstack(np.split(table, FOLDS))


def unfold(folded: NDArray[np.int8]) -> NDArray[np.int8]:
    """The table that was folded, or never was, as in older files: -> int8[S, 5]."""
    return np.vstack(np.split(folded, folded.shape[1] // len(DISTINCT_SUMS), axis=1))


def _occurrence(word: str | None) -> tuple[int, ...]:
    """What an unknown string adds, columns `OCCURRENCES`; None stands for one of no class."""
    return (word != PADDING, word in NUMBERS, word in SYMBOLS, False)


def counts_to_features(folds: int = FOLDS) -> Part:
    """Part B: the two outputs of part A and the request inputs -> `features` float[N, 10], `evidence` float[N].

    Negative request inputs count as 0; a share of nothing is 0. With `folds` of 1, `distinct_sums` is int32[N, 5].
    """
    part = Part()
    part.node("Concat", REQUEST_INPUTS, "request_flat", axis=0)
    part.node("Reshape", ["request_flat", part.constant("three_rows", np.array([3, -1], np.int64))], "request_rows")
    part.node("Transpose", ["request_rows"], "request", perm=[1, 0])
    part.node("Cast", ["request"], "request_double", to=TensorProto.DOUBLE)
    part.node("Cast", ["distinct_sums"], "distinct_sums_double", to=TensorProto.DOUBLE)
    part.node("Concat", ["occurrences", "distinct_sums_double", "request_double"], "tally", axis=1)
    matrix, offset, least = _terms(folds)
    part.node("Gemm", ["tally", part.constant("terms_matrix", matrix), part.constant("terms_offset", offset)], "terms")
    part.node("Max", ["terms", part.constant("least_terms", least)], "bounded_terms")
    sizes = [len(LOGARITHMS), len(SHARES), len(SHARES)]
    part.split("bounded_terms", ["arguments", "dividends", "divisors"], sizes)
    part.node("Log", ["arguments"], "logarithms")
    part.node("Div", ["dividends", "divisors"], "shares")
    part.node("Concat", ["logarithms", "shares"], "measures_double", axis=1)
    # Rounding after logarithms in double hides the last-bit differences between vector lanes and the scalar tail.
    part.node("Cast", ["measures_double"], "measures", to=TensorProto.FLOAT)
    # Two Gathers take a microsecond less than Split and Squeeze: their code was run in part A and is still at hand.
    feature_columns = np.array([MEASURES.index(name) for name in FEATURES])
    for output, columns in ("features", feature_columns), ("evidence", np.array(MEASURES.index("evidence"))):
        part.node("Gather", ["measures", part.constant(f"{output}_columns", columns)], output, axis=1)
    return part


def _terms(folds: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The linear map from counts and request inputs to the arguments of logarithms, dividends and divisors.

    Their columns are `LOGARITHMS`, `SHARES` and `SHARES`.

    Returns:
        float64[52, 18] (with `folds` of 1 float64[12, 18]), offsets float64[18] and least values float64[18].
    """
    source = {name: row for row, name in enumerate((*OCCURRENCES, *DISTINCT_SUMS, *REQUEST_INPUTS))}
    arguments = np.zeros((len(source), len(LOGARITHMS)))
    dividends, divisors = np.zeros((2, len(source), len(SHARES)))
    for column, count in enumerate(LOGARITHMS.values()):
        arguments[source[count], column] = 1
    for column, (dividend, divisor, unit) in enumerate(SHARES.values()):
        dividends[source[dividend], column] = 1
        if divisor is not None:
            divisors[source[divisor], column] = unit
    for tier in ("flash", "pro"):
        dividends[source[f"{tier}_high"], list(SHARES).index(f"{tier}_vocabulary")] = 256
    sizes = [len(LOGARITHMS), len(SHARES), len(SHARES)]
    offset, least = np.repeat([1.0, 0.0, 0.0], sizes), np.repeat([1.0, -np.inf, 1.0], sizes)
    matrix = np.hstack([arguments, dividends, divisors])
    occurrences, distinct, request = np.split(matrix, [len(OCCURRENCES), -len(REQUEST_INPUTS)])
    # Of a third of the words by the weights of another nothing is taken.
    belong = np.eye(folds).reshape(-1, 1)
    return np.vstack([occurrences, np.kron(belong, distinct), request]), offset, least


def assemble(
    parts: Sequence[Part], inputs: Sequence[str], outputs: Sequence[str], defaults: Mapping[str, float]
) -> onnx.ModelProto:
    """A model of some parts. `defaults` become initializers that are inputs as well: a caller may override them."""
    constants = [tensor for part in parts for tensor in part.constants]
    constants += [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in defaults.items()]
    graph = helper.make_graph(
        [node for part in parts for node in part.nodes],
        "tier-router",
        [_value(name) for name in (*inputs, *defaults)],
        [_value(name) for name in outputs],
        constants,
    )
    used = {node.domain for node in graph.node} | {""}
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items() if domain in used]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tier-router")


def _value(name: str) -> ValueInfoProto:
    kind, shape = VALUES[name]
    return helper.make_tensor_value_info(name, kind, shape)


def session(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a model in memory, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # overridable defaults are meant to be, onnxruntime warns of each
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
