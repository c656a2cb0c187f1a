"""Prompts as bags of words: how often each word stands in each prompt, and nothing about their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from features.words import PADDING, PLACEHOLDERS, Numberer, Tokenizer, batches_by_length, kind_of

GROWTH = 1.25

Ints = NDArray[np.int64]


class Lexicon(dict[str, int]):
    """Every word seen so far and its id: its place in the order of first appearance."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


@dataclass(frozen=True, slots=True)
class Bags:
    """N bags in compressed rows: row i holds `ids[starts[i]:starts[i + 1]]`, distinct and ascending.

    Attributes:
        starts: int64[N + 1].
        ids: int32[P], word ids of a `Lexicon`.
        counts: int32[P], occurrences, >= 1.
    """

    starts: Ints
    ids: NDArray[np.int32]
    counts: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> Ints:
        """Distinct words of each row, int64[N]."""
        return np.diff(self.starts)

    @property
    def rows(self) -> Ints:
        """The row of each pair, int64[P]."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def row_sums(self, per_pair: NDArray[np.integer] | NDArray[np.bool_]) -> Ints:
        """Exact sums of integers over each row, int64[N]."""
        total = np.zeros(len(per_pair) + 1, dtype=np.int64)
        np.cumsum(per_pair, out=total[1:])
        return total[self.starts[1:]] - total[self.starts[:-1]]

    def slices(self, pairs: int = 4_000_000) -> Iterator[tuple[slice, Bags]]:
        """Consecutive rows with about so many pairs at a time, to bound the memory of what is computed on them."""
        cuts = np.unique(np.searchsorted(self.starts, np.arange(0, self.starts[-1], pairs), side="left"))
        edges = np.unique(np.concatenate(([0], cuts, [len(self)])))
        for first, last in pairwise(edges.tolist()):
            begin, end = self.starts[[first, last]]
            yield (
                slice(first, last),
                Bags(self.starts[first : last + 1] - begin, self.ids[begin:end], self.counts[begin:end]),
            )

    def take(self, rows: NDArray[np.integer]) -> Bags:
        """The bags of some rows, in that order."""
        sizes = self.sizes[rows]
        starts = np.concatenate(([0], np.cumsum(sizes)))
        pairs = np.repeat(self.starts[rows] - starts[:-1], sizes) + np.arange(starts[-1])
        return Bags(starts, self.ids[pairs], self.counts[pairs])

    @classmethod
    def of_pairs(cls, rows: Ints, ids: NDArray[np.integer], counts: NDArray[np.integer], size: int) -> Bags:
        """Bags from (row, word, occurrences) in any order; pairs that stand more than once are added up."""
        width = int(ids.max()) + 1 if len(ids) else 1
        keys, places = np.unique(rows * width + ids, return_inverse=True)
        total = np.bincount(places, weights=counts, minlength=len(keys))
        starts = np.searchsorted(keys, np.arange(size + 1) * width)
        return cls(starts, (keys % width).astype(np.int32), total.astype(np.int32))

    @classmethod
    def concatenate(cls, parts: Sequence[Bags]) -> Bags:
        """One after the other."""
        if not parts:
            return cls(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.int32))
        offsets = np.cumsum([0] + [len(part.ids) for part in parts])
        starts = [part.starts[:-1] + offset for part, offset in zip(parts, offsets, strict=False)]
        return cls(
            np.concatenate([*starts, offsets[-1:]]),
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )


def _bags_of_rows(ids: Ints) -> Bags:
    """Bags of words that are numbered in order, int64[N, W], padding 0."""
    ordered = np.sort(ids.astype(np.int32), axis=1)
    first = np.ones(ordered.shape, np.bool_)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    at = np.flatnonzero(first)
    counts, words = np.diff(np.append(at, ordered.size)).astype(np.int32), ordered.ravel()[at]
    real = words > 0
    sizes = np.bincount((at // max(ordered.shape[1], 1))[real], minlength=len(ordered))
    return Bags(np.concatenate(([0], np.cumsum(sizes))), words[real], counts[real])


@dataclass(slots=True)
class Encoder:
    """Turns prompts, or the word counts of prompts, into bags over one growing lexicon."""

    lexicon: Lexicon = field(default_factory=lambda: Lexicon({PADDING: 0}))
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    threads: int = 2
    numberer: Numberer | None = None

    def prompts(self, prompts: Sequence[str]) -> Bags:
        """Bags of N prompts."""
        if self.numberer is None or len(self.lexicon) > GROWTH * self.numberer.size:
            self.numberer = Numberer(self.lexicon)
        order, number = batches_by_length(prompts), self.numberer
        with ThreadPoolExecutor(self.threads) as pool:
            split = pool.map(lambda batch: number([prompts[row] for row in batch]), order)
            parts = list(pool.map(_bags_of_rows, [self._complete(ids, lacked) for ids, lacked in split]))
        back = np.argsort(np.concatenate(order)) if order else np.empty(0, np.int64)
        return Bags.concatenate(parts).take(back)

    def _complete(self, ids: Ints, lacked: NDArray[np.object_]) -> Ints:
        """Number the words that the lexicon lacked when the prompts were split."""
        ids[ids < 0] = self.numbers(lacked.tolist())
        return ids

    def numbers(self, words: Sequence[str]) -> Ints:
        """Ids of words, int64[len(words)]; words not seen before are added."""
        return np.fromiter(map(self.lexicon.__getitem__, words), np.int64, len(words))

    def not_words(self, words: Iterable[str]) -> set[str]:
        """Those that the word rule would not have produced: they could never match a prompt."""
        asked = sorted(set(words).difference(PLACEHOLDERS.values()))
        if not asked:
            return set()
        split = self.tokenizer(asked)
        return {word for word, tokens in zip(asked, split, strict=True) if [t for t in tokens if t] != [word]}

    def members(self) -> dict[str, NDArray[np.bool_]]:
        """Which words of the lexicon are numbers and which are symbols."""
        kinds = np.array([kind_of(word) for word in self.lexicon], dtype=object)
        return {"numbers": kinds == "number", "symbols": kinds == "symbol"}
