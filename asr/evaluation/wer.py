"""Word and character errors of texts and of N-best lists, and the oracle of N-best lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jiwer
import numpy as np
import pandas as pd

from asr.evaluation.alignment import Encoded, Method, WordIds
from lm.combine import winners
from lm.errors import InputError

COUNTS = ("hits", "substitutions", "deletions", "insertions")


@dataclass(frozen=True)
class ErrorRate:
    """Error counts of one utterance or of many; they can be added but not averaged.

    The mean of the utterances' rates is not the error rate of a corpus, so there is no division and
    no conversion to float. The corpus value is `sum(rates, ErrorRate())` over utterances.

    Attributes:
        hits: Reference words (or characters) that are right in the hypothesis.
        substitutions: Reference words that are replaced by another word.
        deletions: Reference words that are missing.
        insertions: Hypothesis words that are aligned with no reference word.
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __post_init__(self) -> None:
        if min(self.hits, self.substitutions, self.deletions, self.insertions) < 0:
            raise ValueError(f"counts of words must not be negative: {self}")

    def __add__(self, other: ErrorRate) -> ErrorRate:
        if not isinstance(other, ErrorRate):
            return NotImplemented
        return ErrorRate(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @classmethod
    def total(cls, counts: pd.DataFrame) -> ErrorRate:
        """The sum over the rows of a table that has the columns of `COUNTS`."""
        return cls(*(int(counts[name].sum()) for name in COUNTS))

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def ref_words(self) -> int:
        """Length of the reference in words, or in characters if these were counted."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per reference word, a fraction that may exceed 1.

        Without reference words it is infinite if there are errors, and else 0.0.
        """
        return rate(self.errors, self.ref_words)


def rate(errors: int, words: int) -> float:
    """Errors per reference word; without reference words infinite if there are errors, else 0."""
    if words:
        return errors / words
    return math.inf if errors else 0.0


def word_errors(reference: str, hypothesis: str) -> ErrorRate:
    """Word errors of one hypothesis by jiwer's minimal alignment; white space separates words.

    The reference may be empty: then every hypothesis word is an insertion.
    """
    found = jiwer.process_words(_spaced(reference), _spaced(hypothesis))
    return ErrorRate(found.hits, found.substitutions, found.deletions, found.insertions)


def char_errors(reference: str, hypothesis: str) -> ErrorRate:
    """Character errors of one hypothesis; one space between words counts as a character."""
    found = jiwer.process_characters(_spaced(reference), _spaced(hypothesis))
    return ErrorRate(found.hits, found.substitutions, found.deletions, found.insertions)


def row_errors(
    table: pd.DataFrame, references: Mapping[str, str], alignment: Method = "jiwer"
) -> pd.DataFrame:
    """Word errors of every hypothesis of one N-best table; equal texts are aligned once.

    By default the counts are those of `word_errors`, from jiwer's own backend; going there
    directly spares an object per aligned piece (ten times faster on 10-best lists).

    Args:
        table: N rows with the columns `utt` and `text`.
        references: Reference text by utterance; it may have more utterances than the table.
        alignment: `jiwer` or `sclite`, see `asr.evaluation.alignment.WordIds`.

    Returns:
        int64 columns hits, substitutions, deletions, insertions and errors (the sum of the last
        three), N rows with the index of the table.

    Raises:
        InputError: Utterances of the table have no reference.
    """
    check_references(table["utt"].unique(), references)
    words = WordIds(alignment)
    encoded: dict[str, Encoded] = {}
    known: dict[tuple[str, str], tuple[int, int, int, int]] = {}
    rows = np.empty((len(table), len(COUNTS)), dtype=np.int64)
    for row, (utt, text) in enumerate(zip(table["utt"], table["text"], strict=True)):
        counts = known.get((utt, text))
        if counts is None:
            if utt not in encoded:
                encoded[utt] = words.encode(references[utt], reference=True)
            counts = known[utt, text] = words.counts(encoded[utt], words.encode(text))
        rows[row] = counts
    counted = pd.DataFrame(rows, columns=list(COUNTS), index=table.index)
    counted["errors"] = rows[:, 1:].sum(axis=1)
    return counted


def check_references(utts: Iterable[str], references: Mapping[str, str]) -> None:
    """Checks that utterances have references.

    Raises:
        InputError: Some utterances have no reference.
    """
    missing = [utt for utt in utts if utt not in references]
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        raise InputError(
            f"no reference for {len(missing)} of the N-best list's utterances: {shown}; "
            "add references, or remove the utterances from the list"
        )


def oracle(table: pd.DataFrame, errors: np.ndarray | pd.Series) -> np.ndarray:
    """The hypothesis with the fewest errors in each list; of equal ones that of the better rank.

    Args:
        table: N rows with the columns `utt` and `rank`.
        errors: (N,) errors of each row.

    Returns:
        (U,) positions of rows (for `iloc`), one for each utterance in the order of the table.
    """
    return winners(table, -np.asarray(errors))


def _spaced(text: str) -> str:
    return " ".join(text.split())
