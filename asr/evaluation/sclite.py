"""The word alignment of NIST's sclite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.evaluation.alignment import DELETION, HIT, INSERTION, SUBSTITUTION
from lm.jit import kernel

# sclite's costs of a substitution, a deletion and an insertion.
SCLITE_COSTS = (4, 3, 3)


def sclite_path(reference: Sequence[int], hypothesis: Sequence[int]) -> np.ndarray:
    """The kind of every place of sclite's alignment, see `asr.evaluation.alignment.WordIds.path`.

    Args:
        reference: R numbers of words.
        hypothesis: H numbers of words.

    Returns:
        int8 (P,).
    """
    pair = (np.array(words, dtype=np.int32) for words in (reference, hypothesis))
    path: np.ndarray = weighted_path(*pair, *SCLITE_COSTS)
    return path


@kernel
def weighted_path(
    reference: np.ndarray, hypothesis: np.ndarray, substitution: int, deletion: int, insertion: int
) -> np.ndarray:
    """The alignment of least cost; sclite's choice if there are several (see `WordIds`)."""
    rows, columns = len(reference), len(hypothesis)
    cost = np.empty((rows + 1, columns + 1), dtype=np.int64)
    for i in range(rows + 1):
        cost[i, 0] = i * deletion
    for j in range(columns + 1):
        cost[0, j] = j * insertion
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            here = cost[i - 1, j - 1]
            if reference[i - 1] != hypothesis[j - 1]:
                here += substitution
            cost[i, j] = min(here, cost[i - 1, j] + deletion, cost[i, j - 1] + insertion)
    path = np.empty(rows + columns, dtype=np.int8)
    place = rows + columns
    i, j = rows, columns
    while i > 0 or j > 0:
        place -= 1
        if i > 0 and j > 0:
            same = reference[i - 1] == hypothesis[j - 1]
            if cost[i, j] == cost[i - 1, j - 1] + (0 if same else substitution):
                path[place] = HIT if same else SUBSTITUTION
                i -= 1
                j -= 1
                continue
        if j > 0 and cost[i, j] == cost[i, j - 1] + insertion:
            path[place] = INSERTION
            j -= 1
        else:
            path[place] = DELETION
            i -= 1
    return path[place:].copy()
