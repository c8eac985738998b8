"""Alignments of the words of a hypothesis with its reference, as jiwer's or as sclite's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from rapidfuzz.distance import Levenshtein

from asr.evaluation.edits import DELETION, HIT, INSERTION, SKIPPED, SUBSTITUTION
from asr.evaluation.lattice import Lattice
from asr.evaluation.marks import MarkError, parse
from lm.errors import InputError

Method = Literal["jiwer", "sclite"]
METHODS: tuple[Method, ...] = get_args(Method)

Encoded = list[int] | Lattice

OF_OPCODE = {"equal": HIT, "replace": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}


@dataclass(frozen=True)
class Alignment:
    """The errors of a hypothesis along its reference of R words.

    Alternatives of a marked reference are one place, whatever the number of their words.

    Attributes:
        wrong: bool (R,), whether the reference word is substituted or deleted; with alternatives,
            int (R,), the number of errors at each place.
        inserted: int (R + 1,), number of hypothesis words inserted before each reference word; the
            last number is for words after all of them.
        right: int (R,), number of words at each place that are right; None if it is 1 wherever
            there is no error.
    """

    wrong: np.ndarray
    inserted: np.ndarray
    right: np.ndarray | None = None

    @classmethod
    def of(cls, path: np.ndarray) -> Alignment:
        """An alignment from the kinds of its places, which `WordIds.path` returns."""
        of_reference = path != INSERTION
        before = np.cumsum(of_reference)[~of_reference]
        inserted = np.bincount(before, minlength=int(of_reference.sum()) + 1)
        return cls(path[of_reference] != HIT, inserted)

    @classmethod
    def of_lattice(cls, path: np.ndarray, arcs: np.ndarray, reference: Lattice) -> Alignment:
        """The alignment of a reference with alternatives.

        Args:
            path: (P,) kinds of places.
            arcs: (P,) arcs of the reference; -1 at an insertion.
            reference: the reference.
        """
        size = int(reference.places.max()) + 1
        wrong, right = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        inserted = np.zeros(size + 1, dtype=np.int64)
        after = arcs[arcs >= 0]
        places = reference.places
        read = 0  # words of the reference before the place of the alignment
        for kind, arc in zip(path.tolist(), arcs.tolist(), strict=True):
            if arc >= 0:
                read += 1
                own = places[arc]
                right[own] += kind in (HIT, SKIPPED)
                wrong[own] += kind in (SUBSTITUTION, DELETION)
                continue
            before = places[after[read - 1]] if read else -1
            following = places[after[read]] if read < len(after) else size
            # Between two words of the same alternatives, an insertion is an error of theirs.
            if before == following:
                wrong[before] += 1
            else:
                inserted[before + 1] += 1
        return cls(wrong, inserted, right)


class WordIds:
    """Aligns texts, whose words are separated by white space. Every word has a number.

    Args:
        method: `jiwer` has the fewest errors, each of cost 1; jiwer's own backend (rapidfuzz)
            decides between alignments of equal cost. `sclite` is the alignment of NIST sclite: a
            substitution costs 4, a deletion or insertion 3, so that one insertion, one hit and one
            deletion are preferred to two substitutions. Between alignments of equal cost it takes,
            from the end of the sentence, a hit or substitution before an insertion before a
            deletion. It is equal to sclite's, place by place, in one case (sclite itself ignores
            case), also for the marks that `asr.evaluation.marks` describes: alternatives in braces
            and, in references, optional words in brackets (`sclite -D`).

    Raises:
        InputError: There is no such method.
    """

    def __init__(self, method: Method = "jiwer") -> None:
        if method not in METHODS:
            raise InputError(f"there is no alignment {method!r}; use {' or '.join(METHODS)}")
        self.method = method
        self._ids: dict[str, int] = {}

    def encode(self, text: str, reference: bool = False) -> Encoded:
        """The numbers of a text's words; for sclite, a lattice if the text has marks.

        Marks that are not complete are words.

        Args:
            text: words separated by white space.
            reference: whether the text is a reference, see `asr.evaluation.marks.parse`.
        """
        ids = self._ids
        if self.method == "sclite":
            try:
                marked = parse(text, reference)
            except MarkError:
                marked = None
            if marked is not None:
                return Lattice.of(marked, lambda word: ids.setdefault(word, len(ids)))
        return [ids.setdefault(word, len(ids)) for word in text.split()]

    def counts(self, reference: Encoded, hypothesis: Encoded) -> tuple[int, int, int, int]:
        """Hits, substitutions, deletions and insertions of the alignment."""
        if self.method == "jiwer" and isinstance(reference, list) and isinstance(hypothesis, list):
            kinds = [edit[0] for edit in Levenshtein.editops(reference, hypothesis).as_list()]
            wrong, missing = kinds.count("replace"), kinds.count("delete")
            return len(reference) - wrong - missing, wrong, missing, kinds.count("insert")
        found = np.bincount(self.path(reference, hypothesis), minlength=5)
        hits, wrong, missing, more, skipped = found.tolist()
        return hits + skipped, wrong, missing, more

    def aligned(self, reference: Encoded, hypothesis: Encoded) -> Alignment:
        """The errors along the reference."""
        if isinstance(reference, list) and isinstance(hypothesis, list):
            return Alignment.of(self.path(reference, hypothesis))
        first = _lattice(reference)
        path, arcs, _ = _lattice_path(first, _lattice(hypothesis))
        return Alignment.of_lattice(path, arcs, first)

    def pairs(self, reference: Encoded, hypothesis: Encoded) -> list[tuple[str | None, str | None]]:
        """The words at every place, see `word_pairs`."""
        spelled = list(self._ids)
        if isinstance(reference, list) and isinstance(hypothesis, list):
            left, right = iter(reference), iter(hypothesis)
            return [
                (
                    None if kind == INSERTION else spelled[next(left)],
                    None if kind == DELETION else spelled[next(right)],
                )
                for kind in self.path(reference, hypothesis).tolist()
            ]
        first, second = _lattice(reference, spelled), _lattice(hypothesis, spelled)
        path, ours, theirs = _lattice_path(first, second)
        return [
            (None if a < 0 else first.texts[a], None if b < 0 else second.texts[b])
            for kind, a, b in zip(path.tolist(), ours.tolist(), theirs.tolist(), strict=True)
            if kind != SKIPPED
        ]

    def path(self, reference: Encoded, hypothesis: Encoded) -> np.ndarray:
        """The kind of every place of the alignment of R words with H words.

        Args:
            reference: R numbers, which `encode` returns.
            hypothesis: H numbers.

        Returns:
            int8 (P,) of HIT, SUBSTITUTION, DELETION, INSERTION and, with marks, SKIPPED, from the
            start of the sentence; without marks, P is at least the larger of R and H.
        """
        if not isinstance(reference, list) or not isinstance(hypothesis, list):
            return _lattice_path(_lattice(reference), _lattice(hypothesis))[0]
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
        words.aligned(words.encode(reference, True), words.encode(hypothesis))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]


def word_pairs(
    reference: str, hypothesis: str, method: Method = "jiwer"
) -> list[tuple[str | None, str | None]]:
    """The words that are aligned with each other, in order.

    Returns:
        (reference word, hypothesis word) of every place of the alignment; None for the word that
        an insertion or a deletion does not have. An optional word that is missing has no place.
    """
    words = WordIds(method)
    return words.pairs(words.encode(reference, True), words.encode(hypothesis))


def readings(reference: str, hypothesis: str, method: Method = "jiwer") -> tuple[str, str]:
    """Both texts without marks: what the alignment chose of alternatives and optional words."""
    if method == "jiwer":
        return reference, hypothesis
    words = WordIds(method)
    first, second = words.encode(reference, True), words.encode(hypothesis)
    if isinstance(first, list) and isinstance(second, list):
        return reference, hypothesis
    pairs = words.pairs(first, second)
    return " ".join(a for a, _ in pairs if a is not None), " ".join(
        b for _, b in pairs if b is not None
    )


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
        path = words.path(words.encode(reference, True), words.encode(hypothesis))
        found.append(path[(path != DELETION) & (path != SKIPPED)] == HIT)
    return np.concatenate(found)


def _lattice(text: Encoded, spelled: Sequence[str] = ()) -> Lattice:
    """A text as a lattice; a text without marks has words in it only if `spelled` has them."""
    if isinstance(text, Lattice):
        return text
    return Lattice.chain(text, [spelled[n] for n in text] if spelled else [])


def _lattice_path(
    reference: Lattice, hypothesis: Lattice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from asr.evaluation.lattice_path import lattice_path  # numba takes half a second to import

    return lattice_path(reference, hypothesis)
