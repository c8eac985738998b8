"""The table of systems as a person reads it: per cent, intervals, what changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.results import SWEEP


def print_systems(systems: pd.DataFrame, title: str, note: str | None = None) -> None:
    """Prints one table for each split, in the order in which they stand."""
    console = Console(width=None if Console().is_terminal else 140)
    for split, rows in systems.groupby("split", sort=False):
        count = int(rows["utterances"].iloc[0])
        words = int(rows["ref_words"].iloc[0])
        table = Table(title=f"{title}: {split} ({count:,} utterances, {words:,} words)")
        table.add_column("system", no_wrap=True)
        for heading in (
            *("WER %", "95 % interval", "S / D / I", "CER %", "oracle %"),
            *("Δ WER", "p", "seconds"),
        ):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("weights")
        for row in rows.to_dict("records"):
            table.add_row(*cells(row))
        console.print(table)
    if note:
        console.print(note, highlight=False)


def print_sweep(systems: pd.DataFrame, title: str, note: str | None = None) -> None:
    """Prints WER by point and system, one table for each split."""
    console = Console(width=None if Console().is_terminal else 140)
    swept = [name for name in systems.columns if name.startswith(SWEEP)]
    names = list(dict.fromkeys(systems["system"]))
    for split, rows in systems.groupby("split", sort=False):
        table = Table(title=f"{title}: {split}, WER %")
        for name in swept:
            table.add_column(name.removeprefix(SWEEP), no_wrap=True)
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        points = rows.assign(point=rows[swept].astype(str).agg("|".join, axis=1))
        for _, point in points.groupby("point", sort=False):
            rates = point.set_index("system")["wer"]
            values = [str(point[name].iloc[0]) for name in swept]
            table.add_row(*values, *(percent(float(rates[n])) for n in names))
        console.print(table)
    if note:
        console.print(note, highlight=False)


def cells(row: Mapping[Any, Any]) -> list[str]:
    """One row of `systems.parquet` as text; rates in per cent."""
    return [
        str(row["system"]),
        percent(row["wer"]),
        spread(row["wer_low"], row["wer_high"]),
        f"{row['substitutions']} / {row['deletions']} / {row['insertions']}",
        percent(row["cer"]),
        percent(row["oracle_wer"]),
        "" if pd.isna(row["delta_wer"]) else f"{100 * row['delta_wer']:+.2f}",
        "" if pd.isna(row["p_value"]) else p_text(row["p_value"]),
        f"{row['seconds']:.1f}",
        "; ".join(filter(None, [weights_text(row["weights"]), text_or_none(row.get("choice"))])),
    ]


def text_or_none(value: object) -> str | None:
    """A cell of text; pandas has NaN where there is none."""
    return value if isinstance(value, str) else None


def percent(rate: float) -> str:
    """A fraction in per cent, two decimals."""
    return f"{100 * rate:.2f}"


def spread(low: float, high: float) -> str:
    """An interval in per cent; empty where there is none."""
    if pd.isna(low):
        return "–"
    return f"{percent(low)}–{percent(high)}"


def p_text(p: float) -> str:
    """A p-value, three decimals, or that it is smaller."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def weights_text(weights: object) -> str:
    """Weights as `name value` pairs; those of 1 by definition (acoustic) are left out."""
    if not isinstance(weights, str):
        return ""
    return ", ".join(
        f"{name} {value:.3g}" for name, value in json.loads(weights).items() if name != "acoustic"
    )
