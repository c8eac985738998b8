"""Whether a difference in word error rate is more than chance: bootstrap, matched pairs, Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from asr.evaluation.alignment import Alignment
from asr.evaluation.permutation import sign_flip
from lm.errors import InputError

Test = Literal["mapsswe", "permutation"]
TESTS: tuple[Test, ...] = get_args(Test)

RESAMPLES = 10_000
LEVEL = 0.95

# Number of reference words, right in both systems, that end a segment: sclite's default.
BUFFER = 2


@dataclass(frozen=True)
class MatchedPairs:
    """The result of the matched-pairs test of a system against a baseline.

    Attributes:
        segments: number of segments in which at least one of the two systems has errors.
        mean: mean over segments of errors(system) - errors(baseline); negative: fewer errors.
        z: the mean in units of its standard error; 0.0 where no variance can be estimated.
        p_value: two-sided.
        test: where the p-value comes from: the normal distribution (`mapsswe`), or all signs of
            the differences (`permutation`).
    """

    segments: int
    mean: float
    z: float
    p_value: float
    test: Test


def bootstrap_interval(
    errors: np.ndarray,
    words: np.ndarray,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a word error rate (Bisani & Ney, ICASSP 2004).

    Whole utterances are drawn with replacement, and each resample's rate is its errors over its
    words. To resample speakers, pass sums by speaker.

    Args:
        errors: (U,) errors of each utterance.
        words: (U,) reference words of each utterance.
        resamples: number of bootstrap samples.
        level: share of them that the interval holds, between 0 and 1.
        seed: the same seed draws the same samples.

    Returns:
        Lower and upper bound as fractions; None if there are fewer than two utterances or no
        reference words, because the spread is not known then.

    Raises:
        ValueError: the arrays differ in shape, or level or resamples is out of range.
    """
    return _interval(errors, words, resamples, level, seed)


def delta_interval(
    system: np.ndarray,
    baseline: np.ndarray,
    words: np.ndarray,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    baseline_words: np.ndarray | None = None,
) -> tuple[float, float] | None:
    """Paired bootstrap interval of a difference in word error rate, system minus baseline.

    Both systems are scored on the same drawn utterances (Bisani & Ney 2004, section 4), so that
    utterances that are hard for both cancel out. An interval without 0 is a significant difference.

    Args:
        system: (U,) errors of the system by utterance.
        baseline: (U,) errors of the baseline on the same utterances.
        words: (U,) reference words of each utterance.
        resamples: number of bootstrap samples.
        level: share of them that the interval holds.
        seed: the same seed draws the same samples.
        baseline_words: (U,) reference words with which the baseline was compared, where they
            differ from `words` because of alternatives in the references.

    Returns:
        Lower and upper bound as fractions, or None as in `bootstrap_interval`.

    Raises:
        ValueError: as in `bootstrap_interval`.
    """
    system, baseline = np.asarray(system), np.asarray(baseline)
    if system.shape != baseline.shape:
        raise ValueError(f"system has shape {system.shape} but baseline {baseline.shape}")
    if baseline_words is None or np.array_equal(words, baseline_words):
        return _interval(system.astype(np.int64) - baseline, words, resamples, level, seed)
    _check(system, words, resamples, level)
    _check(baseline, baseline_words, resamples, level)
    if len(words) < 2 or not np.any(words) or not baseline_words.any():
        return None
    # The same seed draws the same utterances for both.
    ours = _rates(*_resampled_sums(system, np.asarray(words), resamples, seed))
    theirs = _rates(*_resampled_sums(baseline, baseline_words, resamples, seed))
    with np.errstate(invalid="ignore"):
        difference = ours - theirs
    # Infinite in both: no difference can be seen.
    return _quantiles(np.where(np.isnan(difference), 0.0, difference), level)


