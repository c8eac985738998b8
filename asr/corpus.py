"""Utterances from manifests, tables, LibriSpeech folders and folders of audio files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asr.audio import NOISES, RATE, Noise, load_audio, mix_noise
from lm.errors import InputError
from lm.files import whole_file
from lm.text.json_values import parse_json
from lm.text.prose import open_text
from lm.text.unpacked import STARTS

STRUCTURED = {"noise", "tags"}  # keys whose values are objects; in tables they are JSON
LARGEST = 1e9  # seconds, Hz and channels; more is an error of the manifest
LONGEST_NAME = 255  # bytes of the name of a file or a folder
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".sph"}


@dataclass(frozen=True)
class Utterance:
    """One utterance.

    Attributes:
        id: Name that is unique in its corpus.
        audio_filepath: File that libsndfile reads.
        text: Reference; None where there is none. An empty text is a reference.
        offset: Start within the file, seconds.
        duration: Length, seconds; None reads to the end of the file.
        speaker: Name of the speaker.
        channel: Number of the channel in the file, from 0; None averages all channels.
        sample_rate: Sampling rate according to the manifest, Hz; the file must have the same.
        noise: Noise that is added when the audio is loaded.
        tags: All other values of the manifest: accent, kind, …
    """

    id: str
    audio_filepath: Path
    text: str | None = None
    offset: float = 0.0
    duration: float | None = None
    speaker: str | None = None
    channel: int | None = None
    sample_rate: int | None = None
    noise: Noise | None = None
    tags: Mapping[str, str | float] = field(default_factory=dict)


def read_corpus(path: str | Path) -> list[Utterance]:
    """Reads a corpus.

    Args:
        path: A JSONL manifest with NeMo's keys (`audio_filepath`, `offset`, `duration`, `text`)
            and optionally `id`, `speaker`, `channel`, `sample_rate`, `noise`
            {`kind`, `snr_db`, `seed`} and `tags`; a .csv or .tsv table with such columns, where
            `noise` and `tags` are JSON; a folder in LibriSpeech's layout (`*.trans.txt` beside the
            audio); or a folder of audio files, which have no references. Audio paths are relative
            to the manifest.

    Raises:
        InputError: The corpus is missing or malformed, with file and line; or an id occurs twice.
    """
    path = Path(path)
    if path.is_dir():
        found = list(_read_folder(path))
        if not found:
            raise InputError(f"{path}: the folder has neither *.trans.txt nor audio files")
    elif not path.is_file():
        raise InputError(f"{path}: no such manifest or folder")
    elif _kind(path) in (".csv", ".tsv"):
        found = list(_read_table(path))
    else:
        found = list(_read_manifest(path))
    seen: dict[str, Path] = {}
    for utterance in found:
        if utterance.id in seen:
            raise InputError(
                f"{path}: id {utterance.id!r} occurs twice ({seen[utterance.id]} and "
                f"{utterance.audio_filepath}); make the ids unique"
            )
        seen[utterance.id] = utterance.audio_filepath
    return found


def _kind(path: Path) -> str:
    """The ending of a file's name, without that of its compression."""
    return Path(path.stem).suffix if path.suffix in STARTS else path.suffix


def _read_manifest(path: Path) -> Iterator[Utterance]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        entry = parse_json(line, where, "write one object a line")
        if not isinstance(entry, dict):
            raise InputError(f"{where}: not a JSON object; write one object a line")
        yield _utterance(entry, path.parent, where)


def _read_table(path: Path) -> Iterator[Utterance]:
    delimiter = "\t" if _kind(path) == ".tsv" else ","
    # A quotation mark without its partner would hide all lines up to the next one.
    rows = csv.DictReader(_lines(path), delimiter=delimiter, strict=True)
    try:
        names = rows.fieldnames or []
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(
                f"{path}, line 1: there are two columns {twice[0]!r}; keep or rename one of them"
            )
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if None in row or None in row.values():
                raise InputError(
                    f"{where}: the line does not have as many fields as the header; add or remove "
                    "separators"
                )
            # An empty field is a missing value, but an empty reference is a reference.
            entry: dict[str, Any] = {k: v for k, v in row.items() if v != "" or k == "text"}
            for key in STRUCTURED & entry.keys():
                entry[key] = parse_json(entry[key], f"{where}: `{key}`", "write a JSON object")
            yield _utterance(entry, path.parent, where)
    except csv.Error as error:
        raise InputError(
            f"{path}, line {rows.line_num}: not a table ({error}); a quotation mark in a field is "
            "written twice, and the field in quotation marks"
        ) from error


def _read_folder(folder: Path) -> Iterator[Utterance]:
    transcripts = sorted(folder.rglob("*.trans.txt"))
    if not transcripts:
        for audio in sorted(folder.rglob("*")):
            if audio.suffix.lower() in AUDIO_SUFFIXES:
                name = str(audio.relative_to(folder).with_suffix(""))
                yield Utterance(_written(name, f"{folder}: the name of a file"), audio)
        return
    for transcript in transcripts:
        for _, utt, text in _kaldi_lines(transcript):
            audio = transcript.parent / f"{utt}.flac"
            yield Utterance(utt, audio, text, speaker=utt.split("-")[0])


