"""Alignments, counts and the matched-pairs test beside NIST's sclite and sc_stats."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from asr.evaluation.alignment import METHODS, Alignment, WordIds, align, word_pairs
from asr.evaluation.significance import MatchedPairs, mapsswe, segments
from asr.evaluation.wer import ErrorRate, row_errors
from lm.errors import InputError
from tests.asr.evaluation.test_wer import librispeech
from tests.support.sctk import Segments, matched_pairs, needs_sctk, paths, sgml

KINDS = "CSDI"


def spelled(references: list[str], hypotheses: list[str]) -> list[str]:
    """sclite's letters for our alignments."""
    words = WordIds("sclite")
    return [
        "".join(KINDS[kind] for kind in words.path(words.encode(r), words.encode(h)))
        for r, h in zip(references, hypotheses, strict=True)
    ]


def pairs(first: list[Alignment], second: list[Alignment]) -> np.ndarray:
    found = [segments(a, b) for a, b in zip(first, second, strict=True)]
    return np.array([a - b for utterance in found for a, b in utterance], dtype=float)


def garbled(rng: random.Random, text: str, rate: float) -> str:
    words = []
    for word in text.split():
        drawn = rng.random()
        if drawn < rate:
            words += [[rng.choice("abcdef")], [], [word, rng.choice("abcdef")]][rng.randrange(3)]
        else:
            words.append(word)
    return " ".join(words)


@needs_sctk
def test_every_place_of_random_alignments_is_as_in_sclite(tmp_path: Path) -> None:
    rng = random.Random(5)
    texts = [
        (" ".join(rng.choices("abc", k=rng.randint(1, 9))), " ".join(rng.choices("abcd", k=k)))
        for k in rng.choices(range(1, 10), k=2000)
    ]
    references, hypotheses = map(list, zip(*texts, strict=True))
    expected = paths(sgml(references, hypotheses, tmp_path, "random"), len(texts))
    assert spelled(references, hypotheses) == expected


@needs_sctk
def test_librispeech_counts_and_places_are_sclite_s(shared_data: Path, tmp_path: Path) -> None:
    table, refs = librispeech(shared_data / "librispeech-10best" / "test_clean.jsonl.xz")
    best = table[table["rank"] == 1]
    references, hypotheses = [refs[u] for u in best["utt"]], best["text"].tolist()
    expected = paths(sgml(references, hypotheses, tmp_path, "first"), len(best))
    assert spelled(references, hypotheses) == expected
    ours = ErrorRate.total(row_errors(best, refs, "sclite"))
    letters = "".join(expected)
    assert ours == ErrorRate(*(letters.count(kind) for kind in KINDS))
    assert (ours.substitutions, ours.deletions, ours.insertions) == (2714, 216, 446)  # published
    by_jiwer = ErrorRate.total(row_errors(best, refs))
    assert by_jiwer.errors == ours.errors and by_jiwer.ref_words == ours.ref_words == 52_576


@pytest.mark.slow
@needs_sctk
@pytest.mark.parametrize("ranks", [(1, 2), (2, 1), (3, 4)])
def test_librispeech_matched_pairs_are_sc_stats(
    shared_data: Path, tmp_path: Path, ranks: tuple[int, int]
) -> None:
    table, refs = librispeech(shared_data / "librispeech-10best" / "test_clean.jsonl.xz")
    texts = {rank: table[table["rank"] == rank].set_index("utt")["text"] for rank in ranks}
    both = sorted(set.intersection(*(set(t.index) for t in texts.values())))
    references = [refs[u] for u in both]
    hypotheses = {rank: [str(texts[rank][u]) for u in both] for rank in ranks}
    found = matched_pairs(
        {str(n): sgml(references, h, tmp_path, f"rank{n}") for n, h in hypotheses.items()}, tmp_path
    )
    first = align(references, hypotheses[ranks[0]], "sclite")
    second = align(references, hypotheses[ranks[1]], "sclite")
    check(found, mapsswe(first, second), pairs(first, second))


@needs_sctk
@pytest.mark.parametrize("seed", range(6))
def test_random_matched_pairs_are_sc_stats(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    references = [" ".join(rng.choices("abcdef", k=rng.randint(2, 20))) for _ in range(150)]
    systems = [[garbled(rng, r, rate) or "g" for r in references] for rate in (0.2, 0.25)]
    found = matched_pairs(
        {str(n): sgml(references, h, tmp_path, f"s{n}") for n, h in enumerate(systems)}, tmp_path
    )
    first, second = (align(references, h, "sclite") for h in systems)
    check(found, mapsswe(first, second), pairs(first, second))


def check(found: Segments, ours: MatchedPairs, differences: np.ndarray) -> None:
    assert ours.segments == found.segments
    assert ours.mean == pytest.approx(found.mean, abs=6e-4)
    assert differences.std(ddof=1) == pytest.approx(found.deviation, abs=6e-4)
    assert ours.z == pytest.approx(found.z, abs=6e-4)


def test_costs_of_the_two_alignments() -> None:
    # Two words wrong, or one inserted, one right and one deleted: cost 8 against 6.
    assert word_pairs("a b", "b c") == [("a", "b"), ("b", "c")]
    assert word_pairs("a b", "b c", "sclite") == [("a", None), ("b", "b"), (None, "c")]
    assert word_pairs("", "x", "sclite") == [(None, "x")]
    assert word_pairs("x", "", "sclite") == [("x", None)]
    assert word_pairs("", "", "sclite") == []


@pytest.mark.parametrize("method", METHODS)
def test_places_spell_both_texts(method: str) -> None:
    rng = random.Random(1)
    for _ in range(300):
        reference, hypothesis = (
            " ".join(rng.choices("abcd", k=rng.randint(0, 8))) for _ in range(2)
        )
        found = word_pairs(reference, hypothesis, method)  # type: ignore[arg-type]
        assert " ".join(r for r, _ in found if r is not None) == reference
        assert " ".join(h for _, h in found if h is not None) == hypothesis
        assert all(r is not None or h is not None for r, h in found)


def test_sclite_alignment_has_the_least_cost_by_brute_force() -> None:
    def least(r: str, h: str) -> int:
        if not r or not h:
            return 3 * (len(r) + len(h))
        same = 0 if r[0] == h[0] else 4
        return min(least(r[1:], h[1:]) + same, least(r[1:], h) + 3, least(r, h[1:]) + 3)

    rng = random.Random(2)
    for _ in range(200):
        r, h = ("".join(rng.choices("abc", k=rng.randint(0, 5))) for _ in range(2))
        (path,) = spelled([" ".join(r)], [" ".join(h)])
        assert 4 * path.count("S") + 3 * (path.count("D") + path.count("I")) == least(r, h)


def test_unknown_method() -> None:
    with pytest.raises(InputError, match="'nist'; use jiwer or sclite"):
        WordIds("nist")  # type: ignore[arg-type]
