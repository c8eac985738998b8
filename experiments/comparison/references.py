"""References of some utterances as they are counted, and the errors of texts against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from asr.evaluation.wer import COUNTS, check_references, row_errors
from experiments.comparison.counting import Counting
from experiments.comparison.marked import Marks
from lm.text.loss import TextLoss


class References:
    """References, and the word errors of the texts that are compared with them.

    Systems choose from the same lists, and tuning tries the same texts many times. So every text is
    normalised once, and aligned once with its reference.

    Args:
        texts: reference by utterance, as it was read.
        counting: how words are counted.

    Attributes:
        texts: as given.
        counting: as given.

    Raises:
        InputError: The normaliser leaves nothing of the references, or little.
    """

    def __init__(self, texts: Mapping[str, str], counting: Counting) -> None:
        self.texts = texts
        self.counting = counting
        self._spelled: dict[str, str] = {}
        self._errors: dict[tuple[str, str], tuple[int, ...]] = {}
        loss = TextLoss.of(counting.normalise)
        marks = Marks(counting.normalise, counting.alignment)
        self._counted = {utt: marks.reference(utt, text) for utt, text in texts.items()}
        for utt, text in texts.items():
            loss.add(text, self._counted[utt])
        loss.check("references")
        marks.warn()
        self._marks = Marks(counting.normalise, counting.alignment)
        self._hypotheses: set[str] = set()
        self._loss = TextLoss.of(counting.normalise)

    def of(self, utts: Iterable[str]) -> list[str]:
        """References as they are counted; with sclite's alignment, NIST's marks are kept.

        Raises:
            InputError: As `asr.evaluation.wer.row_errors`.
        """
        utts = list(utts)
        check_references(utts, self._counted)
        return [self._counted[utt] for utt in utts]

    def spell(self, text: str) -> str:
        """A hypothesis as it is counted."""
        if text not in self._spelled:
            self._spelled[text] = self._marks.hypothesis(text)
        return self._spelled[text]

    def spelled(self, table: pd.DataFrame) -> pd.DataFrame:
        """The N-best table with every text as it is counted.

        Raises:
            InputError: The normaliser leaves nothing of the hypotheses, or little.
        """
        for text in table["text"]:
            if text not in self._hypotheses:
                self._hypotheses.add(text)
                self._loss.add(text, self.spell(text))
        self._loss.check("hypotheses")
        return table.assign(text=[self.spell(text) for text in table["text"]])

    def counts(self, table: pd.DataFrame) -> pd.DataFrame:
        """Word errors of every hypothesis, see `asr.evaluation.wer.row_errors`.

        Raises:
            InputError: As `row_errors`.
        """
        keys = list(zip(table["utt"], table["text"], strict=True))
        new = [key for key in dict.fromkeys(keys) if key not in self._errors]
        if new:
            rows = self.spelled(pd.DataFrame(new, columns=["utt", "text"]))
            found = row_errors(rows, self._counted, self.counting.alignment)
            self._errors.update(zip(new, found.itertuples(index=False, name=None), strict=True))
        counted = np.array([self._errors[key] for key in keys], dtype=np.int64)
        columns = [*COUNTS, "errors"]
        return pd.DataFrame(counted.reshape(-1, len(columns)), columns=columns, index=table.index)


def hypotheses_of(
    split: str,
    lists: str,
    table: pd.DataFrame,
    references: References,
) -> pd.DataFrame:
    """A table of hypotheses with their errors, for the results folder.

    `counted` is each text as its words are counted, normalised.
    """
    errors = references.counts(table)["errors"].to_numpy()
    kept = [c for c in table.columns if pd.api.types.is_numeric_dtype(table[c])]
    kept = [c for c in kept if c not in ("utt", "rank", "text")]
    first = {"split": split, "lists": lists}
    rows = table[["utt", "rank", "text", *kept]].assign(
        counted=references.spelled(table)["text"], errors=errors.astype(np.int64), **first
    )
    return rows[[*first, "utt", "rank", "text", "counted", "errors", *kept]]
