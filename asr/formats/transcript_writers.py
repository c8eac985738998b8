"""Transcripts as files that NIST's tools, Kaldi, video players and other programs read.

There is one transcript an utterance, with the times and confidences of its words if known.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr.formats.cells import safe_cell
from lm.errors import InputError
from lm.files import whole_file

# Largest time of a subtitle (seconds) and largest number of letters; a longer gap ends a subtitle.
CUE_SECONDS, CUE_LETTERS, CUE_GAP = 6.0, 80, 1.0


@dataclass(frozen=True)
class Transcript:
    """The transcript of one utterance.

    Attributes:
        utt: Id of the utterance.
        text: Words separated by single spaces.
        starts: Start of each word, seconds; empty if not known.
        ends: End of each word, seconds; empty if not known.
        confidence: Confidence of each word, 0 to 1; empty if not known.
        speaker: Name of the speaker.
        duration: Length of the utterance, seconds; None if not known.
    """

    utt: str
    text: str
    starts: Sequence[float] = field(default_factory=tuple)
    ends: Sequence[float] = field(default_factory=tuple)
    confidence: Sequence[float] = field(default_factory=tuple)
    speaker: str | None = None
    duration: float | None = None

    @property
    def words(self) -> list[str]:
        """The words."""
        return self.text.split()

    def timed(self) -> Iterator[tuple[str, float, float]]:
        """Every word with its start and end.

        Raises:
            InputError: The times of the words are not known.
        """
        if len(self.starts) != len(self.words) or len(self.ends) != len(self.words):
            raise InputError(
                f"utterance {self.utt}: no word times are known; `secondpass decode` writes them "
                "(decoder: beam), and a transcript made of several hypotheses has none"
            )
        yield from zip(self.words, map(float, self.starts), map(float, self.ends), strict=True)


def write_text(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """Kaldi's text: `UTT words…`."""
    for found in transcripts:
        yield f"{one_token(found.utt)} {found.text}".rstrip()


