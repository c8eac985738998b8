"""The table of systems for people to read, printed or as Markdown, LaTeX or CSV.

Rates are in per cent, with their intervals and their differences from the baseline.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
from rich.console import Console, JustifyMethod
from rich.table import Table

from asr.formats.cells import safe_cell
from experiments.results import SWEEP, value_text

HEADINGS = (
    *("system", "WER %", "95 % interval", "S / D / I", "CER %", "oracle %"),
    *("Δ WER", "p", "seconds", "weights"),
)
TEXTS = ("system", "weights")  # aligned left; numbers are aligned right


def print_systems(systems: pd.DataFrame, title: str, note: str | None = None) -> None:
    """Prints one table for each split, in the order of the rows."""
    console = Console(width=None if Console().is_terminal else 140)
    for split, rows in systems.groupby("split", sort=False):
        table = Table(title=f"{title}: {heading(str(split), rows)}")
        for name in HEADINGS:
            side: JustifyMethod = "left" if name in TEXTS else "right"
            table.add_column(name, justify=side, no_wrap=name != "weights")
        for row in rows.to_dict("records"):
            table.add_row(*cells(row))
        console.print(table)
    if note:
        console.print(note, highlight=False)


def print_sweep(systems: pd.DataFrame, title: str, note: str | None = None) -> None:
    """Prints the WER of each system at each point of a sweep, one table for each split."""
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
            values = [value_text(point[name].iloc[0]) for name in swept]
            table.add_row(*values, *(percent(float(rates[n])) for n in names))
        console.print(table)
    if note:
        console.print(note, highlight=False)


def markdown(runs: Mapping[str, pd.DataFrame]) -> str:
    """Tables in Markdown, one for each run and split.

    Args:
        runs: rows of `systems.parquet` by the name of the run; an optional column `label` names
            the system and its point of a sweep.
    """
    parts = []
    for title, rows in titled(runs):
        rule = ["---" if name in TEXTS else "---:" for name in HEADINGS]
        lines = [list(HEADINGS), rule, *(cells(row) for row in records(rows))]
        table = [" | ".join(cell.replace("|", r"\|") for cell in line) for line in lines]
        parts.append("\n".join([f"**{title}**", "", *(f"| {line} |" for line in table), ""]))
    return "\n".join(parts)


def latex(runs: Mapping[str, pd.DataFrame]) -> str:
    """Tables in LaTeX, one for each run and split, with the rules of the package booktabs."""
    parts = []
    for title, rows in titled(runs):
        columns = "".join("l" if name in TEXTS else "r" for name in HEADINGS)
        lines = [" & ".join(map(escaped, cells(row))) + r" \\" for row in records(rows)]
        parts += [
            f"% {title}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(escaped, HEADINGS)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    return "\n".join(parts)


def csv_text(runs: Mapping[str, pd.DataFrame]) -> str:
    """One table in CSV; rates are fractions and columns are named as in `systems.parquet`.

    The column `run` names the run. A name that a spreadsheet would take for a formula gets an
    apostrophe first.
    """
    tables = [rows.drop(columns="label", errors="ignore") for rows in runs.values()]
    named = [t.assign(run=name) for name, t in zip(runs, tables, strict=True)]
    table = pd.concat(named, ignore_index=True)
    first = ["run", "split", "system"]
    columns = [*first, *(name for name in table.columns if name not in first)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in table[columns].astype(object).itertuples(index=False):
        cells = ["" if pd.isna(value) else value for value in row]
        writer.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()


WRITERS: dict[str, Callable[[Mapping[str, pd.DataFrame]], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": csv_text,
}


def titled(runs: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of every run and split, each with its title."""
    for name, systems in runs.items():
        for split, rows in systems.groupby("split", sort=False):
            yield f"{name}: {heading(str(split), rows)}", rows


def heading(split: str, rows: pd.DataFrame) -> str:
    """The name of a split and its size."""
    count, words = int(rows["utterances"].iloc[0]), int(rows["ref_words"].iloc[0])
    return f"{split} ({count:,} utterances, {words:,} words)"


def records(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    """Rows of `systems.parquet`; in a sweep, the system is named with its point."""
    shown = rows.assign(system=rows["label"]) if "label" in rows else rows
    return shown.to_dict("records")


def cells(row: Mapping[Any, Any]) -> list[str]:
    """One row of `systems.parquet` as text, see `HEADINGS`; rates in per cent."""
    return [
        str(row["system"]),
        percent(row["wer"]),
        spread(row["wer_low"], row["wer_high"]),
        f"{row['substitutions']} / {row['deletions']} / {row['insertions']}",
        percent(row["cer"]),
        percent(row["oracle_wer"]),
        "" if pd.isna(row["delta_wer"]) else f"{100 * row['delta_wer']:+.2f}",
        "" if pd.isna(row["p_value"]) else p_text(row["p_value"], row.get("p_test")),
        f"{row['seconds']:.1f}",
        "; ".join(filter(None, [weights_text(row["weights"]), text_or_none(row.get("choice"))])),
    ]


def escaped(text: str) -> str:
    """A text with the special characters of LaTeX escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    marks = {mark: f"\\{mark}" for mark in "&%$#_{}"}
    signs = {"Δ": r"$\Delta$", "–": "--", "<": "$<$", ">": "$>$", "×": r"$\times$"}
    table = {**special, **marks, **signs}
    return "".join(table.get(letter, letter) for letter in text)


def text_or_none(value: object) -> str | None:
    """The text of a cell; None for an empty cell, in which pandas has NaN."""
    return value if isinstance(value, str) else None


def percent(rate: float) -> str:
    """A fraction in per cent, two decimals; a dash where there are no reference words."""
    return f"{100 * rate:.2f}" if math.isfinite(rate) else "–"


def spread(low: float, high: float) -> str:
    """An interval in per cent; a dash if there is none."""
    if pd.isna(low) or pd.isna(high):
        return "–"
    return f"{percent(low)}–{percent(high)}"


def p_text(p: float, test: object = None) -> str:
    """A p-value with three decimals, or `<0.001`; one of the permutation test is marked."""
    return ("<0.001" if p < 0.001 else f"{p:.3f}") + (" (exact)" if test == "permutation" else "")


def weights_text(weights: object) -> str:
    """Weights as `name value` pairs, without the weight of `acoustic` where it is 1, as usual."""
    found = json.loads(weights) if isinstance(weights, str) else {}
    if found:
        found = {"acoustic": 0.0} | found
    pairs = (pair for pair in found.items() if pair != ("acoustic", 1))
    return ", ".join(f"{name} {value:.3g}" for name, value in pairs)
