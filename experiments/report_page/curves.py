"""Word error rate against N, one weight or two weights, calculated from the hypotheses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments.breakdown import oracle_by_n
from experiments.report_page.run import Run
from lm.columns import is_count
from lm.combine import score_column, total, winners

CURVE_POINTS, HEAT_POINTS = 41, 21
SCALE = "acoustic"  # its weight is 1 by definition


@dataclass(frozen=True)
class Lists:
    """The N-best lists of one split as arrays, U utterances by H ranks.

    Attributes:
        table: N rows, one for each hypothesis.
        place: (N,) position of each row in a flattened (U, H) array.
        exists: bool (U, H), False beyond the end of a list.
        errors: int (U, H) word errors; 0 where there is no hypothesis.
    """

    table: pd.DataFrame
    place: np.ndarray
    exists: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame) -> Lists:
        """Makes the arrays from a table with `utt`, `rank` and `errors`."""
        table = table.reset_index(drop=True)
        codes = pd.factorize(table["utt"])[0]
        order = np.lexsort((table["rank"].to_numpy(), codes))
        starts = np.unique(codes[order], return_index=True)[1]
        lengths = np.diff(np.append(starts, len(order)))
        within = np.empty(len(order), dtype=np.int64)
        within[order] = np.arange(len(order)) - np.repeat(starts, lengths)
        shape = (len(starts), int(lengths.max(initial=1)))
        place = codes * shape[1] + within
        exists = np.zeros(shape, dtype=bool)
        exists.flat[place] = True
        errors = np.zeros(shape, dtype=np.int64)
        errors.flat[place] = table["errors"].to_numpy()
        return cls(table, place, exists, errors)

    def opened(self, values: np.ndarray, missing: float) -> np.ndarray:
        """Values of rows, (N,), as an array (U, H) with `missing` where there is no hypothesis."""
        found = np.full(self.exists.shape, missing)
        found.flat[self.place] = values
        return found

    def column(self, name: str) -> np.ndarray:
        """A score column, (U, H); 0 where there is no hypothesis."""
        return self.opened(score_column(self.table, name), 0.0)

    def totals(self, weights: Mapping[str, float]) -> np.ndarray:
        """Weighted sums, (U, H); -inf where there is no hypothesis."""
        return self.opened(total(self.table, weights), -np.inf)

    def errors_under(self, totals: np.ndarray) -> int:
        """Word errors of the winners; the better rank wins among equal totals."""
        best = totals.argmax(axis=1)
        return int(self.errors[np.arange(len(best)), best].sum())


def add_weighted(totals: np.ndarray, weight: float, column: np.ndarray) -> np.ndarray:
    """Totals plus weight · column, by the rules of `lm.combine.total` for -inf and weight 0."""
    if weight == 0.0:
        return totals
    impossible = np.isneginf(column)
    found = totals + weight * np.where(impossible, 0.0, column)
    found[impossible] = -np.inf
    return found


def errors_by_n(lists: Lists, totals: np.ndarray) -> np.ndarray:
    """Errors of the winner among the first n hypotheses, (H,) corpus sums for n = 1 … H."""
    best, errors = totals[:, 0].copy(), lists.errors[:, 0].copy()
    found = [int(errors.sum())]
    for n in range(1, totals.shape[1]):
        better = totals[:, n] > best
        best = np.where(better, totals[:, n], best)
        errors = np.where(better, lists.errors[:, n], errors)
        found.append(int(errors.sum()))
    return np.array(found)


def weight_axis(name: str, tuned: float, points: int) -> np.ndarray:
    """Values of one weight for a plot; 0 and the tuned value are among them.

    For log-probs the values go from 0 to beyond the tuned one, for counts to both sides of it.
    """
    if is_count(name):
        reach = max(2.0, 1.5 * abs(tuned))
        grid = np.linspace(tuned - reach, tuned + reach, points)
    else:
        low, high = min(0.0, 2.5 * tuned), max(1.0, 2.5 * tuned)
        grid = np.linspace(low, high, points)
    # Rounded, to be easy to read; 0 and the tuned value are exact.
    return np.unique(np.append([float(f"{value:.3g}") for value in grid], [0.0, tuned]))


def weight_curve(lists: Lists, weights: Mapping[str, float], name: str, axis: np.ndarray) -> list:
    """Corpus errors at each value of one weight, with the other weights unchanged."""
    rest = lists.totals({key: value for key, value in weights.items() if key != name})
    column = lists.column(name)
    return [lists.errors_under(add_weighted(rest, float(value), column)) for value in axis]


def weight_map(
    lists: Lists,
    weights: Mapping[str, float],
    names: tuple[str, str],
    axes: tuple[np.ndarray, np.ndarray],
) -> list[list[int]]:
    """Corpus errors over two weights, a row for each value of the second; others are unchanged."""
    rest = lists.totals({key: value for key, value in weights.items() if key not in names})
    first, second = (lists.column(name) for name in names)
    found = []
    for y in axes[1]:
        part = add_weighted(rest, float(y), second)
        row = [lists.errors_under(add_weighted(part, float(x), first)) for x in axes[0]]
        found.append(row)
    return found


def shown_ns(longest: int) -> np.ndarray:
    """The N that a curve shows: all up to 20, then with growing steps."""
    steps = np.geomspace(20, max(longest, 20), 30).round().astype(int)
    every = np.unique(np.concatenate([np.arange(1, 21), steps]))
    return every[every <= longest]


def split_curves(run: Run, split: str) -> dict[str, Any]:
    """The curves of one split, for the page: error counts, and the number of reference words.

    Systems that do not choose by their weighted sum have no curves.
    """
    rows = run.systems[run.systems["split"] == split]
    words = int(rows["ref_words"].max())
    curves: dict[str, Any] = {"words": words, "oracle": [], "by_n": [], "weights": [], "maps": []}
    if run.hypotheses is None or not words:
        return curves
    here = run.hypotheses[run.hypotheses["split"] == split]
    utts = run.utterances.loc[run.utterances["split"] == split, "utt"].unique()
    here = here[here["utt"].isin(utts)]
    for name, table in here.groupby("lists", sort=False):
        lists = Lists.of(table)
        ns = shown_ns(lists.exists.shape[1])
        oracle = oracle_by_n(table, words)["errors"].to_numpy()[ns - 1]
        curves["oracle"].append({"lists": name, "n": ns.tolist(), "errors": oracle.tolist()})
        for row in rows.to_dict("records"):
            label, weights = row["label"], run.weights(row["label"])
            if run.lists.get(label) != name or not weights:
                continue
            if not set(weights) <= set(table.columns):
                continue
            errors = row["substitutions"] + row["deletions"] + row["insertions"]
            if errors_of(lists, weights) != errors:
                continue
            by_n = errors_by_n(lists, lists.totals(weights))[ns - 1]
            curves["by_n"].append(
                {"system": label, "lists": name, "n": ns.tolist(), "errors": by_n.tolist()}
            )
            add_weight_plots(curves, lists, label, weights)
    return curves


def errors_of(lists: Lists, weights: Mapping[str, float]) -> int:
    """Corpus errors of the weighted sum's choice."""
    chosen = winners(lists.table, total(lists.table, weights))
    return int(lists.table["errors"].to_numpy()[chosen].sum())


def add_weight_plots(
    curves: dict[str, Any], lists: Lists, label: str, weights: Mapping[str, float]
) -> None:
    """Appends a curve for each weight of a system and a map for each pair."""
    names = [name for name in weights if name != SCALE]
    for name in names:
        axis = weight_axis(name, weights[name], CURVE_POINTS)
        curves["weights"].append(
            {
                "system": label,
                "column": name,
                "tuned": weights[name],
                "x": axis.tolist(),
                "errors": weight_curve(lists, weights, name, axis),
            }
        )
    for x, y in itertools.combinations(names, 2):
        axes = tuple(weight_axis(name, weights[name], HEAT_POINTS) for name in (x, y))
        curves["maps"].append(
            {
                "system": label,
                "columns": [x, y],
                "tuned": [weights[x], weights[y]],
                "x": axes[0].tolist(),
                "y": axes[1].tolist(),
                "errors": weight_map(lists, weights, (x, y), (axes[0], axes[1])),
            }
        )