def write_trn(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """NIST's transcript format (sclite): `words… (UTT)`."""
    for found in transcripts:
        if re.search(r"[\s()]", found.utt):
            raise InputError(
                f"utterance {found.utt!r}: an id in trn must not have spaces or brackets; rename it"
            )
        yield f"{nist_text(found)} ({found.utt})".lstrip()


def write_ctm(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """NIST's time-marked words: `UTT 1 START DURATION WORD [CONFIDENCE]`, seconds."""
    for found in transcripts:
        scored = len(found.confidence) == len(found.words)
        nist_text(found)
        for number, (word, start, end) in enumerate(found.timed()):
            line = f"{one_token(found.utt)} 1 {start:.3f} {max(end - start, 0.0):.3f} {word}"
            yield f"{line} {found.confidence[number]:.4f}" if scored else line


def write_stm(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """NIST's segments: `UTT 1 SPEAKER START END <o> words…`, seconds.

    If the length of an utterance is not known, it ends with its last word.
    """
    for found in transcripts:
        end = found.duration
        if end is None and len(found.ends) != len(found.words):
            raise InputError(
                f"utterance {found.utt}: neither its duration nor word times are known; use "
                "--manifest with a manifest that has durations"
            )
        if end is None:
            end = max(map(float, found.ends), default=0.0)
        speaker = one_token(found.speaker or found.utt)
        yield f"{one_token(found.utt)} 1 {speaker} 0.000 {end:.3f} <o> {nist_text(found)}".rstrip()


def write_jsonl(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """An object a line: `utt`, `text` and `words`, which have times and confidences if known."""
    for found in transcripts:
        words = []
        for number, word in enumerate(found.words):
            entry: dict[str, str | float] = {"word": word}
            if len(found.starts) == len(found.words):
                entry["start"] = round(float(found.starts[number]), 3)
                entry["end"] = round(float(found.ends[number]), 3)
            if len(found.confidence) == len(found.words):
                entry["confidence"] = round(float(found.confidence[number]), 4)
            words.append(entry)
        content = {"utt": found.utt, "text": found.text, "words": words}
        yield json.dumps(content, ensure_ascii=False)


def write_csv(transcripts: Iterable[Transcript], escape: bool = True) -> Iterator[str]:
    """A table with the columns `utt` and `text`, separated by commas.

    A cell that a spreadsheet would take for a formula gets an apostrophe first, which our readers
    take away; without `escape` cells are as they are.
    """
    yield "utt,text"
    for found in transcripts:
        line = io.StringIO()
        cells = [found.utt, found.text]
        csv.writer(line, lineterminator="").writerow(map(safe_cell, cells) if escape else cells)
        yield line.getvalue()


def write_json(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """One JSON list of the objects of `write_jsonl`."""
    yield "[\n" + ",\n".join(write_jsonl(transcripts)) + "\n]"


def write_srt(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """SubRip subtitles of one recording."""
    for number, (start, end, text) in enumerate(cues(transcripts), 1):
        yield f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{text}\n"


def write_vtt(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """WebVTT subtitles of one recording (W3C)."""
    yield "WEBVTT\n"
    for start, end, text in cues(transcripts):
        safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"{clock(start, '.')} --> {clock(end, '.')}\n{safe}\n"


def cues(transcripts: Iterable[Transcript]) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of every subtitle."""
    found = list(transcripts)
    if len(found) != 1:
        raise InputError(
            f"{len(found)} utterances: subtitles are for one recording; choose it with --utt"
        )
    line: list[str] = []
    first = last = 0.0
    for word, start, end in found[0].timed():
        full = len(" ".join([*line, word])) > CUE_LETTERS
        if line and (full or end - first > CUE_SECONDS or start - last > CUE_GAP):
            yield first, last, " ".join(line)
            line = []
        if not line:
            first = start
        line.append(word)
        last = max(end, first)
    if line:
        yield first, last, " ".join(line)


def clock(seconds: float, mark: str) -> str:
    """A time as `HH:MM:SS,mmm`, with `mark` instead of the comma."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def nist_text(found: Transcript) -> str:
    """The text of a transcript for NIST's tools.

    Raises:
        InputError: sclite would read something else without a message: for sclite, a line that
            begins with ;; or ** is a comment, { begins alternatives, and @ is not a word.
    """
    mark = next((word for word in found.words if word == "@" or word.startswith("{")), None)
    if mark is None and found.text.startswith((";;", "**")):
        mark = found.words[0]
    if mark is not None:
        raise InputError(
            f"utterance {found.utt}: {mark!r} is a mark and not a word for NIST's tools; normalise "
            "the texts, or use the format text or json"
        )
    return found.text


def one_token(name: str) -> str:
    """Checks that a name has no spaces and returns it.

    Raises:
        InputError: It is empty or has spaces, so that it would be read as several names.
    """
    if len(name.split()) != 1 or name.split()[0] != name:
        raise InputError(
            f"{name!r}: an id in this format must not have spaces; rename it, or use json"
        )
    return name


def write_transcripts(
    transcripts: Iterable[Transcript], path: str | Path, format: str, escape: bool = True
) -> None:
    """Writes a file, which appears under its name only when it is complete.

    Args:
        transcripts: One transcript an utterance.
        path: The file; its folder is made.
        format: One of `WRITERS`.
        escape: Whether cells of csv are made safe for spreadsheets, see `write_csv`.

    Raises:
        InputError: The format is not known, or it needs what a transcript does not have.
        OSError: The file cannot be written.
    """
    if format not in WRITERS:
        raise InputError(f"format {format!r} is not known; one of {', '.join(WRITERS)}")
    lines = write_csv(transcripts, escape) if format == "csv" else WRITERS[format](transcripts)
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


WRITERS: dict[str, Callable[[Iterable[Transcript]], Iterator[str]]] = {
    "text": write_text,
    "trn": write_trn,
    "ctm": write_ctm,
    "stm": write_stm,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "json": write_json,
    "srt": write_srt,
    "vtt": write_vtt,
}
