"""Interpolated modified Kneser-Ney estimation of n-gram models.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (1998), with
the conventions of KenLM's lmplz (Heafield et al. 2013), so that both give the same model: `<s>`
is never predicted, unigrams are interpolated with the uniform distribution over the vocabulary
with `<unk>`, and n-grams are pruned after their counts were used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lm.arpa import Arpa, Section
from lm.counts import BOS_ID, SPECIAL, Corpus, Table, count_ngrams
from lm.errors import InputError

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
LOWEST = 1e-99  # log10 of a zero, which discounts of 0 can leave, as ARPA files write it: -99


def estimate(
    corpus: Corpus,
    order: int,
    prune: Sequence[int] = (0,),
    allowed: set[str] | None = None,
    discount_fallback: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Arpa:
    """Estimates an n-gram model.

    Args:
        corpus: The text.
        order: Length of the longest n-grams, 1 or more.
        prune: Per order from 1 on, the highest number of occurrences at which an n-gram is left
            out of the model; the last value holds for the orders that follow. What is left out
            still counts in the statistics, and its probability goes to the back-off.
        allowed: Words to which the model is limited; n-grams with others are left out likewise.
        discount_fallback: Take the discounts 0.5, 1 and 1.5 where the counts give none.
        progress: Called with one line per finished step.

    Raises:
        InputError: The settings are contradictory, or the counts of an order give no discounts.
    """
    if order < 1:
        raise InputError(f"order {order} is no n-gram order; give 1 or more")
    thresholds = _thresholds(prune, order)
    kept_word = _kept_words(corpus, allowed)
    report = progress or (lambda line: None)
    report(f"{corpus.words} words, {corpus.sentences} sentences, {len(kept_word)} word types")
    tables = count_ngrams(corpus, order)

    sections: list[Section] = []
    within = kept_word  # which k-grams consist of kept words
    lower = np.ones(1)  # (N of order k-1,) probabilities; the empty n-gram's is set below
    kept_below = np.ones(1, bool)
    for k, table in enumerate(tables, 1):
        within = within[table.context] & kept_word[table.word] if k > 1 else kept_word
        kept = within & (table.raw > thresholds[k - 1])
        if k == 1:
            kept[: len(SPECIAL)] = True
            lower = np.full(1, 1.0 / (np.count_nonzero(kept) - 1))  # without <s>
        discounts = discounts_of(table.adjusted, k, discount_fallback, report)
        probability, weight = _interpolate(table, kept, discounts, lower)
        if k == 1:
            probability[BOS_ID] = 1.0
        else:
            sections[-1].backoff[:] = np.log10(np.maximum(weight[kept_below], LOWEST))
        sections.append(_section(tables[:k], kept, probability))
        lower, kept_below = probability, kept
        report(
            f"{k}-grams: {len(table)} counted, {len(sections[-1])} kept, discounts "
            + " ".join(f"{discount:.4f}" for discount in discounts[1:])
        )
    return _limited(corpus.vocabulary, sections)


def discounts_of(
    adjusted: np.ndarray,
    order: int,
    fallback: bool = False,
    report: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Discounts for the counts 0, 1, 2, and 3 or more: (4,), the first 0.

    Chen and Goodman's equation 26: with n_j n-grams of adjusted count j and Y = n_1/(n_1 + 2 n_2),
    D_j = j - (j + 1) Y n_{j+1}/n_j.

    Raises:
        InputError: An n_j is 0 or a discount is negative, and `fallback` is off.
    """
    n = np.bincount(np.minimum(adjusted, 5), minlength=6).astype(float)
    problem = ""
    discounts = np.zeros(4)
    for j in (1, 2, 3):
        if not n[j]:
            problem = f"no {order}-gram has adjusted count {j}"
            break
        discounts[j] = j - (j + 1) * n[1] / (n[1] + 2 * n[2]) * n[j + 1] / n[j]
        if discounts[j] < 0:
            problem = f"the {order}-grams' discount for count {j} would be {discounts[j]:.3f}"
            break
    if not problem:
        return discounts
    if not fallback:
        raise InputError(
            f"no Kneser-Ney discounts for {order}-grams: {problem} (the text is too small, "
            "repeated or not natural); give more text, a lower --order, or --discount-fallback"
        )
    if report:
        report(f"{problem}: fallback discounts for {order}-grams")
    return np.array([0.0, *FALLBACK_DISCOUNTS])


