"""The vocabulary: its formula, its limit on rare words, and exact leave-one-out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.bags import Bags, Encoder, Lexicon
from features.vocabulary import LARGEST_WEIGHT, MINIMUM_GROUPS, WEIGHT_SCALE, Counts, VocabularySums, word_groups

LETTERS = "abcdef"
NAN = float("nan")
outcome = st.sampled_from([0.0, 1.0, NAN])
bag = st.dictionaries(st.sampled_from(LETTERS), st.integers(1, 3), max_size=len(LETTERS))


@dataclass(frozen=True)
class Sample:
    """A few generated prompts with outcomes and groups."""

    bags: Bags
    lexicon: Lexicon
    outcomes: NDArray[np.float64]
    groups: NDArray[np.int64]

    def counts(self, rows: NDArray[np.int64] | None = None) -> Counts:
        rows = np.arange(len(self.groups)) if rows is None else rows
        return Counts(self.bags.take(rows), self.outcomes[rows], self.groups[rows], self.lexicon)


@st.composite
def samples(draw: st.DrawFn, groups: int = 30) -> Sample:
    """2 to 24 prompts over six words, in at most so many groups; small limits make every word sometimes rare."""
    rows = draw(st.lists(st.tuples(bag, outcome, outcome, st.integers(0, groups - 1)), min_size=2, max_size=24))
    encoder = Encoder()
    encoder.numbers(list(LETTERS))
    triples = [(at, encoder.lexicon[word], times) for at, row in enumerate(rows) for word, times in row[0].items()]
    columns = np.array(triples, np.int64).reshape(-1, 3).T
    bags = Bags.of_pairs(columns[0], columns[1], columns[2], len(rows))
    return Sample(bags, encoder.lexicon, np.array([row[1:3] for row in rows]), np.array([row[3] for row in rows]))


def row_of(sums: VocabularySums, at: int) -> tuple[object, ...]:
    return int(sums.distinct[at]), int(sums.known[at]), sums.weights[at].tolist()


@given(samples(), st.sampled_from([0.5, 3.0, 10.0]))
def test_leave_one_out_equals_refitting_without_the_group(sample: Sample, strength: float) -> None:
    left_out = sample.counts().leave_one_out(strength)
    for at, group in enumerate(sample.groups):
        refitted = sample.counts(np.flatnonzero(sample.groups != group)).vocabulary(strength)
        expected = refitted.sums(sample.bags.take(np.array([at])), sample.lexicon)
        assert row_of(left_out, at) == row_of(expected, 0)


@given(samples(groups=3), st.sampled_from([1.0, 10.0]))
def test_leave_one_out_equals_refitting_where_groups_are_large(sample: Sample, strength: float) -> None:
    left_out = sample.counts().leave_one_out(strength)
    for at, group in enumerate(sample.groups):
        refitted = sample.counts(np.flatnonzero(sample.groups != group)).vocabulary(strength)
        assert row_of(left_out, at) == row_of(refitted.sums(sample.bags.take(np.array([at])), sample.lexicon), 0)


@given(samples())
def test_leave_one_out_equals_refitting_without_the_row_where_groups_are_single(sample: Sample) -> None:
    single = Sample(sample.bags, sample.lexicon, sample.outcomes, np.arange(len(sample.groups)))
    left_out = single.counts().leave_one_out(10.0)
    for at in range(len(single.groups)):
        refitted = single.counts(np.delete(np.arange(len(single.groups)), at)).vocabulary(10.0)
        assert row_of(left_out, at) == row_of(refitted.sums(single.bags.take(np.array([at])), single.lexicon), 0)


@given(samples(), st.floats(0.5, 50))
def test_weight_is_the_published_formula(sample: Sample, strength: float) -> None:
    counts = sample.counts()
    vocabulary = counts.vocabulary(strength)
    rows = [set(sample.bags.take(np.array([at])).ids.tolist()) for at in range(len(sample.groups))]
    for place, word in enumerate(vocabulary.words):
        for tier in (0, 1):
            seen = ~np.isnan(sample.outcomes[:, tier])
            has = np.array([sample.lexicon[word] in row for row in rows])
            base = sample.outcomes[seen, tier].mean() if seen.any() else NAN
            n, k = (seen & has).sum(), sample.outcomes[seen & has, tier].sum()
            assert (vocabulary.seen[place, tier], vocabulary.correct[place, tier]) == (n, k)
            if 0 < base < 1:
                rate = (k + strength * base) / (n + strength)
                expected = log(rate / (1 - rate)) - log(base / (1 - base))
                assert abs(vocabulary.weights[place, tier] / WEIGHT_SCALE - expected) <= 0.51 / WEIGHT_SCALE
            else:
                assert vocabulary.weights[place, tier] == 0


@given(samples())
def test_rare_words_are_not_kept(sample: Sample) -> None:
    standing: Counter[int] = Counter()
    for group in np.unique(sample.groups):
        standing.update(set(sample.bags.take(np.flatnonzero(sample.groups == group)).ids.tolist()))
    kept = set(sample.counts().vocabulary(10.0).words)
    assert kept == {word for word, at in sample.lexicon.items() if standing[at] >= MINIMUM_GROUPS}


@given(samples())
def test_word_groups_counts_groups_and_not_prompts(sample: Sample) -> None:
    codes = np.unique(sample.groups, return_inverse=True)[1]
    found = word_groups(sample.bags, codes, len(sample.lexicon)).tolist()
    held = [set(sample.bags.take(np.flatnonzero(sample.groups == group)).ids.tolist()) for group in set(sample.groups)]
    assert found == [sum(at in group for group in held) for at in range(len(sample.lexicon))]


@given(samples(), st.randoms())
def test_order_of_the_prompts_changes_nothing(sample: Sample, random: object) -> None:
    order = np.array(random.sample(range(len(sample.groups)), len(sample.groups)))
    vocabulary, shuffled = (sample.counts(rows).vocabulary(10.0) for rows in (None, order))
    assert vocabulary.words == shuffled.words
    assert np.array_equal(vocabulary.weights, shuffled.weights)


@given(samples())
def test_sums_of_shards_are_the_sums_of_the_whole(sample: Sample) -> None:
    vocabulary, middle = sample.counts().vocabulary(10.0), len(sample.groups) // 2
    whole = vocabulary.sums(sample.bags, sample.lexicon)
    shards = (np.arange(middle), np.arange(middle, len(sample.groups)))
    parts = [vocabulary.sums(sample.bags.take(rows), sample.lexicon) for rows in shards]
    together = VocabularySums.concatenate(parts)
    assert [row_of(whole, at) for at in range(len(sample.groups))] == [
        row_of(together, at) for at in range(len(sample.groups))
    ]


@pytest.mark.parametrize("marker", ["<word>", "<number>", "<symbol>"])
def test_placeholder_never_enters_the_vocabulary(marker: str) -> None:
    encoder = Encoder()
    ids = encoder.numbers([marker, "plain"])
    rows = np.repeat(np.arange(20), 2)
    bags = Bags.of_pairs(rows, np.tile(ids, 20), np.ones(40, np.int64), 20)
    outcomes = np.tile([[0.0, 1.0], [1.0, 0.0]], (10, 1))
    counts = Counts(bags, outcomes, np.arange(20), encoder.lexicon)
    assert counts.vocabulary(10.0).words == ("plain",)
    assert counts.leave_one_out(10.0).known.tolist() == [1] * 20


def test_weight_of_a_word_that_decides_everything_is_bounded() -> None:
    encoder = Encoder()
    encoder.numbers(["yes", "no"])
    size = 200
    bags = Bags(np.arange(size + 1), (np.arange(size) % 2).astype(np.int32), np.ones(size, np.int32))
    right = 1.0 - np.arange(size) % 2
    vocabulary = Counts(bags, np.column_stack([right, right]), np.arange(size), encoder.lexicon).vocabulary(1e-4)
    assert np.abs(vocabulary.weights).max() == LARGEST_WEIGHT


@given(samples(), st.integers(1, 3))
def test_leave_one_out_with_equal_weights_is_that_without(sample: Sample, weight: int) -> None:
    weights = np.ones(sample.outcomes.shape)
    weighted = Counts(sample.bags, sample.outcomes, sample.groups, sample.lexicon, weights)
    found, expected = (counts.leave_one_out(float(weight)) for counts in (weighted, sample.counts()))
    assert all(row_of(found, at) == row_of(expected, at) for at in range(len(sample.groups)))


@given(samples(), st.data())
def test_outcome_of_weight_k_counts_like_k_prompts_of_its_group(sample: Sample, data: st.DataObject) -> None:
    size = len(sample.groups)
    times = np.array(data.draw(st.lists(st.integers(1, 4), min_size=size, max_size=size)))
    weights = np.repeat(times[:, None].astype(float), 2, axis=1)
    weighted = Counts(sample.bags, sample.outcomes, sample.groups, sample.lexicon, weights)
    repeated = sample.counts(np.repeat(np.arange(size), times))
    first = np.concatenate(([0], np.cumsum(times)[:-1]))
    found, expected = weighted.leave_one_out(3.0), repeated.leave_one_out(3.0)
    assert all(row_of(found, at) == row_of(expected, first[at]) for at in range(size))
    assert weighted.vocabulary(3.0).weights.tolist() == repeated.vocabulary(3.0).weights.tolist()
    assert weighted.vocabulary(3.0).words == repeated.vocabulary(3.0).words


@given(samples())
def test_leave_one_out_with_any_weights_equals_refitting_without_the_group(sample: Sample) -> None:
    weights = 0.25 + np.arange(sample.outcomes.size).reshape(sample.outcomes.shape) % 7 / 8  # exact in binary
    left_out = Counts(sample.bags, sample.outcomes, sample.groups, sample.lexicon, weights).leave_one_out(3.0)
    for at, group in enumerate(sample.groups):
        rows = np.flatnonzero(sample.groups != group)
        bags, outcomes, groups = sample.bags.take(rows), sample.outcomes[rows], sample.groups[rows]
        refitted = Counts(bags, outcomes, groups, sample.lexicon, weights[rows]).vocabulary(3.0)
        assert row_of(left_out, at) == row_of(refitted.sums(sample.bags.take(np.array([at])), sample.lexicon), 0)
