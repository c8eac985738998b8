"""The decoder of pyctcdecode against sums over every alignment."""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import numpy as np
import pytest

from asr.greedy import greedy
from asr.options import DecoderOptions
from asr.vocabulary import Vocabulary
from experiments.cli import main
from lm.errors import InputError
from lm.ngram.model import NgramModel
from tests.support.arpas import two_words
from tests.support.enumeration import certain, enumerated, random_log_probs

kenlm = pytest.importorskip("kenlm")
pyctcdecode = pytest.importorskip("pyctcdecode")
PyctcdecodeBeam = pytest.importorskip("asr.pyctcdecode_beam").PyctcdecodeBeam
load_kenlm = pytest.importorskip("asr.pyctcdecode_beam").load_kenlm

CHARACTERS = Vocabulary.from_labels(["<pad>", "<s>", "|", "A", "B"], blank=0, special=[1])
PIECES = Vocabulary.from_labels(["▁", "B", "▁A", "<unk>", "A", "<blank>"], blank=5, special=[3])
LETTERS = Vocabulary.from_labels(
    ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINHSRDLUMWCFGYPBVKXJQZ'"], 0, special=[1, 2, 3]
)
WIDE = {"beam_width": 10**6, "nbest": 10**6, "token_min_logp": -1e9, "beam_prune_logp": -1e9}


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trigram model of words of the letters A and B."""
    folder = tmp_path_factory.mktemp("lm")
    text = folder / "text.txt"
    text.write_text("A B A\nAB A\nB AB\nBA BA A\nA A B\nABBA A B\n" * 2)
    path = folder / "lm.arpa"
    command = ["ngram", str(text), "-o", str(path), "--order", "3", "--discount-fallback"]
    assert main(command) == 0
    return path


@pytest.mark.parametrize("vocabulary", [CHARACTERS, PIECES], ids=["characters", "pieces"])
@pytest.mark.parametrize("seed", range(3))
def test_acoustic_scores_are_sums_over_all_alignments(vocabulary: Vocabulary, seed: int) -> None:
    log_probs = random_log_probs(5, vocabulary, seed)
    expected = enumerated(log_probs, vocabulary)
    found = PyctcdecodeBeam.build(vocabulary, DecoderOptions(**WIDE)).decode(log_probs)
    assert {h.text for h in found} == set(expected)
    assert [h.acoustic for h in found] == pytest.approx([expected[h.text] for h in found], abs=1e-4)
    assert [h.text for h in found] == sorted(expected, key=lambda text: -expected[text])
    assert {(h.ngram, h.oov) for h in found} == {(0.0, 0)}


@pytest.mark.parametrize("vocabulary", [CHARACTERS, PIECES], ids=["characters", "pieces"])
def test_raw_scores_and_ranks_with_a_language_model(vocabulary: Vocabulary, arpa: Path) -> None:
    log_probs = random_log_probs(5, vocabulary, seed=7)
    options = DecoderOptions(lm=str(arpa), alpha=0.7, beta=1.3, unknown=-2.0, **WIDE)
    found = PyctcdecodeBeam.build(vocabulary, options).decode(log_probs)
    expected = enumerated(log_probs, vocabulary)
    assert {h.text for h in found} == set(expected)
    model = kenlm.Model(str(arpa))
    totals = []
    for h in found:
        scores = list(model.full_scores(h.text))
        unknown = sum(oov for _, _, oov in scores)
        ngram = math.log(10) * sum(logprob for logprob, _, _ in scores)
        assert h.acoustic == pytest.approx(expected[h.text], abs=1e-4)
        assert h.ngram == pytest.approx(ngram, abs=1e-4)
        assert h.oov == unknown
        # beta per word; the penalty is log10, as in pyctcdecode
        penalty = 0.7 * math.log(10) * -2.0 * unknown
        totals.append(h.acoustic + 0.7 * ngram + penalty + 1.3 * (len(scores) - 1))
    assert totals == sorted(totals, reverse=True)
    assert len({h.oov for h in found}) > 1


@pytest.mark.parametrize("vocabulary", [CHARACTERS, PIECES], ids=["characters", "pieces"])
@pytest.mark.parametrize("with_lm", [False, True])
def test_the_search_ranks_as_the_raw_scores_do(
    vocabulary: Vocabulary, arpa: Path, with_lm: bool
) -> None:
    # pyctcdecode's own combined score of each text, before we take it apart.
    options = DecoderOptions(lm=str(arpa) if with_lm else None, **WIDE)
    decoder = PyctcdecodeBeam.build(vocabulary, options)
    log_probs = random_log_probs(4, vocabulary, seed=11)[:, decoder.kept]
    beams = decoder.search.decode_beams(
        log_probs.astype(np.float64),
        beam_width=10**6,
        beam_prune_logp=-1e9,
        token_min_logp=-1e9,
    )
    own = {beam[0]: beam[-1] - beam[-2] for beam in beams if "\u2060" not in beam[0]}
    assert len(own) > 5
    for text, lm_part in own.items():
        hypothesis = decoder._hypothesis(text, 0.0)
        assert decoder._fused(hypothesis) == pytest.approx(lm_part, abs=1e-4)


def test_a_bare_word_start_is_not_a_word(arpa: Path) -> None:
    vocabulary = PIECES
    probs = np.full((4, 6), 1e-6)
    for frame, label in enumerate(["▁A", "▁", "B", "A"]):
        probs[frame, vocabulary.labels.index(label)] = 0.9
    for lm in (None, str(arpa)):
        options = DecoderOptions(lm=lm, beam_width=20)
        best = PyctcdecodeBeam.build(vocabulary, options).decode(np.log(probs))[0]
        assert best.text == "A BA"
        assert best.oov == 0


def test_a_space_at_the_end_is_not_an_unknown_word(arpa: Path) -> None:
    # `A|` and `AB` are as likely; pyctcdecode would see an unknown word after `A|` and drop it.
    log_probs = certain(CHARACTERS, {"A": 1.0}, {"|": 0.5, "B": 0.5})
    options = DecoderOptions(lm=str(arpa), beam_prune_logp=-6)
    found = PyctcdecodeBeam.build(CHARACTERS, options).decode(log_probs)
    assert {h.text for h in found} == {"A", "AB"}
    assert all(h.acoustic == pytest.approx(math.log(0.5), abs=1e-4) for h in found)
    assert all(h.oov == 0 for h in found)


def test_no_words_at_all_is_a_hypothesis(arpa: Path) -> None:
    options = DecoderOptions(lm=str(arpa), beam_prune_logp=-6)
    decoder = PyctcdecodeBeam.build(CHARACTERS, options)
    found = {h.text: h for h in decoder.decode(certain(CHARACTERS, {"<pad>": 0.6, "A": 0.4}))}
    assert set(found) == {"", "A"}
    end = list(kenlm.Model(str(arpa)).full_scores(""))
    assert len(end) == 1
    assert found[""].ngram == pytest.approx(math.log(10) * end[0][0], abs=1e-5)


def test_special_labels_never_come_into_texts() -> None:
    log_probs = random_log_probs(40, LETTERS, seed=3)
    log_probs[:, 1:4] = -0.1  # <s>, </s> and <unk> are the best of every frame
    found = PyctcdecodeBeam.build(LETTERS, DecoderOptions()).decode(log_probs)
    assert found
    assert set("".join(h.text for h in found)) <= set("ETAOINHSRDLUMWCFGYPBVKXJQZ' ")
    # A path that avoids them cannot be likelier than what they leave.
    assert all(h.acoustic < np.logaddexp.reduce(log_probs[:, 4:], axis=1).sum() for h in found)


def test_a_frame_without_any_text_is_reported() -> None:
    log_probs = random_log_probs(4, CHARACTERS, seed=0)
    log_probs[2] = -np.inf
    log_probs[2, 1] = 0.0
    with pytest.raises(InputError, match="in frame 2 only special labels"):
        PyctcdecodeBeam.build(CHARACTERS, DecoderOptions()).decode(log_probs)


def test_lists_have_the_length_of_nbest(arpa: Path) -> None:
    # A short utterance and a sure model: half of the frames give one label more than 0.98.
    log_probs = random_log_probs(20, LETTERS, seed=2, peak=20)
    assert np.median(np.exp(log_probs.max(axis=1))) > 0.98
    for lm in (None, str(arpa)):
        found = PyctcdecodeBeam.build(LETTERS, DecoderOptions(lm=lm)).decode(log_probs)
        assert len({h.text for h in found}) == len(found) == 50
    # pyctcdecode's own defaults
    options = DecoderOptions(token_min_logp=-5, beam_prune_logp=-10)
    assert len(PyctcdecodeBeam.build(LETTERS, options).decode(log_probs)) < 10


@pytest.mark.parametrize("seed", range(3))
def test_one_prefix_on_sure_emissions_is_greedy(seed: int) -> None:
    log_probs = random_log_probs(60, LETTERS, seed, peak=40)
    text, path = greedy(log_probs, LETTERS)
    options = DecoderOptions(beam_width=1)
    (found,) = PyctcdecodeBeam.build(LETTERS, options).decode(log_probs)
    assert found.text == text
    assert found.acoustic >= path - 1e-3


def test_a_language_model_of_another_case_is_reported(tmp_path: Path) -> None:
    text = (
        "she sent the sail and I\nno one knew ' when there was a tide\nwe who stood here\nat noon\n"
    )
    (tmp_path / "text.txt").write_text(text)
    arpa = tmp_path / "lower.arpa"
    command = ["ngram", str(tmp_path / "text.txt"), "-o", str(arpa), "--order", "2"]
    assert main([*command, "--discount-fallback"]) == 0
    with pytest.raises(InputError, match=r"2 of its 21 words.* upper case .*librispeech"):
        PyctcdecodeBeam.build(LETTERS, DecoderOptions(lm=str(arpa)))
    lower = Vocabulary.from_labels(["<pad>", "|", *"etaoinhsrdluwk"], 0)
    assert PyctcdecodeBeam.build(lower, DecoderOptions(lm=str(arpa))).model is not None


def test_no_language_model_stays_in_the_package(arpa: Path) -> None:
    before = dict(pyctcdecode.BeamSearchDecoderCTC.model_container)
    PyctcdecodeBeam.build(CHARACTERS, DecoderOptions(lm=str(arpa)))
    assert before == pyctcdecode.BeamSearchDecoderCTC.model_container


@pytest.mark.parametrize("how", ["xz", "text before", "no blank line"])
def test_kenlm_gets_models_of_other_tools_as_it_needs_them(tmp_path: Path, how: str) -> None:
    plain = two_words(tmp_path / "plain.arpa")
    text = plain.read_bytes()
    other = tmp_path / "other.arpa"
    other.write_bytes(
        {
            "xz": lzma.compress(text),
            "text before": b"\xef\xbb\xbfMade by hand.\n" + text,
            "no blank line": text.replace(b"\n\n\\1", b"\n\\1"),
        }[how]
    )
    expected, found = (load_kenlm(NgramModel.load(path)) for path in (plain, other))
    for words in ("the cat", "cat the the", "dog", ""):
        assert found.score(words) == expected.score(words)
