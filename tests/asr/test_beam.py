"""The beam search: against enumeration, against itself in chunks, its columns and its limits."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.beam import BeamDecoder
from asr.forward import full_sums
from asr.greedy import greedy
from asr.options import DecoderOptions
from asr.vocabulary import Vocabulary
from lm.errors import InputError
from lm.estimation.counted_text import read_corpus
from lm.estimation.kneser_ney import estimate
from lm.ngram.arpa import Arpa, write_arpa
from lm.ngram.arpa_reader import read_arpa
from tests.support.enumeration import LETTERS, PIECES, enumerated, random_log_probs

LN10 = math.log(10)
OPEN = DecoderOptions(
    decoder="beam", beam_width=20_000, nbest=20_000, token_min_logp=-1e9, beam_prune_logp=-1e9
)
BOTH = pytest.mark.parametrize("vocabulary", [LETTERS, PIECES], ids=["letters", "pieces"])
TEXTS = ["a b\nab a\nb b\na ab\na a ab\nab\nb\nb a\n", "ba a\nba b b\na ba\nb ba\naa a\naa b aa\n"]


@pytest.fixture(scope="module")
def arpas(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two trigram models that share some of their words."""
    folder = tmp_path_factory.mktemp("arpas")
    paths = []
    for i, text in enumerate(TEXTS):
        (folder / f"{i}.txt").write_text(text)
        model = estimate(read_corpus([folder / f"{i}.txt"]), 3, discount_fallback=True)
        write_arpa(model, folder / f"{i}.arpa")
        paths.append(str(folder / f"{i}.arpa"))
    return paths


def load_kenlm(path: str) -> Any:
    """The model in KenLM."""
    return pytest.importorskip("kenlm").Model(path)


def kenlm_score(model: Any, text: str) -> tuple[float, int]:
    """Natural log of a sentence, and its unknown words."""
    return model.score(text) * LN10, sum(word not in model for word in text.split())


@BOTH
@pytest.mark.parametrize("frames", [1, 2, 4, 5])
def test_equals_enumeration(vocabulary: Vocabulary, frames: int) -> None:
    for seed in range(3):
        log_probs = random_log_probs(frames, vocabulary, seed)
        expected = enumerated(log_probs, vocabulary)
        found = BeamDecoder.build(vocabulary, OPEN).decode(log_probs)
        assert len(found) == len(expected)
        for h in found:
            assert h.acoustic == pytest.approx(expected[h.text], abs=1e-6)
        assert [h.acoustic for h in found] == sorted((h.acoustic for h in found), reverse=True)


@BOTH
@pytest.mark.parametrize("lookahead", [False, True])
def test_equals_enumeration_with_a_word_model(
    vocabulary: Vocabulary, lookahead: bool, arpas: list[str]
) -> None:
    options = replace(OPEN, lm=arpas[0], alpha=0.7, beta=0.4, unknown=-1.5, lookahead=lookahead)
    model = load_kenlm(arpas[0])
    for seed in range(3):
        log_probs = random_log_probs(5, vocabulary, seed)
        expected = enumerated(log_probs, vocabulary)
        found = BeamDecoder.build(vocabulary, options).decode(log_probs)
        assert {h.text for h in found} == set(expected)
        scores = []
        for h in found:
            ngram, oov = kenlm_score(model, h.text)
            assert (h.acoustic, h.ngram) == pytest.approx((expected[h.text], ngram), abs=1e-4)
            assert h.oov == oov
            penalty = 0.7 * LN10 * -1.5 * oov
            scores.append(h.acoustic + 0.7 * ngram + penalty + 0.4 * len(h.text.split()))
        assert scores == sorted(scores, reverse=True)


@BOTH
def test_linear_mixture_of_two_models(vocabulary: Vocabulary, arpas: list[str]) -> None:
    options = replace(
        OPEN, lm=arpas[0], more_lms=(arpas[1],), lm_weights=(0.3, 0.7), mixture="linear"
    )
    models = [load_kenlm(path) for path in arpas]
    found = BeamDecoder.build(vocabulary, options).decode(random_log_probs(5, vocabulary, 1))
    assert len(found) > 50
    for h in found:
        words = [list(m.full_scores(h.text)) for m in models]
        mixed = sum(
            math.log(0.3 * 10 ** a[0] + 0.7 * 10 ** b[0]) for a, b in zip(*words, strict=True)
        )
        assert h.ngram == pytest.approx(mixed, abs=1e-4)
        assert h.oov == sum(all(w not in m for m in models) for w in h.text.split())
        assert h.more is None


