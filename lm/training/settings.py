"""Settings of language-model training; this module imports no torch, so that help is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lm.errors import InputError
from lm.ranges import COUNT, FINITE, NOT_NEGATIVE, SEED, check_ranges

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("float32", "bfloat16")
SAVED_DTYPES = ("float32", "float16")
HIGHEST_RATE = 1e30  # float32 has larger numbers, but optimisers multiply the learning rate
# What every training has.
TRAINING_RANGES = {
    "seed": SEED,
    "epochs": FINITE,
    "learning_rate": FINITE,
    "weight_decay": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class LoRA:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685).

    Attributes:
        rank: Rank of the matrices that are added.
        alpha: Factor of what is added, before it is divided by the rank.
        dropout: Share of the matrices' input that is dropped in training.
        targets: Endings of the names of the linear layers that get matrices; by default all linear
            layers but the output layer.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"LoRA: `rank` is {self.rank}; use at least 1")
        check_ranges(self, {"alpha": COUNT})
        if not 0 <= self.dropout < 1:
            raise InputError(f"LoRA: `dropout` is {self.dropout}; use at least 0 and less than 1")


@dataclass(frozen=True)
class LMTraining:
    """Settings of `secondpass train-lm`.

    Attributes:
        output: Folder of the finished model. While training runs, it holds `checkpoints`.
        texts: Training texts, one sentence a line; plain, .gz, .bz2 or .xz. A file that is named
            twice is read twice.
        valid: Held-out text for the perplexity, one sentence a line.
        normaliser: Normaliser that is applied to every line (see `lm.text.normalisers`).
        model: Model to fine-tune, a hub name or a folder; without it, a new model is trained.
        lora: Settings of low-rank fine-tuning: only small matrices are trained, and they are merged
            into the finished model.
        architecture: Settings of a new model: keyword arguments of transformers' AutoConfig, with
            `model_type` among them.
        vocab_size: Size of a new model's byte-level BPE vocabulary, which is trained on the texts.
        max_tokens: Longest sequence, in tokens; longer ones are cut.
        running: Whether a sequence holds as many consecutive lines as fit, each ended by EOS, so
            that the model learns from what was said before; otherwise a sequence is one line.
        batch_tokens: Tokens of one optimiser step, padding included.
        epochs: Number of passes over the texts; fractions are allowed.
        learning_rate: Highest learning rate, which a linear warm-up reaches.
        schedule: Learning rate after the warm-up: `cosine` or `linear` decay to zero, or `constant`
            for a run whose model another run will start from.
        warmup: Share of the steps that warm up.
        weight_decay: Weight decay of the hidden matrices; with `adamw`, of all weights.
        optimizer: Optimiser: `muon` (matrices by Muon, the rest by AdamW) or `adamw`.
        precision: Precision of the computation: `float32` or `bfloat16` (autocast; the weights stay
            float32).
        compile: Whether the model runs through torch.compile (on a CPU, this needs a C++ compiler).
        save_dtype: Type of the finished model's weights: `float32` or `float16`.
        save_steps: Optimiser steps between two checkpoints.
        seed: Random seed for the initial weights and the order of the batches.
    """

    output: str
    texts: tuple[str, ...]
    valid: str | None = None
    normaliser: str = "none"
    model: str | None = None
    lora: LoRA | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    vocab_size: int = 6000
    max_tokens: int = 96
    running: bool = False
    batch_tokens: int = 8192
    epochs: float = 1.0
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    warmup: float = 0.02
    weight_decay: float = 0.1
    optimizer: str = "muon"
    precision: str = "float32"
    compile: bool = False
    save_dtype: str = "float32"
    save_steps: int = 500
    seed: int = 1

    def __post_init__(self) -> None:
        check_ranges(self, {**TRAINING_RANGES, "vocab_size": COUNT})
        if not self.texts:
            raise InputError("`texts` names no file; name at least one")
        check_start(self.model, self.architecture)
        if self.lora is not None and self.model is None:
            raise InputError("`lora` fine-tunes a model; give the `model`")
        if self.lora is not None and self.optimizer == "muon":
            # Muon makes all directions of an update equally long; thin matrices have few of them.
            raise InputError("`lora` is trained by AdamW; set `optimizer: adamw`")
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("optimizer", self.optimizer, ("muon", "adamw"))
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("save_dtype", self.save_dtype, SAVED_DTYPES)
        for name, number, least in (
            ("max_tokens", self.max_tokens, 3),  # BOS, a token, EOS
            ("batch_tokens", self.batch_tokens, 1),
            ("save_steps", self.save_steps, 1),
        ):
            if number < least:
                raise InputError(f"`{name}` is {number}; use at least {least}")
        if not (self.epochs > 0 and self.learning_rate > 0):
            raise InputError("`epochs` and `learning_rate` must be above 0")
        check_learning_rate(self.learning_rate)
        check_share("warmup", self.warmup)


@dataclass(frozen=True, kw_only=True)
class MWERTraining:
    """How a model is trained on N-best lists.

    Attributes:
        epochs: Number of passes over the N-best lists; fractions are allowed.
        learning_rate: Highest learning rate of AdamW, which a linear warm-up reaches and which then
            decays to zero along a cosine.
        warmup: Share of the steps that warm up.
        weight_decay: Weight decay of AdamW.
        reference_weight: Weight of the references' cross entropy (nats), which is added to the
            expected errors of their N-best lists.
        batch_tokens: Tokens of one optimiser step, padding included; a longer N-best list is one
            step.
        checks: Number of times in an epoch that the expected errors of the held-out N-best lists
            are computed. The finished model is the one with the fewest expected errors.
        precision: Precision of the computation: `float32` or `bfloat16` (autocast; the weights stay
            float32).
        save_dtype: Type of the finished model's weights: `float32` or `float16`.
        seed: Random seed for the order of the N-best lists.
    """

    epochs: float = 2.0
    learning_rate: float = 1e-4
    warmup: float = 0.1
    weight_decay: float = 0.0
    reference_weight: float = 0.01
    batch_tokens: int = 8192
    checks: int = 4
    precision: str = "float32"
    save_dtype: str = "float32"
    seed: int = 1

    def __post_init__(self) -> None:
        check_ranges(self, {**TRAINING_RANGES, "batch_tokens": COUNT})
        check_ranges(self, {"reference_weight": NOT_NEGATIVE, "checks": FINITE})
        if not (self.epochs > 0 and self.learning_rate > 0 and self.checks > 0):
            raise InputError("`epochs`, `learning_rate` and `checks` must be above 0")
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("save_dtype", self.save_dtype, SAVED_DTYPES)
        check_learning_rate(self.learning_rate)
        check_share("warmup", self.warmup)


def check_start(model: str | None, architecture: Mapping[str, Any]) -> None:
    """Makes sure that a run either fine-tunes a model or trains a new one.

    Raises:
        InputError: Both are given, or neither is.
    """
    if (model is None) != bool(architecture):
        raise InputError(
            "give either `model` (to fine-tune it) or `architecture` (of a new model), not both"
        )


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Makes sure that a setting has one of its values.

    Raises:
        InputError: It has another.
    """
    if value not in choices:
        raise InputError(f"`{name}` is {value!r}; choose one of {', '.join(choices)}")


def check_learning_rate(value: float) -> None:
    """Makes sure that a step with this learning rate can be computed.

    Raises:
        InputError: It is no number, or far too large.
    """
    if not value <= HIGHEST_RATE:
        raise InputError(f"`learning_rate` is {value:g}; use a small number, such as 0.001")


def check_share(name: str, value: float) -> None:
    """Makes sure that a setting is a share.

    Raises:
        InputError: It is below 0 or above 1.
    """
    if not 0 <= value <= 1:
        raise InputError(f"`{name}` is {value}; use a share from 0 to 1")
