"""Entropy pruning of back-off models (Stolcke 1998, "Entropy-based Pruning of Backoff Language
Models").

An n-gram is left out if the model's perplexity hardly rises without it, the relative entropy
between the models with and without it being computed exactly, n-gram by n-gram. It takes the
probability of a context from the model itself. A Kneser-Ney model's lower orders are made for
backing off and are poor estimates of that, so that it suffers more from pruning than models with
other smoothing (Chelba, Brants, Neveitt and Xu 2010, "Study on Interaction Between Entropy Pruning
and Kneser-Ney Smoothing"): at the same size, pruning by counts or an interpolated higher threshold
may be better; compare perplexities on held-out text.
"""

from __future__ import annotations

import numpy as np

from lm.errors import InputError
from lm.estimation.backoff_tables import LEAST_LEFT, Tables, Values, normalised, to_arpa, unite
from lm.ngram.arpa import BOS, EOS, Arpa


def prune(model: Arpa, threshold: float) -> Arpa:
    """Leaves out the n-grams whose removal raises perplexity by a smaller part than `threshold`.

    From the highest order down to bigrams; n-grams that are contexts of others that stay, stay.
    Back-off weights are computed anew, so that every context sums to one.

    Raises:
        InputError: The threshold is not a number from 0 on.
    """
    if not 0 <= threshold < np.inf:
        raise InputError(f"--entropy-prune {threshold:g}: give a number from 0 on, such as 1e-8")
    tables, (values,) = unite([model])
    kept = [level.known.copy() for level in values]
    priors = context_probabilities(tables, values)
    for k in range(len(tables.levels) - 1, 0, -1):
        needed = np.zeros(len(tables.levels[k]), bool)
        if k + 1 < len(tables.levels):
            needed[tables.levels[k + 1].context[kept[k + 1]]] = True
        entropies = relative_entropies(tables, values, kept, priors, k)
        change = np.expm1(np.maximum(entropies, 0.0))  # below 0 by rounding alone
        kept[k] &= needed | (change >= threshold)
    return to_arpa(tables, normalised(tables, [v.probability for v in values], kept))


def context_probabilities(tables: Tables, values: list[Values]) -> list[np.ndarray]:
    """Per level the probability of the whole n-gram by the chain rule.

    `<s>` has that of `</s>`: there are as many of both.
    """
    first = values[0].probability.copy()
    if BOS in tables.vocabulary and EOS in tables.vocabulary:
        first[tables.vocabulary.index(BOS)] = first[tables.vocabulary.index(EOS)]
    priors = [first]
    for level, of_level in zip(tables.levels[1:], values[1:], strict=True):
        priors.append(priors[-1][level.context] * of_level.probability)
    return priors


def relative_entropies(
    tables: Tables,
    values: list[Values],
    kept: list[np.ndarray],
    priors: list[np.ndarray],
    k: int,
) -> np.ndarray:
    """(N,) relative entropy of the model without each n-gram of one level to that with it, in nats.

    Stolcke's equations 5 to 7: with h the context, h' its suffix, a and a' the back-off weight
    before and after, D = -p(h) {p(w|h) [log p(w|h') + log a' - log p(w|h)]
    + [log a' - log a] (1 - sum of the explicit p(.|h))}.

    Args:
        tables: The n-grams.
        values: Their numbers.
        kept: Per level which n-grams the model has.
        priors: See `context_probabilities`.
        k: The level, from 1 on (bigrams).
    """
    level, has = tables.levels[k], kept[k]
    size = len(tables.levels[k - 1])
    own = values[k].probability
    shorter = values[k - 1].probability[level.suffix]
    left = 1.0 - np.bincount(level.context[has], weights=own[has], minlength=size)
    below = 1.0 - np.bincount(level.context[has], weights=shorter[has], minlength=size)
    left, below = np.maximum(left, LEAST_LEFT), np.maximum(below, LEAST_LEFT)
    left_at, below_at = left[level.context], below[level.context]
    after = np.log(left_at + own) - np.log(below_at + shorter)
    before = np.log(left_at) - np.log(below_at)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = own * (np.log(shorter) + after - np.log(own)) + left_at * (after - before)
    change = np.where(shorter > 0, change, -np.inf)  # without it the word would be impossible
    return -priors[k - 1][level.context] * np.where(own > 0, change, 0.0)
