"""Settings of acoustic training; this module imports no torch, so that help is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lm.errors import InputError
from lm.ranges import FINITE, NOT_NEGATIVE, check_ranges
from lm.text.normalisers import DEFAULT
from lm.training.settings import (
    PRECISIONS,
    SAVED_DTYPES,
    SCHEDULES,
    TRAINING_RANGES,
    check_choice,
    check_learning_rate,
    check_share,
    check_start,
)

AUGMENTATION_RANGES = {
    "speeds": FINITE,
    "snr_db": FINITE,
    "gain_db": NOT_NEGATIVE,
    "time_masks": NOT_NEGATIVE,
    "time_width": NOT_NEGATIVE,
    "mel_masks": NOT_NEGATIVE,
    "mel_width": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class Augmentation:
    """What is done to training audio, each time in another way.

    Attributes:
        speeds: Factors of speed (and pitch); one is drawn for each utterance (Ko et al. 2015).
        noise: Share of the utterances that get white, pink or brown noise.
        snr_db: Lowest and highest signal-to-noise ratio of the noisy utterances, dB.
        gain_db: Largest change of the level, up or down, dB. It has no effect if the feature
            extractor normalises the level.
        time_masks: Number of masked stretches in a second of audio (SpecAugment, Park et al. 2019).
        time_width: Longest masked stretch, seconds.
        mel_masks: Number of masked frequency bands.
        mel_width: Widest masked band, mel bins.
    """

    speeds: tuple[float, ...] = (1.0,)
    noise: float = 0.0
    snr_db: tuple[float, ...] = (0.0, 30.0)
    gain_db: float = 0.0
    time_masks: float = 0.5
    time_width: float = 0.3
    mel_masks: int = 2
    mel_width: int = 20

    def __post_init__(self) -> None:
        check_share("augmentation.noise", self.noise)
        check_ranges(self, AUGMENTATION_RANGES)
        if not self.speeds or min(self.speeds) <= 0:
            raise InputError(
                f"`augmentation.speeds` are {list(self.speeds)}; give at least one, above 0"
            )
        if len(self.snr_db) != 2 or self.snr_db[0] > self.snr_db[1]:
            raise InputError(
                f"`augmentation.snr_db` is {list(self.snr_db)}; give the lowest and the highest"
            )


@dataclass(frozen=True)
class AcousticTraining:
    """Settings of `secondpass train-acoustic`.

    Attributes:
        output: Folder of the finished model. While training runs, it holds `checkpoints`.
        train: Training data: manifests, or anything else that `asr.corpus.read_corpus` reads.
        valid: Held-out data in the same form. Loss and word error rate are computed on them at
            every checkpoint; the finished model is the checkpoint with the fewest errors.
        normaliser: Normaliser that is applied to the references (see `lm.text.normalisers`).
        model: Model to fine-tune, a hub name or a folder; without it, a new model is trained.
        architecture: Settings of a new model: keyword arguments of transformers' AutoConfig, with
            `model_type` among them. Such a model reads Parakeet's log-mel features, and its labels
            are the characters of the references (A to Z and the apostrophe if there are no
            others) and a word delimiter.
        features: Changes to the feature extractor's settings, such as `hop_length` (samples). An
            output frame lasts hop times subsampling; speech of 20 letters a second needs more
            frames than the 25 a second of a hop of 10 ms and a subsampling of 4.
        batch_seconds: Audio of one optimiser step, seconds, padding included.
        epochs: Number of passes over the training data; fractions are allowed.
        learning_rate: Highest learning rate, which a linear warm-up reaches.
        schedule: Learning rate after the warm-up: `cosine` or `linear` decay to zero, or
            `constant`.
        warmup: Share of the steps that warm up.
        weight_decay: Weight decay of AdamW.
        precision: Precision of the computation: `float32` or `bfloat16` (autocast; the weights stay
            float32).
        augmentation: Settings of the changes that are made to training audio.
        workers: Number of processes that load audio; 0 loads it in the training process.
        save_dtype: Type of the finished model's weights: `float32` or `float16`.
        save_steps: Optimiser steps between two checkpoints, each with its evaluation.
        seed: Random seed for initial weights, order of the batches and augmentation.
    """

    output: str
    train: tuple[str, ...]
    valid: str | None = None
    normaliser: str = DEFAULT
    model: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    batch_seconds: float = 100.0
    epochs: float = 10.0
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 1e-2
    precision: str = "float32"
    augmentation: Augmentation = field(default_factory=Augmentation)
    workers: int = 0
    save_dtype: str = "float32"
    save_steps: int = 500
    seed: int = 1

    def __post_init__(self) -> None:
        check_ranges(self, {**TRAINING_RANGES, "batch_seconds": FINITE, "workers": NOT_NEGATIVE})
        if not self.train:
            raise InputError("`train` names no manifest; name at least one")
        check_start(self.model, self.architecture)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("save_dtype", self.save_dtype, SAVED_DTYPES)
        if self.save_steps < 1:
            raise InputError(f"`save_steps` is {self.save_steps}; use at least 1")
        if not (self.epochs > 0 and self.learning_rate > 0 and self.batch_seconds > 0):
            raise InputError("`epochs`, `learning_rate` and `batch_seconds` must be above 0")
        check_learning_rate(self.learning_rate)
        check_share("warmup", self.warmup)
