"""The ten features: finite, blind to the order of words, and the same by every way they are computed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import log1p

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.bags import Encoder
from features.graph import (
    DISTINCT_SUMS,
    FEATURES,
    FOLDS,
    REQUEST_INPUTS,
    assemble,
    counts_to_features,
    fold,
    prompt_to_counts,
    session,
    unfold,
)
from features.measure import Tally, measure, word_counts
from features.words import NUMBERS, PADDING, SYMBOLS, Tokenizer
from pipeline.router import Router
from pipeline.traces import Traces

TOKENIZER = Tokenizer()
LARGEST = 2**63 - 1
# Words of the generated vocabulary among any others, so that the vocabulary features are not idle.
known_or_not = st.sampled_from(["prove", "integral", "city", "river", "=", "+", "12", "7", "zebra", "漢"])
prompts = st.one_of(
    st.lists(known_or_not, max_size=30).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)
requests = st.tuples(prompts, *[st.integers(0, 10**12)] * 3)

Measured = tuple[NDArray[np.float32], NDArray[np.float32]]
Graph = Callable[[Sequence[tuple[str, int, int, int]]], Measured]


@pytest.fixture(scope="module")
def graph(small_router: Router) -> Graph:
    """Features and evidence of requests by the nodes that are served."""
    parts = [prompt_to_counts(small_router.vocabulary), counts_to_features()]
    opened: onnxruntime.InferenceSession = session(
        assemble(parts, ("prompt", *REQUEST_INPUTS), ("features", "evidence"), {})
    )

    def run(rows: Sequence[tuple[str, int, int, int]]) -> Measured:
        columns = list(zip(*rows, strict=True))
        counts = {name: np.array(column, np.int64) for name, column in zip(REQUEST_INPUTS, columns[1:], strict=True)}
        features, evidence = opened.run(None, {"prompt": np.array(columns[0], dtype=object), **counts})
        return features, evidence

    return run


def measured_from_bags(router: Router, rows: Sequence[tuple[str, int, int, int]]) -> Measured:
    """The same by the way that training goes: bags of words, then part B alone."""
    encoder = Encoder()
    bags = encoder.prompts([row[0] for row in rows])
    inputs = np.array([row[1:] for row in rows], np.int64).T
    tally = Tally(**word_counts(bags, encoder), **dict(zip(REQUEST_INPUTS, inputs, strict=True)))
    return measure(tally, router.vocabulary.sums(bags, encoder.lexicon))


def equal(one: Measured, other: Measured) -> bool:
    return all(np.array_equal(a.view(np.int32), b.view(np.int32)) for a, b in zip(one, other, strict=True))


@given(st.lists(st.tuples(prompts, *[st.integers(-LARGEST - 1, LARGEST)] * 3), min_size=1, max_size=4))
def test_never_nan_or_infinite(graph: Graph, rows: list[tuple[str, int, int, int]]) -> None:
    features, evidence = graph(rows)
    assert np.isfinite(features).all()
    assert ((evidence >= 0) & (evidence <= 1)).all()


@given(st.lists(requests, min_size=1, max_size=4))
def test_training_measures_what_serving_measures_to_the_bit(
    graph: Graph, small_router: Router, rows: list[tuple[str, int, int, int]]
) -> None:
    assert equal(graph(rows), measured_from_bags(small_router, rows))


@given(st.lists(requests, min_size=1, max_size=9))
def test_batch_equals_row_by_row_to_the_bit(graph: Graph, rows: list[tuple[str, int, int, int]]) -> None:
    alone = [graph([row]) for row in rows]
    assert equal(graph(rows), (np.concatenate([a for a, _ in alone]), np.concatenate([b for _, b in alone])))


@given(prompts, st.randoms(use_true_random=False))
def test_order_of_words_is_irrelevant_to_the_bit(graph: Graph, prompt: str, order: random.Random) -> None:
    words = [word for word in TOKENIZER([prompt])[0].tolist() if word != PADDING]
    shuffled = order.sample(words, len(words))
    assert equal(graph([(prompt, 0, 0, 1)]), graph([(" ".join(shuffled), 0, 0, 1)]))


@given(prompts, st.integers(1, 40))
def test_padding_by_a_longer_row_changes_no_bit(graph: Graph, prompt: str, length: int) -> None:
    row, longer = (prompt, 5, 1, 2), ("city " * length, 0, 0, 1)
    features, evidence = graph([longer, row, longer])
    assert equal((features[1:2], evidence[1:2]), graph([row]))


@given(requests)
def test_features_are_what_their_names_say(
    graph: Graph, small_router: Router, request_row: tuple[str, int, int, int]
) -> None:
    prompt, context_bytes, tool_count, turn_count = request_row
    words = [word for word in TOKENIZER([prompt])[0].tolist() if word != PADDING]
    vocabulary = small_router.vocabulary
    weights = dict(zip(vocabulary.words, vocabulary.weights / 4096, strict=True))
    known = [word for word in words if word in weights]
    distinct = sorted(set(known))
    mean = np.mean([weights[word] for word in distinct], axis=0) if distinct else np.zeros(2)
    expected = {
        "prompt_size": log1p(len(words)),
        "word_count": len(words),
        "context_size": log1p(context_bytes),
        "tool_count": log1p(tool_count),
        "turn_count": log1p(turn_count),
        "digit_share": sum(word in NUMBERS for word in words) / max(len(words), 1),
        "symbol_share": sum(word in SYMBOLS for word in words) / max(len(words), 1),
        "distinct_share": len(distinct) / max(len(known), 1),
        "flash_vocabulary": mean[0],
        "pro_vocabulary": mean[1],
    }
    features, evidence = graph([request_row])
    assert dict(zip(FEATURES, features[0].tolist(), strict=True)) == pytest.approx(expected, rel=1e-6, abs=1e-7)
    assert evidence[0] == pytest.approx(len(known) / max(len(words), 1))


def test_there_are_ten() -> None:
    assert len(FEATURES) == len(set(FEATURES)) == 10


@pytest.mark.parametrize("name", REQUEST_INPUTS)
def test_negative_request_input_counts_as_zero(graph: Graph, name: str) -> None:
    rows = [("city", *(value if each == name else 1 for each in REQUEST_INPUTS)) for value in (-7, 0)]
    features, _ = graph(rows)
    assert np.array_equal(features[0], features[1])


def test_empty_prompt_has_no_evidence(graph: Graph) -> None:
    features, evidence = graph([("", 0, 0, 1), (" \n\u3000", 0, 0, 1)])
    assert evidence.tolist() == [0, 0]
    assert np.array_equal(features[0], features[1])


def test_unknown_words_lower_the_evidence_and_leave_the_vocabulary_features(graph: Graph) -> None:
    features, evidence = graph([("city river", 0, 0, 1), ("city river zebra zebra", 0, 0, 1)])
    vocabulary = [FEATURES.index("flash_vocabulary"), FEATURES.index("pro_vocabulary")]
    assert evidence.tolist() == [1, 0.5]
    assert np.array_equal(features[0, vocabulary], features[1, vocabulary])


def test_router_measures_loaded_traces_as_the_graph_does(
    graph: Graph, small_router: Router, small_traces: Traces
) -> None:
    inputs = [getattr(small_traces.tally, name).tolist() for name in REQUEST_INPUTS]
    rows = list(zip(small_traces.prompts.tolist(), *inputs, strict=True))
    assert equal(small_router.measure(small_traces), graph(rows))


def test_table_of_weights_is_read_back_whether_folded_or_of_an_older_file() -> None:
    table = np.arange(4 * FOLDS * len(DISTINCT_SUMS), dtype=np.int8).reshape(-1, len(DISTINCT_SUMS))
    assert np.array_equal(unfold(fold(table)), table)
    assert np.array_equal(unfold(table), table)