@BOTH
def test_log_linear_mixture_has_a_column_for_each_model(
    vocabulary: Vocabulary, arpas: list[str]
) -> None:
    options = replace(
        OPEN, lm=arpas[0], more_lms=(arpas[1],), lm_weights=(0.5, 2.0), alpha=0.6, beta=0, unknown=0
    )
    models = [load_kenlm(path) for path in arpas]
    found = BeamDecoder.build(vocabulary, options).decode(random_log_probs(5, vocabulary, 2))
    scores = []
    for h in found:
        first, second = (m.score(h.text) * LN10 for m in models)
        assert h.more is not None
        assert (h.ngram, h.more["ngram2"]) == pytest.approx((first, second), abs=1e-4)
        scores.append(h.acoustic + 0.6 * (0.5 * first + 2.0 * second))
    np.testing.assert_allclose(scores, sorted(scores, reverse=True), atol=1e-4)


@BOTH
def test_model_over_labels(vocabulary: Vocabulary, tmp_path: Path) -> None:
    lines = ["a b | a a", "b a | b", "▁a b ▁ab", "▁ b a ▁a", "▁ab b | a"]
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    model = estimate(read_corpus([tmp_path / "labels.txt"]), 3, discount_fallback=True)
    write_arpa(model, tmp_path / "labels.arpa")
    reference = load_kenlm(str(tmp_path / "labels.arpa"))
    options = replace(OPEN, lm=str(tmp_path / "labels.arpa"), lm_unit="label", beta=0.0, alpha=0.8)
    log_probs = random_log_probs(4, vocabulary, 3)
    expected = enumerated(log_probs, vocabulary)
    found = BeamDecoder.build(vocabulary, options).decode(log_probs)
    assert {h.text for h in found} == set(expected)
    for h in found:
        assert h.acoustic == pytest.approx(expected[h.text], abs=1e-5)
        # One of the ways to spell the text, by its labels, has just this score.
        spelled = [
            reference.score(" ".join(vocabulary.labels[i] for i in ids)) * LN10
            for ids in spellings_of(h.text, vocabulary)
        ]
        assert min(abs(h.ngram - score) for score in spelled) < 1e-4


def spellings_of(text: str, vocabulary: Vocabulary) -> list[tuple[int, ...]]:
    """Label sequences of up to four labels with that text."""
    used = [i for i in range(len(vocabulary.labels)) if i not in vocabulary.special]
    return [
        ids
        for length in range(5)
        for ids in product(used, repeat=length)
        if vocabulary.text(ids) == text
    ]


@BOTH
def test_hot_words_are_paid_once_each(vocabulary: Vocabulary) -> None:
    options = replace(OPEN, hotwords={"ab": 1.5, "b a": 0.7})
    log_probs = random_log_probs(5, vocabulary, 4)
    expected = enumerated(log_probs, vocabulary)
    found = BeamDecoder.build(vocabulary, options).decode(log_probs)
    assert {h.text for h in found} == set(expected)
    scores = []
    for h in found:
        words = h.text.split()
        pairs = sum(pair == ("b", "a") for pair in pairwise(words))
        bonus = 1.5 * words.count("ab") + 0.7 * pairs
        assert h.more == pytest.approx({"hotwords": bonus})
        assert h.acoustic == pytest.approx(expected[h.text], abs=1e-6)
        scores.append(h.acoustic + bonus)
    assert scores == sorted(scores, reverse=True)
    assert any(h.more and h.more["hotwords"] > 2 for h in found)


def test_hot_word_survives_a_narrow_beam() -> None:
    """Its share of the weight keeps a hot word alive before it is complete."""
    labels = ["<pad>", "|", *"abcdefgh"]
    vocabulary = Vocabulary.from_labels(labels, blank=0)
    log_probs = np.full((12, 10), -9.0, np.float32)
    for t, (good, bad) in enumerate(zip("abcdef", "abcdeg", strict=True)):
        log_probs[2 * t, labels.index(good)] = -3.0
        log_probs[2 * t, labels.index(bad)] = -0.1
        log_probs[2 * t, labels.index("h")] = -2.0
        log_probs[2 * t + 1, 0] = -0.01
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    options = DecoderOptions(decoder="beam", beam_width=2, token_min_logp=-6)
    assert BeamDecoder.build(vocabulary, options).decode(log_probs)[0].text == "abcdeg"
    options = replace(options, hotwords={"abcdef": 8.0})
    assert BeamDecoder.build(vocabulary, options).decode(log_probs)[0].text == "abcdef"


@BOTH
def test_chunks_change_nothing(vocabulary: Vocabulary, arpas: list[str]) -> None:
    options = replace(OPEN, beam_width=12, nbest=12, beam_prune_logp=-15, lm=arpas[0])
    log_probs = random_log_probs(40, vocabulary, 5)
    decoder = BeamDecoder.build(vocabulary, options)
    whole = decoder.decode(log_probs)
    for sizes in ([1] * 40, [7, 0, 13, 20], [39, 1]):
        search = decoder.search()
        for chunk in np.split(log_probs, np.cumsum(sizes)[:-1]):
            search.advance(chunk)
            assert search.hypotheses(3, ended=False)
        assert search.hypotheses() == whole


