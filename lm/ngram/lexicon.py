"""A list of words as a trie over the bytes of their spelling, in arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lm.jit import inlined, kernel


class Lexicon(NamedTuple):
    """A trie of X nodes; node 0 is the empty prefix.

    Attributes:
        first: (X + 1,) int32, the children of node i are first[i] to first[i + 1] - 1, sorted by
            byte.
        byte: (X,) uint8, the last byte of the prefix.
        word: (X,) int32, index of the word with this spelling; -1 if there is none.
    """

    first: np.ndarray
    byte: np.ndarray
    word: np.ndarray


def build_lexicon(words: Sequence[str]) -> Lexicon:
    """The trie of different words; a word's index is its place in the list."""
    encoded = [word.encode(errors="surrogateescape") for word in words]
    order = np.array(sorted(range(len(words)), key=encoded.__getitem__), dtype=np.int32)
    lengths = np.fromiter(map(len, encoded), np.int64, len(words))[order]
    text = np.frombuffer(b"".join([encoded[i] for i in order]), dtype=np.uint8)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Lexicon(*_grow(text, starts, order))


@kernel
def _grow(  # the types of the arrays of Lexicon
    text: np.ndarray, starts: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fills the arrays breadth first, so that the children of a node follow each other.

    Args:
        text: (B,) bytes of the sorted words.
        starts: (W + 1,) where each word begins.
        order: (W,) index of each word.
    """
    most = len(text) + 1
    first = np.zeros(most + 1, np.int32)
    byte = np.zeros(most, np.uint8)
    word = np.full(most, -1, np.int32)
    low, high = np.zeros(most, np.int32), np.zeros(most, np.int32)  # words with this prefix
    depth = np.zeros(most, np.int32)
    high[0] = len(order)
    nodes = 1
    node = 0
    while node < nodes:
        first[node] = nodes
        at = depth[node]
        i = low[node]
        while i < high[node] and starts[i] + at == starts[i + 1]:
            word[node] = order[i]
            i += 1
        while i < high[node]:
            value = text[starts[i] + at]
            byte[nodes], depth[nodes], low[nodes] = value, at + 1, i
            while i < high[node] and text[starts[i] + at] == value:
                i += 1
            high[nodes] = i
            nodes += 1
        node += 1
    first[nodes] = nodes
    return first[: nodes + 1].copy(), byte[:nodes].copy(), word[:nodes].copy()


@inlined
def follow(lexicon: Lexicon, node: int, value: int) -> int:
    """The child of a node by the next byte, or -1; -1 has no children."""
    if node < 0:
        return -1
    low, high = lexicon.first[node], lexicon.first[node + 1]
    while low < high:
        middle = (low + high) >> 1
        found = lexicon.byte[middle]
        if found == value:
            return middle
        if found < value:
            low = middle + 1
        else:
            high = middle
    return -1


@kernel
def best_below(lexicon: Lexicon, values: np.ndarray) -> np.ndarray:
    """(X,) the highest of the words' values among the words with a node's prefix."""
    nodes = len(lexicon.byte)
    best = np.full(nodes, -np.inf)
    for node in range(nodes - 1, -1, -1):
        if lexicon.word[node] >= 0:
            best[node] = values[lexicon.word[node]]
        for child in range(lexicon.first[node], lexicon.first[node + 1]):
            best[node] = max(best[node], best[child])
    return best
