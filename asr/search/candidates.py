"""Candidates for the next beam, and how the best of them are kept."""

from __future__ import annotations

import numpy as np

from lm.jit import inlined

# What may be in the next beam: a prefix that stays (label -1) or grows by a label.
CANDIDATE = np.dtype(
    [("score", "f8"), ("total", "f8"), ("slot", "i4"), ("label", "i4"), ("node", "i4")], align=True
)


@inlined
def nth_best(values: np.ndarray, candidates: np.ndarray, count: int, n: int) -> float:
    """The n-th best score of `count` > n candidates (Hoare's quickselect)."""
    for i in range(count):
        values[i] = candidates[i].score
    low, high, wanted = 0, count - 1, n - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]


@inlined
def keep_best(candidates: np.ndarray, count: int, threshold: float, width: int) -> int:
    """Keeps the `width` best candidates in their order; of those at the threshold, the first."""
    above = 0
    for i in range(count):
        above += candidates[i].score > threshold
    equals = width - above
    left = 0
    for i in range(count):
        score = candidates[i].score
        if score == threshold and equals > 0:
            equals -= 1
        elif not score > threshold:
            continue
        candidates[left] = candidates[i]
        left += 1
    return left
