"""Tables for spreadsheets: no text becomes a formula, and our readers give the text back."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pandas as pd
import pytest

from asr.formats.cells import original_cell, safe_cell
from asr.formats.nbest_import import import_nbest
from asr.formats.references import read_references
from asr.hypothesis import Hypothesis
from asr.nbest import build_nbest, write_nbest
from experiments.cli import main
from experiments.comparison.table import csv_text

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
PIECES = [*FORMULAS, "'", "''", '"', ",", " ", "a", "1", "é", "\n"]


def test_no_cell_begins_as_a_formula_and_every_cell_is_given_back() -> None:
    rng = random.Random(1)
    seen = {}
    for _ in range(5000):
        cell = "".join(rng.choices(PIECES, k=rng.randrange(6)))
        safe = safe_cell(cell)
        assert not safe.startswith(FORMULAS)
        assert original_cell(safe) == cell
        assert seen.setdefault(safe, cell) == cell
        if not cell.lstrip("'").startswith(FORMULAS):
            assert safe == cell
    assert (
        safe_cell("=1+2") == "'=1+2"
        and safe_cell("it's") == "it's"
        and original_cell("'tis") == "'tis"
    )


def exported(folder: Path, texts: dict[str, str], *options: str) -> Path:
    """The CSV that the command writes."""
    lists = {utt: [Hypothesis(text, -1.0)] for utt, text in texts.items()}
    write_nbest(build_nbest(lists), folder / "n.parquet")
    out = folder / "out.csv"
    command = ["export", str(folder / "n.parquet"), "--format", "csv", "-o", str(out)]
    assert main([*command, *options]) == 0
    return out


TEXTS = {"=u1": "=HYPERLINK(a)", "u2": "-5 degrees", "@u3": "'=x", "+4": "@home", "u5": "a=b"}


def test_export_is_safe_and_is_read_back(tmp_path: Path) -> None:
    out = exported(tmp_path, TEXTS)
    with out.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell.startswith(FORMULAS) for cell in cells)
    assert "'=HYPERLINK(a)" in cells and "a=b" in cells
    assert read_references(out) == TEXTS
    table = import_nbest(out, "csv").table
    assert dict(zip(table["utt"], table["text"], strict=True)) == TEXTS
    out.write_text(out.read_text().replace(",", "\t"))
    assert read_references(out.rename(tmp_path / "out.tsv")) == TEXTS


def test_cells_as_they_are_by_an_option(tmp_path: Path) -> None:
    out = exported(tmp_path, TEXTS, "--no-escape")
    with out.open(newline="") as file:
        assert list(csv.reader(file)) == [["utt", "text"], *map(list, TEXTS.items())]


def test_negative_scores_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("utt,text,score,lm\nu,'-x,-1.5,+2\nu,''=y,'-2.5,-3\n")
    table = import_nbest(path, "csv").table
    assert table[["text", "acoustic", "lm"]].values.tolist() == [["-x", -1.5, 2], ["'=y", -2.5, -3]]


@pytest.mark.parametrize("name", ["=cmd", "-a", "@b"])
def test_names_in_the_table_of_systems(name: str) -> None:
    systems = pd.DataFrame({"split": ["test"], "system": [name], "wer": [-0.5], "label": ["x"]})
    (_, row) = csv.reader(csv_text({"run": systems}).splitlines())
    assert row == ["run", "test", f"'{name}", "-0.5"]
