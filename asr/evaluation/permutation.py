"""The exact permutation test of paired differences, which needs no estimate of a variance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Probabilities below this are left out of a distribution, and no p-value is smaller.
NEGLIGIBLE = 1e-30


def sign_flip(differences: Sequence[int] | np.ndarray) -> float:
    """Two-sided p-value of paired differences, by all of their signs (Fisher 1935, section 21).

    If two systems are equally good, each difference could as well have the other sign. The p-value
    is the share of all 2ⁿ choices of signs whose sum is as far from 0 as the sum that was seen, or
    farther. It is computed from the distribution of the sum, not from samples: differences with
    the same magnitude m add m times a binomial number, and the distributions of the magnitudes are
    convolved. The result is exact but for rounding, about 12 digits.

    Args:
        differences: (N,) whole numbers; zeros do not matter.

    Returns:
        A number above 0, at most 1; 1.0 if there are no differences or all are 0.
    """
    found = np.asarray(differences, dtype=np.int64)
    if found.ndim != 1:
        raise ValueError(f"differences have shape {found.shape}, not (N,)")
    found = found[found != 0]
    seen = abs(int(found.sum()))
    if seen == 0:
        return 1.0
    magnitudes, counts = np.unique(np.abs(found), return_counts=True)
    if len(magnitudes) == 1 and seen == int(magnitudes[0] * counts[0]):
        # All differences are equal: the two extreme choices of 2ⁿ.
        return max(float(2.0 ** (1 - int(counts[0]))), NEGLIGIBLE)
    # distribution[k] is the probability of the sum low + k · step.
    step = int(np.gcd.reduce(magnitudes))
    distribution, low = np.ones(1), 0
    for magnitude, count in sorted(
        zip(magnitudes.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]
    ):
        share, first = _signs(count)
        # k of `count` differences are positive: the sum is magnitude · (2k - count).
        stride = 2 * magnitude // step
        wider = np.zeros(len(distribution) + stride * (len(share) - 1))
        for place, probability in enumerate(share.tolist()):
            begin = stride * place
            wider[begin : begin + len(distribution)] += probability * distribution
        low += magnitude * (2 * first - count)
        distribution = wider
    sums = low + step * np.arange(len(distribution))
    return float(min(1.0, max(distribution[np.abs(sums) >= seen].sum(), NEGLIGIBLE)))


def _signs(count: int) -> tuple[np.ndarray, int]:
    """Probabilities of the number of positive signs among `count`, and the number of the first.

    Negligible probabilities at both ends are left out.
    """
    if count <= 60:
        return np.array([math.comb(count, k) for k in range(count + 1)]) / 2.0**count, 0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    share = np.exp(logs[-1] - logs - logs[::-1] - count * math.log(2.0))
    kept = np.flatnonzero(share > NEGLIGIBLE)
    return share[kept[0] : kept[-1] + 1], int(kept[0])
