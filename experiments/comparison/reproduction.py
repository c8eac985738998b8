"""Compares the results of a second run with those of the first, and reports differences."""

from __future__ import annotations

import json

import pandas as pd

from experiments.comparison.config import build
from experiments.comparison.experiment import Comparison
from experiments.results import Results
from lm.errors import InputError

# The columns that must be the same; rates are calculated from these counts.
COUNTS = ("substitutions", "deletions", "insertions", "ref_words", "utterances")


def config_of(results: Results) -> Comparison:
    """The resolved config of a results folder.

    Raises:
        InputError: The folder has no config, or a config that this version cannot read.
    """
    config = results.meta.get("config")
    where = f"{results.folder / 'meta.json'}"
    if not isinstance(config, dict) or "splits" not in config:
        raise InputError(
            f"{where}: the file has no config of a comparison; give a folder that "
            "`secondpass compare` wrote"
        )
    found: Comparison = build(Comparison, config, where, "")
    return found


def agreement(old: Results, new: Results) -> tuple[bool, list[str]]:
    """Whether two results of the same config have the same numbers, and the lines to print.

    If the numbers differ, the lines also name the inputs and versions that differ.
    """
    keys = ["split", "system"]
    both = old.systems.merge(new.systems, on=keys, suffixes=(" old", " new"), how="outer")
    different = []
    for row in both.to_dict("records"):
        changed = [
            f"{name} {_number(row[f'{name} old'])} then, {_number(row[f'{name} new'])} now"
            for name in COUNTS
            if row[f"{name} old"] != row[f"{name} new"]
        ]
        if _weights(row["weights old"]) != _weights(row["weights new"]):
            changed.append(f"weights {row['weights old']} then, {row['weights new']} now")
        if changed:
            different.append(f"  {row['split']}, {row['system']}: {'; '.join(changed)}")
    if not different:
        return True, [f"All {len(both)} rows agree with {old.folder}: counts and weights."]
    lines = [f"{len(different)} of {len(both)} rows differ from {old.folder}:", *different]
    for what in ("inputs", "versions"):
        before, after = old.meta.get(what) or {}, new.meta.get(what) or {}
        lines += [
            f"  {what[:-1]} {name}: {before.get(name)} then, {after.get(name)} now"
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
    if old.meta.get("commit") != new.meta.get("commit"):
        lines.append(f"  commit: {old.meta.get('commit')} then, {new.meta.get('commit')} now")
    return False, lines


def _number(value: object) -> str:
    return "none" if pd.isna(value) else f"{value:g}"  # type: ignore[call-overload,str-format]


def _weights(text: object) -> object:
    return json.loads(text) if isinstance(text, str) else None
