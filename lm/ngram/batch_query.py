"""Queries of one n-gram model for all words of many texts."""

from __future__ import annotations

import numpy as np

from lm.jit import inlined, kernel
from lm.ngram.query import (
    AFTER,
    FAR,
    NgramArrays,
    advance,
    first_guess,
    length_of,
    place_of,
    search_from,
    second_guess,
)

LANES = 16  # texts that are scored at a time
FEW = 2_000_000  # a model with fewer n-grams fits into the processor's cache
MANY = 0.1  # texts are similar if neighbours have this share of their words in common


@inlined
def logprob_of(lm: NgramArrays, node: int) -> float:
    """log10 probability of a node."""
    leaves = len(lm.inner) - 1
    value = lm.inner[node].logprob if node < leaves else lm.leaf[node - leaves].logprob
    if len(lm.bounds):
        return lm.logprob_book[length_of(lm, node), int(value)]
    return float(value)


@inlined
def backoff_of(lm: NgramArrays, state: int) -> float:
    """log10 back-off weight of a state."""
    value = lm.inner[state].backoff
    if len(lm.bounds):
        return lm.backoff_book[length_of(lm, state), int(value)]
    return float(value)


@inlined
def word_near(lm: NgramArrays, node: int) -> int:
    """The last word of a node; any word if it is not a node."""
    leaves = len(lm.inner) - 1
    if node < leaves or len(lm.leaf) == 0:
        return lm.inner[min(node, leaves)].word
    return lm.leaf[min(node - leaves, len(lm.leaf) - 1)].word


def score_words(
    lm: NgramArrays, bos: int, words: np.ndarray, first: np.ndarray, out: np.ndarray
) -> None:
    """log10 probabilities of the words of many texts under one model.

    Args:
        lm: The model.
        bos: State in which each text begins.
        words: (W,) int32, text after text.
        first: (T + 1,) int64, where each text begins.
        out: (W,) float64 takes the results.
    """
    # Both give the same. Without lanes it is faster if the data are in the processor's cache.
    at_hand = lm.nodes < FEW or repeated_words(words, first) > MANY * len(words)
    (score_in_turn if at_hand else score_in_lanes)(lm, bos, words, first, out)


@kernel
def repeated_words(words: np.ndarray, first: np.ndarray) -> int:
    """Number of words with which texts begin like the text before, as in N-best lists."""
    repeated = 0
    for text in range(1, len(first) - 1):
        before, begin = first[text - 1], first[text]
        most = min(begin - before, first[text + 1] - begin)
        shared = 0
        while shared < most and words[before + shared] == words[begin + shared]:
            shared += 1
        repeated += shared
    return repeated


@kernel
def score_in_turn(
    lm: NgramArrays, bos: int, words: np.ndarray, first: np.ndarray, out: np.ndarray
) -> None:
    """The same as `score_words`, one text after the other."""
    part = (0, len(lm.inner) - 1, 0)
    for text in range(len(first) - 1):
        state = bos
        for i in range(first[text], first[text + 1]):
            out[i], state = advance(lm, part, state, words[i])


@kernel
def score_in_lanes(
    lm: NgramArrays, bos: int, words: np.ndarray, first: np.ndarray, out: np.ndarray
) -> None:
    """The same as `score_words`, several texts at a time, each in its own lane.

    Each loop over the lanes requests from memory what the next loop needs. These requests do not
    wait for each other, while those of a single text do.
    """
    leaves = len(lm.inner) - 1
    at, end = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    state, weight = np.zeros(LANES, np.int64), np.zeros(LANES)
    low, high = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    node, seen = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    text = lanes = 0
    while True:
        while lanes < LANES and text + 1 < len(first):
            at[lanes], end[lanes] = first[text], first[text + 1]
            state[lanes], weight[lanes] = bos, 0.0
            lanes += at[lanes] < end[lanes]
            text += 1
        if lanes == 0:
            return
        for i in range(lanes):
            now = max(state[i], 0)
            low[i], high[i] = lm.inner[now].first, lm.inner[now + 1].first
        for i in range(lanes):
            node[i] = first_guess(low[i], high[i], place_of(words[at[i]]))
            seen[i] = word_near(lm, node[i])
        for i in range(lanes):
            if high[i] - low[i] > FAR:
                place = place_of(words[at[i]])
                node[i] = second_guess(low[i], high[i], place, node[i], seen[i])
                seen[i] = word_near(lm, node[i])
        for i in range(lanes):
            wanted = words[at[i]]
            if state[i] < 0:
                node[i] = wanted
            elif low[i] < leaves:
                node[i] = search_from(lm.inner, low[i], high[i], node[i], wanted)
            else:
                begin, stop = low[i] - leaves, high[i] - leaves
                found = search_from(lm.leaf, begin, stop, node[i] - leaves, wanted)
                node[i] = found + leaves if found >= 0 else -1
        i = 0
        while i < lanes:
            here = node[i]
            if here < 0:
                weight[i] += backoff_of(lm, state[i])
                state[i] = lm.inner[state[i]].link
            else:
                link = lm.inner[here].link if here < leaves else lm.leaf[here - leaves].link
                out[at[i]] = weight[i] + logprob_of(lm, here)
                state[i], weight[i] = here if link >= -1 else AFTER - link, 0.0
                at[i] += 1
                if at[i] == end[i]:
                    # The text of the last lane moves to this lane and is next.
                    lanes -= 1
                    at[i], end[i], node[i] = at[lanes], end[lanes], node[lanes]
                    state[i], weight[i] = state[lanes], weight[lanes]
                    i -= 1
            i += 1
