"""Formats that show in a file's lines, for files that are read as Kaldi's text by mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

# The first of these names that an entry has is the utterance's id, or its reference. `ref` is
# before `text`, which is the hypothesis where both exist.
IDS = ("utt", "id", "utt_id", "utterance", "utterance_id", "key")
TEXTS = ("ref", "reference", "text", "txt", "transcript", "transcription")
AUDIO = "audio_filepath"  # what every entry of a manifest has

NIST_COMMENT = ";;"
TRN_LINE = re.compile(r"(?:.*\s)?\(([^()\s]+)\)\s*")
ID_MARK = re.compile(r"[\d_-]")  # what ids have, and words in brackets at the end of a line do not
SUBTITLE = re.compile(r"\d\d:\d\d[:.,\d]* --> \d\d:\d\d")
ICEFALL_LINE = re.compile(r".+?:\t(ref|hyp)=")


class LineFormat(NamedTuple):
    """A format, and what to do about a file of it.

    Attributes:
        name: Name of the format, for messages.
        for_references: What to do if the file has references.
        for_lists: What to do if the file has hypotheses.
    """

    name: str
    for_references: str
    for_lists: str


def _ending(name: str, ending: str, format: str) -> LineFormat:
    return LineFormat(
        name, f"rename the file so that it ends in {ending}", f"use --format {format}"
    )


STM = _ending("stm", ".stm", "stm")
CTM = _ending("ctm", ".ctm", "ctm")
TRN = _ending("trn", ".trn", "trn")
CSV = _ending("a table", ".csv", "csv")
TSV = _ending("a table", ".tsv", "csv")
JSON = _ending("JSON", ".json", "mlm-scoring, hypo2trans or whisper")
JSON_LINES = _ending("JSON", ".jsonl", "jsonl")
ICEFALL = LineFormat(
    "icefall's results",
    "write its references with `secondpass import-nbest --format icefall --refs-out`",
    "use --format icefall",
)
SUBTITLES = LineFormat(
    "subtitles", "give references with utterance ids", "give a format with utterance ids"
)


def clear_formats(lines: Sequence[str]) -> Iterator[LineFormat]:
    """The formats that lines are clearly of; nothing for Kaldi's text.

    Args:
        lines: All lines of a file that are not empty.
    """
    said = [line for line in lines if not line.startswith(NIST_COMMENT)]
    if not said:
        return
    commented = len(said) < len(lines)
    if _timed(said, _stm_times, commented):
        yield STM
    if _timed(said, _ctm_times, commented):
        yield CTM
    ids = [match[1] for line in said if (match := TRN_LINE.fullmatch(line))]
    marked = commented or any(ID_MARK.search(name) for name in ids)
    if len(ids) == len(said) and len(set(ids)) == len(ids) and marked:
        yield TRN
    header = {name.strip(' "').lower() for name in re.split("[,;\t]", said[0].lstrip())}
    if header & {*IDS, AUDIO} and header & {*TEXTS}:
        yield TSV if "\t" in said[0] else CSV
    if said[0].startswith("WEBVTT") or any(SUBTITLE.search(line) for line in said[:5]):
        yield SUBTITLES
    if all(ICEFALL_LINE.match(line) for line in said):
        yield ICEFALL
    if said[0].lstrip().startswith("[") and _is_json("\n".join(lines)):
        yield JSON
    if said[0].lstrip().startswith("{") and _is_json(said[0]):
        yield JSON_LINES


def _timed(
    lines: Iterable[str], times_of: Callable[[str], tuple[str, str] | None], commented: bool
) -> bool:
    """Whether all lines have times where a format has them.

    Texts can have digits there, too. So something else has to speak for times: a decimal point, a
    comment or a label of NIST's, or a name that begins more than one line.
    """
    names: list[str] = []
    sure = commented
    for line in lines:
        found = times_of(line)
        if found is None:
            return False
        sure = sure or "." in "".join(found) or re.search(r"\s<[^<>\s]+>(\s|$)", line) is not None
        names.append(line.split(maxsplit=1)[0])
    return sure or len(set(names)) < len(names)


def _stm_times(line: str) -> tuple[str, str] | None:
    """Start and end of a segment; None if the line is none."""
    parts = line.split(maxsplit=5)
    if len(parts) < 5 or not (_is_time(parts[3]) and _is_time(parts[4])):
        return None
    return (parts[3], parts[4]) if float(parts[3]) <= float(parts[4]) else None


def _ctm_times(line: str) -> tuple[str, str] | None:
    """Start and duration of a word; None if the line is none."""
    parts = line.split()
    fits = len(parts) in (5, 6) and all(_is_time(part) for part in (*parts[2:4], *parts[5:]))
    return (parts[2], parts[3]) if fits else None


def _is_time(text: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text) is not None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
