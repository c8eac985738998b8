"""Interpolated modified Kneser-Ney estimation of n-gram models.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (1998), with
the conventions of KenLM's lmplz (Heafield et al. 2013), so that both give the same model: `<s>`
is never predicted, unigrams are interpolated with the uniform distribution over the vocabulary
with `<unk>`, and n-grams are pruned after their counts were used.

Order by order, the n-grams are read twice: in context order, to add up the discounts of each
context, and in suffix order, in which the probability of the shorter n-gram is available.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lm.errors import InputError
from lm.estimation.counted_text import BOS_ID, SPECIAL, Corpus, Progress
from lm.estimation.counts import Counts, Packing, count_ngrams
from lm.estimation.external_sort import Tape, Workspace
from lm.estimation.smoothing import discount, discounts_of, interpolate, log10
from lm.ngram.arpa import Arpa, Section


def estimate(
    corpus: Corpus,
    order: int,
    prune: Sequence[int] = (0,),
    allowed: set[str] | None = None,
    discount_fallback: bool = False,
    workspace: Workspace | None = None,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Arpa:
    """Estimates an n-gram model.

    The words of the model are numbered in the order of their first occurrence, and its n-grams are
    sorted by these numbers, first word first. The memory of the workspace makes no difference.

    Args:
        corpus: The text.
        order: Length of the longest n-grams, 1 or more.
        prune: Per order from 1, the highest number of occurrences at which an n-gram is removed
            from the model; the last value is used for all higher orders. Removed n-grams are still
            included in the statistics, and their probability goes to the back-off.
        allowed: Words to which the model is limited; n-grams with other words are removed too.
        discount_fallback: Whether the discounts are 0.5, 1 and 1.5 if the counts give none.
        workspace: Memory and disk to work in; 2 GiB by default.
        report: Called with one line for each order and for each notable event.
        progress: See `lm.estimation.counted_text.Progress`.

    Returns:
        The model; arrays that were moved to the workspace's disk are mapped from there.

    Raises:
        InputError: The settings contradict each other, the counts of an order give no discounts, or
            the disk is full.
    """
    if order < 1:
        raise InputError(f"order {order}: an n-gram has at least one word; give 1 or more")
    workspace = workspace or Workspace()
    report = report or (lambda line: None)
    thresholds = _thresholds(prune, order)
    kept_words = _kept_words(corpus, allowed, thresholds[0])
    report(f"{corpus.words} words, {corpus.sentences} sentences, {len(kept_words)} word types")
    counts = count_ngrams(corpus, order, thresholds, kept_words, workspace, progress)
    discounts = []
    for k, of_order in enumerate(counts, 1):
        discounts.append(discounts_of(of_order.counts_of_counts, k, discount_fallback, report))
        values = " ".join(f"{value:.4f}" for value in discounts[-1][1:])
        report(f"{k}-grams: {of_order.types} counted, {of_order.kept} kept, discounts {values}")

    packing = Packing.of(len(kept_words))
    words = np.flatnonzero(kept_words)
    renumbered = np.full(len(kept_words), -1, np.int32)
    renumbered[words] = np.arange(len(words), dtype=np.int32)
    # For the kept (k-1)-grams: packed words and occurrences, probabilities in suffix order, and
    # log-probs in context order.
    grams = Tape(workspace, np.uint64, 2)
    lower = Tape(workspace, np.float64)
    logprobs = Tape(workspace, np.float32)
    raw = corpus.counts[words].astype(np.uint64)
    grams.append(np.hstack([packing.pack(words[:, None]), raw[:, None]]))
    probability = _unigrams(counts[0], packing, kept_words, discounts[0])
    lower.append(probability)
    logprobs.append(log10(probability[words]))
    kept = sum(of_order.kept for of_order in counts[1:])
    finished = []  # per order its words, log-probs and back-off weights
    for k in range(2, order + 1):
        of_order = counts.pop(1)  # and its memory is not held longer than needed
        backoffs, next_grams, discounted = discount(
            of_order.rows, grams, k, k == order, discounts[k - 1], packing, workspace
        )
        finished.append((_spell(grams, k - 1, packing, renumbered), logprobs, backoffs))
        lower, logprobs = interpolate(discounted, of_order.suffixes, lower, workspace)
        grams = next_grams
        if progress:
            progress("smoothing", of_order.kept, kept)
    longest = _spell(grams, order, packing, renumbered)
    sections = [Section(*(tape.array() for tape in tapes)) for tapes in finished]
    nothing = np.zeros(len(longest), np.float32)
    sections.append(Section(longest.array(), logprobs.array(), nothing))
    return Arpa([corpus.vocabulary[word] for word in words], sections)


def _unigrams(
    counts: Counts, packing: Packing, kept_words: np.ndarray, discounts: np.ndarray
) -> np.ndarray:
    """(V,) probabilities of the words, 0 for words that are not in the model."""
    adjusted = np.zeros(len(kept_words), np.int64)
    for block in counts.rows.blocks():
        adjusted[packing.unpack(block, 1)[:, 0]] = block[:, 2]
    taken = np.where(kept_words, discounts[np.minimum(adjusted, 3)], adjusted)
    uniform = 1.0 / (np.count_nonzero(kept_words) - 1)  # without <s>
    probability = (adjusted - taken + taken.sum() * uniform) / adjusted.sum()
    probability[~kept_words] = 0.0
    probability[BOS_ID] = 1.0
    return probability


def _spell(grams: Tape, order: int, packing: Packing, renumbered: np.ndarray) -> Tape:
    """(N, order) int32 words of packed n-grams, in the model's numbering."""
    words = Tape(grams.workspace, np.int32, order)
    for block in grams.blocks():
        words.append(renumbered[packing.unpack(block, order)])
    return words


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    """One pruning threshold per order."""
    given = " ".join(map(str, prune))
    if not prune or len(prune) > order:
        raise InputError(
            f"--prune {given} has {len(prune)} values; give 1 to {order}, one per order"
        )
    if min(prune) < 0 or list(prune) != sorted(prune):
        raise InputError(
            f"--prune {given}: give numbers of 0 or more that do not fall, as an n-gram cannot be "
            "kept without its parts"
        )
    return [*prune, *[prune[-1]] * (order - len(prune))]


def _kept_words(corpus: Corpus, allowed: set[str] | None, threshold: int) -> np.ndarray:
    """(V,) which words of the vocabulary are in the model."""
    kept = corpus.counts > threshold
    if not kept[len(SPECIAL) :].any():
        raise InputError(f"--prune {threshold} leaves no word; give a lower number")
    if allowed is not None:
        kept &= np.array([word in allowed for word in corpus.vocabulary])
        if not kept[len(SPECIAL) :].any():
            raise InputError(
                "the text has none of the vocabulary's words; give words as the text spells them"
            )
    kept[: len(SPECIAL)] = True
    return kept
