"""Intervals against theory and coverage; MAPSSWE against segments and sums made by hand."""

from __future__ import annotations

import math
import random
import re
import time

import numpy as np
import pytest

from asr.evaluation.alignment import Alignment, align
from asr.evaluation.significance import bootstrap_interval, delta_interval, holm, mapsswe, segments


def corpus(seed: int, utterances: int, rate: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 30, utterances)
    return rng.binomial(words, rate), words


def marks(pattern: str) -> Alignment:
    """An alignment from a drawing: `.` right, `x` wrong, `+` a word inserted."""
    wrong, inserted = [], [0]
    for mark in pattern:
        if mark == "+":
            inserted[-1] += 1
        else:
            wrong.append(mark == "x")
            inserted.append(0)
    return Alignment(np.array(wrong, dtype=bool), np.array(inserted))


def test_interval_equals_a_plain_loop_in_distribution() -> None:
    errors, words = corpus(0, 80)
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(20_000):
        drawn = rng.integers(0, 80, 80)
        rates.append(errors[drawn].sum() / words[drawn].sum())
    expected = np.quantile(rates, [0.05, 0.95])
    found = bootstrap_interval(errors, words, resamples=20_000, level=0.9)
    assert found == pytest.approx(expected, abs=0.02 * expected.mean())


def test_interval_covers_the_true_rate_as_often_as_it_says() -> None:
    covered, trials = 0, 400
    for seed in range(trials):
        low, high = bootstrap_interval(*corpus(seed, 150), resamples=400, level=0.9, seed=seed) or (
            math.nan,
            math.nan,
        )
        covered += low <= 0.1 <= high
    # Standard error of the share is 0.015; percentile intervals fall a little short.
    assert 0.85 < covered / trials < 0.94


def test_delta_is_paired() -> None:
    rng = np.random.default_rng(2)
    words = rng.integers(5, 30, 300)
    hard = rng.binomial(words, rng.uniform(0, 0.6, 300))  # utterances differ much, systems little
    better = np.maximum(hard - (rng.random(300) < 0.2), 0)
    low, high = delta_interval(better, hard, words) or (math.nan, math.nan)
    ours = bootstrap_interval(better, words) or (math.nan, math.nan)
    theirs = bootstrap_interval(hard, words) or (math.nan, math.nan)
    assert low < (better.sum() - hard.sum()) / words.sum() < high < 0
    assert ours[1] > theirs[0], "unpaired, the intervals overlap"
    assert delta_interval(hard, better, words) == pytest.approx((-high, -low), abs=2e-4)
    assert delta_interval(hard, hard, words) == (0.0, 0.0)


def test_seed_level_and_order() -> None:
    errors, words = corpus(4, 200)
    narrow = bootstrap_interval(errors, words, level=0.5) or (math.nan, math.nan)
    wide = bootstrap_interval(errors, words, level=0.99) or (math.nan, math.nan)
    assert wide[0] < narrow[0] < errors.sum() / words.sum() < narrow[1] < wide[1]
    assert bootstrap_interval(errors, words, seed=3) == bootstrap_interval(errors, words, seed=3)
    assert bootstrap_interval(errors, words, seed=3) != bootstrap_interval(errors, words, seed=4)


def test_degenerate_intervals() -> None:
    assert bootstrap_interval(np.array([1]), np.array([5])) is None
    assert bootstrap_interval(np.array([]), np.array([])) is None
    assert bootstrap_interval(np.array([1, 2]), np.array([0, 0])) is None
    assert delta_interval(np.array([1]), np.array([2]), np.array([5])) is None
    assert bootstrap_interval(np.zeros(9), np.full(9, 4)) == (0.0, 0.0)
    # A quarter of the resamples hold the empty reference alone.
    low, high = bootstrap_interval(np.array([1, 1]), np.array([0, 4])) or (0.0, 0.0)
    assert (low, high) == (0.25, math.inf)
    with pytest.raises(ValueError, match="shapes"):
        bootstrap_interval(np.array([1, 2]), np.array([3]))
    with pytest.raises(ValueError, match="shape"):
        delta_interval(np.array([1, 2]), np.array([3]), np.array([1, 2]))
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval(*corpus(0, 9), level=95)


def test_large_counts_do_not_overflow() -> None:
    errors, words = np.array([10**8, 3]), np.array([10**9, 7])
    drawn = {(a, b) for a in (0, 1) for b in (0, 1)}
    rates = sorted((errors[a] + errors[b]) / (words[a] + words[b]) for a, b in drawn)
    found = bootstrap_interval(errors, words, level=0.98)
    assert found == (rates[0], rates[-1])
    swapped = delta_interval(np.array([0, 0]), errors, words, level=0.98)
    assert swapped == (-rates[-1], -rates[0])