def _interpolate(
    table: Table, kept: np.ndarray, discounts: np.ndarray, lower: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of one order's n-grams and back-off weights of its contexts.

    Args:
        table: The n-grams, N of them, with contexts and suffixes among M.
        kept: (N,) which ones are in the model.
        discounts: (4,) see `discounts_of`.
        lower: (M,) interpolated probabilities of the order below.

    Returns:
        (N,) probabilities, 0 where not kept, and (M,) weights, 1 where nothing follows.
    """
    # What a context keeps back: the discounts of its n-grams, all of those left out.
    taken = np.where(kept, discounts[np.minimum(table.adjusted, 3)], table.adjusted)
    total = np.bincount(table.context, weights=table.adjusted, minlength=len(lower))
    weight = np.bincount(table.context, weights=taken, minlength=len(lower))
    weight = np.divide(weight, total, out=np.ones_like(weight), where=total > 0)
    probability = np.zeros(len(table))
    context, suffix = table.context[kept], table.suffix[kept]
    discounted = (table.adjusted[kept] - taken[kept]) / total[context]
    probability[kept] = discounted + weight[context] * lower[suffix]
    return probability, weight


def _section(tables: Sequence[Table], kept: np.ndarray, probability: np.ndarray) -> Section:
    """The kept n-grams of the last table, spelled out; back-off weights 0 (a factor of 1)."""
    rows = np.flatnonzero(kept)
    logprob = np.log10(np.maximum(probability[rows], LOWEST)).astype(np.float32)
    words = np.empty((len(rows), len(tables)), np.int32)
    for position in reversed(range(len(tables))):
        words[:, position] = tables[position].word[rows]
        rows = tables[position].context[rows]
    return Section(words, np.minimum(logprob, 0.0), np.zeros_like(logprob))


def _limited(vocabulary: Sequence[str], sections: Sequence[Section]) -> Arpa:
    """The model with the pruned words taken out of the vocabulary."""
    words = sections[0].words[:, 0]
    if len(words) == len(vocabulary):
        return Arpa(vocabulary, sections)
    renumbered = np.full(len(vocabulary), -1, np.int32)
    renumbered[words] = np.arange(len(words), dtype=np.int32)
    sections = [Section(renumbered[s.words], s.logprob, s.backoff) for s in sections]
    return Arpa([vocabulary[word] for word in words], sections)


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    """One pruning threshold per order."""
    given = " ".join(map(str, prune))
    if not prune or len(prune) > order:
        raise InputError(
            f"--prune {given} has {len(prune)} values; give 1 to {order}, one per order"
        )
    if min(prune) < 0 or list(prune) != sorted(prune):
        raise InputError(
            f"--prune {given}: give numbers from 0 on that do not fall, as an n-gram cannot be "
            "kept without its parts"
        )
    return [*prune, *[prune[-1]] * (order - len(prune))]


def _kept_words(corpus: Corpus, allowed: set[str] | None) -> np.ndarray:
    """(V,) which words of the vocabulary may be in the model."""
    if allowed is None:
        return np.ones(len(corpus.vocabulary), bool)
    allowed = allowed.union(SPECIAL)
    kept = np.array([word in allowed for word in corpus.vocabulary])
    if np.count_nonzero(kept) == len(SPECIAL):
        raise InputError(
            "the text has none of the vocabulary's words; give words as the text spells them"
        )
    return kept
