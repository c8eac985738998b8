"""N-best lists in tables whose values are separated by commas or tabs."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.formats.cells import original_cell
from asr.formats.records import NO_SCORES, Candidate, Lists, lines_of, number_of, utt_of
from lm.errors import InputError

# The names of columns that have a meaning, in lower or in upper case.
NAMES = ("utt", "text", "score", "acoustic", "rank", "ref")
DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")
LOG = logging.getLogger("secondpass")


def read_csv(path: Path, manifest: Path | None = None) -> Lists:
    """A table whose header has `utt` and `text`, and possibly `score`, `rank` and `ref`.

    Further columns are scores of that name if at least half of their cells that are not empty are
    numbers; `acoustic` is used instead of `score`. The separator is a tab if the header has one,
    else a comma. Quotation marks within quotes are doubled. Without ranks a list is in the order of
    its scores; without scores it is in the order of the lines.
    """
    header, lines = read_table(path)
    spelled = {name: name.lower() if name.lower() in NAMES else name for name in header}
    header = list(spelled.values())
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise InputError(
            f"{path}: the header has {twice} in upper and in lower case; rename one of the columns"
        )
    lacking = [name for name in ("utt", "text") if name not in header]
    if lacking:
        raise InputError(
            f"{path}: the header {shown(header)} has no {' and no '.join(lacking)}; "
            "name the columns utt and text, and score, rank and ref if they exist"
        )
    rows = [({spelled[name]: cell for name, cell in row.items()}, where) for row, where in lines]
    scored = _score_columns(path, header, [row for row, _ in rows])
    if scored and not {"score", "acoustic", "rank"} & {*header}:
        LOG.warning(
            f"{path}: there is no column score, acoustic or rank, so the lists stay in the order "
            f"of the lines, and `acoustic` is 0. If {shown(scored)} has the system's score, "
            "name it score"
        )
    lists: dict[str, list[tuple[float, Candidate]]] = {}
    references: dict[str, str] = {}
    for row, where in rows:
        utt = utt_of(row["utt"], where)
        where = f"{where}, utterance {utt}"
        more = {name: row[name] for name in scored}
        candidate = Candidate(row["text"], row.get("score", more.get("acoustic", 0.0)), where, more)
        ranked = lists.setdefault(utt, [])
        place = number_of(row["rank"], where, "rank") if "rank" in row else 0.0
        if "rank" in row and any(place == other for other, _ in ranked):
            raise InputError(f"{where}: rank {row['rank']} occurs twice; renumber the list")
        ranked.append((place, candidate))
        if "ref" in row and references.setdefault(utt, row["ref"]) != row["ref"]:
            raise InputError(f"{where}: its references differ from line to line; use one")
    ordered = {
        utt: [candidate for _, candidate in sorted(one, key=lambda entry: entry[0])]
        for utt, one in lists.items()
    }
    warn_of_empty(path, references)
    return Lists(path, ordered, references, by_score="rank" not in header)


def warn_of_empty(path: Path, references: Mapping[str, str]) -> None:
    """Warns of empty references beside others: a cell cannot say that a reference is missing."""
    empty = [utt for utt, text in references.items() if not text.strip()]
    if 0 < len(empty) < len(references):
        LOG.warning(
            f"{path}: {len(empty)} of {len(references)} references are empty (first: {empty[0]}); "
            "they count as references without words. If they are missing, remove these lines"
        )


def _score_columns(
    path: Path, header: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> list[str]:
    """The further columns that are scores, from all of their cells.

    A warning names a column that has some numbers and is left out.
    """
    scored = []
    for name in header:
        cells = [row[name] for row in rows if name not in NO_SCORES and row[name].strip()]
        numbers = sum(map(_is_number, cells))
        if cells and not name:
            LOG.warning(f"{path}: the column without a name is left out")
        elif cells and 2 * numbers >= len(cells):
            scored.append(name)
        elif numbers or any(DECIMAL_COMMA.fullmatch(cell.strip()) for cell in cells):
            LOG.warning(
                f"{path}: the column {shown([name])} has numbers in {numbers} of its {len(cells)} "
                "cells; it is taken as text and left out. If it is a score, correct the other "
                "cells (1.5, not 1,5)"
            )
    return scored


def read_table(path: Path) -> tuple[list[str], Iterator[tuple[dict[str, str], str]]]:
    """The header of a table, and its rows by the names in it, each with file and line.

    Cells that were escaped for spreadsheets are as they were before.

    Raises:
        InputError: The table has no header, two columns have one name, or a row is not complete.
    """
    numbered = list(lines_of(path))
    if not numbered:
        raise InputError(f"{path}: no utterances in it")
    delimiter = "\t" if "\t" in numbered[0][0] else ","
    # Strict, because a quotation mark that is never closed would include the lines after it.
    rows = csv.reader((f"{line}\n" for line, _ in numbered), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows)]
    except csv.Error as error:
        raise _broken(rows, numbered, error) from error
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{path}: the header has {shown([twice])} twice; rename one of the columns"
        )
    return header, _rows(rows, header, numbered)


def shown(header: Sequence[str]) -> str:
    """The names of a header in a message, in one line."""
    return " ".join(", ".join(header).split())[:200]


def _rows(
    rows: Any, header: Sequence[str], numbered: Sequence[tuple[str, str]]
) -> Iterator[tuple[dict[str, str], str]]:
    """The rows after the header."""
    try:
        for values in rows:
            where = numbered[rows.line_num - 1][1]
            if len(values) != len(header):
                raise InputError(
                    f"{where}: the row has {len(values)} values for {len(header)} columns; add or "
                    "remove separators"
                )
            yield dict(zip(header, map(original_cell, values), strict=True)), where
    except csv.Error as error:
        raise _broken(rows, numbered, error) from error


def _broken(rows: Any, numbered: Sequence[tuple[str, str]], error: csv.Error) -> InputError:
    """Why a line cannot be read."""
    where = numbered[min(rows.line_num, len(numbered)) - 1][1]
    return InputError(
        f"{where}: {error}; put a text with quotation marks in quotes and double them"
    )


def _is_number(text: str) -> bool:
    """Whether a cell is a number; NaN is a number that is missing."""
    try:
        number_of(text, "")
    except InputError:
        return text.strip().lower() == "nan"
    return True
