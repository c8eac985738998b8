"""N-best lists of other systems, by the name of their format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from asr import toolkits
from asr.foreign import Imported, distinct, imported, lines_of, score_of
from asr.nbest import Hypothesis
from asr.transcripts import READERS, Transcript
from lm.errors import InputError

Reader = Callable[[Path, Path | None], Imported]


def import_nbest(path: str | Path, format: str, manifest: str | Path | None = None) -> Imported:
    """Reads another system's N-best lists.

    Args:
        path: File (plain, .gz, .bz2 or .xz) or folder.
        format: One of `FORMATS`; each reader says what it reads.
        manifest: Of the utterances, for formats without ids.

    Raises:
        InputError: The format is unknown, or the files are malformed; file and line are named.
    """
    if format not in FORMATS:
        raise InputError(f"N-best format {format!r} is not known; one of {', '.join(FORMATS)}")
    return FORMATS[format](Path(path), None if manifest is None else Path(manifest))


def read_jsonl(path: Path, manifest: Path | None = None) -> Imported:
    """A JSON object a line: {`utt`, `ref`, `hyps`: [{`text`, `score`}, …]}, best first.

    `ref` may be missing.
    """
    lists: dict[str, list[Hypothesis]] = {}
    references: dict[str, str] = {}
    for line, where in lines_of(path):
        try:
            entry = json.loads(line)
            utt = str(entry["utt"])
            found = [(str(h["text"]), float(h["score"])) for h in entry["hyps"]]
        except (ValueError, TypeError, KeyError) as error:
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(
                f"{where}: {reason}; each line is a JSON object with utt and hyps, a list of "
                "objects with text and score"
            ) from error
        if utt in lists:
            raise InputError(f"{where}: utterance {utt} occurs twice; keep one of them")
        lists[utt] = distinct(found, f"{where}, utterance {utt}")
        if entry.get("ref") is not None:
            references[utt] = str(entry["ref"])
    return imported(path, lists, references)


def read_csv(path: Path, manifest: Path | None = None) -> Imported:
    """A table whose header has `utt`, `text`, and `score`, `rank` and `ref` where there are such.

    Tabs separate where the header has one, else commas. Without ranks a list is in the order of
    its scores, else in that of the lines.
    """
    numbered = list(lines_of(path))
    if not numbered:
        raise InputError(f"{path}: no utterances in it")
    tabs = "\t" in numbered[0][0]
    rows = csv.reader((line for line, _ in numbered), delimiter="\t" if tabs else ",")
    header = [name.strip().lstrip("\ufeff") for name in next(rows)]
    lacking = [name for name in ("utt", "text") if name not in header]
    if lacking:
        raise InputError(
            f"{path}: the header {', '.join(header)} has no {' and no '.join(lacking)}; name the "
            "columns utt, text, and score, rank, ref where there are such"
        )
    found: dict[str, list[tuple[float, str, float]]] = {}
    references: dict[str, str] = {}
    for values in rows:
        where = f"{path}, row {rows.line_num}"
        if len(values) != len(header):
            raise InputError(f"{where}: {len(values)} values for {len(header)} columns")
        row = dict(zip(header, values, strict=True))
        score = score_of(row["score"], where) if "score" in row else 0.0
        place = score_of(row["rank"], where) if "rank" in row else -score
        found.setdefault(row["utt"], []).append((place, row["text"], score))
        if "ref" in row:
            references[row["utt"]] = row["ref"]
    lists = {}
    for utt, one in found.items():
        ordered = [(text, score) for _, text, score in sorted(one, key=lambda entry: entry[0])]
        lists[utt] = distinct(ordered, f"{path}, utterance {utt}")
    return imported(path, lists, references)


def one_best(transcripts: list[Transcript], path: Path) -> Imported:
    """Transcripts as lists of one hypothesis."""
    lists: dict[str, list[Hypothesis]] = {}
    for found in transcripts:
        if found.utt in lists:
            raise InputError(f"{path}: utterance {found.utt} occurs twice; keep one of them")
        lists[found.utt] = [Hypothesis(found.text, 0.0)]
    return imported(path, lists, {})


def transcripts_reader(format: str) -> Reader:
    """Reads transcripts as lists of one hypothesis with score 0."""

    def read(path: Path, manifest: Path | None = None) -> Imported:
        return one_best(READERS[format](path), path)

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
    "mlm-scoring": toolkits.read_mlm_scoring,
    "hypo2trans": toolkits.read_hypo2trans,
    **{format: transcripts_reader(format) for format in READERS},
}
