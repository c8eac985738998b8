"""Points of a sweep: which settings matter for a system, so that nothing is shown twice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results import SWEEP, value_text

Values = tuple[Hashable, ...]
# What a row of a system says of itself; the other columns depend on other systems or on the clock.
OWN = (
    *("split", "wer", "wer_low", "wer_high", "cer", "ser", "substitutions", "deletions"),
    *("insertions", "ref_words", "utterances", "oracle_wer", "gap_recovered", "weights"),
    *("choice", "nce", "ece", "signature"),
)
# What compares a system with others. It is left empty where it differs between points.
COMPARED = ("delta_wer", "delta_low", "delta_high", "p_value")


def sweep_columns(table: pd.DataFrame) -> list[str]:
    """The columns that say which point of a sweep a row belongs to."""
    return [str(column) for column in table.columns if str(column).startswith(SWEEP)]


def system_keys(systems: pd.DataFrame) -> dict[str, list[str]]:
    """By system, the swept settings that make a difference to it.

    A language model of a system always does, even if it changes no number in the table.

    Args:
        systems: rows of `systems.parquet`.
    """
    keys = sweep_columns(systems)
    own = [column for column in OWN if column in systems]
    found = relevant_keys(systems, "system", own)
    for name, rows in systems.groupby("system", sort=False):
        weights = " ".join(str(text) for text in rows["weights"])
        models = {key for key in keys if f'"{_column_of(key)}"' in weights}
        found[str(name)] = [key for key in keys if key in {*found[str(name)], *models}]
    return found


def _column_of(key: str) -> str | None:
    """The column whose language model a setting belongs to."""
    parts = key.removeprefix(SWEEP).split(".")
    return parts[1] if parts[0] == "columns" and len(parts) > 1 else None


def relevant_keys(table: pd.DataFrame, name: str, columns: Sequence[str]) -> dict[str, list[str]]:
    """By name, the swept settings on which some columns of the table depend.

    Args:
        table: rows with the points of a sweep.
        name: the column of names.
        columns: what is compared, in the order of the rows.
    """
    keys = sweep_columns(table)
    if not keys:
        return {str(label): [] for label in table[name].unique()}
    hashes = pd.util.hash_pandas_object(table[list(columns)].astype(str), index=False)
    contents: dict[str, dict[Values, list[int]]] = {}
    for label, point, code in zip(table[name], _points(table, keys), hashes, strict=True):
        contents.setdefault(str(label), {}).setdefault(point, []).append(int(code))
    found = {}
    for label, content in contents.items():
        kept = list(keys)
        for key in keys:
            rest = [k for k in kept if k != key]
            if _determined(content, [keys.index(k) for k in rest]):
                kept = rest
        found[label] = kept
    return found


def _points(table: pd.DataFrame, keys: Sequence[str]) -> list[Values]:
    """The values of each row's point, as texts."""
    return list(zip(*(table[key].map(value_text) for key in keys), strict=True))


def _determined(content: Mapping[Values, list[int]], places: Sequence[int]) -> bool:
    """Whether some of the values of a point determine its content."""
    seen: dict[Values, list[int]] = {}
    return all(
        seen.setdefault(tuple(point[i] for i in places), found) == found
        for point, found in content.items()
    )


def labelled(
    table: pd.DataFrame, column: str, relevant: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """The table with `label`, the column's value and its point `[key=value]`; equals are left out.

    Args:
        table: rows, with or without the points of a sweep.
        column: the column of names.
        relevant: by name, the settings that make a difference to it.
    """
    if not sweep_columns(table):
        return table.assign(label=table[column].astype(str))
    rows = table.to_dict("records")
    labels = [label_of(row, column, relevant[str(row[column])]) for row in rows]
    points = _points(table, sweep_columns(table))
    first: dict[str, Any] = {}
    for label, point in zip(labels, points, strict=True):
        first.setdefault(label, point)
    kept = [first[label] == point for label, point in zip(labels, points, strict=True)]
    return table.assign(label=labels)[kept].reset_index(drop=True)


def labelled_systems(systems: pd.DataFrame, relevant: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Rows of `systems.parquet` with `label`, each system once at every point that matters."""
    shown = labelled(systems, "system", relevant)
    if not sweep_columns(systems):
        return shown
    rows = systems.to_dict("records")
    every = systems.assign(label=[label_of(r, "system", relevant[str(r["system"])]) for r in rows])
    for column in COMPARED:
        counts = every.groupby(["label", "split"])[column].nunique(dropna=False)
        where = pd.MultiIndex.from_frame(shown[["label", "split"]])
        shown.loc[(counts.reindex(where) != 1).to_numpy(), column] = np.nan
    for key in sweep_columns(systems):
        touched = [key in relevant[str(name)] for name in shown["system"]]
        values = zip(shown[key], touched, strict=True)
        shown[key] = pd.Series([value if kept else None for value, kept in values], dtype=object)
    return shown


def label_of(row: Mapping[Any, Any], column: str, keys: Sequence[str]) -> str:
    """A name with the point of a sweep, each setting by the last part of its key."""
    pairs = [f"{key.rsplit('.', 1)[-1]}={value_text(row[key])}" for key in keys]
    return f"{row[column]} [{', '.join(pairs)}]" if pairs else str(row[column])


def shared_pieces(pieces: pd.DataFrame) -> pd.DataFrame:
    """Rows of `pieces.parquet` without points of a sweep: what all points agree on, once.

    A text that has other tokens or log-probs at some point, because its model was swept, is left
    out: the explorer could show those of the wrong model.
    """
    keys = sweep_columns(pieces)
    if not keys:
        return pieces
    once = pieces.drop(columns=keys).drop_duplicates()
    text = ["split", "column", "utt", "text"]
    twice = once.duplicated([*text, "position"], keep=False)
    wrong = pd.MultiIndex.from_frame(once.loc[twice, text])
    agreed = ~pd.MultiIndex.from_frame(once[text]).isin(wrong)
    return once[agreed].reset_index(drop=True)
