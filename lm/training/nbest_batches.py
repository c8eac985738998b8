"""N-best lists with known errors, as the padded batches that minimum word error training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lm.errors import InputError
from lm.neural.encoding import Sequences
from lm.scorer import Texts
from lm.training.resume import digest
from lm.training.sequences import IGNORED

REFERENCE = -1  # stands for a list's number where the row is a reference


@dataclass(frozen=True)
class Judged:
    """N-best lists of which it is known how wrong each hypothesis is.

    Attributes:
        texts: N hypotheses with `lists`, numbers from 0 on, then a reference for each list: L
            texts more, with their contexts, if there are any.
        errors: (N,) word errors.
        others: (N,) weighted total of all other columns.
        weight: Of the model's log-prob in the total, above 0.
        utts: L names of the lists' utterances, for messages.
    """

    texts: Texts
    errors: np.ndarray
    others: np.ndarray
    weight: float
    utts: Sequence[str]

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise InputError(
                f"the trained column's weight is {self.weight:g}: a model that does not count "
                "cannot be trained; start from a better one, or leave out the columns that "
                "outdo it"
            )


class ListBatches(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Whole lists with their references as padded batches; one item is one batch.

    Attributes:
        lists: L, their number.
        batches: Lists of each batch, of about equal length.
    """

    def __init__(self, judged: Judged, sequences: Sequences, batch_tokens: int) -> None:
        numbers = judged.texts.lists
        assert numbers is not None and len(sequences.ids) == len(judged.texts)
        self.judged, self.sequences = judged, sequences
        count = len(judged.errors)
        self.lists = len(judged.texts) - count
        self.rows = [
            np.append(rows, count + number)
            for number, rows in enumerate(np.split(np.arange(count), _starts(numbers[:count])))
        ]
        width = np.array([max(len(sequences.ids[i]) for i in rows) for rows in self.rows])
        order = np.argsort(width, kind="stable")
        self.batches: list[list[int]] = [[]]
        for number in order:
            chosen = [*self.batches[-1], int(number)]
            tokens = sum(len(self.rows[i]) for i in chosen) * width[number]
            if tokens > batch_tokens and self.batches[-1]:
                self.batches.append([])
            self.batches[-1].append(int(number))

    def __len__(self) -> int:
        return len(self.batches)

    def digest(self) -> str:
        """A hash of the lists and of what is known of them."""
        ids = [np.asarray(ids, dtype=np.int64) for ids in self.sequences.ids]
        known = (self.judged.errors, self.judged.others, np.array([self.judged.weight]))
        first = np.asarray(self.sequences.first, dtype=np.int64)
        return digest(array.tobytes() for array in (*ids, first, *known))

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One batch: `input_ids`, `attention_mask`, `labels` (B, T), others (B,).

        `list` is the list in the batch or REFERENCE; `errors` and `others` are 0 for references.
        """
        chosen = self.batches[index]
        rows = np.concatenate([self.rows[i] for i in chosen])
        ids = [self.sequences.ids[i] for i in rows]
        width = max(map(len, ids))
        padded = np.zeros((len(ids), width), dtype=np.int64)
        labels = np.full((len(ids), width), IGNORED, dtype=np.int64)
        mask = np.zeros((len(ids), width), dtype=np.int64)
        for i, sequence in enumerate(ids):
            padded[i, : len(sequence)], mask[i, : len(sequence)] = sequence, 1
            first = self.sequences.first[rows[i]]
            labels[i, first : len(sequence)] = sequence[first:]
        numbers = np.concatenate(
            [[*[place] * (len(self.rows[i]) - 1), REFERENCE] for place, i in enumerate(chosen)]
        )
        known = rows < len(self.judged.errors)
        errors, others = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
        errors[known] = self.judged.errors[rows[known]]
        others[known] = self.judged.others[rows[known]]
        arrays: dict[str, np.ndarray] = {
            "input_ids": padded,
            "attention_mask": mask,
            "labels": labels,
        }
        arrays |= {"list": numbers.astype(np.int64), "errors": errors, "others": others}
        return {name: torch.from_numpy(values) for name, values in arrays.items()}


def _starts(numbers: np.ndarray) -> np.ndarray:
    """Where each list but the first begins."""
    return np.flatnonzero(np.diff(numbers)) + 1
