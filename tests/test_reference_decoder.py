"""The reference decoder against sums over every alignment, and decoding of whole folders."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import kenlm
import numpy as np
import pandas as pd
import pytest
from pyctcdecode import BeamSearchDecoderCTC

from asr.decode import DECODERS, DecoderOptions, decode
from asr.emissions import Emissions, EmissionsMeta, EmissionsWriter
from asr.greedy import greedy
from asr.nbest import Hypothesis, read_nbest
from asr.reference import ReferenceDecoder
from asr.vocabulary import Vocabulary
from experiments.cli import main
from lm.errors import InputError, SecondpassError

CHARACTERS = Vocabulary.from_labels(["<pad>", "<s>", "|", "A", "B"], blank=0, special=[1])
PIECES = Vocabulary.from_labels(["▁", "B", "▁A", "<unk>", "A", "<blank>"], blank=5, special=[3])
LETTERS = Vocabulary.from_labels(
    ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINHSRDLUMWCFGYPBVKXJQZ'"], 0, special=[1, 2, 3]
)
WIDE = {"beam_width": 10**6, "nbest": 10**6, "token_min_logp": -1e9, "beam_prune_logp": -1e9}


def random_log_probs(frames: int, vocabulary: Vocabulary, seed: int, peak: float = 1) -> np.ndarray:
    """(T, V) natural log; the larger `peak`, the surer."""
    logits = np.random.default_rng(seed).normal(size=(frames, len(vocabulary.labels))) * peak
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def certain(*frames: dict[str, float]) -> np.ndarray:
    """Log-probs of CHARACTERS from the probabilities of its labels, frame by frame."""
    probs = [[frame.get(label, 1e-9) for label in CHARACTERS.labels] for frame in frames]
    return np.log(np.array(probs, dtype=np.float32))


def sums_over_paths(log_probs: np.ndarray, vocabulary: Vocabulary) -> dict[str, float]:
    """Natural log of every text's probability, by going through all of the V ** T alignments."""
    texts: dict[str, float] = {}
    kept = set(range(len(vocabulary.labels))) - (set(vocabulary.special) - {vocabulary.blank})
    for path in itertools.product(sorted(kept), repeat=len(log_probs)):
        score = sum(float(log_probs[t, label]) for t, label in enumerate(path))
        labels = [vocabulary.labels[i] for i, _ in itertools.groupby(path) if i != vocabulary.blank]
        text = " ".join("".join(labels).replace("|", " ").replace("▁", " ").split())
        texts[text] = np.logaddexp(texts.get(text, -math.inf), score)
    return texts


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
    expected = sums_over_paths(log_probs, vocabulary)
    found = ReferenceDecoder.build(vocabulary, DecoderOptions(**WIDE)).decode(log_probs)
    assert {h.text for h in found} == set(expected)
    assert [h.acoustic for h in found] == pytest.approx([expected[h.text] for h in found], abs=1e-4)
    assert [h.text for h in found] == sorted(expected, key=lambda text: -expected[text])
    assert {(h.ngram, h.oov) for h in found} == {(0.0, 0)}


@pytest.mark.parametrize("vocabulary", [CHARACTERS, PIECES], ids=["characters", "pieces"])
def test_raw_scores_and_ranks_with_a_language_model(vocabulary: Vocabulary, arpa: Path) -> None:
    log_probs = random_log_probs(5, vocabulary, seed=7)
    options = DecoderOptions(lm=str(arpa), alpha=0.7, beta=1.3, unknown=-2.0, **WIDE)
    found = ReferenceDecoder.build(vocabulary, options).decode(log_probs)
    expected = sums_over_paths(log_probs, vocabulary)
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
    decoder = ReferenceDecoder.build(vocabulary, options)
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


def test_a_bare_word_start_is_no_word_of_its_own(arpa: Path) -> None:
    vocabulary = PIECES
    probs = np.full((4, 6), 1e-6)
    for frame, label in enumerate(["▁A", "▁", "B", "A"]):
        probs[frame, vocabulary.labels.index(label)] = 0.9
    for lm in (None, str(arpa)):
        options = DecoderOptions(lm=lm, beam_width=20)
        best = ReferenceDecoder.build(vocabulary, options).decode(np.log(probs))[0]
        assert best.text == "A BA"
        assert best.oov == 0


