"""Entropy pruning of back-off models (Stolcke 1998, "Entropy-based Pruning of Backoff Language
Models").

An n-gram is removed if the perplexity of the model hardly rises without it. For each n-gram, the
relative entropy between the models with and without it is computed exactly. The probability of a
context is taken from the model itself. The lower orders of a Kneser-Ney model are made for backing
off and are poor estimates of this probability. So such a model suffers more from pruning than
models with other smoothing (Chelba, Brants, Neveitt and Xu 2010, "Study on Interaction Between
Entropy Pruning and Kneser-Ney Smoothing"): at the same size, pruning by counts or an interpolated
higher threshold may be better; compare perplexities on held-out text.
"""

from __future__ import annotations

import numpy as np

from lm.errors import InputError
from lm.estimation.backoff_tables import LEAST_LEFT, Tables, Values, normalised, to_arpa, unite
from lm.ngram.arpa import BOS, EOS, Arpa


def prune(model: Arpa, threshold: float) -> Arpa:
    """Removes the n-grams without which perplexity rises by a smaller share than `threshold`.

    It goes from the highest order down to bigrams. Contexts of n-grams that stay are not removed.
    Back-off weights are computed again, so that every context sums to one.

    Raises:
        InputError: The threshold is not a number of 0 or more.
    """
    if not 0 <= threshold < np.inf:
        raise InputError(
            f"--entropy-prune {threshold:g}: give 0 or a number above it, such as 1e-8"
        )
    tables, (values,) = unite([model])
    kept = [level.known.copy() for level in values]
    priors = context_probabilities(tables, values)
    for k in range(len(tables.levels) - 1, 0, -1):
        needed = np.zeros(len(tables.levels[k]), bool)
        if k + 1 < len(tables.levels):
            needed[tables.levels[k + 1].context[kept[k + 1]]] = True
        entropies = relative_entropies(tables, values, kept, priors, k)
        change = np.expm1(np.maximum(entropies, 0.0))  # below 0 only by rounding
        kept[k] &= needed | (change >= threshold)
    return to_arpa(tables, normalised(tables, [v.probability for v in values], kept))


def context_probabilities(tables: Tables, values: list[Values]) -> list[np.ndarray]:
    """Per level the probability of the whole n-gram by the chain rule.

    `<s>` has the probability of `</s>`, because they are equally frequent.
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
    """(N,) relative entropy, in nats, of the models without and with each n-gram of one level.

    Stolcke's equations 5 to 7: with h the context, h' its suffix, a and a' the back-off weight
    before and after, D = -p(h) {p(w|h) [log p(w|h') + log a' - log p(w|h)]
    + [log a' - log a] (1 - sum of the explicit p(.|h))}.

    Args:
        tables: The n-grams.
        values: Their numbers.
        kept: Per level, whether the model has the n-gram.
        priors: See `context_probabilities`.
        k: The level, 1 (bigrams) or more.
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
