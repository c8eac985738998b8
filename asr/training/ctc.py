"""Training of acoustic models with CTC: from a configuration, or fine-tuned from a checkpoint.

The loss is the sum over a batch's utterances of -log p(y | x), Graves et al. (ICML 2006), divided
by the number of utterances, so that the learning rate does not depend on the batch's size.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForCTC,
    AutoTokenizer,
    ParakeetFeatureExtractor,
    Trainer,
    TrainingArguments,
    Wav2Vec2CTCTokenizer,
)
from transformers.trainer_utils import get_last_checkpoint

from asr.corpus import Utterance, load_utterance, read_corpus
from asr.evaluation.wer import ErrorRate, word_errors
from asr.training.augment import Augmentation, change_signal, mask_features
from lm.errors import InputError
from lm.text.normalisers import normaliser

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
PAD, DELIMITER, UNKNOWN = "<pad>", "|", "<unk>"
IGNORED = -100  # the label that transformers' CTC losses leave out
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True)
class AcousticTraining:
    """Settings of `secondpass train-acoustic`.

    Attributes:
        output: Folder of the finished checkpoint; `output/checkpoints` holds the running ones.
        train: Manifests, or anything else that `asr.corpus.read_corpus` reads.
        valid: The same, for loss and word error rate at every checkpoint; the checkpoint with the
            fewest errors is the one that is kept.
        normaliser: Applied to references (see `lm.text.normalisers`).
        model: Checkpoint to fine-tune (hub name or folder); None trains from scratch.
        architecture: Keyword arguments of transformers' AutoConfig when there is no `model`,
            `model_type` among them; its audio goes through Parakeet's log-mel features, its
            labels are letters, apostrophe and word delimiter.
        features: Changes to the feature extractor's settings, such as `hop_length`, samples: an
            output frame is hop times subsampling, and speech of 20 letters a second needs more
            than the 25 frames a second of 10 ms times 4.
        batch_seconds: Audio of one optimiser step, seconds, padding counted in.
        epochs: Passes over the training data.
        learning_rate: Peak, reached by a linear warm-up.
        schedule: What follows the warm-up: `cosine` or `linear` decay to zero, or `constant`.
        warmup: Share of the steps that warm up.
        weight_decay: Of AdamW.
        precision: `float32` or `bfloat16` (autocast; weights stay float32).
        augmentation: Of the training audio.
        workers: Processes that load audio.
        save_dtype: Of the finished checkpoint, `float32` or `float16`.
        save_steps: Optimiser steps between checkpoints and evaluations.
        seed: Of initialisation, shuffling and augmentation.
    """

    output: str
    train: tuple[str, ...]
    valid: str | None = None
    normaliser: str = "librispeech"
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
        if (self.model is None) != bool(self.architecture):
            raise InputError(
                "train-acoustic: give either `model` (fine-tune) or `architecture`, not both"
            )
        for name, value, valid in (
            ("schedule", self.schedule, tuple(SCHEDULES)),
            ("precision", self.precision, ("float32", "bfloat16")),
            ("save_dtype", self.save_dtype, ("float32", "float16")),
        ):
            if value not in valid:
                raise InputError(
                    f"train-acoustic: {name} is {value!r}; choose one of {', '.join(valid)}"
                )


def character_tokenizer(folder: Path) -> Wav2Vec2CTCTokenizer:
    """A tokenizer of letters, apostrophe and word delimiter; `<pad>` (id 0) is the CTC blank."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = [PAD, DELIMITER, *CHARACTERS, UNKNOWN]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({label: i for i, label in enumerate(labels)}))
    return Wav2Vec2CTCTokenizer(
        str(vocabulary),
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=None,
        eos_token=None,
        word_delimiter_token=DELIMITER,
    )