@BOTH
def test_little_room_changes_nothing(vocabulary: Vocabulary, arpas: list[str]) -> None:
    """Old prefixes are forgotten when the room is used up, and more is made if need be."""
    options = replace(OPEN, beam_width=30, nbest=30, lm=arpas[0])
    log_probs = random_log_probs(300, vocabulary, 6)
    expected = BeamDecoder.build(vocabulary, options).decode(log_probs)
    decoder = BeamDecoder.build(vocabulary, options, room=124)
    assert decoder.decode(log_probs) == expected
    assert len(decoder.idle[0].prefixes.rows) < 300 * 30


@BOTH
def test_never_below_greedy(vocabulary: Vocabulary) -> None:
    options = replace(OPEN, beam_width=500, nbest=10)
    for seed in range(5):
        log_probs = random_log_probs(25, vocabulary, seed)
        best = BeamDecoder.build(vocabulary, options).decode(log_probs)[0]
        text, path = greedy(log_probs, vocabulary)
        sums = full_sums(log_probs, vocabulary, [best.text, text])
        assert sums[0] >= sums[1] - 1e-6
        assert sums[0] >= path
        assert best.acoustic <= sums[0] + 1e-6


def test_exact_column_is_the_sum_over_all_paths() -> None:
    options = replace(OPEN, beam_width=4, nbest=4, exact=True)
    log_probs = random_log_probs(20, PIECES, 7)
    found = BeamDecoder.build(PIECES, options).decode(log_probs)
    sums = full_sums(log_probs, PIECES, [h.text for h in found])
    assert [h.more["ctc"] for h in found if h.more] == pytest.approx(sums.tolist())
    assert all(h.acoustic <= total + 1e-6 for h, total in zip(found, sums, strict=True))
    assert any(h.acoustic < total - 1e-3 for h, total in zip(found, sums, strict=True))


def test_word_times() -> None:
    labels = ["<pad>", "|", "A", "B"]
    vocabulary = Vocabulary.from_labels(labels, blank=0)
    path = [0, 2, 2, 0, 3, 0, 0, 1, 0, 3, 3, 3, 0, 2, 1]
    log_probs = np.log(np.full((len(path), 4), 0.02, np.float32))
    log_probs[np.arange(len(path)), path] = np.log(0.94)
    best = BeamDecoder.build(vocabulary, DecoderOptions(decoder="beam")).decode(log_probs)[0]
    assert best.text == "AB BA"
    assert best.times == ((1, 9), (5, 14))


@BOTH
def test_narrow_search_finds_sums_no_higher_than_the_truth(vocabulary: Vocabulary) -> None:
    options = DecoderOptions(decoder="beam", beam_width=8, token_min_logp=-4, beam_prune_logp=-10)
    decoder = BeamDecoder.build(vocabulary, options)
    for seed in range(5):
        log_probs = random_log_probs(30, vocabulary, seed)
        found = decoder.decode(log_probs)
        assert 1 <= len(found) <= 8
        assert len({h.text for h in found}) == len(found)
        sums = full_sums(log_probs, vocabulary, [h.text for h in found])
        assert all(h.acoustic <= total + 1e-6 for h, total in zip(found, sums, strict=True))


def test_bad_frames() -> None:
    decoder = BeamDecoder.build(LETTERS, OPEN)
    broken = random_log_probs(3, LETTERS, 0)
    broken[1, 2] = np.nan
    with pytest.raises(InputError, match=r"frame 1 contain NaN or \+inf"):
        decoder.decode(broken)
    broken[1, 2] = np.inf
    with pytest.raises(InputError, match=r"frame 1 contain NaN or \+inf"):
        decoder.decode(broken)
    silent = np.full((2, 7), -np.inf, np.float32)
    silent[:, 6] = 0.0  # only <unk> is possible
    with pytest.raises(InputError, match=r"in frame 0 only special labels have a probability"):
        BeamDecoder.build(PIECES, OPEN).decode(silent)
    with pytest.raises(InputError, match=r"\(3, 5\) do not fit 4 labels"):
        decoder.decode(np.zeros((3, 5), np.float32))
    assert [h.text for h in decoder.decode(np.zeros((0, 4), np.float32))] == [""]
    # What went wrong before leaves no trace.
    good = random_log_probs(3, LETTERS, 0)
    assert decoder.decode(good) == BeamDecoder.build(LETTERS, OPEN).decode(good)


