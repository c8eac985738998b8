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

REFERENCE = -1  # the list's number in a row that holds a reference


@dataclass(frozen=True)
class Judged:
    """N-best lists with the number of errors in each hypothesis.

    Attributes:
        texts: N hypotheses with their `lists` (numbers from 0), and then L references, one for each
            N-best list; all of them with their contexts, if there are any.
        errors: (N,) word errors.
        others: (N,) weighted total of all other columns.
        weight: Weight of the model's log-prob in the total, above 0.
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
                f"the tuned weight of the column to train is {self.weight:g}, so its scores have "
                "no effect and it cannot be trained. Start from a better model, or leave out the "
                "columns that are better"
            )


class ListBatches(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Whole N-best lists with their references as padded batches; one item is one batch.

    Attributes:
        lists: Number of N-best lists, L.
        batches: Numbers of the N-best lists in each batch; their texts have about equal length.
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
        """A hash of the N-best lists, their errors and their scores."""
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
    """Row at which each list begins, apart from the first."""
    return np.flatnonzero(np.diff(numbers)) + 1
