"""Bags of words: taking, joining and adding up, against plain Python."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.bags import Bags, Encoder
from features.words import PADDING, Tokenizer

counters = st.lists(st.dictionaries(st.integers(0, 6), st.integers(1, 4), max_size=5), max_size=8)
prompts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=6)


def bags_of(rows: list[dict[int, int]]) -> Bags:
    """Bags of counts by word id, their pairs handed over backwards."""
    triples = [(row, word, times) for row, counts in enumerate(rows) for word, times in counts.items()][::-1]
    columns = np.array(triples, np.int64).reshape(-1, 3).T
    return Bags.of_pairs(columns[0], columns[1], columns[2], len(rows))


def rows_of(bags: Bags) -> list[dict[int, int]]:
    edges = bags.starts.tolist()
    pairs = list(zip(bags.ids.tolist(), bags.counts.tolist(), strict=True))
    return [dict(pairs[first:last]) for first, last in pairwise(edges)]


@given(counters)
def test_pairs_in_any_order_become_rows(rows: list[dict[int, int]]) -> None:
    assert rows_of(bags_of(rows)) == rows


def test_pairs_that_stand_twice_are_added_up() -> None:
    bags = Bags.of_pairs(np.array([0, 0, 0]), np.array([3, 1, 3]), np.array([1, 1, 2]), 1)
    assert rows_of(bags) == [{1: 1, 3: 3}]


@given(counters, st.data())
def test_taken_rows_are_those_rows_in_that_order(rows: list[dict[int, int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1))) if rows else []
    assert rows_of(bags_of(rows).take(np.array(chosen, np.int64))) == [rows[at] for at in chosen]


@given(st.lists(counters, max_size=4))
def test_concatenation_keeps_the_rows(parts: list[list[dict[int, int]]]) -> None:
    assert rows_of(Bags.concatenate([bags_of(part) for part in parts])) == list(chain(*parts))


@given(counters)
def test_row_sums_add_up_each_row(rows: list[dict[int, int]]) -> None:
    bags = bags_of(rows)
    assert bags.row_sums(bags.counts).tolist() == [sum(row.values()) for row in rows]


@given(counters, st.integers(1, 9))
def test_slices_are_the_rows_one_after_the_other(rows: list[dict[int, int]], pairs: int) -> None:
    sliced = [(part, rows_of(bags)) for part, bags in bags_of(rows).slices(pairs)]
    assert list(chain(*(inner for _, inner in sliced))) == rows
    assert [at for part, _ in sliced for at in range(part.start, part.stop)] == list(range(len(rows)))


@given(prompts)
def test_encoder_counts_the_words_of_each_prompt(texts: list[str]) -> None:
    encoder, tokenizer = Encoder(), Tokenizer()
    rows = rows_of(encoder.prompts(texts))
    names = list(encoder.lexicon)
    expected = [Counter(word for word in tokenizer([text])[0].tolist() if word != PADDING) for text in texts]
    assert [{names[word]: times for word, times in row.items()} for row in rows] == expected


@given(prompts)
def test_encoder_makes_the_same_bags_of_prompts_in_pieces(texts: list[str]) -> None:
    whole, pieces = Encoder(), Encoder()
    together = rows_of(whole.prompts(texts))
    apart = [rows_of(pieces.prompts([text]))[0] for text in texts]

    def spelled(rows: list[dict[int, int]], encoder: Encoder) -> list[dict[str, int]]:
        names = list(encoder.lexicon)
        return [{names[word]: times for word, times in row.items()} for row in rows]

    assert spelled(together, whole) == spelled(apart, pieces)


def test_lexicon_numbers_words_by_first_appearance() -> None:
    encoder = Encoder()
    first = len(encoder.lexicon)
    assert (encoder.numbers(["b", "a", "b", "c"]) - first).tolist() == [0, 1, 0, 2]


def test_not_words_names_what_the_word_rule_would_split_or_drop() -> None:
    assert Encoder().not_words(["don't", "ab", "1234", " ", "<word>"]) == {"don't", "1234", " "}


def test_members_know_numbers_and_symbols_by_kind() -> None:
    encoder = Encoder()
    ids = encoder.numbers(["12", "+", "x", "<number>", "<symbol>", "<word>"])
    members = encoder.members()
    assert members["numbers"][ids].tolist() == [True, False, False, True, False, False]
    assert members["symbols"][ids].tolist() == [False, True, False, False, True, False]
