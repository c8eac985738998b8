"""The prefixes that a beam search has met: label sequences as a tree, in arrays.

A prefix is a text with its last label. Pieces can spell a text in several ways; spellings that end
with the same label are the same prefix, which is found by a hash of the text. A prefix stores the
scores of the language models, so that each word is looked up once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.search.graph import Graph
from lm.jit import inlined, inner_kernel, kernel

FNV_OFFSET = np.uint64(14695981039346656037)  # Fowler, Noll and Vo's hash, 64 bits, variant 1a
FNV_PRIME = np.uint64(1099511628211)
SPACE = 32


PREFIX = np.dtype(
    [
        ("key", "u8"),  # hash of text and last label
        ("text", "u8"),  # hash of the text, a space after each finished word
        ("score", "f8"),  # all that is added to the acoustic log-prob in the search
        ("fixed", "f8"),  # the part of the score from finished words
        ("closed_fixed", "f8"),  # the same if the open word ends here
        ("bonus", "f8"),  # weights of the hot words found
        ("parent", "i4"),  # the prefix without its last label; -1 for the empty one
        ("label", "i4"),  # last label; -1 for none
        ("slot", "i4"),  # place in the beam; -1 outside
        ("node", "i4"),  # lexicon node of the open word; -1 outside the lexicon
        ("letters", "i4"),  # number of letters of the open word
        ("hot", "i4"),  # state of the hot words' automaton
        ("oov", "i4"),  # finished words that no n-gram model knows
        ("closed_oov", "i4"),  # the same if the open word ends here
        ("open", "?"),  # whether the last word can continue
        ("closed", "?"),  # whether the fields named closed_ have values
    ],
    align=True,
)


class Prefixes(NamedTuple):
    """Arrays for N prefixes; row 0 is the empty prefix.

    Attributes:
        rows: (N,) PREFIX.
        state: (N, K) int32, the n-gram models' states after the finished words.
        ngram: (N, J) natural log of the finished words, unweighted.
        closed_state: the same if the open word ends here.
        closed_ngram: the same if the open word ends here.
        table: (H,) int32, hash table from key to row, -1 where it is free; H is a power of two.
    """

    rows: np.ndarray
    state: np.ndarray
    ngram: np.ndarray
    closed_state: np.ndarray
    closed_ngram: np.ndarray
    table: np.ndarray


def room_for(rows: int, models: int, columns: int) -> Prefixes:
    """Empty arrays for `rows` prefixes."""
    return Prefixes(
        rows=np.zeros(rows, PREFIX),
        state=np.zeros((rows, models), np.int32),
        ngram=np.zeros((rows, columns)),
        closed_state=np.zeros((rows, models), np.int32),
        closed_ngram=np.zeros((rows, columns)),
        table=np.full(1 << int(2 * rows - 1).bit_length(), -1, np.int32),
    )


@kernel
def start(graph: Graph, prefixes: Prefixes, bos: np.ndarray) -> None:
    """Makes the empty prefix the only one."""
    prefixes.table[:] = -1
    empty = prefixes.rows[0]
    empty.text = FNV_OFFSET
    empty.key = mixed(FNV_OFFSET, -1)
    empty.parent, empty.label, empty.slot, empty.node = -1, -1, 0, 0
    # A hot word may begin where the text does.
    empty.hot = graph.goto[0, graph.classes[SPACE]]
    empty.score = graph.partial[empty.hot]
    empty.fixed, empty.bonus, empty.oov = 0.0, 0.0, 0
    empty.open, empty.closed, empty.letters = False, False, 0
    prefixes.state[0] = bos
    prefixes.ngram[0] = 0.0
    enter(prefixes.rows, prefixes.table, 0)


@inlined
def mixed(text: int, label: int) -> np.uint64:
    """Hash of a text and a label, by the last step of Appleby's MurmurHash3."""
    h = np.uint64(text) ^ (np.uint64(label + 2) * np.uint64(0x9E3779B97F4A7C15))
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@inlined
def enter(rows: np.ndarray, table: np.ndarray, row: int) -> None:
    """Puts a row into the hash table."""
    mask = np.uint64(len(table) - 1)
    place = rows[row].key & mask
    while table[place] >= 0:
        place = (place + np.uint64(1)) & mask
    table[place] = row


@inlined
def find(rows: np.ndarray, table: np.ndarray, key: int) -> int:
    """The row with that key, or -1."""
    mask = np.uint64(len(table) - 1)
    place = np.uint64(key) & mask
    row = table[place]
    while row >= 0 and rows[row].key != np.uint64(key):
        place = (place + np.uint64(1)) & mask
        row = table[place]
    return row


@inlined
def copy_row(source: np.ndarray, i: int, target: np.ndarray, j: int) -> None:
    """target[j] = source[i], without the copy that numba makes for it."""
    for column in range(source.shape[1]):
        target[j, column] = source[i, column]


@kernel
def compact(prefixes: Prefixes, count: int, beam: np.ndarray) -> int:
    """Keeps the prefixes of the beam and all their parents, in their order.

    Args:
        prefixes: The first `count` rows are in use.
        beam: Its rows get their new numbers.

    Returns:
        The number of rows that are left.
    """
    rows = prefixes.rows
    number = np.full(count, -1, np.int32)
    number[0] = 0
    for slot in range(len(beam)):
        row = beam[slot].row
        while number[row] < 0:
            number[row] = 0
            row = rows[row].parent
    left = 0
    for row in range(count):
        if number[row] >= 0:
            number[row] = left
            left += 1
    for row in range(count):
        new = number[row]
        if new < 0:
            continue
        rows[new] = rows[row]
        if rows[new].parent >= 0:
            rows[new].parent = number[rows[new].parent]
        copy_row(prefixes.state, row, prefixes.state, new)
        copy_row(prefixes.ngram, row, prefixes.ngram, new)
        copy_row(prefixes.closed_state, row, prefixes.closed_state, new)
        copy_row(prefixes.closed_ngram, row, prefixes.closed_ngram, new)
    for slot in range(len(beam)):
        beam[slot].row = number[beam[slot].row]
    enter_all(prefixes, left)
    return left


@inner_kernel
def enter_all(prefixes: Prefixes, count: int) -> None:
    """Makes the hash table again."""
    prefixes.table[:] = -1
    for row in range(count):
        enter(prefixes.rows, prefixes.table, row)
