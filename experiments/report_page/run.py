"""Reads results folders for the report; labels of systems name the points of a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.report_page.sweep_points import (
    label_of,
    labelled,
    labelled_systems,
    relevant_keys,
    shared_pieces,
    sweep_columns,
    system_keys,
)
from experiments.results import SWEEP, load_results
from lm.errors import InputError

REMEDY = "run `secondpass compare` again with this version to write it"


@dataclass(frozen=True)
class Run:
    """A results folder.

    Attributes:
        name: name of the run, unique among those of one report.
        folder: path of the folder.
        meta: config, versions, hashes of the inputs, seconds of each stage.
        systems: rows of `systems.parquet`; `label` names a system and its point of a sweep.
        utterances: rows of `utterances.parquet`, with `label`.
        hypotheses: rows of `hypotheses.parquet`; `lists` names N-best lists and their point of a
            sweep; None if the folder has none.
        pieces: rows of `pieces.parquet`; None if the folder has none.
        lists: name of the N-best lists of each system, by label, if it is known.
        missing: sentences that say which files are missing and what the report leaves out.
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
        """A system's weights; None if it keeps the order of the first pass."""
        written = self.systems.loc[self.systems["label"] == label, "weights"].iloc[0]
        return json.loads(written) if isinstance(written, str) else None


def read_run(folder: str | Path, name: str | None = None) -> Run:
    """Reads a results folder; hypotheses and pieces may be missing, as in older results.

    Args:
        folder: The results folder.
        name: Name of the run; by default the name in the config or else that of the folder.

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
    relevant = system_keys(results.systems)
    systems = labelled_systems(results.systems, relevant)
    lists: dict[str, str] = {}
    if hypotheses is not None:
        own = [c for c in hypotheses.columns if c not in ("lists", *sweep_columns(hypotheses))]
        lists_keys = relevant_keys(hypotheses, "lists", own)
        lists = lists_of(results.systems, relevant, config, lists_keys)
        hypotheses = labelled(hypotheses, "lists", lists_keys).drop(columns="lists")
        hypotheses = hypotheses.rename(columns={"label": "lists"})
    return Run(
        name or str(config.get("name") or folder.resolve().name),
        folder,
        results.meta,
        systems,
        labelled(results.utterances, "system", relevant),
        hypotheses,
        None if pieces is None else shared_pieces(pieces),
        lists,
        tuple(missing),
    )


def read_runs(folders: list[Path]) -> list[Run]:
    """Reads several results folders; runs with the same name get numbers.

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
    """Checks a table that older results lack; returns None if it is missing.

    Raises:
        InputError: The table lacks a column.
    """
    if not len(table.columns):
        return None
    lacking = [column for column in columns if column not in table.columns]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; {REMEDY}")
    return table


def lists_of(
    systems: pd.DataFrame,
    relevant: Mapping[str, Sequence[str]],
    config: Mapping[str, Any],
    lists_keys: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """The name of the N-best lists that each system chooses from, by label.

    The config has the name. Without it, the name is known if all systems have the same lists.

    Args:
        systems: rows of `systems.parquet`.
        relevant: swept settings that change a system, by system.
        config: the run's config.
        lists_keys: swept settings that change the N-best lists of a first pass, by first pass.
    """
    found: dict[str, str] = {}
    for row in systems.to_dict("records"):
        name = str(row["system"])
        system = (config.get("systems") or {}).get(name) or {}
        lists = row.get(f"{SWEEP}systems.{name}.lists") or system.get("lists")
        if lists not in lists_keys:
            lists = next(iter(lists_keys)) if len(lists_keys) == 1 else None
        if lists is not None:
            label = label_of(row, "system", relevant[name])
            found.setdefault(label, label_of({**row, "lists": lists}, "lists", lists_keys[lists]))
    return found
