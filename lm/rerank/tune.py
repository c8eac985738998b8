"""Weights that minimise word errors on dev: exact line search over the corpus's step function."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lm.columns import is_count
from lm.combine import total, winners
from lm.rerank.score_arrays import ScoreArrays

# Values at which each weight of an LM starts; counts start at 0.
GRID = (0.0, 0.3, 1.0)

# Weights are made smaller as long as the errors that this adds are fewer than this number of
# standard errors of their sum; 1 is the rule of Breiman et al. 1984 (Classification and Regression
# Trees).
NEAR = 1.0
SHARES = tuple(np.linspace(0, 1, 21)[:-1])  # shares of a weight that are tried to make it smaller

# Intervals narrower than this share of their position are rounding errors of tied crossings.
NARROW = 1e-9


@dataclass(frozen=True)
class Tuned:
    """Tuned weights and their errors on the lists on which they were tuned.

    Attributes:
        weights: weight by column; the scale column's is 1.
        errors: word errors of the 1-best under these weights.
        baseline: word errors under the scale column alone.
    """

    weights: dict[str, float]
    errors: int
    baseline: int


def tune(
    table: pd.DataFrame,
    errors: np.ndarray | pd.Series,
    columns: Sequence[str],
    scale: str = "acoustic",
    seed: int = 0,
    restarts: int = 12,
    near: float = NEAR,
) -> Tuned:
    """Weights that minimise the word errors of the 1-best over all lists together.

    This is minimum error rate training (Och, ACL 2003). Along a line in weight space every
    hypothesis's total is linear, the winners of a list are its upper envelope, and the errors of
    the corpus are a step function whose steps can be computed. From several starts, line searches
    along each coordinate and along random directions are repeated until none lowers the errors.

    Of intervals with the fewest errors, the one nearest to weight 0 is taken, at its middle. Of
    solutions with equally few errors, the one with the smallest weights is taken, each weight in
    units of its column's spread within lists. A small difference in errors is treated as none,
    because it depends on few lists: each weight, the largest first, is moved towards zero as long
    as this adds fewer errors than `near` standard errors of their sum. It stops at 0 or in the
    middle of a plateau. At last, digits are dropped as long as the errors stay the same. Weights
    of log-probs are never negative; weights of counts (`words`, `oov`, `….tokens`) may be.

    Args:
        table: N-best table of N rows; -inf is legal in scores.
        errors: (N,) word errors of each row's hypothesis.
        columns: names of the columns to weight, with or without the scale column.
        scale: column whose weight is fixed to 1.
        seed: random seed for the starts beyond the grid and for the random directions.
        restarts: number of starts; a single weight needs only the grid.
        near: number of standard errors within which more errors are accepted for smaller weights;
            0 gives the fewest errors.

    Raises:
        InputError: the table is empty, or a column is missing or holds NaN.
        ValueError: errors are not one per row, or restarts is below 1.
    """
    errors = np.asarray(errors)
    if errors.shape != (len(table),):
        raise ValueError(f"errors have shape {errors.shape}, the table has {len(table)} rows")
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; at least one start is needed")
    names = [scale, *dict.fromkeys(name for name in columns if name != scale)]
    lists = ScoreArrays.of(table, errors, names).undecided()
    signed = np.array([is_count(name) for name in names[1:]], dtype=bool)
    spread = lists.spread()
    rng = np.random.default_rng(seed)
    best: tuple[int, float, np.ndarray] | None = None
    for start in _starts(signed, restarts, rng):
        weights = _descend(lists, start, signed, spread, rng)
        found = (int(lists.errors_under(weights).sum()), float(np.abs(weights) @ spread), weights)
        if best is None or found[:2] < best[:2]:
            best = found
    assert best is not None  # there is at least one start
    chosen = _shrink(lists, best[2], spread, near) if near > 0 else best[2]
    values = [1.0, *map(float, _drop_digits(lists, chosen))]
    tuned = dict(zip(names, values, strict=True))
    # Counted again from the table, so that the numbers are those that `rerank` gives.
    after, before = (
        int(errors[winners(table, total(table, weights))].sum())
        for weights in (tuned, {scale: 1.0})
    )
    return Tuned(tuned, after, before)


def _starts(signed: np.ndarray, restarts: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Starting weights: zero first, then the grid, cut or filled up at random to `restarts`."""
    grid = list(itertools.product(*((0.0,) if sign else GRID for sign in signed)))
    if len(grid) > restarts:
        drawn = 1 + rng.permutation(len(grid) - 1)[: restarts - 1]
        grid = [grid[0], *(grid[place] for place in sorted(drawn))]
    starts = [np.array(point, dtype=np.float64) for point in grid]
    # One free weight needs no second start: its line search sees every weight at once.
    for _ in range(restarts - len(starts) if len(signed) > 1 else 0):
        drawn_weights = rng.exponential(0.5, size=len(signed))
        starts.append(np.where(signed, drawn_weights * rng.choice([-2, 2]), drawn_weights))
    return starts


