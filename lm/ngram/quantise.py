"""n-gram models in 8 bits for each log-prob and back-off weight.

Whittaker and Raj, "Quantization-based language model compression" (2001): each length has its own
256 values, the means of bins of equally many n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lm.ngram.query import SMALL_INNER, SMALL_LEAF, NgramArrays

CODES = 256
ROWS = 1 << 20


def quantised(inner: np.ndarray, leaf: np.ndarray, bounds: Sequence[int]) -> NgramArrays:
    """The same model with codes in place of values.

    Args:
        inner: (M + 1,) INNER, see `NgramArrays`.
        leaf: (L,) LEAF.
        bounds: Where the nodes of each length begin, and how many nodes there are.
    """
    order = len(bounds) - 1
    logprob_book, backoff_book = np.zeros((2, order, CODES), np.float32)
    small_inner, small_leaf = np.zeros(len(inner), SMALL_INNER), np.zeros(len(leaf), SMALL_LEAF)
    for large, small in ((inner, small_inner), (leaf, small_leaf)):
        for name in ("word", "link"):
            small[name] = large[name]
    small_inner["first"] = inner["first"]
    nodes = len(inner) - 1
    for k in range(order):
        start, stop = bounds[k : k + 2]
        if stop > nodes:
            large, small = leaf, small_leaf
        else:
            large, small = inner[start:stop], small_inner[start:stop]
            # Code 0 means no weight at all, which decides what is a state.
            backoff_book[k, 1:] = code_book(large["backoff"][large["backoff"] != 0], CODES - 1)
            small["backoff"] = coded(large["backoff"], backoff_book[k, 1:]) + 1
            small["backoff"][large["backoff"] == 0] = 0
        logprob_book[k] = code_book(large["logprob"], CODES)
        small["logprob"] = coded(large["logprob"], logprob_book[k])
    return NgramArrays(
        small_inner, small_leaf, logprob_book, backoff_book, np.array(bounds, np.int64)
    )


def code_book(values: np.ndarray, size: int) -> np.ndarray:
    """(size,) float32, sorted: the values that replace all; if these are few, they themselves."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) == 0:
        return np.zeros(size, np.float32)
    bins = np.arange(len(distinct))
    if len(distinct) > size:
        middle = np.cumsum(counts) - counts / 2
        bins = (middle * size / len(values)).astype(np.int64)
    sizes = np.bincount(bins)
    used = sizes > 0
    sums, weights = np.bincount(bins, distinct.astype(float) * counts), np.bincount(bins, counts)
    means = (sums[used] / weights[used]).astype(np.float32)
    return np.concatenate([means, np.full(size - len(means), means[-1])])


def coded(values: np.ndarray, book: np.ndarray) -> np.ndarray:
    """uint8, the place in the book of the nearest value for each value."""
    between = (book[1:].astype(float) + book[:-1]) / 2
    codes = np.empty(len(values), np.uint8)
    for start in range(0, len(values), ROWS):
        rows = slice(start, start + ROWS)
        codes[rows] = np.searchsorted(between, values[rows])
    return codes
