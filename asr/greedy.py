"""Greedy CTC decoding: the best label of every frame."""

from __future__ import annotations

import numpy as np

from asr.vocabulary import Vocabulary
from lm.errors import InputError


def greedy(log_probs: np.ndarray, vocabulary: Vocabulary) -> tuple[str, float]:
    """The text of the best path (Graves et al. 2006, section 3.2) over text labels and the blank.

    Args:
        log_probs: (T, V) natural-log probabilities.
        vocabulary: Labels of the V columns.

    Returns:
        The text, and the natural-log probability of this one path. It is a lower bound of the
        text's log-prob, which sums over all paths.

    Raises:
        InputError: A frame has a value that is not a number, or only special labels are possible.
    """
    if len(log_probs) == 0:
        return "", 0.0
    spoken = [
        i for i in range(log_probs.shape[1]) if i == vocabulary.blank or i not in vocabulary.special
    ]
    best = np.array(spoken)[log_probs[:, spoken].argmax(axis=1)]
    highest = log_probs[np.arange(len(best)), best]
    # NaN, +inf and a frame in which nothing is possible would all give a text, and a wrong one.
    if not np.isfinite(highest).all():
        frame = int(np.flatnonzero(~np.isfinite(highest))[0])
        if np.isneginf(highest[frame]):
            raise InputError(
                f"in frame {frame} only special labels have a probability; the acoustic model does "
                "not work for this input"
            )
        raise InputError(f"the log-probs of frame {frame} contain NaN or +inf; compute them again")
    score = float(highest.sum(dtype=np.float64))
    changed = np.flatnonzero(np.diff(best, prepend=-1))
    return vocabulary.text(best[changed].tolist()), score
