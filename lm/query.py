"""Queries of back-off n-gram models that lie in arrays.

An n-gram is a node of a trie whose root is the empty context; a node's children are the words that
follow it. A state is the node of the longest context that matters for what follows, -1 for none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lm.jit import inlined, inner_kernel

AFTER = -3  # less than any link of a state, as is AFTER less a state

# An n-gram that is shorter than the longest ones.
INNER = np.dtype(
    [
        ("word", "i4"),  # last word
        ("logprob", "f4"),  # log10 of its probability after the others
        ("backoff", "f4"),  # log10 of the back-off weight
        ("first", "i4"),  # its children are the nodes from here on, up to the next one's first
        # A state's link is the state to back off to. A node without children and back-off weight is
        # no state; its link is AFTER less the state that follows it.
        ("link", "i4"),
    ]
)
# One of the longest n-grams.
LEAF = np.dtype([("word", "i4"), ("logprob", "f4"), ("link", "i4")])
# The same with codes for the values.
SMALL_INNER = np.dtype(
    [("word", "i4"), ("logprob", "u1"), ("backoff", "u1"), ("first", "i4"), ("link", "i4")]
)
SMALL_LEAF = np.dtype([("word", "i4"), ("logprob", "u1"), ("link", "i4")])


class NgramArrays(NamedTuple):
    """N n-grams, M of them shorter than the longest ones; read-only arrays.

    Nodes are in order of their length, then of their context's node, then of their last word. The
    node of a single word is the word's number.

    Attributes:
        inner: (M + 1,) INNER, nodes 0 to M - 1, and one more for where the last one's children end.
        leaf: (N - M,) LEAF, nodes from M on.
        logprob_book: (order, 256) float32, what the codes stand for by length; (0, 256) without.
        backoff_book: the same for the back-off weights.
        bounds: (order + 1,) int64, nodes of length k are bounds[k - 1] to bounds[k] - 1.
    """

    inner: np.ndarray
    leaf: np.ndarray
    logprob_book: np.ndarray
    backoff_book: np.ndarray
    bounds: np.ndarray

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.inner) - 1 + len(self.leaf)


# Where a model begins in `inner`, how many inner nodes it has, where it begins in `leaf`.
Part = tuple[int, int, int]


@inlined
def find_word(nodes: np.ndarray, low: int, high: int, wanted: int) -> int:
    """The one from low to high - 1 with that last word, or -1."""
    found = -1
    while low < high:
        middle = (low + high) >> 1
        word = nodes[middle].word
        if word == wanted:
            found = middle
            break
        if word < wanted:
            low = middle + 1
        else:
            high = middle
    return found


@inlined
def length_of(lm: NgramArrays, node: int) -> int:
    """Words of a node less one."""
    length = 0
    while node >= lm.bounds[length + 1]:
        length += 1
    return length


@inlined
def advance(lm: NgramArrays, part: Part, state: int, word: int) -> tuple[float, int]:
    """log10 probability of a word in a state, and the state that follows.

    Args:
        lm: One model, or several one after the other, none of them with codes.
        part: Where the model is among them.
        state: A node of the model, or -1.
        word: Its number, from 0.
    """
    inner_at, leaves, leaf_at = part
    weight = 0.0
    node = -1
    while state >= 0:
        here = inner_at + state
        low, high = lm.inner[here].first, lm.inner[here + 1].first
        if low < leaves:
            node = find_word(lm.inner, inner_at + low, inner_at + high, word)
            node -= inner_at if node >= 0 else 0
        else:
            shift = leaf_at - leaves
            node = find_word(lm.leaf, low + shift, high + shift, word)
            node -= shift if node >= 0 else 0
        if node >= 0:
            break
        if len(lm.bounds):
            weight += lm.backoff_book[length_of(lm, state), int(lm.inner[here].backoff)]
        else:
            weight += lm.inner[here].backoff
        state = lm.inner[here].link
    if node < 0:
        node = word
    if node < leaves:
        logprob, link = lm.inner[inner_at + node].logprob, lm.inner[inner_at + node].link
    else:
        at = leaf_at + node - leaves
        logprob, link = lm.leaf[at].logprob, lm.leaf[at].link
    if len(lm.bounds):
        weight += lm.logprob_book[length_of(lm, node), int(logprob)]
    else:
        weight += logprob
    return weight, node if link >= -1 else AFTER - link


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
    part = (0, len(lm.inner) - 1, 0)
    for text in range(len(first) - 1):
        state = bos
        for i in range(first[text], first[text + 1]):
            out[i], state = advance(lm, part, state, words[i])