class SpeechBatches(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Utterances of about equal length as padded batches; one item is one whole batch."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        features: Any,
        tokenizer: Any,
        settings: AcousticTraining,
        augment: bool,
    ) -> None:
        self.features = features
        self.tokenizer = tokenizer
        self.settings = settings
        self.augment = augment
        self.utterances = list(utterances)
        self.visits = 0
        rng = np.random.default_rng(settings.seed)
        lengths = np.array([_seconds(u) for u in utterances])
        # The jitter lets an utterance meet others of about its length.
        order = np.argsort(lengths * rng.uniform(0.95, 1.05, len(lengths)), kind="stable")
        self.batches: list[np.ndarray] = []
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (
                (end + 1 - start) * lengths[order[start : end + 1]].max() <= settings.batch_seconds
            ):
                end += 1
            self.batches.append(order[start:end])
            start = end

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One batch: the feature extractor's arrays, and `labels` (B, L)."""
        self.visits += 1
        rng = np.random.default_rng((self.settings.seed, index, self.visits))
        chosen = [self.utterances[i] for i in self.batches[index]]
        rate = self.features.sampling_rate
        signals = [load_utterance(utterance, rate) for utterance in chosen]
        if self.augment:
            signals = [change_signal(s, rate, self.settings.augmentation, rng) for s in signals]
        batch = dict(
            self.features(
                signals,
                sampling_rate=rate,
                padding=True,
                return_attention_mask=True,
                return_tensors="pt",
            )
        )
        if self.augment and "input_features" in batch:
            seconds = max(map(len, signals)) / rate
            mask_features(batch["input_features"], seconds, self.settings.augmentation, rng)
        labels = [self.tokenizer(u.text or "")["input_ids"] for u in chosen]
        width = max(1, *map(len, labels))
        padded = np.full((len(labels), width), IGNORED)
        for row, ids in zip(padded, labels, strict=True):
            row[: len(ids)] = ids
        return {**batch, "labels": torch.from_numpy(padded)}


def _seconds(utterance: Utterance) -> float:
    if utterance.duration is None:
        raise InputError(
            f"utterance {utterance.id}: training needs `duration` (seconds) in the manifest"
        )
    return utterance.duration


