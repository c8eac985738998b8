"""Minimum Bayes risk: the hypothesis with the fewest expected word errors.

Goel & Byrne 2000, "Minimum Bayes-risk automatic speech recognition", Computer Speech and Language
14(2): every hypothesis of the list may be the truth, with its posterior probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lm.jit import kernel
from lm.rerank.pool import Pool

# Risks closer than this are the same risk.
EQUAL = 1e-9


@dataclass(frozen=True)
class Distances:
    """Word errors between the hypotheses of each utterance.

    Attributes:
        values: the H · H distances of each utterance with H hypotheses, row by row; int16, or int32
            where a hypothesis has more words than int16 can count.
        starts: int (U + 1,), where the distances of each utterance begin.
    """

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, pool: Pool) -> Distances:
        """The distances of all hypotheses of a pool."""
        sizes = np.diff(pool.lists)
        starts = np.concatenate([[0], np.cumsum(sizes * sizes)])
        longest = int(np.diff(pool.starts).max(initial=0))
        narrow = longest <= np.iinfo(np.int16).max
        values = np.zeros(starts[-1], dtype=np.int16 if narrow else np.int32)
        _fill(pool.words, pool.starts, pool.lists, starts, values)
        return cls(values, starts)


def risks(pool: Pool, distances: Distances, posterior: np.ndarray) -> np.ndarray:
    """Expected word errors of every hypothesis, (N,).

    Args:
        pool: N hypotheses.
        distances: distances of the same pool.
        posterior: (N,), from `Pool.posterior`.
    """
    found = np.empty(len(posterior))
    _expect(distances.values, distances.starts, pool.lists, posterior, found)
    return found


def least_risk(pool: Pool, distances: Distances, posterior: np.ndarray) -> np.ndarray:
    """The hypothesis of least risk in every utterance; of equals the likelier, then the first.

    Returns:
        (U,) positions in the pool.
    """
    expected = risks(pool, distances, posterior)
    owner = pool.owner
    least = np.minimum.reduceat(expected, pool.lists[:-1])
    among = expected <= least[owner] + EQUAL
    order = np.lexsort((np.where(among, -posterior, np.inf), owner))
    found: np.ndarray = order[pool.lists[:-1]]
    return found


@kernel
def _fill(
    words: np.ndarray,
    starts: np.ndarray,
    lists: np.ndarray,
    places: np.ndarray,
    values: np.ndarray,
) -> None:
    longest = 0
    for row in range(len(starts) - 1):
        longest = max(longest, starts[row + 1] - starts[row])
    line = np.empty(longest + 1, dtype=np.int32)
    for utt in range(len(lists) - 1):
        first, size = lists[utt], lists[utt + 1] - lists[utt]
        for a in range(size):
            for b in range(a + 1, size):
                found = _distance(words, starts, first + a, first + b, line)
                values[places[utt] + a * size + b] = found
                values[places[utt] + b * size + a] = found


@kernel
def _distance(words: np.ndarray, starts: np.ndarray, a: int, b: int, line: np.ndarray) -> int:
    """Levenshtein's distance in words; a common beginning and end are skipped."""
    a_from, a_to, b_from, b_to = starts[a], starts[a + 1], starts[b], starts[b + 1]
    while a_from < a_to and b_from < b_to and words[a_from] == words[b_from]:
        a_from += 1
        b_from += 1
    while a_from < a_to and b_from < b_to and words[a_to - 1] == words[b_to - 1]:
        a_to -= 1
        b_to -= 1
    width = b_to - b_from
    for j in range(width + 1):
        line[j] = j
    for i in range(a_to - a_from):
        diagonal = line[0]
        line[0] = i + 1
        for j in range(width):
            above = line[j + 1]
            different = 0 if words[a_from + i] == words[b_from + j] else 1
            line[j + 1] = min(diagonal + different, above + 1, line[j] + 1)
            diagonal = above
    found: int = line[width]
    return found


@kernel
def _expect(
    values: np.ndarray,
    places: np.ndarray,
    lists: np.ndarray,
    posterior: np.ndarray,
    found: np.ndarray,
) -> None:
    for utt in range(len(lists) - 1):
        first, size = lists[utt], lists[utt + 1] - lists[utt]
        for a in range(size):
            risk = 0.0
            row = places[utt] + a * size
            for b in range(size):
                risk += posterior[first + b] * values[row + b]
            found[first + a] = risk
