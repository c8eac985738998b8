"""Greedy CTC decoding: the best label of every frame."""

from __future__ import annotations

import numpy as np

from asr.vocabulary import Vocabulary


def greedy(log_probs: np.ndarray, vocabulary: Vocabulary) -> tuple[str, float]:
    """The text of the best path (Graves et al. 2006, section 3.2) over text labels and the blank.

    Args:
        log_probs: (T, V) natural-log probabilities.
        vocabulary: Labels of the V columns.

    Returns:
        The text, and the natural-log probability of this one path. It is a lower bound of the
        text's log-prob, which sums over all paths.
    """
    if len(log_probs) == 0:
        return "", 0.0
    spoken = [
        i for i in range(log_probs.shape[1]) if i == vocabulary.blank or i not in vocabulary.special
    ]
    best = np.array(spoken)[log_probs[:, spoken].argmax(axis=1)]
    score = float(log_probs[np.arange(len(best)), best].sum(dtype=np.float64))
    changed = np.flatnonzero(np.diff(best, prepend=-1))
    return vocabulary.text(best[changed].tolist()), score
