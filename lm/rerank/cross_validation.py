"""Cross-validation of tuned weights: their errors on N-best lists they were not tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lm.combine import total, winners
from lm.errors import InputError
from lm.rerank.tune import tune


@dataclass(frozen=True)
class Validated:
    """Results of weights that were tuned without the lists on which they are tested.

    Attributes:
        errors: word errors over all folds, each under the weights of the others.
        weights: weights of each fold.
    """

    errors: int
    weights: tuple[dict[str, float], ...]


def cross_validate(
    table: pd.DataFrame,
    errors: np.ndarray | pd.Series,
    columns: Sequence[str],
    groups: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    **options: Any,
) -> Validated | None:
    """Tunes on all folds but one and counts the errors of that one, for every fold in turn.

    Args:
        table: N-best table of N rows.
        errors: (N,) word errors of each row's hypothesis.
        columns: names of the columns to weight.
        groups: (N,) group of each row, such as the speaker: no group is in two folds. By default
            the utterance.
        folds: number of parts; fewer if there are fewer groups.
        seed: random seed for the order of the groups.
        options: options of `lm.rerank.tune.tune`.

    Returns:
        None if there is only one group: nothing can be left out.

    Raises:
        InputError: as `lm.rerank.tune.tune`, or folds is below 2.
    """
    if folds < 2:
        raise InputError(f"cross-validation in {folds} folds: use at least 2")
    errors = np.asarray(errors)
    codes, names = pd.factorize(np.asarray(table["utt"] if groups is None else groups))
    if len(names) < 2:
        return None
    folds = min(folds, len(names))
    # Large groups come first, each in the smallest fold so far: folds get about the same size.
    sizes = np.bincount(codes)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    filled = np.zeros(folds)
    fold_of = np.zeros(len(names), dtype=np.int64)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    found, weights = 0, []
    for fold in range(folds):
        held_out = fold_of[codes] == fold
        rest = table[~held_out].reset_index(drop=True)
        tuned = tune(rest, errors[~held_out], columns, seed=seed, **options).weights
        part = table[held_out].reset_index(drop=True)
        found += int(errors[held_out][winners(part, total(part, tuned))].sum())
        weights.append(tuned)
    return Validated(found, tuple(weights))
