"""The pyctcdecode decoder gives raw scores: acoustic sums over paths, KenLM's own log-probs."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import kenlm
import numpy as np
import pytest

from asr.decode import DecoderOptions, decode
from asr.emissions import Emissions, EmissionsMeta, EmissionsWriter
from asr.greedy import greedy
from asr.reference import ReferenceDecoder
from asr.vocabulary import Vocabulary
from experiments.cli import main
from lm.errors import InputError

CHARACTERS = Vocabulary.from_labels(["<pad>", "|", "A", "B", "<unk>"], blank=0, special=[4])
PIECES = Vocabulary.from_labels(["▁A", "B", "▁B", "<b>"], blank=3)
OPEN = DecoderOptions(
    beam_width=5000, nbest=5000, token_min_logp=-1e9, beam_prune_logp=-1e9, unknown=0.0
)
SENTENCES = ["A B", "AB A", "BA", "B A AB", "A", "B B", "AB", "BA B A"]


def random_log_probs(frames: int, labels: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    values = sharpness * np.random.default_rng(seed).standard_normal((frames, labels))
    return (values - np.logaddexp.reduce(values, axis=1, keepdims=True)).astype(np.float32)


def sums_over_paths(log_probs: np.ndarray, vocabulary: Vocabulary) -> dict[str, float]:
    """Log-prob of every text: brute force over all label sequences, one label a frame."""
    spoken = [
        i for i in range(log_probs.shape[1]) if i == vocabulary.blank or i not in vocabulary.special
    ]
    sums: dict[str, float] = {}
    for path in itertools.product(spoken, repeat=len(log_probs)):
        collapsed = [label for label, _ in itertools.groupby(path)]
        text = vocabulary.text(collapsed)
        score = float(log_probs[np.arange(len(path)), path].sum(dtype=np.float64))
        sums[text] = float(np.logaddexp(sums.get(text, -math.inf), score))
    return sums


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm")
    (folder / "text").write_text("\n".join(SENTENCES * 2) + "\n")
    path = folder / "lm.arpa"
    command = ["ngram", str(folder / "text"), "-o", str(path), "--order", "2"]
    assert main([*command, "--discount-fallback"]) == 0
    return path


@pytest.mark.parametrize("vocabulary", [CHARACTERS, PIECES], ids=["characters", "pieces"])
@pytest.mark.parametrize("seed", range(3))
def test_acoustic_scores_are_sums_over_all_paths(vocabulary: Vocabulary, seed: int) -> None:
    log_probs = random_log_probs(5, len(vocabulary.labels), seed)
    expected = sums_over_paths(log_probs, vocabulary)
    found = ReferenceDecoder.build(vocabulary, OPEN).decode(log_probs)
    assert len({h.text for h in found}) == len(found)
    assert {h.text for h in found} <= set(expected)
    for hypothesis in found:
        assert hypothesis.acoustic == pytest.approx(expected[hypothesis.text], abs=1e-3)
    assert found[0].text == max(expected, key=lambda text: expected[text])
    if vocabulary is CHARACTERS:
        assert {h.text for h in found} == set(expected)


@pytest.mark.parametrize("seed", range(3))
def test_ngram_scores_are_kenlms_and_the_order_is_the_fused_score(arpa: Path, seed: int) -> None:
    options = replace(OPEN, lm=str(arpa), alpha=0.7, beta=0.4)
    log_probs = random_log_probs(5, 5, seed)
    found = ReferenceDecoder.build(CHARACTERS, options).decode(log_probs)
    expected = sums_over_paths(log_probs, CHARACTERS)
    model = kenlm.Model(str(arpa))
    fused = []
    for h in found:
        assert h.acoustic == pytest.approx(expected[h.text], abs=1e-3)
        assert h.ngram == pytest.approx(model.score(h.text) * math.log(10), abs=1e-4)
        assert h.oov == sum(word not in model for word in h.text.split())
        fused.append(h.acoustic + 0.7 * h.ngram + 0.4 * len(h.text.split()))
    assert fused == sorted(fused, reverse=True)
    best = max(
        expected,
        key=lambda t: expected[t] + 0.7 * model.score(t) * math.log(10) + 0.4 * len(t.split()),
    )
    assert found[0].text == best


def test_a_trailing_delimiter_is_no_word(arpa: Path) -> None:
    probabilities = np.full((5, 5), 1e-4)
    for frame, label in enumerate([2, 1, 3, 1, 0]):  # A | B | and blank
        probabilities[frame, label] = 1.0
    log_probs = np.log(probabilities / probabilities.sum(axis=1, keepdims=True))
    options = DecoderOptions(lm=str(arpa), unknown=-10.0)
    best = ReferenceDecoder.build(CHARACTERS, options).decode(log_probs.astype(np.float32))[0]
    assert (best.text, best.oov) == ("A B", 0)


def test_special_labels_never_become_text() -> None:
    log_probs = np.full((4, 5), -8.0, dtype=np.float32)
    log_probs[:, 4] = -0.01  # <unk> is by far the likeliest in every frame
    log_probs[1, 2] = -5.0
    found = ReferenceDecoder.build(CHARACTERS, DecoderOptions()).decode(log_probs)
    assert found
    assert not any("<" in h.text for h in found)
    assert all(h.acoustic <= 0 for h in found)


def test_the_default_list_is_as_long_as_asked() -> None:
    log_probs = random_log_probs(60, 5, 0, sharpness=3.0)
    options = DecoderOptions(beam_width=100, nbest=50)
    assert len(ReferenceDecoder.build(CHARACTERS, options).decode(log_probs)) == 50
    narrow = replace(options, beam_prune_logp=-0.5)
    assert len(ReferenceDecoder.build(CHARACTERS, narrow).decode(log_probs)) < 50


@pytest.fixture
def emissions(tmp_path: Path) -> Emissions:
    with EmissionsWriter(tmp_path / "e", EmissionsMeta(CHARACTERS, 0.02, "m", "float32")) as out:
        for i in range(20):
            out.add(f"u{i}", random_log_probs(0 if i == 7 else 10 + i, 5, i, 2.0))
    return Emissions.open(tmp_path / "e")


def test_results_do_not_depend_on_processes(emissions: Emissions, arpa: Path) -> None:
    options = DecoderOptions(lm=str(arpa), beam_width=20, nbest=10)
    done: list[int] = []
    one = decode(emissions, options, processes=1, progress=done.append)
    assert sum(done) == 20
    three = decode(emissions, options, processes=3)
    assert one.table.equals(three.table)
    assert one.failures == three.failures
    assert list(one.failures) == ["u7"]
    assert "no frames" in one.failures["u7"]


def test_greedy_lists_hold_the_best_path(emissions: Emissions) -> None:
    table = decode(emissions, DecoderOptions(decoder="greedy"), processes=1).table
    assert len(table) == 19
    for row in table.itertuples():
        assert (row.text, row.acoustic) == greedy(emissions[str(row.utt)], CHARACTERS)


def test_the_search_is_never_below_greedy(emissions: Emissions) -> None:
    wide = replace(OPEN, beam_width=300, nbest=300)
    best_paths = decode(emissions, DecoderOptions(decoder="greedy"), processes=1).table
    lists = decode(emissions, wide, processes=1).table
    best = lists[lists["rank"] == 1].set_index("utt")["acoustic"]
    for row in best_paths.itertuples():
        assert best[row.utt] >= row.acoustic - 1e-3


def test_a_language_model_in_the_wrong_case_is_told(arpa: Path) -> None:
    lower = Vocabulary.from_labels(["<pad>", "|", "a", "b"], blank=0)
    with pytest.raises(InputError, match="--normaliser librispeech"):
        ReferenceDecoder.build(lower, DecoderOptions(lm=str(arpa)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": "magic"}, "greedy, pyctcdecode"),
        ({"beam_width": 0}, "at least 1"),
        ({"decoder": "greedy", "lm": "x.arpa"}, "takes no language model"),
    ],
)
def test_wrong_options(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DecoderOptions(**settings)
