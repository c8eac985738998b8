"""Cross-validation of tuned weights: what they give on lists that they were not tuned on."""

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
    """What weights give that were tuned without the lists that they are judged on.

    Attributes:
        errors: word errors over all folds, each under the weights of the others.
        weights: the weights of each fold.
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
        groups: (N,) the speaker, say, of each row: no group is in two folds. By default the
            utterance.
        folds: parts; fewer where there are fewer groups.
        seed: of the order of the groups.
        options: as `lm.rerank.tune.tune`.

    Returns:
        None where there is only one group: nothing could be left out.

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
    # Groups of most rows first, each to the fold that has fewest so far: folds of about one size.
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