def test_a_space_at_the_end_is_no_unknown_word(arpa: Path) -> None:
    # `A|` and `AB` are as likely; pyctcdecode would see an unknown word after `A|` and drop it.
    log_probs = certain({"A": 1.0}, {"|": 0.5, "B": 0.5})
    options = DecoderOptions(lm=str(arpa), beam_prune_logp=-6)
    found = ReferenceDecoder.build(CHARACTERS, options).decode(log_probs)
    assert {h.text for h in found} == {"A", "AB"}
    assert all(h.acoustic == pytest.approx(math.log(0.5), abs=1e-4) for h in found)
    assert all(h.oov == 0 for h in found)


def test_no_words_at_all_is_a_hypothesis(arpa: Path) -> None:
    options = DecoderOptions(lm=str(arpa), beam_prune_logp=-6)
    decoder = ReferenceDecoder.build(CHARACTERS, options)
    found = {h.text: h for h in decoder.decode(certain({"<pad>": 0.6, "A": 0.4}))}
    assert set(found) == {"", "A"}
    end = list(kenlm.Model(str(arpa)).full_scores(""))
    assert len(end) == 1
    assert found[""].ngram == pytest.approx(math.log(10) * end[0][0], abs=1e-5)


def test_special_labels_never_come_into_texts() -> None:
    log_probs = random_log_probs(40, LETTERS, seed=3)
    log_probs[:, 1:4] = -0.1  # <s>, </s> and <unk> are the best of every frame
    found = ReferenceDecoder.build(LETTERS, DecoderOptions()).decode(log_probs)
    assert found
    assert set("".join(h.text for h in found)) <= set("ETAOINHSRDLUMWCFGYPBVKXJQZ' ")
    # A path that avoids them cannot be likelier than what they leave.
    assert all(h.acoustic < np.logaddexp.reduce(log_probs[:, 4:], axis=1).sum() for h in found)


def test_a_frame_without_any_text_is_told() -> None:
    log_probs = random_log_probs(4, CHARACTERS, seed=0)
    log_probs[2] = -np.inf
    log_probs[2, 1] = 0.0
    with pytest.raises(InputError, match="in frame 2 no label"):
        ReferenceDecoder.build(CHARACTERS, DecoderOptions()).decode(log_probs)


def test_lists_are_as_long_as_asked_for(arpa: Path) -> None:
    # A short utterance and a sure model: half of the frames give one label more than 0.98.
    log_probs = random_log_probs(20, LETTERS, seed=2, peak=20)
    assert np.median(np.exp(log_probs.max(axis=1))) > 0.98
    for lm in (None, str(arpa)):
        found = ReferenceDecoder.build(LETTERS, DecoderOptions(lm=lm)).decode(log_probs)
        assert len({h.text for h in found}) == len(found) == 50
    # pyctcdecode's own defaults
    options = DecoderOptions(token_min_logp=-5, beam_prune_logp=-10)
    assert len(ReferenceDecoder.build(LETTERS, options).decode(log_probs)) < 10


@pytest.mark.parametrize("seed", range(3))
def test_one_prefix_on_sure_emissions_is_greedy(seed: int) -> None:
    log_probs = random_log_probs(60, LETTERS, seed, peak=40)
    text, path = greedy(log_probs, LETTERS)
    options = DecoderOptions(beam_width=1)
    (found,) = ReferenceDecoder.build(LETTERS, options).decode(log_probs)
    assert found.text == text
    assert found.acoustic >= path - 1e-3


def test_a_language_model_of_another_case_is_told(tmp_path: Path) -> None:
    text = (
        "she sent the sail and I\nno one knew ' when there was a tide\nwe who stood here\nat noon\n"
    )
    (tmp_path / "text.txt").write_text(text)
    arpa = tmp_path / "lower.arpa"
    command = ["ngram", str(tmp_path / "text.txt"), "-o", str(arpa), "--order", "2"]
    assert main([*command, "--discount-fallback"]) == 0
    with pytest.raises(InputError, match=r"2 of its 21 words.* upper case .*librispeech"):
        ReferenceDecoder.build(LETTERS, DecoderOptions(lm=str(arpa)))
    lower = Vocabulary.from_labels(["<pad>", "|", *"etaoinhsrdluwk"], 0)
    assert ReferenceDecoder.build(lower, DecoderOptions(lm=str(arpa))).model is not None


def test_no_language_model_stays_in_the_package(arpa: Path) -> None:
    before = dict(BeamSearchDecoderCTC.model_container)
    ReferenceDecoder.build(CHARACTERS, DecoderOptions(lm=str(arpa)))
    assert before == BeamSearchDecoderCTC.model_container


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, np.ndarray]], Path]:
    """Writes emissions of CHARACTERS."""

    def write(utterances: dict[str, np.ndarray]) -> Path:
        meta = EmissionsMeta(CHARACTERS, 0.02, "test", "float32")
        with EmissionsWriter(tmp_path / "emissions", meta) as writer:
            for utt, log_probs in utterances.items():
                writer.add(utt, log_probs)
        return tmp_path / "emissions"

    return write