def _utterance(entry: Mapping[str, Any], folder: Path, where: str) -> Utterance:
    """One entry of a manifest; unknown keys become tags."""
    rest = dict(entry)
    if "audio_filepath" not in rest:
        raise InputError(f"{where}: key `audio_filepath` is missing; add it or remove the line")
    file = rest.pop("audio_filepath")
    if not isinstance(file, str) or not file or "\0" in file:
        raise InputError(f"{where}: `audio_filepath` is {file!r}, not a path")
    if any(len(part.encode()) > LONGEST_NAME for part in Path(file).parts):
        raise InputError(
            f"{where}: `audio_filepath` is too long for the name of a file; shorten it"
        )
    audio = folder / file
    offset = _number(rest.pop("offset", 0.0), "offset", where)
    name = audio.stem if offset == 0 else f"{audio.stem}-{offset:.10g}"
    duration = rest.pop("duration", None)
    text = rest.pop("text", None)
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: `text` is {text!r}, not a string")
    channel, rate = rest.pop("channel", None), rest.pop("sample_rate", None)
    speaker = rest.pop("speaker", None)
    utt = rest.pop("id", None)
    noise = _noise(rest.pop("noise", None), where)
    tags = rest.pop("tags", {})
    if not isinstance(tags, dict):
        raise InputError(f"{where}: `tags` is {tags!r}, not an object")
    return Utterance(
        id=name if utt is None else _name(utt, "id", where),
        audio_filepath=audio,
        text=text,
        offset=offset,
        duration=None if duration is None else _number(duration, "duration", where),
        speaker=None if speaker is None else _name(speaker, "speaker", where),
        channel=None if channel is None else _whole(channel, "channel", where),
        sample_rate=None if rate is None else _whole(rate, "sample_rate", where),
        noise=noise,
        tags={key: _tag(value) for key, value in {**rest, **tags}.items()},
    )


def _name(value: Any, key: str, where: str) -> str:
    """The name of an utterance or of a speaker, which may be a number."""
    name = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not name.strip():
        raise InputError(f"{where}: `{key}` is {value!r}, not a name; correct or remove it")
    if len(name.splitlines()) > 1:
        raise InputError(f"{where}: `{key}` {name!r} has line breaks; write another name")
    return name


def _written(name: str, what: str) -> str:
    """A name of the file system that can be written as UTF-8.

    Raises:
        InputError: It cannot, as the names of files are bytes.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what}, {name!r}, is not UTF-8; rename the file") from error
    return name


def _tag(value: Any) -> Any:
    """The value of a tag; a list or an object becomes its JSON text, by which one can group."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _number(value: Any, key: str, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError("true and false are no numbers")
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: `{key}` is {value!r}, not a number") from error
    if not 0 <= number < math.inf:
        raise InputError(f"{where}: `{key}` is {value!r}; it must be finite and not negative")
    if number > LARGEST:
        raise InputError(f"{where}: `{key}` is {value!r}; it must not be above {LARGEST:g}")
    return number


def _whole(value: Any, key: str, where: str) -> int:
    number = _number(value, key, where)
    if number % 1:
        raise InputError(f"{where}: `{key}` is {value!r}; it must be a whole number")
    return int(number)


def _noise(value: Any, where: str) -> Noise | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"kind", "snr_db", "seed"}:
        raise InputError(f"{where}: `noise` needs exactly the keys kind, snr_db and seed")
    if not isinstance(value["kind"], str) or value["kind"] not in NOISES:
        raise InputError(f"{where}: noise of kind {value['kind']!r}; known: {', '.join(NOISES)}")
    try:
        noise = Noise(value["kind"], float(value["snr_db"]), int(value["seed"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: `noise` {value!r} has a value that is not a number") from error
    if not math.isfinite(noise.snr_db) or noise.seed < 0:
        raise InputError(
            f"{where}: `noise` {value!r} needs a finite snr_db and a seed of 0 or more"
        )
    return noise


def load_utterance(utterance: Utterance, rate: int = RATE) -> np.ndarray:
    """The audio of an utterance with its noise, (samples,) float32.

    Raises:
        InputError: As `load_audio`; the message names the utterance.
    """
    try:
        signal = load_audio(
            utterance.audio_filepath,
            rate,
            utterance.offset,
            utterance.duration,
            utterance.channel,
            utterance.sample_rate,
        )
    except InputError as error:
        raise InputError(f"utterance {utterance.id}: {error}") from error
    return signal if utterance.noise is None else mix_noise(signal, utterance.noise)


def write_manifest(utterances: Iterable[Utterance], path: str | Path) -> None:
    """Writes a JSONL manifest.

    The path of an audio file below the manifest's folder is written relative to that folder.

    Raises:
        OSError: The file cannot be written.
    """
    folder = Path(path).parent
    entries = (_entry(utterance, folder) for utterance in utterances)
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def _entry(utterance: Utterance, folder: Path) -> dict[str, Any]:
    audio = utterance.audio_filepath.resolve()
    if audio.is_relative_to(folder.resolve()):
        audio = audio.relative_to(folder.resolve())
    noise = utterance.noise
    entry = {
        "id": utterance.id,
        "audio_filepath": str(audio),
        "offset": utterance.offset or None,
        "duration": utterance.duration,
        "text": utterance.text,
        "speaker": utterance.speaker,
        "channel": utterance.channel,
        "sample_rate": utterance.sample_rate,
        "noise": noise and {"kind": noise.kind, "snr_db": noise.snr_db, "seed": noise.seed},
        "tags": dict(utterance.tags) or None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _kaldi_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, utterance and text of each line."""
    for number, line in enumerate(_lines(path), 1):
        utt, *text = line.split(maxsplit=1) or [""]
        if utt:
            yield number, utt, "".join(text).strip()


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file."""
    with open_text(path) as lines:
        yield from lines
