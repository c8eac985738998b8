"""Synthetic speech: the bundled demo's audio and the training speech of its acoustic model.

    python -m experiments.demo.synthesise demo --sentences experiments/demo/sentences.tsv \\
        -o experiments/demo
    python -m experiments.demo.synthesise train TEXT... --hours 20 --seed 1 -o FOLDER

`demo` is reproducible to the bit, except for the Opus coder. `train` speaks everything in one
process, which is faster: its texts, voices and noise are reproducible, and its samples nearly so
(see `experiments.demo.espeak`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
import soundfile
from tqdm import tqdm

from experiments.demo.espeak import RATE, Espeak, synthesise, synthesise_all
from experiments.demo.voices import DEV_VOICES, TEST_VOICES, TRAIN_VOICES, Voice
from lm.errors import InputError, SecondpassError
from lm.files import whole_file

__all__ = [
    "DEV_VOICES",
    "TEST_VOICES",
    "TRAIN_VOICES",
    "Voice",
    "cast_demo",
    "make_demo",
    "make_training",
    "read_sentences",
    "synthesise",
    "synthesise_all",
]

LINE = re.compile(r"[a-z']+(?: [a-z']+)*")
OPUS_LEVEL = 0.965  # compression level of libsndfile, 0 to 1; about 18 kbit/s
CONDITIONS: tuple[tuple[str, int] | None, ...] = (
    *[None] * 9,  # one third clean, two ninths at each signal-to-noise ratio
    *[(kind, snr) for kind in ("white", "pink", "brown") for snr in (20, 10, 5)] * 2,
)
TRAIN_WORDS = (3, 30)  # words of a line that is spoken
TRAIN_RATES = (130, 210)  # words per minute
TRAIN_PITCHES = (20, 80)
TRAIN_SNR = (3.0, 30.0)  # dB
VALID_EVERY = 100  # one training line of 100 is held out
FILES_PER_FOLDER = 1000

Row = dict[str, object]  # one row of a manifest


def _digest(text: str) -> int:
    """A number below 2^31 that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def read_sentences(path: Path) -> list[dict[str, str]]:
    """Reads the demo's sentences: a TSV with the columns id, kind, split (dev or test), text.

    Raises:
        InputError: A column is missing, an id occurs twice, a split is unknown, or a text has
            other characters than lower-case letters, apostrophes and single spaces.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a TSV with columns id, kind, split, text")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    columns = rows[0] if rows else []
    if not {"id", "kind", "split", "text"} <= set(columns):
        raise InputError(f"{path}:1: the header must have the columns id, kind, split, text")
    sentences: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        sentence = dict(zip(columns, row, strict=False))
        where = f"{path}:{number}"
        if len(row) != len(columns):
            raise InputError(
                f"{where}: {len(row)} values, but the header has {len(columns)} columns"
            )
        if sentence["id"] in sentences:
            raise InputError(f"{where}: id {sentence['id']} occurs twice")
        if sentence["split"] not in ("dev", "test"):
            raise InputError(f"{where}: unknown split {sentence['split']!r}; write dev or test")
        if not LINE.fullmatch(sentence["text"]):
            raise InputError(f"{where}: write the text in lower-case letters and apostrophes only")
        sentences[sentence["id"]] = sentence
    return list(sentences.values())


def cast_demo(sentences: Sequence[dict[str, str]], split: str) -> list[tuple[Voice, Row]]:
    """Decides who speaks each sentence of a split, how fast and in what noise.

    Voices, rates and noises are balanced and spread by a hash of the ids, so nothing depends on the
    order of the sentences or on a random generator.

    Returns:
        For each sentence, in the given order, its voice and its manifest row without the audio.
    """
    voices = DEV_VOICES if split == "dev" else TEST_VOICES
    chosen = [sentence for sentence in sentences if sentence["split"] == split]
    hashed = sorted(chosen, key=lambda sentence: _digest(sentence["id"]))
    places = {sentence["id"]: place for place, sentence in enumerate(hashed)}
    cast: list[tuple[Voice, Row]] = []
    for sentence in chosen:
        turn, member = divmod(places[sentence["id"]], len(voices))
        voice = voices[member]
        voice = replace(voice, rate=voice.rate + (-20, 0, 20)[(turn + member) % 3])
        # 7 and 27 have no common factor, so every voice gets all conditions, each in another order
        condition = CONDITIONS[(7 * turn + 5 * member) % len(CONDITIONS)]
        tags = {
            "kind": sentence["kind"],
            "accent": voice.accent,
            "rate": voice.rate,
            "snr": f"{condition[1]} dB" if condition else "clean",
        }
        row: Row = {
            "id": sentence["id"],
            "text": sentence["text"].upper(),
            "speaker": voice.name,
            "tags": tags,
        }
        if condition:
            kind, snr = condition
            row["noise"] = {"kind": kind, "snr_db": snr, "seed": _digest(f"noise {sentence['id']}")}
        cast.append((voice, row))
    return cast


def make_demo(sentences: Path, output: Path, processes: int = 1) -> int:
    """Writes `dev.jsonl`, `test.jsonl` and `audio/{dev,test}/ID.opus` under a folder.

    Returns:
        The size of all the speech in bytes.
    """
    read = read_sentences(sentences)
    size = 0
    for split in ("dev", "test"):
        cast = cast_demo(read, split)
        folder = output / "audio" / split
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [
            (str(row["text"]).lower(), voice, _digest(f"voice {row['id']}")) for voice, row in cast
        ]
        spoken = tqdm(synthesise_all(jobs, processes), desc=split, total=len(jobs), unit="utt")
        with (
            whole_file(output / f"{split}.jsonl") as temporary,
            open(temporary, "w", encoding="utf-8") as manifest,
        ):
            for (_, row), samples in zip(cast, spoken, strict=True):
                path = folder / f"{row['id']}.opus"
                _write_audio(path, samples)
                size += path.stat().st_size
                _write_row(manifest, path.relative_to(output), samples, row)
    return size


def read_lines(texts: Sequence[Path]) -> list[str]:
    """Reads the lines of text files that have 3 to 30 words, each distinct line once.

    Raises:
        InputError: A file is missing, or a line has other characters than lower-case letters and
            apostrophes.
    """
    lines: dict[str, None] = {}
    for path in texts:
        if not path.is_file():
            raise InputError(f"{path}: no such text file")
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if text and not LINE.fullmatch(text):
                    raise InputError(
                        f"{path}:{number}: write the text in lower-case letters, apostrophes and "
                        "single spaces only"
                    )
                if TRAIN_WORDS[0] <= len(text.split()) <= TRAIN_WORDS[1]:
                    lines[text] = None
    if not lines:
        raise InputError(f"{texts[0]}: no line of {TRAIN_WORDS[0]} to {TRAIN_WORDS[1]} words")
    return list(lines)


def cast_training(
    lines: Sequence[str], seed: int, noisy: float
) -> Iterator[tuple[str, int, Voice, Row]]:
    """Draws lines in random order, with speakers, without end.

    When all lines are drawn it starts again with other voices; held-out lines come only once.

    Args:
        lines: Lines to speak.
        seed: Random seed of all draws.
        noisy: Share of utterances that get noise, 0 to 1.

    Yields:
        Split (train or valid), seed of the synthesiser, voice, manifest row without the audio.
    """
    generator = random.Random(seed)
    order = list(range(len(lines)))
    generator.shuffle(order)
    number = 0
    for turn in range(1 << 30):
        for place, index in enumerate(order):
            held_out = place % VALID_EVERY == 0 and len(lines) >= VALID_EVERY
            if held_out and turn:
                continue
            voice = replace(
                generator.choice(TRAIN_VOICES),
                rate=generator.randint(*TRAIN_RATES),
                pitch=generator.randint(*TRAIN_PITCHES),
            )
            row: Row = {
                "id": f"{number:07d}",
                "text": lines[index].upper(),
                "speaker": voice.name,
                "tags": {"accent": voice.accent, "rate": voice.rate},
            }
            if generator.random() < noisy:
                row["noise"] = {
                    "kind": generator.choice(("white", "pink", "brown")),
                    "snr_db": round(generator.uniform(*TRAIN_SNR), 1),
                    "seed": generator.getrandbits(31),
                }
            yield "valid" if held_out else "train", generator.getrandbits(31), voice, row
            number += 1


def make_training(
    texts: Sequence[Path],
    output: Path,
    hours: float,
    seed: int = 1,
    noisy: float = 0.5,
    audio_format: str = "flac",
) -> None:
    """Synthesises lines of texts, in this process, until there are `hours` of audio.

    It writes `audio/NNNN/ID.flac` (or `.wav`, both with 16 bits, or `.opus` as in the demo, which
    takes ten times as long), `train.jsonl` and `valid.jsonl` under a folder.

    Raises:
        InputError: The folder has a training corpus already, or see `read_lines`.
    """
    if (output / "train.jsonl").exists():
        raise InputError(f"{output}: has a training corpus already; give another folder")
    drawn = cast_training(read_lines(texts), seed, noisy)
    espeak = Espeak()
    left = round(hours * 3600 * RATE)
    seconds = round(hours * 3600)
    with (
        # train.jsonl marks a finished corpus, so it gets its name last: outermost.
        whole_file(output / "train.jsonl") as train_path,
        whole_file(output / "valid.jsonl") as valid_path,
        open(train_path, "w", encoding="utf-8") as train,
        open(valid_path, "w", encoding="utf-8") as valid,
        tqdm(total=seconds, unit="s", unit_scale=True, desc="speech") as progress,
    ):
        while left > 0:
            split, flutter, voice, row = next(drawn)
            samples = espeak.speak(str(row["text"]).lower(), voice, flutter)
            number = int(str(row["id"]))
            path = output / "audio" / f"{number // FILES_PER_FOLDER:04d}" / f"{row['id']}"
            path = path.with_suffix(f".{audio_format}")
            if number % FILES_PER_FOLDER == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            _write_audio(path, samples)
            _write_row(valid if split == "valid" else train, path.relative_to(output), samples, row)
            left -= len(samples)
            progress.update(min(len(samples) / RATE, seconds - progress.n))


def _write_audio(path: Path, samples: np.ndarray) -> None:
    if path.suffix == ".opus":
        soundfile.write(
            path, samples, RATE, format="OGG", subtype="OPUS", compression_level=OPUS_LEVEL
        )
    else:
        soundfile.write(path, samples, RATE, subtype="PCM_16")


def _write_row(manifest: TextIO, audio: Path, samples: np.ndarray, row: Row) -> None:
    head: Row = {"audio_filepath": audio.as_posix(), "duration": round(len(samples) / RATE, 4)}
    manifest.write(json.dumps(head | row, ensure_ascii=False) + "\n")


def _parser() -> argparse.ArgumentParser:
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("experiments.demo.synthesise", description=description)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the speech and manifests of the demo")
    demo.add_argument("--sentences", type=Path, required=True, help="TSV: id, kind, split, text")
    demo.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
    demo.add_argument(
        "--processes", type=int, default=1, help="number of processes that speak (default: 1)"
    )
    train = commands.add_parser("train", help="speech to train an acoustic model on")
    train.add_argument("texts", type=Path, nargs="+", metavar="TEXT", help="a sentence a line")
    train.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
    train.add_argument("--hours", type=float, default=20.0, help="hours of speech (default: 20)")
    train.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    train.add_argument(
        "--noisy", type=float, default=0.5, help="share of utterances with noise (default: 0.5)"
    )
    train.add_argument(
        "--format",
        choices=("flac", "wav", "opus"),
        default="flac",
        help="audio format (default: flac)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "demo":
            size = make_demo(args.sentences, args.output, args.processes)
            print(f"{args.output}: {size / 1e6:.2f} MB of speech")
        else:
            make_training(args.texts, args.output, args.hours, args.seed, args.noisy, args.format)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SecondpassError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
