"""How far to trust a word: measures of confidences, and their calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

# Confidences are kept this far from 0 and 1: there, one word could cost infinitely many bits.
EDGE = 1e-4
STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """A logistic map of confidences: logit(p) = slope · logit(c) + offset (Platt 1999).

    Attributes:
        slope: slope of the map; below 1 where confidences are too extreme.
        offset: offset of the map; below 0 where confidences are too high.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, confidence: np.ndarray) -> np.ndarray:
        """Calibrated confidences, (W,)."""
        return 1.0 / (1.0 + np.exp(-(self.slope * logit(confidence) + self.offset)))

    @classmethod
    def fit(cls, confidence: np.ndarray, right: np.ndarray) -> Calibration:
        """The map of greatest likelihood, by Newton's method.

        Args:
            confidence: (W,) between 0 and 1.
            right: bool (W,), whether the word is right.

        Returns:
            The identity if all words are right, or all wrong: nothing can be learned from them.
        """
        right = np.asarray(right, dtype=np.float64)
        if not 0.0 < right.sum() < len(right):
            return cls()
        inputs = np.stack([logit(confidence), np.ones(len(right))], axis=1)
        found = np.array([1.0, 0.0])
        # Platt's targets keep the slope finite where confidences separate right from wrong
        # perfectly.
        wrong = len(right) - right.sum()
        high, low = (right.sum() + 1) / (right.sum() + 2), 1 / (wrong + 2)
        target = np.where(right > 0, high, low)

        def loss(point: np.ndarray) -> float:
            z = inputs @ point
            return float((np.logaddexp(0.0, z) - target * z).sum())

        for _ in range(STEPS):
            p = 1.0 / (1.0 + np.exp(-inputs @ found))
            gradient = inputs.T @ (p - target)
            curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-9 * np.eye(2)
            step = np.linalg.solve(curvature, gradient)
            # The loss is convex, but a whole step may go too far where p is near 0 or 1.
            while loss(found - step) > loss(found) and np.abs(step).max() > 1e-12:
                step /= 2
            found = found - step
            if np.abs(step).max() < 1e-9:
                break
        return cls(float(found[0]), float(found[1]))


def logit(confidence: np.ndarray) -> np.ndarray:
    """log(c / (1 - c)), finite also at 0 and 1."""
    kept = np.clip(np.asarray(confidence, dtype=np.float64), EDGE, 1 - EDGE)
    found: np.ndarray = np.log(kept / (1 - kept))
    return found


def normalised_cross_entropy(confidence: np.ndarray, right: np.ndarray) -> float:
    """Information that confidences give of which words are right (NIST; Siu & Gish 1999).

    (H - (bits spent with the confidences)) / H, with H the bits of knowing only the share of right
    words: 1 is perfect, at 0 confidences say nothing, and below 0 they mislead.

    Args:
        confidence: (W,) between 0 and 1; kept 1e-4 away from both.
        right: bool (W,).

    Returns:
        NaN if all words are right, or all wrong.
    """
    right = np.asarray(right, dtype=bool)
    share = right.mean() if len(right) else 0.0
    if share in (0.0, 1.0):
        return float("nan")
    kept = np.clip(np.asarray(confidence, dtype=np.float64), EDGE, 1 - EDGE)
    spent = -np.log2(np.where(right, kept, 1 - kept)).sum()
    base = -len(right) * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    return float((base - spent) / base)


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """The reliability diagram's points: confidences in bins of equal width.

    Returns:
        A row for each bin that holds words: `low, high, confidence` (mean), `right` (share),
        `words`.
    """
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    rows = []
    for number in np.unique(place):
        own = place == number
        rows.append(
            {
                "low": edges[number],
                "high": edges[number + 1],
                "confidence": confidence[own].mean(),
                "right": right[own].mean(),
                "words": int(own.sum()),
            }
        )
    return pd.DataFrame(rows, columns=["low", "high", "confidence", "right", "words"])


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: how far confidences are from shares, mean over words.

    Naeini, Cooper & Hauskrecht 2015, AAAI; NaN without words.
    """
    table = reliability(confidence, right, bins)
    if table.empty:
        return float("nan")
    apart = (table["confidence"] - table["right"]).abs() * table["words"]
    return float(apart.sum() / table["words"].sum())
