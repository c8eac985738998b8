"""The word alignment of NIST's sclite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.evaluation.edits import DELETION, HIT, INSERTION, SUBSTITUTION
from lm.jit import kernel

# sclite's costs of a substitution, a deletion and an insertion.
SCLITE_COSTS = (4, 3, 3)
KEPT_CELLS = 1 << 20  # cells up to which the steps of a whole matrix are kept


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
    """The alignment of least cost; sclite's choice if there are several (see `WordIds`).

    Memory grows with the length of a text times the square root of the other's length: of the cost
    matrix only every n-th row is kept, and from the end, the rows between two of them are made
    again, now with the step that leads to each cell.
    """
    rows, columns = len(reference), len(hypothesis)
    step = rows
    if rows * columns > KEPT_CELLS:
        step = int(np.ceil(np.sqrt(8.0 * rows)))  # a cost has 8 bytes, a step has 1
    blocks = (rows + step - 1) // step if rows else 0
    kept = np.empty((blocks, columns + 1), dtype=np.int64)
    steps = np.empty((step + 1, columns + 1), dtype=np.int8)
    line = np.empty(columns + 1, dtype=np.int64)
    for j in range(columns + 1):
        line[j] = j * insertion
    for block in range(blocks):
        kept[block] = line
        if block + 1 < blocks:
            for i in range(block * step, (block + 1) * step):
                _next_row(
                    reference[i], hypothesis, substitution, deletion, insertion, line, steps[0]
                )
    path = np.empty(rows + columns, dtype=np.int8)
    place = rows + columns
    i, j = rows, columns
    for block in range(blocks - 1, -1, -1):
        first = block * step
        line[:] = kept[block]
        for row in range(first, min(first + step, rows)):
            _next_row(
                reference[row],
                hypothesis[:j],
                substitution,
                deletion,
                insertion,
                line,
                steps[row - first],
            )
        while i > first:
            kind = steps[i - 1 - first, j]
            place -= 1
            path[place] = kind
            if kind != INSERTION:
                i -= 1
            if kind != DELETION:
                j -= 1
    while j > 0:
        place -= 1
        path[place] = INSERTION
        j -= 1
    return path[place:].copy()


@kernel
def _next_row(
    word: int,
    hypothesis: np.ndarray,
    substitution: int,
    deletion: int,
    insertion: int,
    line: np.ndarray,
    steps: np.ndarray,
) -> None:
    """Replaces the costs before a reference word by those after it, and notes how they are reached.

    Args:
        word: the reference word.
        hypothesis: (H,) the hypothesis.
        substitution: cost of a substitution.
        deletion: cost of a deletion.
        insertion: cost of an insertion.
        line: (H + 1 or more,) the costs.
        steps: (H + 1 or more,) the kind of the last place before each cell.
    """
    diagonal = line[0]
    line[0] += deletion
    steps[0] = DELETION
    for j in range(1, len(hypothesis) + 1):
        same = word == hypothesis[j - 1]
        pair = diagonal if same else diagonal + substitution
        more = line[j - 1] + insertion
        missing = line[j] + deletion
        diagonal = line[j]
        if pair <= more and pair <= missing:
            line[j] = pair
            steps[j] = HIT if same else SUBSTITUTION
        elif more <= missing:
            line[j] = more
            steps[j] = INSERTION
        else:
            line[j] = missing
            steps[j] = DELETION
