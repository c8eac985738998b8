"""Exact CTC log-probs of texts: the forward algorithm over all of a text's paths.

Graves et al. 2006, section 4.1, for texts and not for label sequences: every way to spell a text
with the labels counts, and so do word delimiters at its ends or more than one between two words,
as all of these are the same text. Texts that begin alike are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from asr.vocabulary import Vocabulary, spellings
from lm.jit import inner_kernel


def full_sums(log_probs: np.ndarray, vocabulary: Vocabulary, texts: Sequence[str]) -> np.ndarray:
    """Natural-log probability of each text given the audio.

    Args:
        log_probs: (T, V) natural log.
        vocabulary: Of the V columns.
        texts: Words separated by white space.

    Returns:
        (N,) natural log; -inf where the labels cannot spell a text, or not in T frames.
    """
    normal = [" ".join(text.split()) for text in texts]
    places, labels, before = lattice(vocabulary, normal)
    first = np.cumsum([0, *map(len, before)]).astype(np.int64)
    flat = np.array([i for found in before for i in found], dtype=np.int64)
    spelled, boundary, _ = spellings(vocabulary)
    bare = np.array([c >= 0 and boundary[c] and not spelled[c] for c in labels])
    at_label, at_blank = np.full((2, 2, len(labels)), -np.inf)
    values = np.ascontiguousarray(log_probs, dtype=np.float64)
    columns = np.array(labels, dtype=np.int64)
    forward(values, vocabulary.blank, columns, bare, first, flat, at_label, at_blank)
    totals = np.logaddexp(at_label, at_blank)[len(values) % 2]
    ending: dict[str, list[int]] = {}
    for (text, _), node in places.items():
        ending.setdefault(text.rstrip(), []).append(node)
    sums = [np.logaddexp.reduce(totals[ending.get(text, [])], initial=-np.inf) for text in normal]
    return np.array(sums)


def lattice(
    vocabulary: Vocabulary, texts: Sequence[str]
) -> tuple[dict[tuple[str, int], int], list[int], list[list[int]]]:
    """All ways to spell the texts.

    A node is the text so far, with a space after a word that has ended, and its last label; node 0
    is the beginning, of no label (-1).

    Returns:
        Node by text and label; label of each node; the nodes that each can follow.
    """
    spelled, boundary, followed = spellings(vocabulary)
    by_text: dict[tuple[str, bool], list[int]] = {}
    for label, used in enumerate(followed):
        if used:
            by_text.setdefault((spelled[label], boundary[label]), []).append(label)
    longest = max(map(len, spelled))
    places = {("", -1): 0}
    labels: list[int] = [-1]
    before: list[list[int]] = [[]]
    for text in texts:
        # From every place of the text, the nodes there; a label never goes back.
        whole = f"{text} " if text else ""
        here: list[dict[int, None]] = [{} for _ in range(len(whole) + 1)]
        here[0][0] = None
        for at in range(len(whole) + 1):
            closed = at == 0 or whole[at - 1] == " "
            queue = list(here[at])
            for node in queue:
                steps = [(at, False)]
                if closed:
                    steps.append((at, True))
                elif at < len(whole) and whole[at] == " ":
                    steps.append((at + 1, True))
                for start, ends in steps:
                    for stop in range(start, min(start + longest, len(whole)) + 1):
                        for label in by_text.get((whole[start:stop], ends), ()):
                            key = (whole[:stop], label)
                            found = places.get(key)
                            if found is None:
                                found = places[key] = len(labels)
                                labels.append(label)
                                before.append([])
                            if found != node and node not in before[found]:
                                before[found].append(node)
                            if found not in here[stop]:
                                here[stop][found] = None
                                if stop == at:
                                    queue.append(found)
    return places, labels, before


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
        bare: (N,) whether a second one of the label, after a blank, changes nothing.
        first: (N + 1,) and
        before: node i follows nodes before[first[i] : first[i + 1]].
        at_label: (2, N) -inf; row T % 2 takes the log-prob of the paths that end in the node's
            label, and
        at_blank: (2, N) -inf; of those that end in a blank after it.
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
