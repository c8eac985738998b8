"""One results folder as the report needs it: tables whose labels name the points of a sweep."""

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

REMEDY = "run `secondpass compare` again with this version to get it"


@dataclass(frozen=True)
class Run:
    """A results folder.

    Attributes:
        name: name of the run, unique among those of one report.
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
        name: name of the run; by default the config's, else the folder's.

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


def lists_of(
    systems: pd.DataFrame,
    relevant: Mapping[str, Sequence[str]],
    config: Mapping[str, Any],
    lists_keys: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """Which N-best lists each system picks from, by label.

    The config says so; without it, a folder with one kind of lists leaves no doubt.

    Args:
        systems: rows of `systems.parquet`.
        relevant: by system, the swept settings that make a difference to it.
        config: the run's config.
        lists_keys: by first pass, the swept settings that make a difference to its lists.
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
