"""Batches of what models read: by length, halved when memory runs out, with progress in texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from lm.checkpoint import out_of_memory
from lm.errors import InputError
from lm.scorer import Progress

Item = TypeVar("Item")


def batches(items: Sequence[Item], lengths: np.ndarray, limit: int) -> Iterator[Sequence[Item]]:
    """Items of similar length, longest first, at most `limit` tokens with padding.

    Longest first: memory that runs out does so at once.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, limit // max(1, int(lengths[order[start]])))
        yield [items[i] for i in order[start : start + rows]]
        start += rows


def halving(run: Callable[[Sequence[Item]], None], part: Sequence[Item], name: str) -> None:
    """Runs a batch, in halves where it does not fit into the memory.

    Raises:
        InputError: A single item does not fit; `name` is the model's.
    """
    try:
        run(part)
        return
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(part) == 1:
            raise InputError(
                f"{name}: a single text does not fit into the memory; use a smaller model, "
                "`dtype: bfloat16`, or `bits: 8`"
            ) from error
    torch.cuda.empty_cache()
    half = len(part) // 2
    halving(run, part[:half], name)
    halving(run, part[half:], name)


class Told:
    """Tells progress in texts, of which each is read in one or more parts."""

    def __init__(self, progress: Progress | None, text: np.ndarray, count: int) -> None:
        """Of `count` texts; `text` says of which text each part is."""
        self.progress = progress
        self.text = text
        self.left = np.bincount(text, minlength=count)

    def done(self, read: np.ndarray) -> None:
        """These parts have been read."""
        texts, times = np.unique(self.text[read], return_counts=True)
        self.left[texts] -= times
        finished = int((self.left[texts] == 0).sum())
        if self.progress is not None and finished:
            self.progress(finished)
