"""Queries of back-off n-gram models in arrays.

An n-gram is a node of a trie whose root is the empty context; a node's children are the words that
follow it. A state is the node of the longest context that matters for the next words, -1 for none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lm.jit import inlined

# Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4): 2^32 divided by
# the golden ratio. Whichever words follow a context, their places are spread evenly.
GOLDEN = 2654435769
LOW_BITS = (1 << 32) - 1
FAR = 512  # with this many children or more, the place of a word is guessed twice
STEPS = 64  # after this many steps from there, the search is binary

AFTER = -3  # less than any link of a state, and so is AFTER minus a state

# An n-gram that is shorter than the longest n-grams.
INNER = np.dtype(
    [
        ("word", "i4"),  # last word
        ("logprob", "f4"),  # log10 of its probability after the others
        ("backoff", "f4"),  # log10 of the back-off weight
        ("first", "i4"),  # its children are the nodes from here to `first` of the next node
        # The link of a state is the state to back off to. A node without children and without a
        # back-off weight is not a state; its link is AFTER minus the state that follows it.
        ("link", "i4"),
    ]
)
# One of the longest n-grams.
LEAF = np.dtype([("word", "i4"), ("logprob", "f4"), ("link", "i4")])
# The same with codes instead of values.
SMALL_INNER = np.dtype(
    [("word", "i4"), ("logprob", "u1"), ("backoff", "u1"), ("first", "i4"), ("link", "i4")]
)
SMALL_LEAF = np.dtype([("word", "i4"), ("logprob", "u1"), ("link", "i4")])


class NgramArrays(NamedTuple):
    """N n-grams, M of them shorter than the longest ones; read-only arrays.

    Nodes are in order of their length, then of their context's node, then of their last word's
    place (see `place_of`). The node of a single word is the word's number.

    Attributes:
        inner: (M + 1,) INNER, nodes 0 to M - 1, and one more for the end of the last one's
            children.
        leaf: (N - M,) LEAF, the nodes M to N - 1.
        logprob_book: (order, 256) float32, values of the codes by length; (0, 256) without codes.
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
def place_of(word: int) -> int:
    """The number by which children are sorted, 0 to 2^32 - 1; different for each word."""
    return (word * GOLDEN) & LOW_BITS


@inlined
def first_guess(low: int, high: int, place: int) -> int:
    """The node of a place among the nodes low to high - 1, if their places are even."""
    return low + ((place * (high - low)) >> 32)


@inlined
def second_guess(low: int, high: int, place: int, node: int, found: int) -> int:
    """The same, corrected by the word that was found at the first guess."""
    node += ((place - place_of(found)) * (high - low)) >> 32
    return min(max(node, low), high - 1)


@inlined
def search_from(nodes: np.ndarray, low: int, high: int, node: int, wanted: int) -> int:
    """The node from low to high - 1 with that last word, or -1; the search begins at `node`."""
    place, end = place_of(wanted), high
    if node < end and place_of(nodes[node].word) < place:
        node += 1
        stop = min(end, node + STEPS)
        while node < stop and place_of(nodes[node].word) < place:
            node += 1
        low = node
        high = node if node < stop else end
    else:
        stop = max(low, node - STEPS)
        while node > stop and place_of(nodes[node - 1].word) >= place:
            node -= 1
        high = node
        low = node if node > stop else low
    while low < high:
        middle = (low + high) >> 1
        if place_of(nodes[middle].word) < place:
            low = middle + 1
        else:
            high = middle
    return low if low < end and nodes[low].word == wanted else -1


@inlined
def find_word(nodes: np.ndarray, low: int, high: int, wanted: int) -> int:
    """The node from low to high - 1 with that last word, or -1."""
    place = place_of(wanted)
    node = first_guess(low, high, place)
    if high - low > FAR:
        node = second_guess(low, high, place, node, nodes[node].word)
    return search_from(nodes, low, high, node, wanted)


@inlined
def length_of(lm: NgramArrays, node: int) -> int:
    """Number of words of a node minus one."""
    length = 0
    while node >= lm.bounds[length + 1]:
        length += 1
    return length


@inlined
def advance(lm: NgramArrays, part: Part, state: int, word: int) -> tuple[float, int]:
    """log10 probability of a word in a state, and the state that follows.

    Args:
        lm: One model, or several models one after the other, none of them with codes.
        part: Where the model begins among them.
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
