"""Rows of numbers, sorted in time linear in their number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lm.jit import kernel

DIGIT_BITS = 11
Span = tuple[int, int]


def sort_rows(rows: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """Sorts (N, C) uint64 rows by their first columns; the first is the most significant.

    It begins with the least significant digit and takes time linear in N.

    Args:
        rows: The rows; they are overwritten.
        spans: For each of the first columns the bits in use: the lowest, and the one after the
            highest.

    Returns:
        The sorted rows: `rows` or a new array.
    """
    scratch = np.empty_like(rows)
    for column in reversed(range(len(spans))):
        low, high = spans[column]
        passes = -(-(high - low) // DIGIT_BITS)
        for number in range(passes):
            # Digits have equal width: the number of passes is the same, with fewer buckets.
            start = low + (high - low) * number // passes
            stop = low + (high - low) * (number + 1) // passes
            if _distribute(rows, scratch, column, np.uint64(start), np.uint64(stop - start)):
                rows, scratch = scratch, rows
    return rows


@kernel
def _distribute(
    rows: np.ndarray, out: np.ndarray, column: int, shift: np.uint64, width: np.uint64
) -> bool:
    """One stable pass of the radix sort; False where all digits are the same."""
    buckets = 1 << int(width)
    mask = np.uint64(buckets - 1)
    ends = np.zeros(buckets, np.int64)
    for i in range(len(rows)):
        ends[(rows[i, column] >> shift) & mask] += 1
    start = 0
    for bucket in range(buckets):
        size = ends[bucket]
        if size == len(rows):
            return False
        ends[bucket] = start
        start += size
    for i in range(len(rows)):
        digit = (rows[i, column] >> shift) & mask
        to = ends[digit]
        ends[digit] = to + 1
        for j in range(rows.shape[1]):
            out[to, j] = rows[i, j]
    return True


@kernel
def combine_rows(rows: np.ndarray, keys: int) -> int:
    """Adds up the last column of rows with the same key, in place; returns the number of rows."""
    if len(rows) == 0:
        return 0
    last = rows.shape[1] - 1
    to = 0
    for i in range(1, len(rows)):
        same = True
        for j in range(keys):
            if rows[i, j] != rows[to, j]:
                same = False
        if same:
            rows[to, last] += rows[i, last]
        else:
            to += 1
            for j in range(last + 1):
                rows[to, j] = rows[i, j]
    return to + 1


@kernel
def rows_up_to(rows: np.ndarray, bound: np.ndarray) -> int:
    """The number of sorted rows whose key is not above the bound."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        above = False
        for j in range(len(bound)):
            if rows[middle, j] != bound[j]:
                above = rows[middle, j] > bound[j]
                break
        if above:
            high = middle
        else:
            low = middle + 1
    return low
