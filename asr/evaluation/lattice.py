"""Texts with alternatives as lattices, whose arcs are words, in the order in which sclite has them.

Where several alignments cost the same, sclite's choice depends on the order of arcs, so it is the
same here: breadth first, a node only after all arcs that end in it, alternatives as they are
written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.evaluation.marks import Alternatives, Marked, Word

NO_ID = -1  # the number of `@`, no word
SPOKEN, NULL_ARC, OPTIONAL_ARC = range(3)


@dataclass(frozen=True)
class Lattice:
    """A text with alternatives: A arcs, of which the first stands for the beginning of the text.

    Attributes:
        texts: the word of each arc.
        words: int32 (A,), its number; `NO_ID` for no word.
        kinds: int8 (A,), SPOKEN, NULL_ARC or OPTIONAL_ARC.
        starts: int32 (A + 1,), where the predecessors of each arc begin in `before`.
        before: int32, the arcs that end where an arc begins, of all arcs one after the other.
        finals: int32, the arcs that end the text.
        places: int32 (A,), the place of an arc's word or alternatives in the text, counted from 0;
            -1 for the beginning.
    """

    texts: tuple[str, ...]
    words: np.ndarray
    kinds: np.ndarray
    starts: np.ndarray
    before: np.ndarray
    finals: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, marked: Marked, number: Callable[[str], int]) -> Lattice:
        """The lattice of a marked text.

        Args:
            marked: the text.
            number: gives every word its number.
        """
        arcs: list[tuple[int, Word, int]] = []  # the node where it ends, its word, its place
        leaving: list[list[int]] = [[], []]  # arcs by the node where they begin
        ending: list[list[int]] = [[], []]

        def add(items: Marked, begin: int, end: int, place: int | None) -> None:
            for offset, item in enumerate(items):
                target = end
                if offset < len(items) - 1:
                    target = len(leaving)
                    leaving.append([])
                    ending.append([])
                own = offset if place is None else place
                if isinstance(item, Alternatives):
                    for text in item.texts:
                        add(text, begin, target, own)
                else:
                    leaving[begin].append(len(arcs))
                    ending[target].append(len(arcs))
                    arcs.append((target, item, own))
                begin = target

        add(marked, 0, 1, None)
        order = [-1]  # the beginning, then arcs
        waiting = [len(arcs_in) for arcs_in in ending]
        queue = deque([0])
        origin: dict[int, int] = {}
        while queue:
            node = queue.popleft()
            for arc in leaving[node]:
                origin[arc] = node
                order.append(arc)
                waiting[arcs[arc][0]] -= 1
                if not waiting[arcs[arc][0]]:
                    queue.append(arcs[arc][0])
        position = {arc: index for index, arc in enumerate(order)}
        words = [arcs[arc][1] for arc in order[1:]]
        preceding = [[position[b] for b in ending[origin[arc]]] or [0] for arc in order[1:]]
        kinds = [
            NULL_ARC if not word.text else OPTIONAL_ARC if word.optional else SPOKEN
            for word in words
        ]
        return cls(
            ("", *(word.text for word in words)),
            np.array([NO_ID] + [number(w.text) if w.text else NO_ID for w in words], np.int32),
            np.array([NULL_ARC, *kinds], dtype=np.int8),
            np.cumsum([0, 0, *(len(found) for found in preceding)], dtype=np.int32),
            np.array([arc for found in preceding for arc in found], dtype=np.int32),
            np.array([position[arc] for arc in ending[1]] or [0], dtype=np.int32),
            np.array([-1, *(arcs[arc][2] for arc in order[1:])], dtype=np.int32),
        )

    @classmethod
    def chain(cls, words: Sequence[int], texts: Sequence[str]) -> Lattice:
        """The lattice of a text without marks, of its words' numbers.

        Args:
            words: the numbers.
            texts: the words; none where only errors are counted.
        """
        size = len(words)
        return cls(
            ("", *texts),
            np.array([NO_ID, *words], dtype=np.int32),
            np.array([NULL_ARC] + [SPOKEN] * size, dtype=np.int8),
            np.array([0, *range(size + 1)], dtype=np.int32),
            np.arange(size, dtype=np.int32),
            np.array([size], dtype=np.int32),
            np.arange(-1, size, dtype=np.int32),
        )
