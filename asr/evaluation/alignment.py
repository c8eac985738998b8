"""Which word of a hypothesis stands for which word of its reference: jiwer's way, and sclite's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from rapidfuzz.distance import Levenshtein

from lm.errors import InputError

Method = Literal["jiwer", "sclite"]
METHODS: tuple[Method, ...] = get_args(Method)

# What stands at each place of an alignment, the order of `asr.evaluation.wer.COUNTS`.
HIT, SUBSTITUTION, DELETION, INSERTION = range(4)
OF_OPCODE = {"equal": HIT, "replace": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}


@dataclass(frozen=True)
class Alignment:
    """Where a hypothesis errs along its reference of R words.

    Attributes:
        wrong: bool (R,), whether the reference word is substituted or deleted.
        inserted: int (R + 1,), hypothesis words inserted before each reference word and, last,
            after all of them.
    """

    wrong: np.ndarray
    inserted: np.ndarray

    @classmethod
    def of(cls, path: np.ndarray) -> Alignment:
        """An alignment from the kinds of its places, as `WordIds.path` gives them."""
        of_reference = path != INSERTION
        before = np.cumsum(of_reference)[~of_reference]
        inserted = np.bincount(before, minlength=int(of_reference.sum()) + 1)
        return cls(path[of_reference] != HIT, inserted)


class WordIds:
    """Aligns texts as words at white space; every word gets a number when it is first seen.

    Args:
        method: `jiwer` has the fewest errors, each of cost 1, with ties broken as jiwer's own
            backend (rapidfuzz) breaks them. `sclite` is the alignment of NIST sclite: costs 4 for
            a substitution and 3 for a deletion or insertion, so that two words wrong in a row are
            rather one inserted, one right and one deleted; from the end of the sentence, ties go
            to a hit or substitution before an insertion before a deletion. It is equal to
            sclite's, place by place, on texts without its special marks (alternatives in braces,
            fragments, optional words) and in one case (sclite itself ignores case).

    Raises:
        InputError: No such method.
    """

    def __init__(self, method: Method = "jiwer") -> None:
        if method not in METHODS:
            raise InputError(f"no alignment named {method!r}; there are: {', '.join(METHODS)}")
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
            reference: R numbers, as `encode` gives them.
            hypothesis: H numbers.

        Returns:
            int8 (P,) of HIT, SUBSTITUTION, DELETION and INSERTION, from the start; P is at least
            the larger of R and H.
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
        InputError: No such method.
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
    """The words that stand for each other, in order; None where there is no other.

    Returns:
        (reference word, hypothesis word) of every place of the alignment.
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
    """Which words of the hypotheses are right, one after the other, bool (W,).

    Raises:
        ValueError: The two sequences differ in length.
    """
    words = WordIds(method)
    found = [np.zeros(0, dtype=bool)]
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        path = words.path(words.encode(reference), words.encode(hypothesis))
        found.append(path[path != DELETION] == HIT)
    return np.concatenate(found)
