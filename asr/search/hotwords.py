"""Words and phrases that a search prefers, as an automaton over bytes.

The automaton is that of Aho and Corasick 1975: it has one state, and takes one step for each byte,
for any number of phrases. A prefix that has a part of a phrase has the same part of its weight, and
loses it if it continues with other letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lm.errors import InputError


class HotWords(NamedTuple):
    """The automaton; state 0 is inside a word that no phrase has.

    Attributes:
        goto: (S, C) int32, next state by class of byte.
        classes: (256,) uint8, class of each byte; 0 for bytes that no phrase has.
        completed: (S,) summed weights of the phrases that end on entering a state.
        partial: (S,) part of the weight of the phrase that has begun.
    """

    goto: np.ndarray
    classes: np.ndarray
    completed: np.ndarray
    partial: np.ndarray


def build_hotwords(weights: Mapping[str, float], letters: frozenset[str] | set[str]) -> HotWords:
    """Makes the automaton of phrases; without phrases it has a single state.

    Args:
        weights: Weight by phrase, natural log; words are separated by white space.
        letters: Letters of the labels.

    Raises:
        InputError: A phrase is empty, its weight is not a positive number, or it cannot be spelled.
    """
    phrases = {}
    for phrase, weight in weights.items():
        normal = " ".join(phrase.split())
        if not normal:
            raise InputError("a hot word is empty; remove it, or give it letters")
        if missing := sorted(set(normal) - {*letters, " "}):
            raise InputError(
                f"hot word {phrase!r} has {' '.join(missing)}, which no label spells; "
                f"{_other_case(normal, letters)}"
            )
        if not 0 < weight < np.inf:
            raise InputError(f"hot word {phrase!r}: weight {weight} is not a positive number")
        phrases[f" {normal} ".encode()] = float(weight)

    classes = np.zeros(256, np.uint8)
    for i, value in enumerate(sorted(set(b"".join(phrases))), 1):
        classes[value] = i
    width = int(classes.max()) + 1
    children: list[dict[int, int]] = [{}]
    completed, partial = [0.0], [0.0]
    for spelled, weight in phrases.items():
        state = 0
        for depth, value in enumerate(spelled):
            step = int(classes[value])
            if step not in children[state]:
                children[state][step] = len(children)
                children.append({})
                completed.append(0.0)
                partial.append(0.0)
            state = children[state][step]
            if depth < len(spelled) - 1:
                partial[state] = max(partial[state], weight * depth / (len(spelled) - 1))
        completed[state] += weight

    goto = np.zeros((len(children), width), np.int32)
    fail = np.zeros(len(children), np.int32)
    queue = [0]
    for state in queue:
        for step in range(width):
            back = goto[fail[state], step] if state else 0
            child = children[state].get(step)
            if child is None:
                goto[state, step] = back
                continue
            goto[state, step] = child
            fail[child] = back
            completed[child] += completed[back]
            partial[child] = max(partial[child], partial[back])
            queue.append(child)
    return HotWords(goto, classes, np.array(completed), np.array(partial))


def _other_case(phrase: str, letters: frozenset[str] | set[str]) -> str:
    """What to do about a phrase that cannot be spelled as it is."""
    for other in (phrase.upper(), phrase.lower()):
        if set(other) <= {*letters, " "}:
            return f"did you mean {other}?"
    return f"spell it with the labels' letters ({' '.join(sorted(letters)[:12])} …)"


def most_gained(hotwords: HotWords, letters: int) -> float:
    """The largest gain by a label of `letters` bytes: phrases can end at each, and before them."""
    ends, share = float(hotwords.completed.max()), float(hotwords.partial.max())
    return ends * (letters + 1) + share
