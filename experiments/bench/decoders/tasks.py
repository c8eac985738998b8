"""Input of the decoders: emissions of our own models, and long ones that are made from text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from asr.corpus import read_corpus
from asr.emissions import Emissions
from asr.options import Acoustic
from experiments.bench.decoders.interface import Fusion
from experiments.bench.decoders.synthetic_emissions import (
    CHANNELS,
    FRAME_SECONDS,
    Units,
    synthesise,
)
from experiments.comparison.pipeline import emit_stage
from experiments.comparison.stages import Recipe, fingerprint, run_stage
from experiments.demo.bundled import FOLDER as DEMO
from lm.errors import InputError
from lm.text.prose import open_text

T = TypeVar("T")
PROJECT = DEMO.parent.parent
RUNS = Path("runs")  # of the current folder, where the recipes put their models
FRAMES = 500  # frames of an utterance that is made from text: 10 s
WORDS = range(24, 31)  # number of words that people speak in 10 s
PIECES = 1000
SENTENCES = 10_000  # sentences from which pieces and n-gram models of labels are estimated
ORDER = {"characters": 6, "pieces": 4}  # orders of the n-gram models of labels


@dataclass(frozen=True)
class Sounds:
    """Utterances in the form that a decoder takes.

    Attributes:
        log_probs: Log-probs of each utterance, (T, V) float32, natural log.
        references: Reference text of each utterance.
        seconds: Length of all audio.
    """

    log_probs: Sequence[np.ndarray]
    references: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class Task:
    """Utterances that share a vocabulary and language models.

    Attributes:
        name: Name in the tables.
        units: The vocabulary.
        fusion: The language models and their weights.
        sets: Sets of utterances by name.
    """

    name: str
    units: Units
    fusion: Fusion
    sets: Mapping[str, Sounds]


class Missing(InputError):
    """An input of a task is missing. The message names it and says what makes it."""


def shared_data() -> Path:
    """The folder of real data."""
    return Path(os.environ.get("SECONDPASS_DATA", PROJECT.parent / "shared" / "data"))


def need(path: Path, remedy: str) -> Path:
    """The path, if it exists.

    Raises:
        Missing: It does not exist.
    """
    if not path.exists():
        raise Missing(f"{path} is missing; {remedy}")
    return path


def need_data(name: str) -> Path:
    """A file of the real data.

    Raises:
        Missing: It does not exist.
    """
    return need(shared_data() / name, "set SECONDPASS_DATA to the folder that has it")


def an4(utterances: int, work: Path) -> Task:
    """AN4's test utterances, with our acoustic model of AN4."""
    made = "experiments/configs/README.md has the commands that make it (section AN4)"
    model = need(RUNS / "an4" / "acoustic", made)
    lm = need(RUNS / "an4" / "3gram.arpa", made)
    manifest = need_data("an4/test.jsonl")
    fusion = Fusion(str(lm), label_model("characters", work), beta=1.0)
    return recorded("an4", manifest, model, fusion, utterances, work)


def demo(utterances: int, work: Path) -> Task:
    """The bundled demo's test utterances, two thirds of them noisy."""
    fusion = Fusion(str(DEMO / "lm.arpa.gz"), label_model("characters", work), beta=1.0)
    return recorded("demo", DEMO / "test.jsonl", DEMO / "acoustic", fusion, utterances, work)


def recorded(
    name: str, manifest: Path, model: Path, fusion: Fusion, utterances: int, work: Path
) -> Task:
    """Evenly chosen utterances of a corpus, with an acoustic model; emissions are kept.

    The utterances are short, so there are four times as many as of those made from text.
    """
    corpus = evenly(read_corpus(manifest), 4 * utterances)
    stage = emit_stage(f"bench-{name}", corpus, Acoustic(str(model)), work)
    emissions = Emissions.open(stage.folder / "emissions")
    references = {u.id: u.text or "" for u in corpus}
    log_probs = [values for _, values in emissions]
    seconds = sum(map(len, log_probs)) * emissions.meta.frame_seconds
    sounds = Sounds(log_probs, [references[utt] for utt in emissions.ids], seconds)
    return Task(name, Units(emissions.meta.vocabulary), fusion, {"test": sounds})


