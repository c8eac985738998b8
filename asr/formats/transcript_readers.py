"""Reads transcripts in NIST's formats and in Kaldi's (see `transcript_writers`)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from asr.formats.records import keyed, lines_of, number_of, seconds_of
from asr.formats.transcript_writers import Transcript
from lm.errors import InputError

# Marks of alternatives in ctm, and how stm and trn write them.
ALTERNATIVES = {"<ALT_BEGIN>": "{", "<ALT>": "/", "<ALT_END>": "}"}
IGNORED = "ignore_time_segment_in_scoring"  # NIST's mark of a segment that is not scored


class TimedWord(NamedTuple):
    """A word of a ctm file, or its alternatives.

    Attributes:
        start: Seconds; NaN for a mark, which has no time.
        end: Seconds.
        word: The word.
        confidence: 0 to 1; None if not known.
    """

    start: float
    end: float
    word: str
    confidence: float | None


def read_text(path: Path) -> list[Transcript]:
    """Kaldi's text: `UTT words…`; an utterance without words has an empty transcript."""
    return [Transcript(utt, " ".join(text.split())) for utt, text, _ in keyed(path)]


def read_trn(path: Path) -> list[Transcript]:
    """NIST's transcript format: `words… (UTT)`."""
    found = []
    for line, where in lines_of(path):
        if line.startswith(";;"):
            continue
        match = re.fullmatch(r"(.*?)\s*\(([^()\s]+)\)\s*", line)
        if match is None:
            raise InputError(f"{where}: there is no (UTT) at the end of the line")
        found.append(Transcript(match[2], " ".join(match[1].split())))
    return found


def read_stm(path: Path) -> list[Transcript]:
    """NIST's segments: `UTT CHANNEL SPEAKER START END [<LABEL>] words…`.

    Segments of one file are joined in the order of their starts. Segments that are marked as not to
    be scored are left out.
    """
    texts: dict[str, list[tuple[float, str]]] = {}
    about: dict[str, tuple[str, float]] = {}
    channels: dict[str, str] = {}
    for line, where in lines_of(path):
        if line.startswith(";;"):
            continue
        parts = line.split(maxsplit=5)
        if len(parts) < 5:
            raise InputError(f"{where}: not a line UTT CHANNEL SPEAKER START END [<LABEL>] words…")
        utt, channel, speaker, *_ = parts
        begin, end = (seconds_of(value, where) for value in parts[3:5])
        if end < begin:
            raise InputError(
                f"{where}: the segment ends at {parts[4]}, before its start at {parts[3]}"
            )
        _one_channel(channels, utt, channel, where)
        rest = parts[5:]
        said = re.sub(r"^<[^>]*>\s*", "", rest[0]) if rest else ""
        if said.strip().lower() == IGNORED:
            continue
        texts.setdefault(utt, []).append((begin, said))
        about[utt] = (speaker, max(end, about[utt][1] if utt in about else end))
    joined = {
        utt: " ".join(word for _, said in sorted(found, key=itemgetter(0)) for word in said.split())
        for utt, found in texts.items()
    }
    return [
        Transcript(utt, text, speaker=about[utt][0], duration=about[utt][1])
        for utt, text in joined.items()
    ]


def read_ctm(path: Path) -> list[Transcript]:
    """NIST's time-marked words: `UTT CHANNEL START DURATION WORD [CONFIDENCE]`, in any order.

    Such a file does not contain utterances without words. Alternatives, which `<ALT_BEGIN>`,
    `<ALT>` and `<ALT_END>` mark, become `{ a / b }` in the text, as in stm; the words of such an
    utterance have no times.
    """
    words: dict[str, list[TimedWord]] = {}
    channels: dict[str, str] = {}
    alternatives: dict[str, list[TimedWord]] = {}  # those that are not complete yet
    for line, where in lines_of(path):
        if line.startswith(";;"):
            continue
        parts = line.split()
        if len(parts) not in (5, 6):
            raise InputError(f"{where}: not a line UTT CHANNEL START DURATION WORD [CONFIDENCE]")
        utt, word = parts[0], parts[4]
        _one_channel(channels, utt, parts[1], where)
        mark = ALTERNATIVES.get(word.upper())
        if mark is not None:
            if (mark == "{") == (utt in alternatives):
                raise InputError(
                    f"{where}: {word} is not within <ALT_BEGIN> and <ALT_END>; complete the marks"
                )
            entry = alternatives.setdefault(utt, [])
            entry.append(TimedWord(math.nan, math.nan, mark, None))
            if mark == "}":
                words.setdefault(utt, []).append(_joined(alternatives.pop(utt)))
            continue
        start, duration = (seconds_of(value, where) for value in parts[2:4])
        sure = number_of(parts[5], where, "confidence") if len(parts) == 6 else None
        found = TimedWord(start, start + duration, word, sure)
        (alternatives if utt in alternatives else words).setdefault(utt, []).append(found)
    for utt in alternatives:
        raise InputError(f"{path}: {utt} has <ALT_BEGIN> without <ALT_END>; complete the marks")
    return [_transcript(utt, marked) for utt, marked in words.items()]


def _joined(alternatives: list[TimedWord]) -> TimedWord:
    """Alternatives as one entry, at the time of their first word; an empty one is `@`, no word."""
    timed = [entry for entry in alternatives if not math.isnan(entry.start)]
    start = min((entry.start for entry in timed), default=0.0)
    end = max((entry.end for entry in timed), default=0.0)
    words: list[str] = []
    for entry in alternatives:
        mark = math.isnan(entry.start)
        if mark and words and words[-1] in ("{", "/"):
            words.append("@")
        words.append(entry.word)
    return TimedWord(start, end, " ".join(words), None)


def _transcript(utt: str, marked: list[TimedWord]) -> Transcript:
    """The words of an utterance in the order of their starts."""
    ordered = sorted(marked, key=lambda entry: entry.start)
    text = " ".join(entry.word for entry in ordered)
    if len(text.split()) != len(ordered):
        return Transcript(utt, text)
    sure = [entry.confidence for entry in ordered if entry.confidence is not None]
    return Transcript(
        utt,
        text,
        [entry.start for entry in ordered],
        [entry.end for entry in ordered],
        sure if len(sure) == len(ordered) else (),
    )


def _one_channel(channels: dict[str, str], utt: str, channel: str, where: str) -> None:
    """Remembers the channel of an utterance.

    Raises:
        InputError: It is another one than before: the words of two speakers would be one text.
    """
    if channels.setdefault(utt, channel) != channel:
        raise InputError(
            f"{where}: {utt} has channels {channels[utt]} and {channel}; rename it in one of them"
        )


READERS: dict[str, Callable[[Path], list[Transcript]]] = {
    "text": read_text,
    "trn": read_trn,
    "ctm": read_ctm,
    "stm": read_stm,
}
