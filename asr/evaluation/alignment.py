"""Alignments of the words of a hypothesis with its reference, as jiwer's or as sclite's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from rapidfuzz.distance import Levenshtein

from lm.errors import InputError

Method = Literal["jiwer", "sclite"]
METHODS: tuple[Method, ...] = get_args(Method)

# The kinds of places of an alignment, in the order of `asr.evaluation.wer.COUNTS`.
HIT, SUBSTITUTION, DELETION, INSERTION = range(4)
OF_OPCODE = {"equal": HIT, "replace": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}


@dataclass(frozen=True)
class Alignment:
    """The errors of a hypothesis along its reference of R words.

    Attributes:
        wrong: bool (R,), whether the reference word is substituted or deleted.
        inserted: int (R + 1,), number of hypothesis words inserted before each reference word; the
            last number is for words after all of them.
    """

    wrong: np.ndarray
    inserted: np.ndarray

    @classmethod
    def of(cls, path: np.ndarray) -> Alignment:
        """An alignment from the kinds of its places, which `WordIds.path` returns."""
        of_reference = path != INSERTION
        before = np.cumsum(of_reference)[~of_reference]
        inserted = np.bincount(before, minlength=int(of_reference.sum()) + 1)
        return cls(path[of_reference] != HIT, inserted)


class WordIds:
    """Aligns texts, whose words are separated by white space. Every word has a number.

    Args:
        method: `jiwer` has the fewest errors, each of cost 1; jiwer's own backend (rapidfuzz)
            decides between alignments of equal cost. `sclite` is the alignment of NIST sclite: a
            substitution costs 4, a deletion or insertion 3, so that one insertion, one hit and one
            deletion are preferred to two substitutions. Between alignments of equal cost it takes,
            from the end of the sentence, a hit or substitution before an insertion before a
            deletion. It is equal to sclite's, place by place, for texts without sclite's special
            marks (alternatives in braces, fragments, optional words) and in one case (sclite
            itself ignores case).

    Raises:
        InputError: There is no such method.
    """

    def __init__(self, method: Method = "jiwer") -> None:
        if method not in METHODS:
            raise InputError(f"there is no alignment {method!r}; use {' or '.join(METHODS)}")
        self.method = method
        self._ids: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's words."""
        ids = self._ids
        return [ids.setdefault(word, len(ids)) for word in text.split()]

    def counts(self, reference: list[int], hypothesis: list[int]) -> tuple[int, int, int, int]:
        """Hits, substitutions, deletions and insertions of the alignment."""
        if self.method == "jiwer":
            kinds = [edit[0] for edit in Levenshtein.editops(reference, hypothesis).as_list()]
            wrong, missing = kinds.count("replace"), kinds.count("delete")
            return len(reference) - wrong - missing, wrong, missing, kinds.count("insert")
        hits, wrong, missing, more = np.bincount(self.path(reference, hypothesis), minlength=4)
        return int(hits), int(wrong), int(missing), int(more)

    def path(self, reference: list[int], hypothesis: list[int]) -> np.ndarray:
        """The kind of every place of the alignment of R words with H words.

        Args:
            reference: R numbers, which `encode` returns.
            hypothesis: H numbers.

        Returns:
            int8 (P,) of HIT, SUBSTITUTION, DELETION and INSERTION, from the start of the sentence;
            P is at least the larger of R and H.
        """
        if self.method == "sclite":
            from asr.evaluation.sclite import sclite_path  # numba takes half a second to import

            return sclite_path(reference, hypothesis)
        codes = Levenshtein.opcodes(reference, hypothesis)
        kinds = np.array([OF_OPCODE[code.tag] for code in codes], dtype=np.int8)
        sizes = [
            max(code.src_end - code.src_start, code.dest_end - code.dest_start) for code in codes
        ]
        return np.repeat(kinds, sizes)


def align(
    references: Sequence[str], hypotheses: Sequence[str], method: Method = "jiwer"
) -> list[Alignment]:
    """Word alignments of hypotheses with their references, pair by pair; see `WordIds`.

    Raises:
        ValueError: The two sequences differ in length.
        InputError: There is no such method.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    words = WordIds(method)
    return [
        Alignment.of(words.path(words.encode(reference), words.encode(hypothesis)))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]


def word_pairs(
    reference: str, hypothesis: str, method: Method = "jiwer"
) -> list[tuple[str | None, str | None]]:
    """The words that are aligned with each other, in order.

    Returns:
        (reference word, hypothesis word) of every place of the alignment; None for the word that
        an insertion or a deletion does not have.
    """
    words = WordIds(method)
    path = words.path(words.encode(reference), words.encode(hypothesis))
    left, right = iter(reference.split()), iter(hypothesis.split())
    return [
        (
            None if kind == INSERTION else next(left),
            None if kind == DELETION else next(right),
        )
        for kind in path
    ]


def right_words(
    references: Sequence[str], hypotheses: Sequence[str], method: Method = "jiwer"
) -> np.ndarray:
    """Whether each word of the hypotheses is right, bool (W,), one hypothesis after the other.

    Raises:
        ValueError: The two sequences differ in length.
    """
    words = WordIds(method)
    found = [np.zeros(0, dtype=bool)]
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        path = words.path(words.encode(reference), words.encode(hypothesis))
        found.append(path[path != DELETION] == HIT)
    return np.concatenate(found)