def characters(utterances: int, work: Path) -> Task:
    """LibriSpeech sentences in 29 characters."""
    fusion = Fusion(librispeech_model(), label_model("characters", work))
    return made_of("characters", Units.characters(), librispeech(utterances), fusion)


def pieces(utterances: int, work: Path) -> Task:
    """LibriSpeech sentences in 1,000 byte-pair pieces."""
    fusion = Fusion(librispeech_model(), label_model("pieces", work))
    return made_of("pieces", librispeech_pieces(), librispeech(utterances), fusion)


def librispeech_model() -> str:
    """A word 4-gram model."""
    made = "experiments/configs/README.md has the command that makes it (section LibriSpeech)"
    return str(need(RUNS / "librispeech" / "4gram.arpa.gz", made))


def librispeech(utterances: int) -> list[str]:
    """Test sentences that take about 10 s."""
    with open_text(need_data("librispeech-10best/test_clean.jsonl.xz")) as lines:
        references = [json.loads(line)["ref"] for line in lines]
    fitting = [text for text in references if len(text.split()) in WORDS]
    return evenly(fitting, utterances)


def librispeech_pieces() -> Units:
    """The pieces, estimated from LibriSpeech's training transcripts."""
    return Units.pieces(training_text(), PIECES)


def training_text() -> Iterator[str]:
    """Transcripts from which pieces and n-gram models of labels are estimated."""
    with open_text(need_data("text/librispeech-train-clean-100.txt.xz")) as lines:
        yield from (line.strip() for line in islice(lines, SENTENCES))


def made_of(name: str, units: Units, sentences: Sequence[str], fusion: Fusion) -> Task:
    """Emissions of sentences for each channel; they are the same in every run."""
    sets = {}
    for number, (channel, heard) in enumerate(CHANNELS[units.vocabulary.kind].items()):
        log_probs = [
            synthesise(
                units.spell(text),
                units.vocabulary,
                heard,
                FRAMES,
                np.random.default_rng([number, i]),
            )
            for i, text in enumerate(sentences)
        ]
        sets[channel] = Sounds(log_probs, sentences, len(sentences) * FRAMES * FRAME_SECONDS)
    return Task(name, units, fusion, sets)


def label_model(kind: str, work: Path) -> str | None:
    """An n-gram model of labels, estimated by `secondpass ngram`; None if its text is missing."""
    try:
        source = need_data("text/librispeech-train-clean-100.txt.xz")
    except Missing:
        return None
    units = Units.characters() if kind == "characters" else librispeech_pieces()

    def make(folder: Path) -> None:
        text, model = folder / "labels.txt", folder / "labels.arpa"
        lines = (" ".join(units.spelled(line)) for line in training_text())
        text.write_text("\n".join([*lines, ""]), encoding="utf-8")
        command = [sys.executable, "-m", "experiments", "ngram", str(text), "-o", str(model)]
        command += ["--order", str(ORDER[kind]), "--discount-fallback"]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")

    inputs = {
        "text": fingerprint(source),
        "sentences": SENTENCES,
        "order": ORDER[kind],
        "labels": list(units.vocabulary.labels),
    }
    return str(run_stage(work, Recipe(f"bench-labels-{kind}", inputs), make).folder / "labels.arpa")


def bundled(utterances: int, work: Path) -> Task:
    """A task that needs bundled data only: pairs of the demo's sentences, in characters."""
    sentences = [u.text or "" for u in read_corpus(DEMO / "test.jsonl")]
    longest = sorted(sentences, key=len)[-2 * utterances :]
    pairs = [" ".join(pair) for pair in zip(longest[::2], longest[1::2], strict=True)]
    return made_of("bundled", Units.characters(), pairs, Fusion(str(DEMO / "lm.arpa.gz")))


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` items, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


# Each function takes the number of utterances in a set, and the folder for files that are kept.
TASKS: dict[str, Callable[[int, Path], Task]] = {
    "an4": an4,
    "demo": demo,
    "characters": characters,
    "pieces": pieces,
}
