"""The two vocabulary features: how much each word shifts each tier's success rate.

For a word w and a tier, `n_w` counts the prompts w stood in and `k_w` those of them the tier answered
correctly. With base rate `b` and strength `m` its weight is

    logit((k_w + m b) / (n_w + m)) - logit(b)

which is the shift, in log-odds, of a rate that is pulled towards the base rate by `m` imaginary prompts.
A prompt's feature is the mean of the weights of its distinct known words. Weights are multiples of 2**-12
and are summed as integers, so neither order nor batch nor language binding can change a bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.bags import Bags, Ints
from features.words import PLACEHOLDERS

WEIGHT_SCALE = 4096
LARGEST_WEIGHT = 7 * WEIGHT_SCALE  # two signed bytes hold almost 8
MINIMUM_GROUPS = 5

Outcomes = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VocabularySums:
    """What the known words of N prompts add up to.

    Attributes:
        distinct: int64[N], distinct known words.
        known: int64[N], occurrences of known words.
        weights: int64[N, T], sums of the weights of the distinct known words, in units of 2**-12.
    """

    distinct: Ints
    known: Ints
    weights: Ints

    @classmethod
    def of_pairs(cls, bags: Bags, known: NDArray[np.bool_], weights: NDArray[np.int32]) -> VocabularySums:
        """Add up over the pairs of the bags: which words are known, and their weights int32[P, T]."""
        return cls(
            distinct=bags.row_sums(known),
            known=bags.row_sums(np.where(known, bags.counts, 0)),
            weights=np.stack([bags.row_sums(np.where(known, column, 0)) for column in weights.T], 1),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[VocabularySums]) -> VocabularySums:
        """One after the other."""
        return cls(
            np.concatenate([part.distinct for part in parts]),
            np.concatenate([part.known for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known words and what each says about each tier.

    Attributes:
        words: V words, in the order of the lexicon they were counted with.
        weights: int32[V, T], shifts of the tiers' log-odds in units of 2**-12.
        seen: float64[V, T], prompts with the word whose outcome was observed, as often as each counts (n_w).
        correct: float64[V, T], those of them that the tier answered correctly (k_w).
        base: float64[T], base rates (b).
        strength: m.
    """

    words: tuple[str, ...]
    weights: NDArray[np.int32]
    seen: NDArray[np.float64]
    correct: NDArray[np.float64]
    base: NDArray[np.float64]
    strength: float

    def sums(self, bags: Bags, lexicon: Mapping[str, int]) -> VocabularySums:
        """What the bags' known words add up to; `lexicon` is the one that numbers the bags."""
        return sums(self.words, self.weights, bags, lexicon)


def sums(
    words: Sequence[str], weights: NDArray[np.int32], bags: Bags, lexicon: Mapping[str, int]
) -> VocabularySums:  # fmt: skip
    """What the known words of bags add up to.

    Args:
        words: V known words.
        weights: int32[V, T], theirs, in units of 2**-12.
        bags: of N prompts.
        lexicon: numbers the words of the bags.
    """
    size = len(words)
    ids = [(lexicon[word], row) for row, word in enumerate(words) if word in lexicon]
    row_of = np.full(len(lexicon), size)
    row_of[[number for number, _ in ids]] = [row for _, row in ids]
    weights = np.vstack([weights, np.zeros((1, weights.shape[1]), np.int32)])
    parts = []
    for _, part in bags.slices():
        rows = row_of[part.ids]
        parts.append(VocabularySums.of_pairs(part, rows < size, weights[rows]))
    return VocabularySums.concatenate(parts)


