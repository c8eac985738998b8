"""One results folder as the report needs it: its tables with the points of a sweep told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.results import load_results
from lm.errors import InputError

SWEEP = "sweep."
REMEDY = "run `secondpass compare` again with this version to get it"


@dataclass(frozen=True)
class Run:
    """A results folder.

    Attributes:
        name: Of the run, unique among those of one report.
        folder: Where it lies.
        meta: Config, versions, input hashes, seconds by stage.
        systems: Rows of `systems.parquet`; `label` names a system and its point of a sweep.
        utterances: Rows of `utterances.parquet`, with `label`.
        hypotheses: Rows of `hypotheses.parquet`, `lists` with its point of a sweep; None where the
            folder has none.
        pieces: Rows of `pieces.parquet`; None where the folder has none.
        lists: Name of the N-best lists by system label, where known.
        missing: What the folder lacks and what the report leaves out for it, as sentences.
    """

    name: str
    folder: Path
    meta: Mapping[str, Any]
    systems: pd.DataFrame
    utterances: pd.DataFrame
    hypotheses: pd.DataFrame | None
    pieces: pd.DataFrame | None
    lists: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def splits(self) -> list[str]:
        """The splits in their order."""
        return list(dict.fromkeys(self.systems["split"]))

    @property
    def labels(self) -> list[str]:
        """The systems in their order."""
        return list(dict.fromkeys(self.systems["label"]))

    def weights(self, label: str) -> dict[str, float] | None:
        """A system's weights; None where it takes the first pass's own order."""
        written = self.systems.loc[self.systems["label"] == label, "weights"].iloc[0]
        return json.loads(written) if isinstance(written, str) else None


def read_run(folder: str | Path, name: str | None = None) -> Run:
    """Reads a results folder; hypotheses and words may be missing, as in older ones.

    Args:
        folder: The results folder.
        name: Of the run; by default the config's, else the folder's.

    Raises:
        InputError: The folder holds no results, or a table lacks a column.
    """
    folder = Path(folder)
    results = load_results(folder)
    config = results.meta.get("config", {})
    hypotheses = checked(
        folder / "hypotheses.parquet",
        results.hypotheses,
        ("split", "lists", "utt", "rank", "text", "errors"),
    )
    pieces = checked(
        folder / "pieces.parquet",
        results.pieces,
        ("split", "column", "utt", "text", "position", "piece", "logprob"),
    )
    missing = []
    if hypotheses is None:
        missing.append(
            "hypotheses.parquet is missing, so there are no curves over N or weights and no "
            f"hypotheses in the explorer: {REMEDY}"
        )
    if pieces is None:
        missing.append(
            f"pieces.parquet is missing, so the explorer shows no log-probs of tokens: {REMEDY}"
        )
    systems = labelled(results.systems, "system")
    lists = lists_of(systems, config, hypotheses)
    if hypotheses is not None:
        hypotheses = labelled(hypotheses, "lists").drop(columns="lists")
        hypotheses = hypotheses.rename(columns={"label": "lists"})
    return Run(
        name or str(config.get("name") or folder.resolve().name),
        folder,
        results.meta,
        systems,
        labelled(results.utterances, "system"),
        hypotheses,
        pieces,
        lists,
        tuple(missing),
    )


def read_runs(folders: list[Path]) -> list[Run]:
    """Several results folders, names made unique by number.

    Raises:
        InputError: As `read_run`.
    """
    runs: list[Run] = []
    for folder in folders:
        run = read_run(folder)
        taken = {other.name for other in runs}
        count = 2
        name = run.name
        while name in taken:
            name = f"{run.name} ({count})"
            count += 1
        runs.append(run if name == run.name else read_run(folder, name))
    return runs


def checked(path: Path, table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame | None:
    """A table that older results lack; None where it is not there.

    Raises:
        InputError: It lacks a column.
    """
    if not len(table.columns):
        return None
    lacking = [column for column in columns if column not in table.columns]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; {REMEDY}")
    return table


def sweep_columns(table: pd.DataFrame) -> list[str]:
    """The columns that say which point of a sweep a row belongs to."""
    return [str(column) for column in table.columns if str(column).startswith(SWEEP)]


def labelled(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with `label`: the column's value and, in a sweep, the point as `[key=value]`."""
    keys = sweep_columns(table)
    if not keys:
        return table.assign(label=table[column].astype(str))
    points = table[keys].drop_duplicates()
    suffixes = {tuple(map(str, row)): _suffix(keys, row) for row in points.to_numpy().tolist()}
    rows = zip(table[column], table[keys].to_numpy().tolist(), strict=True)
    return table.assign(label=[f"{name}{suffixes[tuple(map(str, row))]}" for name, row in rows])


def lists_of(
    systems: pd.DataFrame, config: Mapping[str, Any], hypotheses: pd.DataFrame | None
) -> dict[str, str]:
    """Which N-best lists each system picks from, by label.

    The config says so; without it, a folder with one kind of lists leaves no doubt.
    """
    if hypotheses is None:
        return {}
    known: set[str] = set(map(str, hypotheses["lists"].unique()))
    keys = sweep_columns(hypotheses)
    found = {}
    for row in systems.to_dict("records"):
        system = (config.get("systems") or {}).get(row["system"]) or {}
        lists: str | None = system.get("lists")
        if lists not in known:
            lists = None
        if lists is None and len(known) == 1:
            lists = next(iter(known))
        if lists is not None:
            point = [row.get(key) for key in keys]
            found[str(row["label"])] = lists + (_suffix(keys, point) if keys else "")
    return found


def _suffix(keys: list[str], values: list[Any]) -> str:
    """A point of a sweep, by the last part of each key."""
    pairs = [f"{k.rsplit('.', 1)[-1]}={v}" for k, v in zip(keys, values, strict=True) if v == v]
    return f" [{', '.join(pairs)}]" if pairs else ""