def test_labels_and_words_that_do_not_fit(arpas: list[str]) -> None:
    within = Vocabulary.from_labels(["<pad>", "▁a", "a▁b"], blank=0)
    with pytest.raises(InputError, match=r"'a▁b' .*word boundary within"):
        BeamDecoder.build(within, OPEN)
    other = Vocabulary.from_labels(["<pad>", "|", "X", "Y"], blank=0)
    with pytest.raises(InputError, match=r"0 of its \d+ words .* can be spelled"):
        BeamDecoder.build(other, replace(OPEN, lm=arpas[0]))
    with pytest.raises(InputError, match="hot word 'ax' has x, which no label spells; spell it"):
        BeamDecoder.build(LETTERS, replace(OPEN, hotwords={"ax": 1.0}))
    with pytest.raises(InputError, match=r"hot word 'A b' has A, .*; did you mean a b\?"):
        BeamDecoder.build(LETTERS, replace(OPEN, hotwords={"A b": 1.0}))
    upper = Vocabulary.from_labels(["<pad>", "|", "A", "B"], blank=0)
    with pytest.raises(InputError, match=r"hot word 'ba ab' has a b, .*; did you mean BA AB\?"):
        BeamDecoder.build(upper, replace(OPEN, hotwords={"ba ab": 1.0}))
    with pytest.raises(InputError, match=r"weight -1\.0 is not a positive number"):
        BeamDecoder.build(LETTERS, replace(OPEN, hotwords={"a": -1.0}))
    with pytest.raises(InputError, match="knows 0 of the 3 labels"):
        BeamDecoder.build(other, replace(OPEN, lm=arpas[0], lm_unit="label"))


def test_letters_of_more_than_one_byte_and_labels_of_more_than_one_letter() -> None:
    vocabulary = Vocabulary.from_labels(["<pad>", " ", "é", "ß", "ch"], blank=0)
    log_probs = random_log_probs(5, vocabulary, 8)
    expected = enumerated(log_probs, vocabulary)
    found = BeamDecoder.build(vocabulary, OPEN).decode(log_probs)
    assert {h.text for h in found} == set(expected)
    assert all(h.acoustic == pytest.approx(expected[h.text], abs=1e-6) for h in found)


@BOTH
@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize("hot", [False, True])
def test_bounds_prune_nothing_that_the_beam_would_keep(
    vocabulary: Vocabulary, lookahead: bool, hot: bool, arpas: list[str]
) -> None:
    options = replace(
        OPEN, beam_width=7, nbest=7, beam_prune_logp=-9, lm=arpas[0], beta=1.5, lookahead=lookahead
    )
    options = replace(options, hotwords={"ab": 1.5, "b a": 4.0} if hot else {})
    decoder = BeamDecoder.build(vocabulary, options)
    # With so much slack every extension is scored.
    slow = replace(decoder, graph=decoder.graph._replace(hot_slack=1e9))
    for seed in range(10):
        log_probs = random_log_probs(40, vocabulary, seed)
        assert decoder.decode(log_probs) == slow.decode(log_probs)


def test_improbable_paths_keep_their_sums() -> None:
    """Shares of a prefix that differ by e^50, and frames without one likely label."""
    vocabulary = Vocabulary.from_labels(["_", "|", "a"], blank=0)
    for low in (30.0, 40.0, 50.0):
        rows = [[-low, -200, 0], [0, -200, -low], [-2 * low, -200, 0], [0, -200, -200]]
        log_probs = np.array(rows, np.float32)
        found = BeamDecoder.build(vocabulary, OPEN).decode(log_probs)
        sums = full_sums(log_probs, vocabulary, [h.text for h in found])
        assert [h.acoustic for h in found] == pytest.approx(sums.tolist(), abs=1e-4)
    labels = Vocabulary.from_labels(["_", "|", "a", "<unk>"], 0, [3])
    log_probs = np.array([[-801, -1000, -800, 0]] * 3, np.float32)
    expected = enumerated(log_probs, labels)
    found = BeamDecoder.build(labels, OPEN).decode(log_probs)
    assert {h.text: h.acoustic for h in found} == pytest.approx(expected, abs=1e-3)


@BOTH
def test_linear_mixture_with_a_model_that_has_no_end(
    vocabulary: Vocabulary, arpas: list[str], tmp_path: Path
) -> None:
    model = read_arpa(arpas[0])
    words = [word if word != "</s>" else "<end>" for word in model.vocabulary]
    write_arpa(Arpa(words, model.sections), tmp_path / "endless.arpa")
    both = (str(tmp_path / "endless.arpa"),)
    options = replace(OPEN, lm=arpas[0], more_lms=both, mixture="linear", lm_weights=(0.5, 0.5))
    found = BeamDecoder.build(vocabulary, options).decode(random_log_probs(4, vocabulary, 1))
    alone = load_kenlm(arpas[0])
    # The two are alike but for the end, of which the first alone can tell.
    assert all(h.ngram == pytest.approx(alone.score(h.text) * LN10, abs=1e-4) for h in found)
