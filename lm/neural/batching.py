"""Batches of similar length, halved when memory runs out; progress is reported in texts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch

from lm.errors import InputError
from lm.neural.pretrained import out_of_memory
from lm.scorer import Progress

Item = TypeVar("Item")


def batches(items: Sequence[Item], lengths: np.ndarray, limit: int) -> Iterator[Sequence[Item]]:
    """Items of similar length, longest first, at most `limit` tokens with padding.

    The longest come first: if memory runs out, it does so at the start.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, limit // max(1, int(lengths[order[start]])))
        yield [items[i] for i in order[start : start + rows]]
        start += rows


class Halving(Generic[Item]):
    """Runs batches; one that does not fit into the memory is halved, and the size remembered.

    Attributes:
        run: Function that reads items; it changes nothing when memory runs out.
        name: Name of the model, for messages.
        smaller: Function that cuts an item that does not fit by itself into smaller items; it
            returns none where that is not possible.
        most: Largest number of items of a batch that may fit.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], None],
        name: str,
        smaller: Callable[[Item], Sequence[Item]] = lambda item: (),
    ) -> None:
        self.run, self.name, self.smaller = run, name, smaller
        self.most = sys.maxsize

    def __call__(self, part: Sequence[Item]) -> None:
        """Runs a batch.

        Raises:
            InputError: A single item does not fit, and there is nothing smaller.
        """
        if len(part) > self.most:
            size = self.most  # it may shrink in the loop
            for start in range(0, len(part), size):
                self(part[start : start + size])
            return
        try:
            self.run(part)
            return
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = error
        torch.cuda.empty_cache()
        if len(part) > 1:
            self.most = len(part) // 2
            self(part)
            return
        pieces = self.smaller(part[0])
        if not pieces:
            raise InputError(
                f"{self.name}: a single text does not fit into the memory; use a smaller model, "
                "`dtype: bfloat16`, or `bits: 8`"
            ) from reason
        for piece in pieces:
            self([piece])


class TextProgress:
    """Reports progress in texts; each text is read in one or more parts."""

    def __init__(self, progress: Progress | None, text: np.ndarray, count: int) -> None:
        """Starts with `count` texts; `text` has the number of the text of each part."""
        self.progress = progress
        self.text = text
        self.left = np.bincount(text, minlength=count)

    def done(self, read: np.ndarray) -> None:
        """Notes that these parts have been read, and reports the texts that are complete."""
        texts, times = np.unique(self.text[read], return_counts=True)
        self.left[texts] -= times
        finished = int((self.left[texts] == 0).sum())
        if self.progress is not None and finished:
            self.progress(finished)
