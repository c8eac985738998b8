"""Reads transcripts in NIST's formats and in Kaldi's (see `transcript_writers`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from asr.formats.records import keyed, lines_of, number_of, seconds_of
from asr.formats.transcript_writers import Transcript
from lm.errors import InputError

IGNORED = "ignore_time_segment_in_scoring"  # NIST's mark of a segment that is not scored


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

    Segments of one file are joined in the order of the lines. Segments that are marked as not to be
    scored are left out.
    """
    texts: dict[str, list[str]] = {}
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
        texts.setdefault(utt, []).append(said)
        about[utt] = (speaker, max(end, about[utt][1] if utt in about else end))
    joined = {utt: " ".join(" ".join(said).split()) for utt, said in texts.items()}
    return [
        Transcript(utt, text, speaker=about[utt][0], duration=about[utt][1])
        for utt, text in joined.items()
    ]


def read_ctm(path: Path) -> list[Transcript]:
    """NIST's time-marked words: `UTT CHANNEL START DURATION WORD [CONFIDENCE]`, in any order.

    Such a file does not contain utterances without words.
    """
    words: dict[str, list[tuple[float, float, str, float | None]]] = {}
    channels: dict[str, str] = {}
    for line, where in lines_of(path):
        if line.startswith(";;"):
            continue
        parts = line.split()
        if len(parts) not in (5, 6):
            raise InputError(f"{where}: not a line UTT CHANNEL START DURATION WORD [CONFIDENCE]")
        _one_channel(channels, parts[0], parts[1], where)
        start, duration = (seconds_of(value, where) for value in parts[2:4])
        sure = number_of(parts[5], where, "confidence") if len(parts) == 6 else None
        words.setdefault(parts[0], []).append((start, start + duration, parts[4], sure))
    found = []
    for utt, marked in words.items():
        marked.sort(key=lambda entry: entry[0])
        starts, ends, text, sure_of = zip(*marked, strict=True)
        confidence = () if None in sure_of else sure_of
        found.append(Transcript(utt, " ".join(text), starts, ends, confidence))
    return found


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
