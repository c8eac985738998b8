"""N-best lists of other systems, by the name of their format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from asr.formats import json_lists, toolkits
from asr.formats.json_lists import candidate_of
from asr.formats.records import (
    NO_SCORES,
    Candidate,
    Imported,
    imported,
    lines_of,
    new_list,
    number_of,
    seconds_of,
    utt_of,
)
from asr.formats.transcript_readers import READERS
from lm.errors import InputError

Reader = Callable[[Path, Path | None], Imported]
JSONL = "each line is a JSON object with utt and hyps, a list of objects with text and score"


def import_nbest(path: str | Path, format: str, manifest: str | Path | None = None) -> Imported:
    """Reads another system's N-best lists.

    Args:
        path: File (plain, .gz, .bz2 or .xz) or folder.
        format: One of `FORMATS`; each reader says what it reads.
        manifest: Of the utterances, for formats without ids.

    Returns:
        The lists; utterances whose values are bad are left out, with the reason.

    Raises:
        InputError: The format is unknown, or the files are malformed; file and line are named.
    """
    if format not in FORMATS:
        raise InputError(f"N-best format {format!r} is not known; one of {', '.join(FORMATS)}")
    return FORMATS[format](Path(path), None if manifest is None else Path(manifest))


def read_jsonl(path: Path, manifest: Path | None = None) -> Imported:
    """A JSON object a line: {`utt`, `ref`, `hyps`: [{`text`, `score`}, …]}, best first.

    Further numbers of a hypothesis are scores by their names, columns of the table; `acoustic` goes
    before `score`. `ref` may be missing. A line with `text` and no `hyps` has one hypothesis, with
    score 0 and the times of its `words` ({`start`, `end`}), as `export --format jsonl` writes it.
    """
    lists: dict[str, list[Candidate]] = {}
    references: dict[str, object] = {}
    failures: dict[str, str] = {}
    for line, where in lines_of(path):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: {error}; {JSONL}") from error
        if not isinstance(entry, dict):
            raise InputError(f"{where}: no JSON object; {JSONL}")
        if "utt" not in entry:
            raise InputError(f"{where}: no key 'utt'; {JSONL}")
        utt = utt_of(entry["utt"], where)
        found = new_list(lists, utt, where)
        references[utt] = entry.get("ref")
        try:
            found.extend(_candidates(entry, f"{where}, utterance {utt}"))
        except InputError as error:
            failures[utt] = str(error)
    return imported(path, lists, references, failures)


def _candidates(entry: dict[str, Any], where: str) -> list[Candidate]:
    """The hypotheses of a line; what is wrong with them is told when they are checked.

    Raises:
        InputError: A time is none, or there are no hypotheses.
    """
    if "hyps" not in entry and "text" in entry:
        words = entry.get("words")
        marks = words if isinstance(words, list) else []
        times = None
        if all(isinstance(word, dict) and {"start", "end"} <= word.keys() for word in marks):
            starts, ends = ([seconds_of(w[k], where) for w in marks] for k in ("start", "end"))
            if isinstance(entry["text"], str) and len(marks) == len(entry["text"].split()):
                times = (starts, ends)
        return [Candidate(entry["text"], 0.0, where, times=times)]
    found = entry.get("hyps")
    if not isinstance(found, list):
        raise InputError(f"{where}: no list named hyps; {JSONL}")
    return [candidate_of(one, where) for one in found]


def read_csv(path: Path, manifest: Path | None = None) -> Imported:
    """A table whose header has `utt`, `text`, and `score`, `rank` and `ref` where there are such.

    Further columns are scores by their names where the first row has a number; `acoustic` goes
    before `score`. Tabs separate where the header has one, else commas; quotes are doubled within
    quotes. Without ranks a list is in the order of its scores, else in that of the lines.
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
                raise InputError(f"{where}: rank {row['rank']} occurs twice; number them again")
        else:
            place = _place(candidate)
        ranked.append((place, candidate))
        if "ref" in row and references.setdefault(utt, row["ref"]) != row["ref"]:
            raise InputError(f"{where}: its references differ from line to line; give one")
    ordered = {
        utt: [candidate for _, candidate in sorted(one, key=lambda entry: entry[0])]
        for utt, one in lists.items()
    }
    return imported(path, ordered, references)


def _rows(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Rows of a table by the names of its header, each with file and line.

    Raises:
        InputError: The table has no header or not the columns, or a row is not whole.
    """
    numbered = list(lines_of(path))
    if not numbered:
        raise InputError(f"{path}: no utterances in it")
    delimiter = "\t" if "\t" in numbered[0][0] else ","
    # Strict: a quotation mark that is never closed would swallow the lines after it.
    rows = csv.reader((f"{line}\n" for line, _ in numbered), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows)]
        lacking = [name for name in ("utt", "text") if name not in header]
        if lacking:
            raise InputError(
                f"{path}: the header {', '.join(header)} has no {' and no '.join(lacking)}; name "
                "the columns utt, text, and score, rank, ref where there are such"
            )
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{path}: the header has {twice} twice; rename one of the columns")
        for values in rows:
            where = numbered[rows.line_num - 1][1]
            if len(values) != len(header):
                raise InputError(f"{where}: {len(values)} values for {len(header)} columns")
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
    """Where a hypothesis stands by its score; a bad score is told when it is checked."""
    try:
        return -number_of(candidate.score, candidate.where)
    except InputError:
        return 0.0


def transcripts_reader(format: str) -> Reader:
    """Reads transcripts as lists of one hypothesis with score 0, with the times they have."""

    def read(path: Path, manifest: Path | None = None) -> Imported:
        lists: dict[str, list[Candidate]] = {}
        for found in READERS[format](path):
            where = f"{path}, utterance {found.utt}"
            times = (found.starts, found.ends) if found.starts else None
            new_list(lists, found.utt, str(path)).append(
                Candidate(found.text, 0.0, where, times=times)
            )
        return imported(path, lists)

    read.__doc__ = READERS[format].__doc__
    return read


# A new format is one function and one line here.
FORMATS: dict[str, Reader] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "espnet": toolkits.read_espnet,
    "nemo": toolkits.read_nemo,
    "kaldi": toolkits.read_kaldi,
    "icefall": toolkits.read_icefall,
    "wenet": toolkits.read_wenet,
    "mlm-scoring": json_lists.read_mlm_scoring,
    "hypo2trans": json_lists.read_hypo2trans,
    "whisper": json_lists.read_whisper,
    **{format: transcripts_reader(format) for format in READERS},
}
