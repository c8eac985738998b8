"""Weighted sums of an N-best table's score columns: the only place where weights are applied."""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm.columns import KEYS
from lm.errors import InputError
from lm.files import write_text
from lm.text.json_values import parse_json

LARGEST = sys.float_info.max


def total(table: pd.DataFrame, weights: Mapping[str, float]) -> np.ndarray:
    """Total score of every hypothesis: the sum of weight · column.

    A weight of 0 leaves its column out even where the column is -inf. Under any other weight, also
    a negative one, a hypothesis with -inf in the column is impossible and its total is -inf.

    Args:
        table: N-best table of N rows; scores are natural-log probabilities, `words` and `oov`
            counts.
        weights: weight by column name.

    Returns:
        (N,) float64 totals, finite or -inf.

    Raises:
        InputError: a weight is named for no numeric column or is not finite, or a weighted column
            holds NaN.
    """
    scores = np.zeros(len(table))
    for name, weight in weights.items():
        column = score_column(table, name)
        if not math.isfinite(weight):
            raise InputError(f"weight of column '{name}' is {weight}: give a finite number")
        if weight == 0.0:
            continue
        impossible = np.isneginf(column)
        scores += weight * np.where(impossible, 0.0, column)
        scores[impossible] = -np.inf
    return scores


def rerank(table: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """The table with every N-best list sorted by total score and `rank` renewed from 1.

    Equal totals keep their old order, so a list in which every hypothesis is impossible stays as
    it is. Utterances keep the order in which they first appear; the index is new.

    Raises:
        InputError: as `total`.
    """
    order, starts = _order(table, total(table, weights))
    lengths = np.diff(np.append(starts, len(order)))
    reranked = table.iloc[order].reset_index(drop=True)
    reranked["rank"] = np.arange(len(order)) - np.repeat(starts, lengths) + 1
    return reranked


def one_best(table: pd.DataFrame, weights: Mapping[str, float] | None = None) -> pd.Series:
    """The text that wins in every list.

    Args:
        table: N-best table.
        weights: weight by column name; None takes the first rank as it is.

    Returns:
        Series `text` of U texts indexed by `utt`, in the order in which utterances first appear.

    Raises:
        InputError: as `total`.
    """
    scores = np.zeros(len(table)) if weights is None else total(table, weights)
    best = table.iloc[winners(table, scores)]
    return pd.Series(best["text"].to_numpy(), index=pd.Index(best["utt"], name="utt"), name="text")


def winners(table: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """Which row of every list has the highest score; the better rank among equals.

    Args:
        table: N rows with the columns `utt` and `rank`.
        scores: (N,), higher is better.

    Returns:
        (U,) positions of rows (for `iloc`), one per utterance as utterances first appear.
    """
    order, starts = _order(table, scores)
    return order[starts]


def score_column(table: pd.DataFrame, name: str) -> np.ndarray:
    """One score column as float64 (N,).

    Raises:
        InputError: there is no such numeric column (the message has the nearest name), or it holds
            NaN.
    """
    numeric = [
        str(column)
        for column in table.columns
        if column not in KEYS and pd.api.types.is_numeric_dtype(table[column])
    ]
    if name not in numeric:
        near = difflib.get_close_matches(name, numeric, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(
            f"'{name}' names no score column of the N-best table: {hint}"
            f"it has {', '.join(numeric) or 'none'}"
        )
    column = table[name].to_numpy(dtype=np.float64)
    bad = np.flatnonzero(np.isnan(column) | np.isposinf(column))
    if len(bad):
        row = table.iloc[bad[0]]
        raise InputError(
            f"column '{name}' is {column[bad[0]]} for utterance {row['utt']}, rank {row['rank']} "
            f"({len(bad)} rows in all): score the N-best list again"
        )
    return column


def write_weights(path: str | Path, weights: Mapping[str, float], **notes: Any) -> None:
    """Writes weights as JSON: `{"weights": {column: weight}, …notes}`.

    The file appears under its name only when it is complete.

    Args:
        path: file to write.
        weights: weight by column name.
        notes: what else the file should say, such as `tuned_on`; JSON values.
    """
    content = {"weights": {name: float(weight) for name, weight in weights.items()}, **notes}
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_weights(path: str | Path) -> dict[str, float]:
    """The weights of a file that `write_weights` wrote.

    Raises:
        InputError: the file cannot be read, is not such JSON, or holds a weight that is not a
            finite number.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(
            f"{path}: not UTF-8 ({error}); give a file that `secondpass tune` wrote"
        ) from error
    content = parse_json(text, str(path), "give a file that `secondpass tune` wrote")
    weights = content.get("weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise InputError(
            f'{path}: has no "weights" object; give a file that `secondpass tune` wrote'
        )
    for name, weight in weights.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not -LARGEST <= weight <= LARGEST:
            raise InputError(f"{path}: weight of '{name}' is {weight!r}: give a finite number")
    return {name: float(weight) for name, weight in weights.items()}


def _order(table: pd.DataFrame, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row positions by utterance and best first (N,), and where each list starts (U,)."""
    codes = pd.factorize(table["utt"])[0]
    order = np.lexsort((table["rank"].to_numpy(), -scores, codes))
    starts = np.unique(codes[order], return_index=True)[1]
    return order, starts
