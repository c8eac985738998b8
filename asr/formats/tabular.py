"""N-best lists in tables whose values are separated by commas or tabs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from asr.formats.records import (
    NO_SCORES,
    Candidate,
    Imported,
    imported,
    lines_of,
    number_of,
    utt_of,
)
from lm.errors import InputError


def read_csv(path: Path, manifest: Path | None = None) -> Imported:
    """A table whose header has `utt` and `text`, and possibly `score`, `rank` and `ref`.

    Further columns are scores of that name if the first row has a number there; `acoustic` is used
    instead of `score`. The separator is a tab if the header has one, else a comma. Quotation marks
    within quotes are doubled. Without ranks a list is in the order of its scores; without scores
    it is in the order of the lines.
    """
    lists: dict[str, list[tuple[float, Candidate]]] = {}
    references: dict[str, str] = {}
    scored: list[str] | None = None
    for row, where in _rows(path):
        if scored is None:
            scored = [name for name in row if name not in NO_SCORES and _is_number(row[name])]
        utt = utt_of(row["utt"], where)
        where = f"{where}, utterance {utt}"
        more = {name: row[name] for name in scored}
        candidate = Candidate(row["text"], row.get("score", more.get("acoustic", 0.0)), where, more)
        ranked = lists.setdefault(utt, [])
        if "rank" in row:
            place = number_of(row["rank"], where, "rank")
            if any(place == other for other, _ in ranked):
                raise InputError(f"{where}: rank {row['rank']} occurs twice; renumber the list")
        else:
            place = _place(candidate)
        ranked.append((place, candidate))
        if "ref" in row and references.setdefault(utt, row["ref"]) != row["ref"]:
            raise InputError(f"{where}: its references differ from line to line; use one")
    ordered = {
        utt: [candidate for _, candidate in sorted(one, key=lambda entry: entry[0])]
        for utt, one in lists.items()
    }
    return imported(path, ordered, references)


def _rows(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Rows of a table by the names in its header, each with file and line.

    Raises:
        InputError: The table has no header or lacks columns, or a row is not complete.
    """
    numbered = list(lines_of(path))
    if not numbered:
        raise InputError(f"{path}: no utterances in it")
    delimiter = "\t" if "\t" in numbered[0][0] else ","
    # Strict, because a quotation mark that is never closed would include the lines after it.
    rows = csv.reader((f"{line}\n" for line, _ in numbered), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows)]
        lacking = [name for name in ("utt", "text") if name not in header]
        if lacking:
            raise InputError(
                f"{path}: the header {', '.join(header)} has no {' and no '.join(lacking)}; name "
                "the columns utt and text, and score, rank and ref if they exist"
            )
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{path}: the header has {twice} twice; rename one of the columns")
        for values in rows:
            where = numbered[rows.line_num - 1][1]
            if len(values) != len(header):
                raise InputError(
                    f"{where}: the row has {len(values)} values for {len(header)} columns; add or "
                    "remove separators"
                )
            yield dict(zip(header, values, strict=True)), where
    except csv.Error as error:
        where = numbered[min(rows.line_num, len(numbered)) - 1][1]
        raise InputError(
            f"{where}: {error}; put a text with quotation marks in quotes and double them"
        ) from error


def _is_number(text: str) -> bool:
    try:
        number_of(text, "")
    except InputError:
        return False
    return True


def _place(candidate: Candidate) -> float:
    """The place of a hypothesis by its score; a bad score is reported when it is checked."""
    try:
        return -number_of(candidate.score, candidate.where)
    except InputError:
        return 0.0
