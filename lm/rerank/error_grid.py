"""Word errors over a grid of weights, for pictures of how much they matter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lm.rerank.score_arrays import ScoreArrays


def error_grid(
    table: pd.DataFrame,
    errors: np.ndarray | pd.Series,
    weights: Mapping[str, float],
    values: Mapping[str, Sequence[float]],
    scale: str = "acoustic",
) -> pd.DataFrame:
    """Errors of the 1-best at every point of a grid.

    Args:
        table: N-best table of N rows.
        errors: (N,) word errors of each row's hypothesis.
        weights: weight by column; these weights are fixed.
        values: weights to try by column, in all combinations.
        scale: column whose weight is 1.

    Returns:
        One row for each point: a column for each of `values`, and `errors`.

    Raises:
        InputError: a column is missing or holds NaN.
    """
    kept = {name: weight for name, weight in weights.items() if name not in values}
    names = [scale, *(n for n in kept if n != scale), *values]
    lists = ScoreArrays.of(table, np.asarray(errors), names)
    fixed = [weight for name, weight in kept.items() if name != scale]
    points = list(itertools.product(*values.values()))
    found = [int(lists.errors_under(np.array([*fixed, *point])).sum()) for point in points]
    return pd.DataFrame(points, columns=list(values)).assign(errors=found)
