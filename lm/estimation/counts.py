"""Counts of all n-grams of a text, as sorted streams: the input of `kneser_ney`.

Every position of the text gives one n-gram of the highest order, filled up with `<s>` at the
beginning of a sentence. The n-grams are sorted by their last word, then the word before, and so on
("suffix order"). So one pass sees all shorter n-grams and the words before them, as in lmplz
(Heafield et al. 2013). Then the n-grams of each order are sorted by their first word, then the
second, and so on ("context order"), which puts those of one context together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from lm.estimation.counted_text import BOS_ID, Corpus, Progress
from lm.estimation.external_sort import Sorter, Span, Tape, Workspace
from lm.jit import kernel

NOT_KEPT = np.iinfo(np.uint64).max
TOKENS_PER_BLOCK = 500_000
HIGHEST_COUNT = 5  # discounts need no counts of higher counts


class Packing(NamedTuple):
    """How words fill the columns of a key: each word is in one column, the first most significant.

    Attributes:
        bits: number of bits of a word.
        fields: number of words per uint64.
    """

    bits: int
    fields: int

    @classmethod
    def of(cls, types: int) -> Packing:
        """The densest packing for that number of word types."""
        bits = max(1, (types - 1).bit_length())
        return cls(bits, 64 // bits)

    def columns(self, order: int) -> int:
        """Number of columns of an n-gram."""
        return -(-order // self.fields)

    def spans(self, order: int) -> list[Span]:
        """The bits in use of each column."""
        top = self.fields * self.bits
        used = [min(self.fields, order - c * self.fields) for c in range(self.columns(order))]
        return [(top - words * self.bits, top) for words in used]

    def pack(self, words: np.ndarray) -> np.ndarray:
        """(N, columns) keys of (N, order) words."""
        order = words.shape[1]
        keys = np.zeros((len(words), self.columns(order)), np.uint64)
        for position in range(order):
            column, field = divmod(position, self.fields)
            shift = np.uint64((self.fields - 1 - field) * self.bits)
            keys[:, column] |= words[:, position].astype(np.uint64) << shift
        return keys

    def unpack(self, keys: np.ndarray, order: int) -> np.ndarray:
        """(N, order) int32 words of (N, columns) keys."""
        words = np.empty((len(keys), order), np.int32)
        mask = np.uint64((1 << self.bits) - 1)
        for position in range(order):
            column, field = divmod(position, self.fields)
            shift = np.uint64((self.fields - 1 - field) * self.bits)
            words[:, position] = (keys[:, column] >> shift) & mask
        return words


@dataclass(frozen=True)
class Counts:
    """The n-grams of one order k.

    Attributes:
        rows: a sorter of all k-grams by context order; for the highest order, unless it is 1, only
            of the kept ones. Columns: the packed words, the occurrences in the text, the adjusted
            count, and the rank in suffix order among the kept ones, or NOT_KEPT.
        suffixes: int64 per kept k-gram in suffix order, the rank of its last k-1 words among the
            kept (k-1)-grams; for bigrams the last word.
        counts_of_counts: (6,) numbers of k-grams with the adjusted counts 0 to 4, and 5 or more.
        types: number of different k-grams.
        kept: number of those that are not pruned.
    """

    rows: Sorter
    suffixes: Tape
    counts_of_counts: np.ndarray
    types: int
    kept: int


class _Pass(NamedTuple):
    """State of the pass in suffix order; arrays have an entry per order, from 0.

    Attributes:
        words: (n,) the last n-gram, its last word first.
        length: (1,) number of its words up to the first `<s>`; 0 before the first n-gram.
        raw: occurrences of the k-gram that is being read.
        left: number of different words that were seen before it.
        types: number of different k-grams that are complete.
        kept: number of those that are kept.
        histogram: (n + 1, 6) counts of counts.
    """

    words: np.ndarray
    length: np.ndarray
    raw: np.ndarray
    left: np.ndarray
    types: np.ndarray
    kept: np.ndarray
    histogram: np.ndarray


class _Output(NamedTuple):
    """What the pass writes, of order k at k-1.

    Attributes:
        rows: (n, capacity, C + 3) see `Counts`.
        filled: (n,) number of rows.
        suffixes: (n, capacity) see `Counts`.
        filled_suffixes: (n,) number of suffixes.
    """

    rows: np.ndarray
    filled: np.ndarray
    suffixes: np.ndarray
    filled_suffixes: np.ndarray


def count_ngrams(
    corpus: Corpus,
    order: int,
    thresholds: Sequence[int],
    kept_words: np.ndarray,
    workspace: Workspace,
    progress: Progress | None = None,
) -> list[Counts]:
    """Counts the n-grams of all orders up to `order`, with their adjusted counts.

    The adjusted count (Kneser and Ney 1995) is the number of different words seen before the
    n-gram, or its occurrences where it begins with `<s>` or has the highest order.

    Args:
        corpus: The text.
        order: Length of the longest n-grams.
        thresholds: (order,) thresholds per order; an n-gram is kept if it occurs more often.
        kept_words: (V,) which words a kept n-gram may have.
        workspace: Memory and disk to sort in.
        progress: See `lm.estimation.counted_text.Progress`.

    Returns:
        One entry per order, unigrams first. Words that are never predicted have no unigram.
    """
    packing = Packing.of(len(corpus.vocabulary))
    columns = packing.columns(order)
    by_suffix = Sorter(workspace, columns + 1, packing.spans(order), combine=True)
    for block in _ngrams(corpus, order, packing, progress):
        by_suffix.append(block)

    state = _Pass(
        words=np.zeros(order, np.int64),
        length=np.zeros(1, np.int64),
        raw=np.zeros(order + 1, np.int64),
        left=np.zeros(order + 1, np.int64),
        types=np.zeros(order + 1, np.int64),
        kept=np.zeros(order + 1, np.int64),
        histogram=np.zeros((order + 1, HIGHEST_COUNT + 1), np.int64),
    )
    orders = range(1, order + 1)
    rows = [Sorter(workspace, packing.columns(k) + 3, packing.spans(k)) for k in orders]
    suffixes = [Tape(workspace, np.int64) for _ in orders]
    limits = np.array([0, *thresholds], np.int64)
    end = np.empty((0, columns + 1), np.uint64)
    for block in chain(by_suffix.blocks(), [end]):
        capacity = len(block) + 1
        out = _Output(
            np.empty((order, capacity, columns + 3), np.uint64),
            np.zeros(order, np.int64),
            np.empty((order, capacity), np.int64),
            np.zeros(order, np.int64),
        )
        if len(block):
            _read_suffix_order(block, packing, limits, kept_words, state, out)
        else:
            _close(1, packing, limits, kept_words, state, out)
        for k in range(order):
            rows[k].append(out.rows[k, : out.filled[k], : rows[k].columns])
            suffixes[k].append(out.suffixes[k, : out.filled_suffixes[k]])
        if progress:
            progress("counting", int(block[:, -1].sum()), corpus.words + corpus.sentences)
    return [
        Counts(
            rows[k - 1],
            suffixes[k - 1],
            state.histogram[k],
            int(state.types[k]),
            int(state.kept[k]),
        )
        for k in orders
    ]


def _ngrams(
    corpus: Corpus, order: int, packing: Packing, progress: Progress | None
) -> Iterator[np.ndarray]:
    """Yields (N, C + 1) n-grams, packed for suffix order, each with the weight of its text."""
    history = np.full(order, BOS_ID, np.int64)
    start = 0
    for stop, weight in corpus.parts:
        for first in range(start, stop, TOKENS_PER_BLOCK):
            tokens = corpus.tokens.read(first, min(stop, first + TOKENS_PER_BLOCK))
            rows = np.empty((len(tokens), packing.columns(order) + 1), np.uint64)
            filled = _pack(tokens, weight, history, packing, rows)
            yield rows[:filled]
            if progress:
                progress("sorting", len(tokens), len(corpus.tokens))
        start = stop


@kernel
def _pack(
    tokens: np.ndarray, weight: int, history: np.ndarray, packing: Packing, out: np.ndarray
) -> int:
    """Packs the n-grams that end at each token but `<s>`, last word first; returns their number."""
    order, columns = len(history), out.shape[1] - 1
    filled = 0
    for token in tokens:
        if token == BOS_ID:
            history[:] = BOS_ID
            continue
        for position in range(order - 1, 0, -1):
            history[position] = history[position - 1]
        history[0] = token
        _pack_words(history, order, False, packing, out[filled])
        out[filled, columns] = weight
        filled += 1
    return filled


@kernel
def _pack_words(
    words: np.ndarray, order: int, backwards: bool, packing: Packing, row: np.ndarray
) -> None:
    """Packs the first words, in their order or backwards."""
    fields = packing.fields
    for column in range((order + fields - 1) // fields):
        value = np.uint64(0)
        for position in range(column * fields, (column + 1) * fields):
            value <<= np.uint64(packing.bits)
            if position < order:
                value |= np.uint64(words[order - 1 - position if backwards else position])
        row[column] = value


@kernel
def _read_suffix_order(
    block: np.ndarray,
    packing: Packing,
    limits: np.ndarray,
    kept_words: np.ndarray,
    state: _Pass,
    out: _Output,
) -> None:
    """Goes through different n-grams in suffix order and emits every k-gram that is complete."""
    order = len(state.words)
    counts = block.shape[1] - 1
    bits, fields = packing.bits, packing.fields
    mask = np.uint64((1 << bits) - 1)
    words = np.empty(order, np.int64)
    for i in range(len(block)):
        for position in range(order):
            column, field = position // fields, position % fields
            shift = np.uint64((fields - 1 - field) * bits)
            words[position] = np.int64((block[i, column] >> shift) & mask)
        common = 0
        if state.length[0]:
            while words[common] == state.words[common]:
                common += 1
        _close(common + 1, packing, limits, kept_words, state, out)
        length = 1
        while length < order and words[length - 1] != BOS_ID:
            length += 1
        for k in range(common + 1, length + 1):
            state.raw[k] = 0
            state.left[k] = 0
            state.left[k - 1] += 1
        state.raw[length] = np.int64(block[i, counts])
        state.length[0] = length
        state.words[:] = words


@kernel
def _close(
    lowest: int,
    packing: Packing,
    limits: np.ndarray,
    kept_words: np.ndarray,
    state: _Pass,
    out: _Output,
) -> None:
    """Emits the open k-grams of the orders `lowest` and higher."""
    order, length = len(state.words), state.length[0]
    in_vocabulary = 0  # length of the longest k-gram that has only kept words
    while in_vocabulary < length and kept_words[state.words[in_vocabulary]]:
        in_vocabulary += 1
    for k in range(length, lowest - 1, -1):
        raw = state.raw[k]
        state.raw[k - 1] += raw
        exact = k == order or state.words[k - 1] == BOS_ID
        adjusted = raw if exact else state.left[k]
        state.histogram[k, min(adjusted, HIGHEST_COUNT)] += 1
        state.types[k] += 1
        kept = raw > limits[k] and k <= in_vocabulary
        if kept or k < order or k == 1:
            rows = out.rows[k - 1]
            at = out.filled[k - 1]
            out.filled[k - 1] = at + 1
            columns = (k + packing.fields - 1) // packing.fields
            _pack_words(state.words, k, True, packing, rows[at])
            rows[at, columns] = np.uint64(raw)
            rows[at, columns + 1] = np.uint64(adjusted)
            rows[at, columns + 2] = np.uint64(state.kept[k]) if kept else NOT_KEPT
        if kept:
            at = out.filled_suffixes[k - 1]
            out.filled_suffixes[k - 1] = at + 1
            # Shorter n-grams are emitted after longer ones: the suffix will be the next of its
            # order, and it is kept, as it occurs no less often.
            out.suffixes[k - 1][at] = state.words[0] if k == 2 else state.kept[k - 1]
            state.kept[k] += 1
