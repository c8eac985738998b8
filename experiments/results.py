"""The results folder of one run: written whole, read back as tidy tables."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lm.errors import InputError

SCHEMA = 1
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
        meta: Resolved config, versions, input hashes, seconds by stage.
        folder: Where it lies.
    """

    systems: pd.DataFrame
    utterances: pd.DataFrame
    meta: Mapping[str, Any]
    folder: Path


def write_results(
    folder: Path, systems: pd.DataFrame, utterances: pd.DataFrame, meta: Mapping[str, Any]
) -> None:
    """Writes `systems.parquet`, `utterances.parquet` and `meta.json`, each renamed into place."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, name in ((systems, "systems.parquet"), (utterances, "utterances.parquet")):
        temporary = folder / f"{name}.part"
        table.to_parquet(temporary, index=False)
        os.replace(temporary, folder / name)
    temporary = folder / "meta.json.part"
    content = {"schema": SCHEMA, **provenance(), **meta}
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(temporary, folder / "meta.json")


def load_results(folder: str | Path) -> Results:
    """Reads a results folder.

    Raises:
        InputError: The folder holds no results, or results of another schema.
    """
    folder = Path(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        systems = pd.read_parquet(folder / "systems.parquet")
        utterances = pd.read_parquet(folder / "utterances.parquet")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no readable results ({error}); `secondpass compare` writes them"
        ) from error
    if meta.get("schema") != SCHEMA:
        raise InputError(
            f"{folder}: results of schema {meta.get('schema')}, this version reads {SCHEMA}; "
            "run the comparison again"
        )
    return Results(systems, utterances, meta, folder)


def provenance() -> dict[str, Any]:
    """Versions of what computes, the machine's kind, and the project's commit."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "versions": versions,
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
