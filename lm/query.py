"""Queries of back-off n-gram models that lie in arrays.

An n-gram is a node of a trie whose root is the empty context; a node's children are the words that
follow it. A state is the node of the longest context that matters for what follows, -1 for none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lm.jit import inlined, inner_kernel


class NgramArrays(NamedTuple):
    """N n-grams, M of them shorter than the longest ones; read-only arrays.

    Nodes are in order of their length, then of their context's node, then of their last word. The
    node of a single word is the word's number.

    Attributes:
        word: (N,) int32, last word.
        logprob: (N,) float32, log10 of its probability after the others; or uint8 codes.
        backoff: (M,) float32, log10 of the back-off weight; or uint8 codes.
        first: (M + 1,) int32, the children of node i are first[i] to first[i + 1] - 1.
        link: (N,) int32. A node that has children or a back-off weight is a state: its link is the
            state to back off to. The link of any other is the state that follows the n-gram.
        logprob_book: (order, 256) float32, what the codes stand for by length; (0, 256) without.
        backoff_book: the same for the back-off weights.
        bounds: (order + 1,) int64, nodes of length k are bounds[k - 1] to bounds[k] - 1.
    """

    word: np.ndarray
    logprob: np.ndarray
    backoff: np.ndarray
    first: np.ndarray
    link: np.ndarray
    logprob_book: np.ndarray
    backoff_book: np.ndarray
    bounds: np.ndarray


@inlined
def find_child(word: np.ndarray, low: int, high: int, wanted: int) -> int:
    """The node from low to high - 1 with that last word, or -1."""
    while low < high:
        middle = (low + high) >> 1
        found = word[middle]
        if found == wanted:
            return middle
        if found < wanted:
            low = middle + 1
        else:
            high = middle
    return -1


@inlined
def length_of(lm: NgramArrays, node: int) -> int:
    """Words of a node less one."""
    length = 0
    while node >= lm.bounds[length + 1]:
        length += 1
    return length


@inlined
def logprob_of(lm: NgramArrays, node: int) -> float:
    """log10 probability of a node."""
    if len(lm.logprob_book):
        return lm.logprob_book[length_of(lm, node), int(lm.logprob[node])]
    return float(lm.logprob[node])


@inlined
def backoff_of(lm: NgramArrays, node: int) -> float:
    """log10 back-off weight of a state."""
    if len(lm.backoff_book):
        return lm.backoff_book[length_of(lm, node), int(lm.backoff[node])]
    return float(lm.backoff[node])


@inner_kernel
def advance(lm: NgramArrays, unigrams: int, state: int, word: int) -> tuple[float, int]:
    """log10 probability of a word in a state, and the state that follows.

    Args:
        unigrams: Node of word 0: 0 for a model on its own.
        state: A node, or -1.
        word: Its number, from 0.
    """
    weight = 0.0
    node = -1
    while state >= 0:
        node = find_child(lm.word, lm.first[state], lm.first[state + 1], word)
        if node >= 0:
            break
        weight += backoff_of(lm, state)
        state = lm.link[state]
    if node < 0:
        node = unigrams + word
    # Code 0 of a back-off weight is 0, too.
    is_state = node < len(lm.backoff) and (
        lm.first[node + 1] > lm.first[node] or lm.backoff[node] != 0
    )
    return weight + logprob_of(lm, node), node if is_state else lm.link[node]


@inner_kernel
def score_words(
    lm: NgramArrays, bos: int, words: np.ndarray, first: np.ndarray, out: np.ndarray
) -> None:
    """log10 probabilities of the words of many texts.

    Args:
        bos: State in which each begins.
        words: (W,) int32, text after text.
        first: (T + 1,) int64, where each begins.
        out: (W,) takes the results.
    """
    for text in range(len(first) - 1):
        state = bos
        for i in range(first[text], first[text + 1]):
            out[i], state = advance(lm, 0, state, words[i])