def _descend(
    lists: ScoreArrays,
    start: np.ndarray,
    signed: np.ndarray,
    spread: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Line searches along coordinates and random directions until none lowers the errors."""
    weights, errors = start, int(lists.errors_under(start).sum())
    free = len(weights)
    unit = np.where(spread > 0, 1.0 / np.where(spread > 0, spread, 1.0), 0.0)
    while True:
        before = errors
        for column in range(free):
            direction = np.eye(free)[column]
            # The line begins at weight 0, so that the step is the weight itself. 0 is tried as
            # well, because only there a -inf in the column does not matter.
            base = np.where(direction == 1.0, 0.0, weights)
            at_zero = int(lists.errors_under(base).sum())
            low = -np.inf if signed[column] else 0.0
            moved = base + _search(lists, base, direction, low, np.inf) * direction
            found = int(lists.errors_under(moved).sum())
            if at_zero <= found:
                moved, found = base, at_zero
            if found <= errors:
                weights, errors = moved, found
        # With one free weight, its coordinate is the only line.
        for _ in range(free if free > 1 else 0):
            direction = rng.standard_normal(free) * unit
            low, high = _limits(weights, direction, signed)
            moved = weights + _search(lists, weights, direction, low, high) * direction
            moved = np.where(signed, moved, np.maximum(moved, 0.0))
            found = int(lists.errors_under(moved).sum())
            if found < errors:
                weights, errors = moved, found
        if errors == before:
            return weights


def _limits(weights: np.ndarray, direction: np.ndarray, signed: np.ndarray) -> tuple[float, float]:
    """Steps along the direction between which no weight of a log-prob is negative."""
    low, high = -np.inf, np.inf
    for weight, slope, sign in zip(weights, direction, signed, strict=True):
        if not sign and slope > 0:
            low = max(low, -weight / slope)
        elif not sign and slope < 0:
            high = min(high, -weight / slope)
    return float(low), float(high)


def _search(
    lists: ScoreArrays, weights: np.ndarray, direction: np.ndarray, low: float, high: float
) -> float:
    """The step along the direction that gives the fewest errors, within low and high."""
    offsets, slopes, alive = lists.line(weights, direction)
    steps, changes, errors = _envelope(offsets, slopes, alive, lists.errors, low, high)
    order = np.argsort(steps, kind="stable")
    edges = np.concatenate([[low], steps[order], [high]])
    found = errors + np.concatenate([[0], np.cumsum(changes[order])])
    left, right = edges[:-1], edges[1:]
    nearest = np.maximum(0.0, np.maximum(left, -right))
    wide = right - left > NARROW * np.maximum(1.0, nearest)
    if not wide.any():
        return 0.0
    candidates = np.flatnonzero(wide & (found == found[wide].min()))
    chosen = candidates[np.argmin(nearest[candidates])]
    return _middle(float(left[chosen]), float(right[chosen]))


def _middle(left: float, right: float) -> float:
    """The middle of an interval; of an open one, a point inside that is near its finite end."""
    if np.isinf(left) and np.isinf(right):
        return 0.0
    if np.isinf(right):
        return left + 0.5 * max(1.0, abs(left))
    if np.isinf(left):
        return right - 0.5 * max(1.0, abs(right))
    return 0.5 * (left + right)


def _envelope(
    offsets: np.ndarray,
    slopes: np.ndarray,
    alive: np.ndarray,
    errors: np.ndarray,
    low: float,
    high: float,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Steps along a line at which the errors change: the upper envelopes of all lists.

    In each list the search goes from the winner just after `low` to the next crossing with a
    steeper hypothesis; the number of rounds is that of pieces of the longest envelope (Och 2003,
    section 5).

    Returns:
        Steps within low and high at which errors change and by how much, (M,) each, unsorted, and
        the corpus errors just after low.
    """
    lists = np.flatnonzero(alive.any(axis=1))
    settled = int(errors[~alive.any(axis=1), 0].sum())
    slopes = np.where(alive, slopes, -np.inf)[lists]
    offsets, errors = offsets[lists], errors[lists]
    # Just after low the highest wins, among equals the steepest; at -inf the flattest does.
    if np.isinf(low):
        leads = slopes == np.where(alive[lists], slopes, np.inf).min(axis=1, keepdims=True)
        current = np.where(leads, offsets, -np.inf).argmax(axis=1)
    else:
        height = np.where(alive[lists], offsets + low * np.where(alive[lists], slopes, 0), -np.inf)
        leads = height == height.max(axis=1, keepdims=True)
        current = np.where(leads, slopes, -np.inf).argmax(axis=1)
    rows = np.arange(len(lists))
    start = settled + int(errors[rows, current].sum())
    steps, changes = [np.empty(0)], [np.empty(0, dtype=np.int64)]
    while len(rows):
        slope = slopes[rows, current][:, None]
        offset = offsets[rows, current][:, None]
        steeper = slopes[rows] > slope
        rise = np.where(steeper, slopes[rows] - slope, 1.0)
        crossing = np.where(steeper, (offset - offsets[rows]) / rise, np.inf)
        step = crossing.min(axis=1)
        going = step < high
        rows, current, crossing, step = rows[going], current[going], crossing[going], step[going]
        meets = crossing == step[:, None]
        following = np.where(meets, slopes[rows], -np.inf).argmax(axis=1)
        change = errors[rows, following] - errors[rows, current]
        # Rounding may put a crossing slightly before low.
        steps.append(np.maximum(step, low)[change != 0])
        changes.append(change[change != 0])
        current = following
    return np.concatenate(steps), np.concatenate(changes), start


def _shrink(lists: ScoreArrays, weights: np.ndarray, spread: np.ndarray, near: float) -> np.ndarray:
    """Smaller weights that give about as few errors.

    For each weight the smallest such share is taken. If larger shares give the same number of
    errors, the one in their middle is taken: at the edge of a plateau, errors on other lists may
    be far higher.
    """
    best = lists.errors_under(weights)
    for column in np.argsort(-np.abs(weights) * spread, kind="stable"):
        shares = np.append(SHARES, 1.0)
        tried = np.tile(weights, (len(shares), 1))
        tried[:, column] = shares * weights[column] + 0.0  # no negative zero
        more = np.stack([lists.errors_under(smaller) - best for smaller in tried])
        added = more.sum(axis=1)
        mean = added[:, None] / max(more.shape[1], 1)
        error = np.sqrt(((more - mean) ** 2).sum(axis=1))
        first = last = int(np.argmax(added <= near * error))
        while first > 0 and last + 1 < len(shares) and added[last + 1] == added[first]:
            last += 1
        weights = tried[(first + last) // 2]
    return weights


def _drop_digits(lists: ScoreArrays, weights: np.ndarray) -> np.ndarray:
    """The weights with the fewest significant digits, at least two, that give no more errors."""
    errors = int(lists.errors_under(weights).sum())
    for digits in range(2, 15):
        short = np.array([float(f"{weight:.{digits}g}") for weight in weights])
        if int(lists.errors_under(short).sum()) <= errors:
            return short
    return weights