class Counts:
    """The sums a vocabulary is made of, over N training prompts and T tiers.

    Args:
        bags: words of the prompts.
        outcomes: float64[N, T], 1 correct, 0 wrong, NaN not observed.
        groups: [N], prompts of one group are left out together and count once against the rare-word limit.
        lexicon: the words that `bags` numbers.
        weights: float64[N, T], > 0, how often each outcome counts; once where not given. The rare-word limit counts
            prompts all the same.
    """

    def __init__(
        self, bags: Bags, outcomes: Outcomes, groups: NDArray[np.generic], lexicon: Mapping[str, int],
        weights: Outcomes | None = None,
    ) -> None:  # fmt: skip
        self.bags, self.lexicon, self.weighted = bags, lexicon, weights is not None
        self.observed = ~np.isnan(outcomes)
        self.counted = np.where(self.observed, 1.0 if weights is None else weights, 0.0)
        self.correct = self.counted * np.where(self.observed, outcomes, 0.0)
        self.groups = np.unique(groups, return_inverse=True)[1]
        self.named = np.ones(len(lexicon), np.bool_)
        self.named[[lexicon[mark] for mark in PLACEHOLDERS.values() if mark in lexicon]] = False
        self.word_groups = word_groups(bags, self.groups, len(lexicon))
        self._add_up()
        self._find_shared()

    def _add_up(self) -> None:
        size = len(self.lexicon), self.observed.shape[1]
        self.seen, self.right = np.zeros(size), np.zeros(size)
        for rows, bags in self.bags.slices():
            for tier in range(size[1]):
                for total, per_row in (self.seen, self.counted), (self.right, self.correct):
                    per_pair = np.repeat(per_row[rows, tier], bags.sizes)
                    total[:, tier] += np.bincount(bags.ids, per_pair, size[0])

    def _find_shared(self) -> None:
        """Where a group has several prompts, what all of them together add to each of their words' sums."""
        tiers, width = range(self.observed.shape[1]), len(self.lexicon)
        self.shared_pairs, self.shared_rows = shared_pairs(self.bags, self.groups)
        rows = self.shared_rows
        _, places = np.unique(self.groups[rows] * width + self.bags.ids[self.shared_pairs], return_inverse=True)
        self.shared_seen = np.stack([np.bincount(places, self.counted[rows, t])[places] for t in tiers], 1)
        self.shared_right = np.stack([np.bincount(places, self.correct[rows, t])[places] for t in tiers], 1)
        by_group = [
            np.stack([np.bincount(self.groups, c[:, t]) for t in tiers], 1) for c in (self.counted, self.correct)
        ]
        self.left_seen, self.left_right = (total.sum(0) - total[self.groups] for total in by_group)

    def vocabulary(self, strength: float) -> Vocabulary:
        """The words that stand in at least `MINIMUM_GROUPS` groups, with their weights at strength `m` > 0."""
        kept = np.flatnonzero((self.word_groups >= MINIMUM_GROUPS) & self.named)
        base = rates(self.correct.sum(0), self.counted.sum(0))
        words = np.array(list(self.lexicon), dtype=object)[kept]
        return Vocabulary(
            words=tuple(words),
            weights=shifts(self.seen[kept], self.right[kept], base, strength),
            seen=self.seen[kept],
            correct=self.right[kept],
            base=base,
            strength=strength,
        )

    def leave_one_out(self, strength: float) -> VocabularySums:
        """For each training prompt, the sums under the vocabulary that its own group had no part in.

        Exact: `n_w`, `k_w`, `b` and the limit on rare words are those of a fit without the group.
        """
        shared = self._without_group(strength)
        table = None if self.weighted else self._table(strength)
        known = (self.word_groups > MINIMUM_GROUPS) & self.named
        parts = []
        for rows, bags in self.bags.slices():
            weights = self._without_one(rows, bags, strength) if table is None else self._looked_up(table, rows, bags)
            first, last = self.bags.starts[[rows.start, rows.stop]]
            here = slice(*np.searchsorted(self.shared_pairs, [first, last]))
            weights[self.shared_pairs[here] - first] = shared[here]
            parts.append(VocabularySums.of_pairs(bags, known[bags.ids], weights))
        return VocabularySums.concatenate(parts)

    def _without_one(self, rows: slice, bags: Bags, strength: float) -> NDArray[np.int32]:
        """Weights int32[P, T] of the pairs of some prompts, without the prompt itself."""
        counted, correct = self.counted[rows], self.correct[rows]
        base = rates(self.correct.sum(0) - correct, self.counted.sum(0) - counted)
        own = np.repeat(np.arange(len(counted)), bags.sizes)
        seen, right = self.seen[bags.ids] - counted[own], self.right[bags.ids] - correct[own]
        return shifts(seen, np.clip(right, 0, seen), base[own], strength)

    def _table(self, strength: float) -> NDArray[np.int32]:
        """`_without_one` where all count once, int32[T, 3, W]: without a wrong, a right, a not observed prompt."""
        seen, right = np.array([1.0, 1.0, 0.0])[:, None], np.array([0.0, 1.0, 0.0])[:, None]
        table = []
        for t in range(self.observed.shape[1]):
            total_seen, total_right = self.counted[:, t].sum(), self.correct[:, t].sum()
            base = rates(total_right - right, total_seen - seen)
            left_seen, left_right = self.seen[:, t] - seen, self.right[:, t] - right
            possible = (left_right >= 0) & (left_right <= left_seen)
            table.append(shifts(np.where(possible, left_seen, 0), np.where(possible, left_right, 0), base, strength))
        return np.stack(table)

    def _looked_up(self, table: NDArray[np.int32], rows: slice, bags: Bags) -> NDArray[np.int32]:
        kind = np.where(self.observed[rows], self.correct[rows], 2).astype(np.int8)
        own = np.repeat(kind, bags.sizes, axis=0)
        return np.stack([table[t, own[:, t], bags.ids] for t in range(own.shape[1])], 1)

    def _without_group(self, strength: float) -> NDArray[np.int32]:
        """Weights int32[S, T] of the pairs of prompts that share their group, without the whole group."""
        ids, rows = self.bags.ids[self.shared_pairs], self.shared_rows
        base = rates(self.left_right[rows], self.left_seen[rows])
        seen, right = self.seen[ids] - self.shared_seen, self.right[ids] - self.shared_right
        if self.weighted:  # sums of fractions may miss 0 by a rounding
            right = np.clip(right, 0, seen)
        return shifts(seen, right, base, strength)


