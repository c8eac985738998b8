"""N-best lists as arrays of scores and errors, hypotheses by utterance, to try weights out.

`lm.rerank.pool` has lists as texts, to compare hypotheses with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lm.combine import score_column
from lm.errors import InputError


@dataclass(frozen=True)
class ScoreArrays:
    """U utterances by H hypotheses in rank order, and K columns, the first with weight 1.

    Attributes:
        scores: (U, H, K) columns; 0 where impossible.
        impossible: bool (U, H, K), where a column is -inf.
        exists: bool (U, H), False for padding of shorter lists.
        errors: int (U, H) word errors.
    """

    scores: np.ndarray
    impossible: np.ndarray
    exists: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame, errors: np.ndarray, names: Sequence[str]) -> ScoreArrays:
        """A table's lists.

        Args:
            table: N-best table of N rows; -inf is legal in scores.
            errors: (N,) word errors of each row's hypothesis.
            names: K columns.

        Raises:
            InputError: The table is empty, or a column is missing or holds NaN.
        """
        if table.empty:
            raise InputError("no hypotheses to tune weights on: the N-best table is empty")
        columns = np.stack([score_column(table, name) for name in names], axis=1)
        codes = pd.factorize(table["utt"])[0]
        order = np.lexsort((table["rank"].to_numpy(), codes))
        lengths = np.bincount(codes)
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        shape = (len(lengths), int(lengths.max()))
        padded = np.full((*shape, len(names)), -np.inf)
        padded[row, place] = columns[order]
        exists = np.zeros(shape, dtype=bool)
        exists[row, place] = True
        counts = np.zeros(shape, dtype=np.int64)
        counts[row, place] = errors[order]
        counts = np.where(exists, counts, counts[:, :1])
        impossible = np.isneginf(padded)
        return cls(np.where(impossible, 0.0, padded), impossible, exists, counts)

    def undecided(self) -> ScoreArrays:
        """The lists without those whose hypotheses all have the same number of errors."""
        open_ = self.errors.min(axis=1) < self.errors.max(axis=1)
        return ScoreArrays(
            self.scores[open_], self.impossible[open_], self.exists[open_], self.errors[open_]
        )

    def line(
        self, weights: np.ndarray, direction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Totals along a line: offset + step · slope, and which hypotheses are possible.

        Args:
            weights: (K - 1,) of all columns but the first.
            direction: (K - 1,) of the line.

        Returns:
            Three arrays (U, H).
        """
        used = np.concatenate([[True], (weights != 0) | (direction != 0)])
        alive = self.exists & ~self.impossible[..., used].any(axis=2)
        offsets = self.scores @ np.concatenate([[1.0], weights])
        slopes = self.scores @ np.concatenate([[0.0], direction])
        return offsets, slopes, alive

    def errors_under(self, weights: np.ndarray) -> np.ndarray:
        """(U,) errors of the winners; if no hypothesis of a list is possible, the first wins."""
        offsets, _, alive = self.line(weights, np.zeros_like(weights))
        best = np.where(alive, offsets, -np.inf).argmax(axis=1)
        found: np.ndarray = self.errors[np.arange(len(best)), best]
        return found

    def spread(self) -> np.ndarray:
        """Mean standard deviation within lists of every column but the first, (K - 1,)."""
        if not len(self.errors):
            return np.ones(self.scores.shape[2] - 1)
        present = self.exists[..., None] & ~self.impossible
        size = np.maximum(present.sum(axis=1), 1)
        mean = (self.scores * present).sum(axis=1) / size
        square = ((self.scores - mean[:, None]) ** 2 * present).sum(axis=1) / size
        found: np.ndarray = np.sqrt(square).mean(axis=0)[1:]
        return found
