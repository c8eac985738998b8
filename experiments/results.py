"""The results folder of one run: writes it, and reads it as tables."""

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

from asr.nbest import DAMAGE
from lm.errors import InputError
from lm.files import whole_file, write_text

SCHEMA = 2
READABLE = (1, 2)  # schema 1 has no hypotheses and no pieces
TABLES = ("systems", "utterances", "hypotheses", "pieces")
SWEEP = "sweep."
# Columns of `systems` that older results lack; they are filled with NaN.
LATER = ("ser", "gap_recovered", "choice", "nce", "ece")
PACKAGES = (
    *("secondpass", "torch", "transformers", "numba", "pyctcdecode", "kenlm", "jiwer"),
    *("numpy", "pandas", "pyarrow", "soundfile", "soxr"),
)


@dataclass(frozen=True)
class Results:
    """A results folder.

    Attributes:
        systems: one row for each system and split; rates are fractions.
        utterances: one row for each system, split and utterance: error counts and raw scores.
        hypotheses: one row for each hypothesis of an N-best list: `split, lists, utt, rank, text`,
            `counted` (the normalised text), `errors` and raw scores; empty if the folder has none.
        pieces: one row for each token of a transcript on which systems differ: `split, column,
            utt, text, position, piece, logprob`; empty if the folder has none.
        meta: resolved config, versions, hashes of the inputs, seconds of each stage.
        folder: path of the folder.

    In the results of a sweep, `systems` and `utterances` have a column `sweep.KEY.PATH` for each
    swept setting; each point has its own folder below `points`.
    """

    systems: pd.DataFrame
    utterances: pd.DataFrame
    hypotheses: pd.DataFrame
    pieces: pd.DataFrame
    meta: Mapping[str, Any]
    folder: Path

    @property
    def swept(self) -> list[str]:
        """The columns of the swept settings."""
        return [name for name in self.systems.columns if name.startswith(SWEEP)]


def write_results(
    folder: Path, tables: Mapping[str, pd.DataFrame], meta: Mapping[str, Any]
) -> None:
    """Writes the tables as `NAME.parquet`, and `meta.json`; each file appears when it is complete.

    The file of a table that is not given is removed, because it is from an earlier run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        path = folder / f"{name}.parquet"
        if name not in tables:
            path.unlink(missing_ok=True)
            continue
        with whole_file(path) as temporary:
            tables[name].to_parquet(temporary, index=False, write_page_checksum=True)
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
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{folder}: no readable results ({error}); `secondpass compare` writes them"
        ) from error
    if not isinstance(meta, dict):
        raise InputError(f"{folder / 'meta.json'}: damaged; run the comparison again")
    if meta.get("schema") not in READABLE:
        raise InputError(
            f"{folder}: the results have schema {meta.get('schema')}, but this version "
            f"reads {', '.join(map(str, READABLE))}; run the comparison again"
        )
    tables = {name: _read(folder / f"{name}.parquet", name in TABLES[:2]) for name in TABLES}
    systems = tables["systems"]
    lacking = {name: np.nan for name in LATER if name not in systems}
    return Results(**tables | {"systems": systems.assign(**lacking)}, meta=meta, folder=folder)


def _read(path: Path, needed: bool) -> pd.DataFrame:
    """A table of a results folder; an empty table if the file is missing and not `needed`."""
    if not needed and not path.exists():
        return pd.DataFrame()
    try:
        return pd.read_parquet(path, page_checksum_verification=True)
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read ({reason}); `secondpass compare` writes it"
        ) from error


def value_text(value: object) -> str:
    """A swept value as in the config: `16`, which a column with gaps holds as 16.0."""
    if isinstance(value, float):
        return f"{value:g}" if value == value else "null"
    return "null" if value is None else str(value)


def installed(packages: Iterable[str]) -> dict[str, str | None]:
    """Versions of packages; None for a package that is not installed."""
    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def provenance() -> dict[str, Any]:
    """Versions of Python and packages, the type of machine, and the project's commit."""
    return {
        "versions": installed(PACKAGES),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit": git_commit(),
    }


def git_commit() -> str | None:
    """The commit of the project's checkout, with `+` if files were changed since."""
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
