"""Small CTC problems, solved by going through all sequences of labels."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np

from asr.vocabulary import Vocabulary

LETTERS = Vocabulary.from_labels(["<pad>", "|", "a", "b"], blank=0)
PIECES = Vocabulary.from_labels(["▁a", "b", "<blank>", "▁", "▁ab", "a", "<unk>"], 2, [6])


def random_log_probs(frames: int, vocabulary: Vocabulary, seed: int, peak: float = 1) -> np.ndarray:
    """(T, V) natural log, float32; the larger `peak`, the surer."""
    logits = np.random.default_rng(seed).normal(size=(frames, len(vocabulary.labels))) * peak
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def enumerated(log_probs: np.ndarray, vocabulary: Vocabulary) -> dict[str, float]:
    """Natural-log probability of every text."""
    sums: dict[str, float] = {}
    allowed = [
        i
        for i in range(len(vocabulary.labels))
        if i == vocabulary.blank or i not in vocabulary.special
    ]
    values = log_probs.astype(np.float64)
    for path in product(allowed, repeat=len(values)):
        text = vocabulary.text([label for label, _ in groupby(path)])
        score = values[np.arange(len(path)), path].sum()
        sums[text] = np.logaddexp(sums.get(text, -np.inf), score)
    return sums


def certain(vocabulary: Vocabulary, *frames: dict[str, float]) -> np.ndarray:
    """Log-probs from the probabilities of labels, frame by frame; those not named are tiny."""
    probs = [[frame.get(label, 1e-9) for label in vocabulary.labels] for frame in frames]
    return np.log(np.array(probs, dtype=np.float32))
