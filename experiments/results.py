"""The results folder of one run: written whole, read back as tidy tables."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm.errors import InputError
from lm.files import whole_file, write_text

SCHEMA = 2
READABLE = (1, 2)  # 1 has no hypotheses and no pieces
TABLES = ("systems", "utterances", "hypotheses", "pieces")
SWEEP = "sweep."
# Columns of `systems` that came later; results without them have NaN there.
LATER = ("ser", "gap_recovered", "choice", "nce", "ece")
PACKAGES = (
    *("secondpass", "torch", "transformers", "numba", "pyctcdecode", "kenlm", "jiwer"),
    *("numpy", "pandas", "pyarrow", "soundfile", "soxr"),
)


@dataclass(frozen=True)
class Results:
    """A results folder.

    Attributes:
        systems: One row a system and split; rates are fractions.
        utterances: One row a system, split and utterance; error counts and raw scores.
        hypotheses: One row a hypothesis of a list: `split, lists, utt, rank, text`, the text as
            `counted` (normalised), `errors` and its raw scores; empty where it was not written.
        pieces: One row a token of a transcript on which systems differ: `split, column, utt, text,
            position, piece, logprob`; empty where it was not written.
        meta: Resolved config, versions, input hashes, seconds by stage.
        folder: Where it lies.

    The results of a sweep have a column `sweep.KEY.PATH` for each setting that was swept in
    `systems` and `utterances`; each point's own folder is below `points`.
    """

    systems: pd.DataFrame
    utterances: pd.DataFrame
    hypotheses: pd.DataFrame
    pieces: pd.DataFrame
    meta: Mapping[str, Any]
    folder: Path

    @property
    def swept(self) -> list[str]:
        """The columns of what was swept."""
        return [name for name in self.systems.columns if name.startswith(SWEEP)]


def write_results(
    folder: Path, tables: Mapping[str, pd.DataFrame], meta: Mapping[str, Any]
) -> None:
    """Writes the tables as `NAME.parquet`, and `meta.json`; each file appears when it is complete.

    A table that is not given is removed: it would be of another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        path = folder / f"{name}.parquet"
        if name not in tables:
            path.unlink(missing_ok=True)
            continue
        with whole_file(path) as temporary:
            tables[name].to_parquet(temporary, index=False)
    content = {"schema": SCHEMA, **provenance(), **meta}
    write_text(folder / "meta.json", json.dumps(content, indent=1, ensure_ascii=False))


def load_results(folder: str | Path) -> Results:
    """Reads a results folder.

    Raises:
        InputError: The folder holds no results, or results of another schema.
    """
    folder = Path(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no readable results ({error}); `secondpass compare` writes them"
        ) from error
    if meta.get("schema") not in READABLE:
        raise InputError(
            f"{folder}: results of schema {meta.get('schema')}, this version reads "
            f"{', '.join(map(str, READABLE))}; run the comparison again"
        )
    tables = {name: _read(folder / f"{name}.parquet", name in TABLES[:2]) for name in TABLES}
    systems = tables["systems"]
    lacking = {name: np.nan for name in LATER if name not in systems}
    return Results(**tables | {"systems": systems.assign(**lacking)}, meta=meta, folder=folder)


def _read(path: Path, needed: bool) -> pd.DataFrame:
    """A table of a results folder; an empty one where it may be missing."""
    if not needed and not path.exists():
        return pd.DataFrame()
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); `secondpass compare` writes it"
        ) from error


def value_text(value: object) -> str:
    """A swept value as a person writes it: `16`, which a table with gaps holds as 16.0."""
    if isinstance(value, float):
        return f"{value:g}" if value == value else "null"
    return "null" if value is None else str(value)


def installed(packages: Iterable[str]) -> dict[str, str | None]:
    """Versions of packages, None of those that are not installed."""
    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def provenance() -> dict[str, Any]:
    """Versions of what computes, the machine's kind, and the project's commit."""
    return {
        "versions": installed(PACKAGES),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit": git_commit(),
    }


def git_commit() -> str | None:
    """The commit of the project's checkout, with `+` where files differ from it."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() or None