@pytest.mark.slow
def test_ten_thousand_resamples_of_librispeech_size() -> None:
    errors, words = corpus(0, 2620)
    bootstrap_interval(errors, words, resamples=100)
    start = time.process_time()
    bootstrap_interval(errors, words)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("system", "baseline", "expected"),
    [
        ("......", "......", []),
        ("", "", []),
        ("", "++", [(0, 2)]),
        ("x.....", "......", [(1, 0)]),
        ("x..x..", "......", [(1, 0), (1, 0)]),  # two right words part the errors
        ("x.x...", "......", [(2, 0)]),  # one does not
        ("x..x..", ".x....", [(2, 1)]),  # words that only one has right do not
        ("x...x.", ".x....", [(1, 1), (1, 0)]),
        ("x.+.x.", ".....", [(3, 0)]),  # nor do words with an insertion between them
        ("x..x.", "..+...", [(2, 1)]),
        ("x..+x.", ".....", [(1, 0), (2, 0)]),  # an insertion after them opens a segment
        ("......+", "......", [(1, 0)]),
        ("...x.+", "...x.", [(2, 1)]),
        ("+......", "+......", [(1, 1)]),
    ],
)
def test_segments(system: str, baseline: str, expected: list[tuple[int, int]]) -> None:
    assert segments(marks(system), marks(baseline)) == expected
    swapped = [(theirs, ours) for ours, theirs in expected]
    assert segments(marks(baseline), marks(system)) == swapped


def random_marks(rng: random.Random, words: int) -> str:
    drawn = [rng.choice("....x") + "+" * (rng.random() < 0.1) for _ in range(words)]
    return "+" * (rng.random() < 0.1) + "".join(drawn)


@pytest.mark.parametrize("buffer", [1, 2, 3])
def test_segments_equal_a_split_at_runs_of_right_words(buffer: int) -> None:
    rng = random.Random(buffer)
    for _ in range(300):
        words = rng.randint(0, 25)
        ours, theirs = (marks(random_marks(rng, words)) for _ in range(2))
        # One letter per event: a, b an error of one system, c of both, . a word right in both.
        joint = ""
        for place in range(words + 1):
            joint += "a" * int(ours.inserted[place]) + "b" * int(theirs.inserted[place])
            if place < words:
                joint += ".bac"[2 * int(ours.wrong[place]) + int(theirs.wrong[place])]
        pieces = re.split(rf"\.{{{buffer},}}", joint)
        expected = [(len(re.findall("[ac]", p)), len(re.findall("[bc]", p))) for p in pieces]
        assert segments(ours, theirs, buffer) == [pair for pair in expected if any(pair)]


def test_mapsswe_by_hand() -> None:
    references = ["a b c d e f g h", "i j k l", "m n o", "p q"]
    system = ["a b c d e f g h", "i j k l", "m n o", "p q r"]
    baseline = ["x b c d e x x h", "i j k", "m o", "p q r"]
    # Segments: baseline 1 and 2, 1, 1, and the insertion of both: d = -1, -2, -1, -1, 0.
    found = mapsswe(align(references, system), align(references, baseline))
    assert (found.segments, found.mean) == (5, -1.0)
    standard_error = math.sqrt((0 + 1 + 0 + 0 + 1) / 4) / math.sqrt(5)
    assert found.z == pytest.approx(-1.0 / standard_error)  # -3.1623
    assert found.p_value == pytest.approx(0.001565, abs=1e-6)  # normal table: 2 · (1 - 0.9992173)
    swapped = mapsswe(align(references, baseline), align(references, system))
    assert (swapped.z, swapped.p_value) == (-found.z, found.p_value)


def test_mapsswe_is_uniform_between_equal_systems() -> None:
    rng = random.Random(8)
    small, trials = 0, 300
    for _ in range(trials):
        pairs = [(random_marks(rng, 12), random_marks(rng, 12)) for _ in range(40)]
        found = mapsswe([marks(a) for a, _ in pairs], [marks(b) for _, b in pairs])
        small += found.p_value < 0.1
    assert 0.06 < small / trials < 0.145


def test_degenerate_mapsswe() -> None:
    aligned = align(["a b c", "d"], ["a x c", ""])
    same = mapsswe(aligned, aligned)
    assert (same.segments, same.mean, same.z, same.p_value) == (2, 0.0, 0.0, 1.0)
    assert mapsswe([], []).p_value == 1.0
    one = mapsswe([marks("x.")], [marks("..")])
    assert (one.segments, one.mean, one.p_value) == (1, 1.0, 1.0)
    with pytest.raises(ValueError, match="1 utterances"):
        mapsswe([marks(".")], [])
    with pytest.raises(ValueError, match="not the same"):
        mapsswe([marks("..")], [marks(".")])
    with pytest.raises(ValueError, match="buffer"):
        mapsswe([], [], buffer=0)


def test_holm() -> None:
    # Holm's procedure by hand: 0.01·4, max(0.04, 0.02·3), max(0.06, 0.03·2), max(0.06, 0.04·1).
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    with_baseline = holm([math.nan, 0.01, 0.02])
    assert math.isnan(with_baseline[0]) and with_baseline[1:] == pytest.approx([0.02, 0.02])
    assert holm([0.2]).tolist() == [0.2] and holm([]).size == 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.5])