def matched_pairs(
    system: Sequence[Alignment],
    baseline: Sequence[Alignment],
    test: Test = "mapsswe",
    buffer: int = BUFFER,
) -> MatchedPairs:
    """Matched-pairs sentence-segment word error test (Gillick & Cox, ICASSP 1989).

    Segments are those of NIST sc_stats. A segment begins with an error of either system and ends
    at the first `buffer` reference words in a row that are right in both systems, with no insertion
    between them, or at the end of the utterance. Segments without errors are not counted. With
    d = errors(system) - errors(baseline) of each of n segments, `mapsswe` has
    z = mean(d) / (sd(d) / sqrt(n)), where sd divides by n - 1, and p = erfc(|z| / sqrt(2)).
    `permutation` is the exact test of the same d, see `asr.evaluation.permutation.sign_flip`; it
    assumes no normal distribution.

    If all d are equal (one system has the same number of errors more in every segment, or there is
    one segment, or the systems are identical), their variance cannot be estimated: z is 0, and the
    p-value is that of the permutation test under either name. sc_stats prints p = 1 there.

    With sclite's alignments (see `asr.evaluation.alignment`) segments, mean and z are those that
    sc_stats prints, also with optional words. With alternatives of different lengths, sc_stats
    pairs words of the two systems by their number, so about one segment in a hundred ends
    elsewhere. With jiwer's alignments an error is sometimes at another place.

    Args:
        system: alignments of the system by utterance, from `asr.evaluation.alignment.align`.
        baseline: alignments of the baseline on the same utterances in the same order.
        test: where the p-value comes from.
        buffer: reference words right in both that end a segment, at least 1.

    Raises:
        ValueError: different numbers of utterances, different references, or buffer below 1.
        InputError: There is no such test.
    """
    if test not in TESTS:
        raise InputError(f"there is no significance test {test!r}; use {' or '.join(TESTS)}")
    if buffer < 1:
        raise ValueError(f"buffer is {buffer}; a segment ends after one right word or more")
    if len(system) != len(baseline):
        raise ValueError(
            f"there are {len(system)} utterances of the system and {len(baseline)} of the baseline"
        )
    pairs: list[tuple[int, int]] = []
    for ours, theirs in zip(system, baseline, strict=True):
        pairs.extend(segments(ours, theirs, buffer))
    count = len(pairs)
    difference = np.array([ours - theirs for ours, theirs in pairs], dtype=np.int64)
    mean = float(difference.mean()) if count else 0.0
    varies = bool((difference != difference[0]).any()) if count else False
    z = mean / (float(difference.std(ddof=1)) / math.sqrt(count)) if varies else 0.0
    if varies and test == "mapsswe":
        return MatchedPairs(count, mean, z, math.erfc(abs(z) / math.sqrt(2.0)), "mapsswe")
    return MatchedPairs(count, mean, z, sign_flip(difference), "permutation")


def mapsswe(
    system: Sequence[Alignment], baseline: Sequence[Alignment], buffer: int = BUFFER
) -> MatchedPairs:
    """The matched-pairs test with its usual p-value, see `matched_pairs`."""
    return matched_pairs(system, baseline, "mapsswe", buffer)


