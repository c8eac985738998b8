"""Exact sums over a text's paths: against enumeration of label sequences and torch's CTC loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asr.forward import full_sums
from asr.vocabulary import Vocabulary
from tests.support.enumeration import LETTERS, PIECES, enumerated, random_log_probs


@pytest.mark.parametrize("vocabulary", [LETTERS, PIECES], ids=["letters", "pieces"])
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_equals_enumeration(vocabulary: Vocabulary, frames: int) -> None:
    log_probs = random_log_probs(frames, vocabulary, seed=frames)
    expected = enumerated(log_probs, vocabulary)
    found = full_sums(log_probs, vocabulary, list(expected))
    np.testing.assert_allclose(found, list(expected.values()), rtol=0, atol=1e-9)


def test_equals_torch_where_a_text_has_one_spelling() -> None:
    vocabulary = Vocabulary.from_labels(["<pad>", "▁a", "▁b", "▁c"], blank=0)
    log_probs = random_log_probs(40, vocabulary, seed=1).astype(np.float64)
    texts = ["a", "a a b c c", "c b a", "b b b b b b b"]
    losses = [
        torch.nn.functional.ctc_loss(
            torch.tensor(log_probs)[:, None],
            torch.tensor([[" abc".index(word) for word in text.split()]]),
            torch.tensor([len(log_probs)]),
            torch.tensor([len(text.split())]),
            reduction="sum",
        ).item()
        for text in texts
    ]
    found = full_sums(log_probs, vocabulary, texts)
    np.testing.assert_allclose(found, -np.array(losses), rtol=0, atol=1e-6)


def test_text_that_cannot_be_spelled_or_does_not_fit() -> None:
    log_probs = random_log_probs(2, LETTERS, seed=2)
    found = full_sums(log_probs, LETTERS, ["x", "a b", "aa", "b", "  b "])
    assert np.isneginf(found[:3]).all()
    assert found[3] == found[4] > -np.inf


def test_a_text_does_not_depend_on_the_others() -> None:
    log_probs = random_log_probs(6, PIECES, seed=3)
    texts = ["ab a", "a", "ab", "", "a b"]
    alone = [full_sums(log_probs, PIECES, [text])[0] for text in texts]
    np.testing.assert_allclose(full_sums(log_probs, PIECES, texts), alone, rtol=0, atol=1e-12)


def test_no_frames() -> None:
    none = np.zeros((0, 4))
    assert full_sums(none, LETTERS, ["", "a"]).tolist() == [0.0, -np.inf]
