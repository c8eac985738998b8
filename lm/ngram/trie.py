"""n-grams in the arrays that queries need, filled length by length.

The memory for the n-grams of one length is 16 bytes for each, and that for sorting them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from lm.jit import inner_kernel
from lm.ngram.arpa import Section
from lm.ngram.query import AFTER, GOLDEN, INNER, LEAF, LOW_BITS, find_word, place_of

UNPLACED = np.uint64(pow(GOLDEN, -1, 1 << 32))  # undoes `place_of`
LOW = np.uint64(LOW_BITS)
HALF = np.uint64(32)
ROWS = 1 << 20
MOST_NODES = np.iinfo(np.int32).max - 8


class Misfit(Exception):
    """An n-gram that has no place in a model.

    Attributes:
        order: Length of the n-gram.
        row: Number of the n-gram among those of its length, from 0.
        reason: What is wrong with it.
    """

    def __init__(self, order: int, row: int, reason: str) -> None:
        super().__init__(reason)
        self.order, self.row, self.reason = order, row, reason


class Trie:
    """The n-grams so far.

    Attributes:
        inner: (M + 1,) INNER, see `lm.ngram.query.NgramArrays`.
        leaf: LEAF, the n-grams of the last length, if that is more than one word.
        bounds: Where the nodes of each length begin, and the number of all nodes.
    """

    def __init__(self, logprob: np.ndarray, backoff: np.ndarray) -> None:
        """Starts with single words; (V,) float32 arrays by the number of the word."""
        size = len(logprob)
        self.inner = np.zeros(size + 1, INNER)
        self.inner["word"][:-1] = np.arange(size)
        self.inner["logprob"][:-1] = logprob
        self.inner["backoff"][:-1] = backoff
        self.inner["link"] = -1
        self.leaf = np.zeros(0, LEAF)
        self.bounds = [0, size]

    def lengthen(self, pieces: Iterable[Section], is_last: bool) -> None:
        """Adds the n-grams that are longer by a word.

        Args:
            pieces: The n-grams, in any order.
            is_last: Whether these are the longest.

        Raises:
            Misfit: An n-gram occurs twice, or its first words are not an n-gram.
        """
        keys, logprob, backoff = self._collected(pieces, is_last)
        stop = self.bounds[-1] + len(keys)
        if stop > MOST_NODES:
            reason = f"is one of {stop} or more, and a model can have {MOST_NODES}; prune it"
            raise Misfit(len(self.bounds), 0, reason)
        nodes = np.zeros(len(keys) + (not is_last), LEAF if is_last else INNER)
        filled = nodes[: len(keys)]
        if not (keys[1:] > keys[:-1]).all():
            rows = np.argsort(keys)
            keys, logprob = keys[rows], logprob[rows]
            backoff = backoff[rows] if len(backoff) else backoff
            twice = np.flatnonzero(keys[1:] == keys[:-1])
            if len(twice):
                row = int(rows[twice[0] : twice[0] + 2].max())
                raise Misfit(len(self.bounds), row, "is listed a second time")
            del rows
        filled["logprob"] = logprob
        if not is_last:
            filled["backoff"] = backoff
            nodes["first"] = stop  # the end of the children of the node before the first of these
        del logprob, backoff
        context = (keys >> HALF).astype(np.int32)
        filled["word"] = ((keys & LOW) * UNPLACED & LOW).astype(np.int32)
        del keys
        self._count_children(context)
        link = np.empty(len(context), np.int32)
        link_nodes(self.inner, context, np.ascontiguousarray(filled["word"]), link)
        filled["link"] = AFTER - link if is_last else link
        if is_last:
            self.leaf = nodes
        else:
            self.inner = np.concatenate([self.inner[:-1], nodes])
        self.bounds.append(stop)

    def finish(self) -> None:
        """Completes a model that has only single words."""
        if len(self.bounds) == 2:
            self.inner["backoff"] = 0.0  # there is nothing to back off from
            self._count_children(np.zeros(0, np.int32))

    def _collected(
        self, pieces: Iterable[Section], is_last: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N,) uint64 nodes of contexts with places of last words, and float32 values."""
        keys = [np.zeros(0, np.uint64)]
        logprobs, backoffs = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
        seen = 0
        for piece in pieces:
            keys.append(np.empty(len(piece), np.uint64))
            misfit = place_ngrams(self.inner, piece.words, keys[-1])
            if misfit >= 0:
                order = len(self.bounds)
                reason = f"is an n-gram, but its first {order - 1} words are not"
                raise Misfit(order, seen + misfit, reason)
            logprobs.append(piece.logprob)
            if not is_last:
                backoffs.append(piece.backoff)
            seen += len(piece)
        return np.concatenate(keys), np.concatenate(logprobs), np.concatenate(backoffs)

    def _count_children(self, context: np.ndarray) -> None:
        """Fills in where the children of the longest nodes are, and which nodes are states.

        Args:
            context: (N,) the children's contexts, sorted.
        """
        below, start = self.bounds[-2:]
        longest = self.inner[below:]
        counts = np.bincount(context - below, minlength=len(longest) - 1)
        longest["first"] = start
        longest["first"][1:] += np.cumsum(counts)
        nodes = longest[:-1]
        nodes["link"] = np.where(
            (counts > 0) | (nodes["backoff"] != 0), nodes["link"], AFTER - nodes["link"]
        )


def pieces_of(section: Section) -> Iterator[Section]:
    """A section's n-grams, some of them at a time."""
    for start in range(0, len(section), ROWS):
        rows = slice(start, start + ROWS)
        columns = (section.words[rows], section.logprob[rows], section.backoff[rows])
        yield Section(*(np.ascontiguousarray(column) for column in columns))


@inner_kernel
def place_ngrams(inner: np.ndarray, words: np.ndarray, keys: np.ndarray) -> int:
    """Fills `keys` (R,) with the context's node and the last word's place of `words` (R, k).

    Returns:
        The first row whose context is not in the model; -1 if all are.
    """
    last = words.shape[1] - 1
    for row in range(len(words)):
        node = np.int64(words[row, 0])
        for k in range(1, last):
            node = find_word(inner, inner[node].first, inner[node + 1].first, words[row, k])
            if node < 0:
                return row
        keys[row] = np.uint64((node << 32) | place_of(words[row, last]))
    return -1


@inner_kernel
def link_nodes(inner: np.ndarray, context: np.ndarray, word: np.ndarray, link: np.ndarray) -> None:
    """Fills `link` (R,) with the longest state that ends n-grams but is none of them.

    Args:
        inner: Shorter n-grams with their final links.
        context: (R,) the n-grams' contexts.
        word: (R,) their last words.
    """
    for row in range(len(word)):
        state = inner[context[row]].link
        suffix = -1
        while state >= 0 and suffix < 0:
            suffix = find_word(inner, inner[state].first, inner[state + 1].first, word[row])
            state = inner[state].link
        if suffix < 0:
            suffix = word[row]
        after = inner[suffix].link
        link[row] = suffix if after >= -1 else AFTER - after
