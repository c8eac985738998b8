"""Words and phrases that a search prefers, as an automaton over bytes.

The automaton is that of Aho and Corasick 1975: it has one state, and takes one step for each byte,
for any number of phrases. A prefix that has a part of a phrase has the same part of its weight, and
loses it if it continues with other letters.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lm.errors import InputError
from lm.jit import kernel
from lm.text.prose import APOSTROPHES

LOG = logging.getLogger("secondpass")
SPACE = 32
# How Unicode's names of their letters begin. Chinese, Japanese; Thai, Lao, Khmer, Burmese.
SCRIPTS_WITHOUT_SPACES = (
    *("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO "),
    *("THAI ", "LAO ", "KHMER ", "MYANMAR "),
)


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


def build_hotwords(
    weights: Mapping[str, float],
    letters: frozenset[str] | set[str],
    spaces: bool = True,
    most: float = np.inf,
) -> HotWords:
    """Makes the automaton of phrases; without phrases it has a single state.

    A phrase is whole words. In scripts that are written without spaces, and with labels that spell
    none, it is found anywhere in a text.

    Args:
        weights: Weight by phrase, natural log; words are separated by white space.
        letters: Letters of the labels.
        spaces: Whether some label begins a word.
        most: Largest part of a weight that a phrase gets before it is complete.

    Raises:
        InputError: A phrase is empty, its weight is not a positive number, or it cannot be spelled.
    """
    known = {*letters, " "} if spaces else {*letters}
    phrases: dict[bytes, float] = {}
    given: dict[bytes, str] = {}
    refused = []
    for phrase, weight in weights.items():
        normal = " ".join(phrase.split())
        if not normal:
            raise InputError("a hot word is empty; remove it, or give it letters")
        if not 0 < weight < np.inf:
            raise InputError(f"hot word {phrase!r}: weight {weight} is not a positive number")
        form = next((form for form in _forms(normal) if set(form) <= known), None)
        if form is None:
            refused.append((phrase, normal))
            continue
        anywhere = not spaces or (" " not in form and any(map(_without_spaces, form)))
        key = (form if anywhere else f" {form} ").encode()
        if key in phrases:
            LOG.warning(
                f"the hot words {given[key]!r} and {phrase!r} are the same text; the weight of the "
                f"last one counts, {weight:g} and not {phrases[key]:g}"
            )
        phrases[key], given[key] = float(weight), phrase
    if refused:
        raise _not_spelled(refused, known)

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
            # The space before a word is worth nothing yet.
            begun = depth if spelled[0] == SPACE else depth + 1
            whole = len(spelled) - 1 if spelled[0] == SPACE else len(spelled)
            if begun < whole:
                partial[state] = max(partial[state], min(weight * begun / whole, most))
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


def _forms(phrase: str) -> Iterator[str]:
    """Ways to write a phrase that look the same: Unicode's canonical forms, plain apostrophes."""
    yield phrase
    for form in ("NFC", "NFD"):
        yield unicodedata.normalize(form, phrase)
        yield unicodedata.normalize(form, phrase.translate(APOSTROPHES))


def _without_spaces(letter: str) -> bool:
    """Whether a letter is of a script that is written without spaces between words."""
    return unicodedata.name(letter, "").startswith(SCRIPTS_WITHOUT_SPACES)


def _not_spelled(refused: Sequence[tuple[str, str]], known: Collection[str]) -> InputError:
    """What to do about phrases that the labels do not spell: each as given, and with one space."""
    phrase, normal = refused[0]
    strange = sorted(set(normal) - {*known})
    missing = " ".join("a space" if letter == " " else letter for letter in strange)
    others = (form for case in (str.upper, str.lower) for form in _forms(case(normal)))
    other = next((form for form in others if set(form) <= {*known}), None)
    remedy = f"did you mean {other}?"
    if other is None:
        letters = " ".join(sorted(letter for letter in known if letter != " ")[:12])
        remedy = f"spell it with the labels' letters ({letters} …)"
    more = f" (and {len(refused) - 1} more hot words cannot be spelled)" if refused[1:] else ""
    return InputError(f"hot word {phrase!r} has {missing}, which no label spells; {remedy}{more}")


def paid(hotwords: HotWords, text: str) -> float:
    """The summed weights of the hot words in a complete text."""
    spelled = np.frombuffer(f" {text} ".encode(), np.uint8)
    return float(_paid(hotwords.goto, hotwords.classes, hotwords.completed, spelled))


@kernel
def _paid(
    goto: np.ndarray, classes: np.ndarray, completed: np.ndarray, spelled: np.ndarray
) -> float:
    state, total = 0, 0.0
    for value in spelled:
        state = goto[state, classes[value]]
        total += completed[state]
    return total


def most_gained(hotwords: HotWords, letters: int) -> float:
    """The largest gain by a label of `letters` bytes: phrases can end at each, and before them."""
    ends, share = float(hotwords.completed.max()), float(hotwords.partial.max())
    return ends * (letters + 1) + share