def shared_pairs(bags: Bags, groups: Ints) -> tuple[Ints, Ints]:
    """The pairs of prompts that share their group with another: their places among all pairs, and their rows."""
    in_shared = np.bincount(groups)[groups] > 1
    pairs = np.flatnonzero(np.repeat(in_shared, bags.sizes))
    return pairs, np.repeat(np.flatnonzero(in_shared), bags.sizes[in_shared])


def word_groups(bags: Bags, groups: Ints, size: int) -> Ints:
    """In how many groups each word of the lexicon stands, int64[size]; groups are codes from 0."""
    pairs, rows = shared_pairs(bags, groups)
    distinct = np.unique(groups[rows] * size + bags.ids[pairs])
    repeated = np.bincount(bags.ids[pairs], minlength=size) - np.bincount(distinct % size, minlength=size)
    return np.bincount(bags.ids, minlength=size) - repeated


def rates(right: Outcomes, seen: Outcomes) -> Outcomes:
    """Share of the observed outcomes that were correct; NaN where none was."""
    return np.divide(right, seen, out=np.full_like(right, np.nan), where=seen > 0)


def shifts(seen: Outcomes, right: Outcomes, base: Outcomes, strength: float) -> NDArray[np.int32]:
    """Weights in units of 2**-12; 0 where the base rate is 0, 1 or unknown, for then no word can shift it."""
    usable = (base > 0) & (base < 1)
    prior = np.where(usable, base, 0.5)
    odds = (right + strength * prior) / (seen - right + strength * (1 - prior))
    weights = np.rint(WEIGHT_SCALE * (np.log(odds) - np.log(prior / (1 - prior))))
    return np.where(usable, np.clip(weights, -LARGEST_WEIGHT, LARGEST_WEIGHT), 0).astype(np.int32)