def segments(system: Alignment, baseline: Alignment, buffer: int = BUFFER) -> list[tuple[int, int]]:
    """Errors of both systems in each segment of one utterance, as `matched_pairs` defines segments.

    Raises:
        ValueError: the two alignments have references of different lengths.
    """
    length = len(system.wrong)
    if length != len(baseline.wrong):
        raise ValueError(f"references of {length} and {len(baseline.wrong)} words: not the same")
    # Row i has the insertions before word i. The last row has those after the last word; it is
    # padding for `wrong`.
    wrong = np.zeros((length + 1, 2), dtype=np.int64)
    wrong[:length, 0], wrong[:length, 1] = system.wrong, baseline.wrong
    # A word counts as right in both, or as many words of alternatives as are right in both.
    rights = [
        (wrong[:length, n] == 0).astype(np.int64) if own.right is None else own.right
        for n, own in enumerate((system, baseline))
    ]
    both = np.append(np.minimum(*rights), 0).tolist()
    inserted = np.stack([system.inserted, baseline.inserted], axis=1)
    if not wrong.any() and not inserted.any():
        return []
    found: list[tuple[int, int]] = []
    ours = theirs = right = 0
    for (wrong_ours, wrong_theirs), (extra_ours, extra_theirs), words in zip(
        wrong.tolist(), inserted.tolist(), both, strict=True
    ):
        if extra_ours or extra_theirs:
            right = 0
        right = 0 if wrong_ours or wrong_theirs else right + words
        ours += wrong_ours + extra_ours
        theirs += wrong_theirs + extra_theirs
        if right >= buffer and (ours or theirs):
            found.append((ours, theirs))
            ours = theirs = 0
    if ours or theirs:
        found.append((ours, theirs))
    return found


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values adjusted for testing several hypotheses at once (Holm 1979, step-down).

    Args:
        p_values: (K,) p-values; NaN means a system that was not tested (the baseline): it stays
            NaN and is not counted.

    Returns:
        (K,) adjusted p-values, at most 1, in the order given.

    Raises:
        ValueError: a p-value is outside 0 to 1.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.size and (np.nanmin(given, initial=0.0) < 0 or np.nanmax(given, initial=1.0) > 1):
        raise ValueError(f"p-values lie between 0 and 1: {given.tolist()}")
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = given.copy()
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * factors))
    return adjusted


def _interval(
    numerator: np.ndarray, words: np.ndarray, resamples: int, level: float, seed: int
) -> tuple[float, float] | None:
    """Percentile interval of sum(numerator) / sum(words) over resampled utterances."""
    numerator, words = np.asarray(numerator), np.asarray(words)
    _check(numerator, words, resamples, level)
    if len(words) < 2 or not words.any():
        return None
    return _quantiles(_rates(*_resampled_sums(numerator, words, resamples, seed)), level)


def _check(numerator: np.ndarray, words: np.ndarray, resamples: int, level: float) -> None:
    """Checks the arguments of an interval."""
    if numerator.ndim != 1 or numerator.shape != np.shape(words):
        raise ValueError(f"shapes {numerator.shape} and {np.shape(words)} are not one (U,)")
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ValueError(f"level {level} is not within 0 and 1, or resamples {resamples} below 1")


def _rates(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The rates of resamples, from their sums."""
    # The rate of a resample of empty references is infinite with errors, else 0 (as ErrorRate).
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom > 0, top / bottom, np.where(top == 0, 0.0, np.sign(top) * np.inf))


def _quantiles(rates: np.ndarray, level: float) -> tuple[float, float]:
    """The ends of a percentile interval."""
    tail = (1.0 - level) / 2.0
    # An order statistic: to interpolate between two infinite rates would give NaN.
    low, high = np.quantile(rates, [tail, 1.0 - tail], method="inverted_cdf")
    return float(low), float(high)


def _resampled_sums(
    numerator: np.ndarray, words: np.ndarray, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of both arrays over utterances drawn with replacement, each (resamples,)."""
    rng = np.random.default_rng(seed)
    size = len(words)
    # Both sums need one gather: a sum of numerator·2³² + words keeps the two sums separate if
    # neither has more than 31 bits, which is 2,000 million words.
    packed = numerator.astype(np.int64) * (1 << 32) + words.astype(np.int64)
    sums = np.empty(resamples, dtype=np.int64)
    # Blocks of about a million draws stay in the processor's cache.
    block = max(1, 1_000_000 // size)
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        drawn = rng.integers(0, size, size=(stop - start, size), dtype=np.int32)
        sums[start:stop] = packed[drawn].sum(axis=1)
    bottom = sums & ((1 << 32) - 1)
    return (sums - bottom) >> 32, bottom
