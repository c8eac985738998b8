"""Exact CTC log-probs of texts: the forward algorithm over all of a text's paths.

This is Graves et al. 2006, section 4.1, for texts instead of label sequences: the sum is over the
paths of every way to spell a text with the labels. Word delimiters at the ends of a text, or more
than one between two words, do not change the text, so that these paths are included. What texts
have in common at the beginning is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asr.vocabulary import Vocabulary, spellings, to_bytes
from lm.jit import inner_kernel


def full_sums(log_probs: np.ndarray, vocabulary: Vocabulary, texts: Sequence[str]) -> np.ndarray:
    """Natural-log probability of each text given the audio.

    Args:
        log_probs: (T, V) natural log.
        vocabulary: Labels of the V columns.
        texts: Words separated by white space.

    Returns:
        (N,) natural log; -inf where the labels cannot spell a text, or need more than T frames.
    """
    normal = [" ".join(text.split()) for text in texts]
    if vocabulary.has_bytes:
        normal = [in_bytes(text) for text in normal]
    ways = lattice(vocabulary, normal)
    first = np.cumsum([0, *map(len, ways.before)]).astype(np.int64)
    flat = np.array([i for nodes in ways.before for i in nodes], dtype=np.int64)
    spelled, boundary, _ = spellings(vocabulary)
    bare = np.array([c >= 0 and boundary[c] and not spelled[c] for c in ways.labels])
    at_label, at_blank = np.full((2, 2, len(ways.labels)), -np.inf)
    values = np.ascontiguousarray(log_probs, dtype=np.float64)
    columns = np.array(ways.labels, dtype=np.int64)
    forward(values, vocabulary.blank, columns, bare, first, flat, at_label, at_blank)
    totals = np.logaddexp(at_label, at_blank)[len(values) % 2]
    ending: dict[str, list[int]] = {}
    for (text, _), node in ways.places.items():
        ending.setdefault(text.rstrip(" "), []).append(node)
    sums = [np.logaddexp.reduce(totals[ending.get(text, [])], initial=-np.inf) for text in normal]
    return np.array(sums)


# The text so far, with a space after each word that has ended, and its last label.
Place = tuple[str, int]
# Labels by the letters that they spell and whether a word ends before these.
Labels = dict[tuple[str, bool], list[int]]


@dataclass(frozen=True)
class Lattice:
    """All ways to spell some texts; node 0 is the beginning.

    Attributes:
        places: Node by place.
        labels: Label of each node; -1 for node 0.
        before: The nodes that each node can follow.
    """

    places: dict[Place, int]
    labels: list[int]
    before: list[list[int]]

    def follow(self, node: int, place: Place) -> int:
        """The node of a place, which from now on can follow `node`; it is added where missing."""
        after = self.places.get(place)
        if after is None:
            after = self.places[place] = len(self.labels)
            self.labels.append(place[1])
            self.before.append([])
        if after != node and node not in self.before[after]:
            self.before[after].append(node)
        return after


def lattice(vocabulary: Vocabulary, texts: Sequence[str]) -> Lattice:
    """All ways to spell the texts, whose words are separated by single spaces.

    If some labels are bytes, the texts are byte by byte too, as `in_bytes` gives them.
    """
    spelled, boundary, followed = spellings(vocabulary)
    if vocabulary.has_bytes:
        spelled = [in_bytes(text) for text in spelled]
    labels: Labels = {}
    for label, used in enumerate(followed):
        if used:
            labels.setdefault((spelled[label], boundary[label]), []).append(label)
    longest = max(map(len, spelled))
    found = Lattice({("", -1): 0}, [-1], [[]])
    for text in texts:
        add_text(found, f"{text} " if text else "", labels, longest)
    return found


def in_bytes(text: str) -> str:
    """A text with a character for each byte of its UTF-8."""
    return to_bytes(text).decode("latin-1")


def add_text(found: Lattice, text: str, labels: Labels, longest: int) -> None:
    """Adds all ways to spell a text to a lattice.

    Args:
        found: The lattice.
        text: With a space after each word.
        labels: The vocabulary.
        longest: Most letters of a label.
    """
    # The nodes at every position of the text; dictionaries, because the order matters for rounding.
    nodes: list[dict[int, None]] = [{0: None}, *({} for _ in text)]
    for position in range(len(text) + 1):
        queue = list(nodes[position])
        steps = list(next_places(text, position, labels, longest)) if queue else []
        for node in queue:
            for stop, place in steps:
                after = found.follow(node, place)
                # A label never goes back, but a delimiter may stay where it is.
                if stop == position and after not in nodes[stop]:
                    queue.append(after)
                nodes[stop][after] = None


def next_places(
    text: str, position: int, labels: Labels, longest: int
) -> Iterator[tuple[int, Place]]:
    """The places that one more label leads to from a position of a text, and their positions."""
    starts = [(position, False)]
    if position == 0 or text[position - 1] == " ":
        starts.append((position, True))
    elif text[position : position + 1] == " ":
        starts.append((position + 1, True))
    for start, ends_word in starts:
        for stop in range(start, min(start + longest, len(text)) + 1):
            for label in labels.get((text[start:stop], ends_word), ()):
                yield stop, (text[:stop], label)


@inner_kernel
def plus(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high)) if low > -math.inf else high


@inner_kernel
def forward(
    log_probs: np.ndarray,
    blank: int,
    labels: np.ndarray,
    bare: np.ndarray,
    first: np.ndarray,
    before: np.ndarray,
    at_label: np.ndarray,
    at_blank: np.ndarray,
) -> None:
    """Sums over the paths of all nodes.

    Args:
        log_probs: (T, V) natural log.
        blank: column of the blank.
        labels: (N,) label of each node; -1 for node 0, where paths begin.
        bare: (N,) whether the same label again, after a blank, changes no text.
        first: (N + 1,) where the predecessors of each node begin in `before`.
        before: node i follows the nodes before[first[i] : first[i + 1]].
        at_label: (2, N), -inf; row T % 2 is filled with the log-prob of the paths that end in the
            node's label.
        at_blank: (2, N), -inf; the same for paths that end in a blank after that label.
    """
    at_blank[0, 0] = 0.0
    for t in range(len(log_probs)):
        old, new = t % 2, (t + 1) % 2
        for node in range(len(labels)):
            label = labels[node]
            stayed = plus(at_label[old, node], at_blank[old, node])
            at_blank[new, node] = stayed + log_probs[t, blank]
            if label < 0:
                continue
            reached = stayed if bare[node] else at_label[old, node]
            for i in range(first[node], first[node + 1]):
                source = before[i]
                reached = plus(reached, at_blank[old, source])
                if labels[source] != label:
                    reached = plus(reached, at_label[old, source])
            at_label[new, node] = reached + log_probs[t, label]