@pytest.fixture
def utterances() -> dict[str, np.ndarray]:
    """22 that can be decoded; the third has no frames, the ninth no text."""
    found = {f"u {23 - i}": random_log_probs(5 + i, CHARACTERS, i) for i in range(24)}
    found["u 21"] = np.zeros((0, 5), np.float32)
    found["u 15"] = np.full((3, 5), -np.inf, np.float32)
    return found


def test_results_do_not_depend_on_the_number_of_processes(
    folder: Callable[[dict[str, np.ndarray]], Path],
    utterances: dict[str, np.ndarray],
    arpa: Path,
) -> None:
    emissions = Emissions.open(folder(utterances))
    options = DecoderOptions(lm=str(arpa), beam_width=10, nbest=5)
    done: list[int] = []
    one = decode(emissions, options, processes=1)
    two = decode(emissions, options, processes=2, progress=done.append)
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)
    assert sum(done) == 24
    assert one.failures == two.failures
    assert set(one.failures) == {"u 21", "u 15"}
    assert "utterance u 21: its emissions have no frames" in one.failures["u 21"]
    assert "utterance u 15: in frame 0" in one.failures["u 15"]
    left = [utt for utt in utterances if utt not in one.failures]
    assert list(dict.fromkeys(one.table["utt"])) == left


class Dying:
    """A decoder whose process the system kills."""

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        assert multiprocessing.parent_process() is not None
        os.kill(os.getpid(), signal.SIGKILL)
        return []


def test_a_killed_process_ends_the_run_and_does_not_hang_it(
    folder: Callable[[dict[str, np.ndarray]], Path],
    utterances: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(DECODERS, "dying", lambda vocabulary, options: Dying())
    emissions = Emissions.open(folder(utterances))
    with pytest.raises(SecondpassError, match="a worker process was killed"):
        decode(emissions, DecoderOptions(decoder="dying"), processes=2)


def test_greedy_is_a_decoder_too(folder: Callable[[dict[str, np.ndarray]], Path]) -> None:
    utterances = {"a": certain({"A": 1.0}, {"|": 1.0}, {"B": 0.5}), "b": certain({"<pad>": 1.0})}
    result = decode(Emissions.open(folder(utterances)), DecoderOptions(decoder="greedy"))
    columns = ["utt", "rank", "text", "words", "ngram"]
    assert result.table[columns].values.tolist() == [["a", 1, "A B", 2, 0], ["b", 1, "", 0, 0]]
    assert result.table["acoustic"].tolist() == pytest.approx([math.log(0.5), 0], abs=1e-5)


def test_the_command_decodes_and_lists_failures(
    folder: Callable[[dict[str, np.ndarray]], Path],
    utterances: dict[str, np.ndarray],
    arpa: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "n.parquet"
    command = ["decode", str(folder(utterances)), "--lm", str(arpa), "-o", str(out)]
    options = ["--beam-width", "12", "--nbest", "4", "--alpha", "0.3", "--processes", "1"]
    assert main([*command, *options]) == 1
    told = capsys.readouterr().err
    assert "utterance u 21" in told and "utterance u 15" in told
    table = read_nbest(out)
    expected = decode(
        Emissions.open(command[1]),
        DecoderOptions(lm=str(arpa), beam_width=12, nbest=4, alpha=0.3),
        processes=1,
    ).table
    pd.testing.assert_frame_equal(table, expected)
    assert table["rank"].max() == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decoder", "greedy", "--lm", "x.arpa"], "greedy decoder takes no language model"),
        (["--nbest", "0"], "must be at least 1"),
        (["--beam-prune-logp", "10"], "must not be above 0"),
        (["--lm", "nowhere.arpa"], "nowhere.arpa"),
        (["--processes", "0"], "give 1 or more"),
    ],
)
def test_bad_options_are_told(
    folder: Callable[[dict[str, np.ndarray]], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    emissions = folder({"a": random_log_probs(5, CHARACTERS, 0)})
    out = tmp_path / "n.parquet"
    assert main(["decode", str(emissions), "-o", str(out), *options]) == 2
    told = capsys.readouterr().err.strip()
    assert message in told and "Traceback" not in told
    assert not out.exists()


def test_an_unknown_decoder_is_told() -> None:
    with pytest.raises(InputError, match="'best' is not one of greedy, pyctcdecode"):
        DecoderOptions(decoder="best")
