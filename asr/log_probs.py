"""Log-probs before they are decoded: checked that they are log-probs, and normalised."""

from __future__ import annotations

import warnings

import numpy as np

from lm.errors import InputError

FRAMES_CHECKED = 64  # frames of an utterance that are checked, at equal distances
TOLERANCE = 0.02  # float16 rounds log-probs near -8 to 0.004


def check_log_probs(log_probs: np.ndarray, name: str = "its emissions") -> np.ndarray:
    """Checks in up to FRAMES_CHECKED frames that probabilities sum to one.

    Args:
        log_probs: (T, V) natural log.
        name: What they are called in messages.

    Returns:
        The same log-probs; if they do not sum to one, normalised log-probs, with a warning.

    Raises:
        InputError: A value is NaN or +inf, or the values are probabilities and not logarithms.
    """
    if not len(log_probs):
        return log_probs
    step = -(-len(log_probs) // FRAMES_CHECKED)
    checked = log_probs[::step].astype(np.float32)
    if not log_probs.max() < np.inf:
        raise InputError(f"{name} contain NaN or +inf; run `secondpass emit` again")
    if (checked >= 0).all() and np.allclose(checked.sum(axis=1), 1, atol=TOLERANCE):
        raise InputError(f"{name} are probabilities; take their natural log first")
    # The exponential of a large number is +inf in float32, which is not one either.
    with np.errstate(over="ignore"):
        sums = np.exp(checked).sum(axis=1)
    # A frame in which nothing is possible is reported by the decoder.
    if np.abs(sums[sums > 0] - 1).max(initial=0.0) <= TOLERANCE:
        return log_probs
    warnings.warn(
        f"{name.replace('its', 'the')} are not normalised: their probabilities do not sum to one; "
        "they are taken as logits",
        stacklevel=2,
    )
    totals = np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    normalised: np.ndarray = log_probs - np.where(np.isfinite(totals), totals, 0)
    return normalised