class CTCTrainer(Trainer):
    """transformers' Trainer with our batches and the loss's sum over utterances."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The summed CTC loss of a batch over its number of utterances."""
        outputs = model(**inputs)
        loss = outputs.loss / len(inputs["labels"])
        return (loss, outputs) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Loss and greedy word error rate of a dataset: (mean over utterances, sum over counts)."""
        batches: Any = eval_dataset or self.eval_dataset
        figures = greedy_figures(self.model, batches)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


def train_acoustic(settings: AcousticTraining, resume: bool = True) -> dict[str, float]:
    """Trains an acoustic model and writes its checkpoint to `settings.output`.

    Args:
        settings: What to train on, and how.
        resume: Whether to go on from the newest checkpoint of an interrupted run.

    Returns:
        `loss` (nats an utterance), `steps`, `left_out` (utterances with more letters than CTC
        can fit into their frames) and, where `valid` is given, `valid_wer` (a fraction, greedy)
        and `valid_loss` of the checkpoint that is kept.

    Raises:
        InputError: Data are missing or wrong, or a reference cannot be spelled.
    """
    output = Path(settings.output)
    model, features, tokenizer = load_or_create(settings, output)
    found = [u for path in settings.train for u in read_training(path, settings.normaliser)]
    train = alignable(found, model, features, tokenizer, max(settings.augmentation.speeds))
    if len(train) < len(found):
        print(
            f"train-acoustic: {len(found) - len(train)} of {len(found)} utterances have more "
            "letters than CTC can fit into their frames and are left out",
            file=sys.stderr,
        )
    batches = SpeechBatches(train, features, tokenizer, settings, augment=True)
    valid = None
    if settings.valid is not None:
        utterances = read_training(settings.valid, settings.normaliser)
        valid = SpeechBatches(utterances, features, tokenizer, settings, augment=False)
    steps = math.ceil(len(batches) * settings.epochs)
    folder = output / "checkpoints"
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,  # an item is a batch already
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=math.ceil(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=5.0,
        use_cpu=not torch.cuda.is_available(),
        bf16=settings.precision == "bfloat16",
        logging_steps=25,
        save_steps=settings.save_steps,
        save_total_limit=2,
        eval_strategy="no" if valid is None else "steps",
        eval_steps=settings.save_steps,
        load_best_model_at_end=valid is not None,
        metric_for_best_model="wer",
        greater_is_better=False,
        seed=settings.seed,
        report_to=[],
        dataloader_num_workers=settings.workers,
        remove_unused_columns=False,
    )
    trainer = CTCTrainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        eval_dataset=valid,
        data_collator=lambda items: items[0],
    )
    last = get_last_checkpoint(str(folder)) if resume and folder.is_dir() else None
    result = trainer.train(resume_from_checkpoint=last)
    figures = {
        "loss": float(result.training_loss),
        "steps": float(steps),
        "left_out": float(len(found) - len(train)),
    }
    if valid is not None:
        figures |= {f"valid_{k}": v for k, v in greedy_figures(model, valid).items()}
    model.to(getattr(torch, settings.save_dtype)).save_pretrained(output)
    features.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return figures


def load_or_create(settings: AcousticTraining, output: Path) -> tuple[Any, Any, Any]:
    """Model, feature extractor and tokenizer that training starts from."""
    if settings.model is not None:
        model = AutoModelForCTC.from_pretrained(
            settings.model, dtype=torch.float32, use_safetensors=True, ctc_loss_reduction="sum"
        )
        features = AutoFeatureExtractor.from_pretrained(settings.model, **settings.features)
        return model, features, AutoTokenizer.from_pretrained(settings.model)
    tokenizer = character_tokenizer(output)
    config = AutoConfig.for_model(
        **{
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "ctc_loss_reduction": "sum",
            "ctc_zero_infinity": True,
            **settings.architecture,
        }
    )
    torch.manual_seed(settings.seed)
    features = ParakeetFeatureExtractor(**settings.features)
    return AutoModelForCTC.from_config(config), features, tokenizer


def read_training(path: str, normalise: str) -> list[Utterance]:
    """A corpus with normalised references; an utterance without one is an error."""
    clean = normaliser(normalise)
    found = []
    for utterance in read_corpus(path):
        if utterance.text is None:
            raise InputError(f"{path}: utterance {utterance.id} has no `text` to train on")
        found.append(replace(utterance, text=clean(utterance.text)))
    return found


@torch.inference_mode()
def alignable(
    utterances: Sequence[Utterance], model: Any, features: Any, tokenizer: Any, speed: float
) -> list[Utterance]:
    """The utterances that CTC can align: a frame for each label, one more between equal ones.

    Args:
        utterances: With their normalised references.
        model: Whose output frames a second are measured.
        features: Its feature extractor.
        tokenizer: Its tokenizer.
        speed: The fastest that an utterance may become.
    """
    model.eval()
    frames = []
    for seconds in (2, 6):
        signal = np.zeros(seconds * features.sampling_rate, np.float32)
        inputs = features(signal, sampling_rate=features.sampling_rate, return_tensors="pt")
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        frames.append(model(**inputs).logits.shape[1])
    frames_per_second = (frames[1] - frames[0]) / 4 / speed
    kept = []
    for utterance in utterances:
        ids = tokenizer(utterance.text or "")["input_ids"]
        needed = len(ids) + sum(a == b for a, b in pairwise(ids))
        if needed <= _seconds(utterance) * frames_per_second:
            kept.append(utterance)
    return kept


@torch.inference_mode()
def greedy_figures(model: Any, batches: SpeechBatches) -> dict[str, float]:
    """`loss` (nats an utterance) and `wer` (a fraction) of the best paths of a dataset."""
    model.eval()
    tokenizer = batches.tokenizer
    errors, loss = ErrorRate(), 0.0
    for index in range(len(batches)):
        batch = {name: value.to(model.device) for name, value in batches[index].items()}
        outputs = model(**batch)
        loss += float(outputs.loss)
        masks = batch["attention_mask"].cpu()
        best, labels = outputs.logits.argmax(-1).cpu(), batch["labels"].cpu()
        for row, ids, mask in zip(best, labels, masks, strict=True):
            frames = math.ceil(len(row) * float(mask.sum()) / mask.shape[-1])
            hypothesis = tokenizer.decode(row[:frames])
            reference = tokenizer.decode(ids[ids != IGNORED], group_tokens=False)
            errors += word_errors(reference, hypothesis)
    return {"wer": errors.rate, "loss": loss / len(batches.utterances)}
