"""N-best lists and a model of GPT-2's size, with which rescoring is measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from asr.formats.nbest_import import import_nbest
from asr.nbest import build_nbest, read_nbest, write_nbest
from asr.options import DecoderOptions
from experiments.bench.decoders.interface import WIDE
from experiments.bench.decoders.tasks import (
    TASKS,
    Missing,
    Task,
    bundled,
    evenly,
    need_data,
    training_text,
)
from experiments.comparison.stages import Recipe, fingerprint, run_stage

LONGEST = 100  # length of our own decoder's lists, and width of its beam
# Pieces of the tokenizer. With this number a word of LibriSpeech has about 1.2 tokens, as with
# GPT-2's own 50,257 pieces, which were made from other text.
PIECES = 8000
VOCABULARY = 50_257


@dataclass(frozen=True)
class Lists:
    """N-best lists with their references.

    Attributes:
        name: Name in the tables.
        table: N-best table.
        references: Reference texts by utterance.
    """

    name: str
    table: pd.DataFrame
    references: Mapping[str, str]

    def chosen(self, utterances: list[str]) -> Lists:
        """The N-best lists of some utterances."""
        rows = self.table[self.table["utt"].isin(utterances)].reset_index(drop=True)
        return Lists(self.name, rows, {utt: self.references[utt] for utt in utterances})

    def sample(self, most: int) -> Lists:
        """Evenly chosen N-best lists; 0 takes all."""
        utterances = list(self.references)
        return self.chosen(evenly(utterances, most)) if most else self


def librispeech(part: str) -> Lists:
    """The 10-best lists of a public system for `test_clean`, `dev_clean` or `dev_other`."""
    found = import_nbest(need_data(f"librispeech-10best/{part}.jsonl.xz"), "jsonl")
    return Lists(f"LibriSpeech {part}, 10-best", found.table, found.references or {})


def decoded(name: str, task: Task, part: str, work: Path) -> Lists:
    """N-best lists that our decoder makes from a task's emissions, with the task's n-gram model."""
    sounds = task.sets[part]
    options = DecoderOptions(
        lm=task.fusion.lm,
        alpha=task.fusion.alpha,
        beta=task.fusion.beta,
        beam_width=LONGEST,
        nbest=LONGEST,
        token_min_logp=WIDE.token_min_logp,
        beam_prune_logp=WIDE.beam_prune_logp,
    )

    def make(folder: Path) -> None:
        from asr.beam import BeamDecoder

        decoder = BeamDecoder.build(task.units.vocabulary, options)
        names = (f"{number:05}" for number in range(len(sounds.references)))
        found = {
            utt: decoder.decode(log_probs)
            for utt, log_probs in zip(names, sounds.log_probs, strict=False)
        }
        write_nbest(build_nbest(found), folder / "nbest.parquet")
        references = dict(zip(found, sounds.references, strict=True))
        (folder / "references.json").write_text(json.dumps(references), encoding="utf-8")

    inputs = {
        "lm": fingerprint(task.fusion.lm),
        "options": {"beam": LONGEST, "alpha": options.alpha, "beta": options.beta},
        "part": part,
        "references": list(sounds.references),
    }
    folder = run_stage(work, Recipe(f"bench-lists-{name}", inputs), make).folder
    references = json.loads((folder / "references.json").read_text(encoding="utf-8"))
    return Lists(f"{name}, {LONGEST}-best", read_nbest(folder / "nbest.parquet"), references)


# Each function takes the number of utterances, and the folder for files that are kept.
LISTS: dict[str, Callable[[int, Path], Lists]] = {
    "librispeech": lambda most, work: librispeech("test_clean").sample(most),
    "demo": lambda most, work: decoded(
        "demo", TASKS["demo"](-(-most // 4), work), "test", work
    ).sample(most),
    "noisy": lambda most, work: decoded("noisy", TASKS["characters"](most, work), "noisy", work),
    "bundled": lambda most, work: decoded("bundled", bundled(most, work), "noisy", work),
}


def spoken(lists: Lists) -> list[str]:
    """Lower-case text for a tokenizer: LibriSpeech's, or the lists' if that is missing."""
    try:
        return [line.lower() for line in training_text()]
    except Missing:
        return lists.table["text"].str.lower().tolist()


def random_gpt2(lists: Lists, work: Path, tiny: bool = False) -> Path:
    """A GPT-2 with random weights, and a tokenizer whose pieces have the usual length.

    Args:
        lists: N-best lists that the model will score.
        work: Folder in which the model is kept.
        tiny: Whether the model has two narrow layers instead of GPT-2 small's size (124 M
            parameters).
    """
    text = spoken(lists)

    def make(folder: Path) -> None:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        from lm.training.causal_lm import train_tokenizer

        tokenizer = train_tokenizer(iter(text), 300 if tiny else PIECES)
        small: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2} if tiny else {}
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(tokenizer) if tiny else VOCABULARY,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **small,
        )
        GPT2LMHeadModel(config).save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")

    digest = hashlib.sha256("\n".join(text).encode()).hexdigest()
    inputs = {"pieces": PIECES, "vocabulary": VOCABULARY, "tiny": tiny, "text": digest}
    return run_stage(work, Recipe("bench-gpt2", inputs), make).folder / "model"
