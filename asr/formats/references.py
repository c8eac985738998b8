"""References of any command: manifests, transcripts, tables and JSON, by a file's ending.

Every format but Kaldi's text has an ending or an unmistakable first character. A file without such
an ending is Kaldi's text, unless its lines are clearly those of another format: then it is refused,
because each of its lines would become a wrong reference without a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from asr.corpus import read_corpus
from asr.formats.line_formats import AUDIO, IDS, TEXTS, clear_formats
from asr.formats.records import encodable, keyed, lines_of, read_json, utt_of
from asr.formats.tabular import read_table, shown, warn_of_empty
from asr.formats.transcript_readers import READERS
from lm.errors import InputError
from lm.text.json_values import parse_json

PACKED = (".gz", ".bz2", ".xz")
NO_REFERENCES = {
    ".srt": "subtitles have no utterance ids",
    ".vtt": "subtitles have no utterance ids",
    ".parquet": "a Parquet table is not read here; write it with `secondpass export --format csv`",
}


def read_references(path: str | Path) -> dict[str, str]:
    """Reference texts by utterance.

    Args:
        path: Anything that `asr.corpus.read_corpus` reads; a file that ends in .stm, .ctm or .trn;
            a .csv or .tsv table whose header has `utt` and `ref` or `text`; JSON lines, or a list,
            of objects with these keys; or Kaldi's text, a line `utt words…` for each utterance. An
            utterance without words has an empty reference. All but folders may be packed: .gz,
            .bz2 or .xz. The marks of stm, ctm and trn (alternatives, optional words) stay in the
            texts.

    Raises:
        InputError: The file is malformed, with its line; an utterance occurs twice; the file is
            of another format than its ending says; or there are no references in it.
    """
    path = Path(path)
    references = _of_corpus(path) if path.is_dir() else _reader(path)(path)
    if not references:
        raise InputError(f"{path}: there are no references in it; add `text` to its utterances")
    return references


def _reader(path: Path) -> Callable[[Path], dict[str, str]]:
    """The reader of a file.

    Raises:
        InputError: The file has no references, or its lines are clearly those of another format.
    """
    endings = [suffix.lower() for suffix in path.suffixes]
    if endings and endings[-1] in PACKED:
        endings.pop()
    ending = endings[-1] if endings else ""
    if ending in NO_REFERENCES:
        raise InputError(
            f"{path}: {NO_REFERENCES[ending]}; give references as a manifest, a table, Kaldi's "
            "text, trn, stm or ctm"
        )
    if ending in BY_ENDING:
        return BY_ENDING[ending]
    lines = [line for line, _ in lines_of(path)]
    if lines and lines[0].lstrip().startswith("{"):
        return _of_json
    for format in clear_formats(lines):
        raise InputError(
            f"{path}: its lines are those of {format.name} and not of Kaldi's text (utt words…); "
            f"{format.for_references}"
        )
    return _of_text


def _of_corpus(path: Path) -> dict[str, str]:
    """The references of a manifest or a folder."""
    return {u.id: u.text for u in read_corpus(path) if u.text is not None}


def _of_text(path: Path) -> dict[str, str]:
    """The references of Kaldi's text."""
    return _once((utt, text, where) for utt, text, where in keyed(path))


def _of_transcripts(format: str) -> Callable[[Path], dict[str, str]]:
    """A reader of one of NIST's formats."""
    return lambda path: _once((t.utt, t.text, str(path)) for t in READERS[format](path))


def _of_table(path: Path) -> dict[str, str]:
    """The references of a table.

    Several lines of an utterance, as N-best lists have them, must have the same reference.
    """
    header, rows = read_table(path)
    names = {name.lower(): name for name in header}
    if AUDIO in names:
        return _of_corpus(path)
    utt_column, column = (
        next((names[name] for name in known if name in names), None) for known in (IDS, TEXTS)
    )
    if utt_column is None or column is None:
        raise InputError(
            f"{path}: the header {shown(header)} has no utt, or neither ref nor text; "
            "name the columns so, in the first line"
        )
    found: dict[str, tuple[str, str]] = {}
    for row, where in rows:
        utt = utt_of(row[utt_column], where)
        text, first = found.setdefault(utt, (row[column], where))
        if text != row[column] or (first != where and column.lower() not in TEXTS[:2]):
            raise InputError(
                f"{where}: utterance {utt!r} occurs twice; keep one of the lines, or name the "
                "column of the references ref"
            )
    references = {utt: text for utt, (text, _) in found.items()}
    warn_of_empty(path, references)
    return references


def _of_json(path: Path) -> dict[str, str]:
    """The references of a manifest, of JSON lines, or of a JSON list."""
    lines = list(lines_of(path))
    entries: Iterator[tuple[object, str]]
    if lines and lines[0][0].lstrip().startswith("["):
        content = read_json(path)
        entries = ((entry, f"{path}, entry {number}") for number, entry in enumerate(content, 1))
    else:
        remedy = "write one object a line"
        entries = ((parse_json(line, where, remedy, halves=True), where) for line, where in lines)
    # The first entry decides, so that the many lines of a manifest are not read twice.
    first = list(islice(entries, 1))
    if first and isinstance(first[0][0], dict) and AUDIO in first[0][0]:
        return _of_corpus(path)
    return _once(_json_references(chain(first, entries)))


def _json_references(entries: Iterable[tuple[object, str]]) -> Iterator[tuple[str, str, str]]:
    """Utterance, reference and place of each entry that has a reference."""
    for entry, where in entries:
        if not isinstance(entry, dict):
            raise InputError(f"{where}: not a JSON object; write one object an utterance")
        if not entry.keys() & {*IDS}:
            raise InputError(
                f"{where}: neither utt nor id in the object; each needs one, and ref or text "
                "(references of N-best lists are written by `secondpass import-nbest --refs-out`)"
            )
        utt = utt_of(_first(entry, IDS), where)
        text = _first(entry, TEXTS)
        if text is None:
            continue
        if not isinstance(text, str):
            raise InputError(f"{where}: reference {str(text)[:40]!r} is not a string")
        yield utt, encodable(text, where), where


def _first(entry: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of these keys that an entry has, null included."""
    return next((entry[name] for name in names if name in entry), None)


def _once(found: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """References by utterance.

    Raises:
        InputError: An utterance occurs twice.
    """
    references: dict[str, str] = {}
    for utt, text, where in found:
        if utt in references:
            raise InputError(f"{where}: utterance {utt!r} occurs twice; keep one of the lines")
        references[utt] = text
    return references


BY_ENDING: dict[str, Callable[[Path], dict[str, str]]] = {
    **{f".{format}": _of_transcripts(format) for format in ("stm", "ctm", "trn")},
    ".csv": _of_table,
    ".tsv": _of_table,
    ".json": _of_json,
    ".jsonl": _of_json,
}
