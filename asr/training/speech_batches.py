"""Training data of acoustic models: utterances with references, as padded batches."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from asr.corpus import Utterance, load_utterance, read_corpus
from asr.training.augment import change_signal, mask_features
from asr.training.settings import AcousticTraining
from lm.errors import InputError
from lm.text.letters import is_letter
from lm.text.loss import TextLoss, vocabulary_loss
from lm.text.normalisers import normaliser
from lm.training.resume import digest

IGNORED = -100  # the label that transformers' CTC losses leave out


def read_training(path: str, normalise: str) -> list[Utterance]:
    """A corpus with normalised references.

    Raises:
        InputError: An utterance has no reference, there is no utterance, or the normaliser removes
            most letters.
    """
    clean = normaliser(normalise)
    loss = TextLoss.of(clean)
    found = []
    for utterance in read_corpus(path):
        if utterance.text is None:
            raise InputError(
                f"{path}: utterance {utterance.id} has no `text` to train on; add it, or remove "
                "the utterance"
            )
        text = clean(utterance.text)
        loss.add(utterance.text, text)
        found.append(replace(utterance, text=text))
    if not found:
        raise InputError(f"{path}: there are no utterances in it")
    loss.check(path)
    return found


def check_spelled(utterances: Sequence[Utterance], tokenizer: Any) -> None:
    """Warns of letters of the references that the labels cannot spell.

    Raises:
        InputError: They are most of the letters.
    """
    texts = [utterance.text or "" for utterance in utterances]
    loss = vocabulary_loss(
        tokenizer, "the tokenizer of the acoustic model", "Use a model that has labels for them"
    )
    letters = set(filter(is_letter, "".join(texts)))
    for change, spelling in ((str.upper, "librispeech"), (str.lower, "unicode")):
        if sum(loss.keeps(change(letter)) for letter in letters) > sum(map(loss.keeps, letters)):
            loss.remedy = f"The labels are in another case: set `normaliser: {spelling}`"
    for text in texts:
        loss.add(text)
    loss.check("references")


def corpus_digest(utterances: Sequence[Utterance]) -> str:
    """A hash of what training reads of a corpus: references, parts of files, and files' sizes."""
    found = []
    for utterance in utterances:
        path = utterance.audio_filepath
        known = asdict(replace(utterance, tags={}, speaker=None))
        known |= {"audio_filepath": path.name, "size": path.stat().st_size}
        found.append(json.dumps(known, sort_keys=True, default=str).encode())
    return digest(found)


@torch.inference_mode()
def alignable(
    utterances: Sequence[Utterance], model: Any, features: Any, tokenizer: Any, speed: float
) -> list[Utterance]:
    """The utterances that CTC can align: a frame for each label, one more between equal ones.

    Args:
        utterances: Utterances with their normalised references.
        model: Acoustic model, whose output frames per second are measured.
        features: Feature extractor of the model.
        tokenizer: Tokenizer of the model.
        speed: Highest factor by which an utterance's speed is changed.

    Raises:
        InputError: No utterance can be aligned, or one has no duration.
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
        ids = tokenizer(utterance.text or "", add_special_tokens=False)["input_ids"]
        needed = len(ids) + sum(a == b for a, b in pairwise(ids))
        if needed <= _seconds(utterance) * frames_per_second:
            kept.append(utterance)
    if not kept:
        raise InputError(
            "no utterance has enough output frames for its reference; use a shorter `hop_length` "
            "(see `features`), or another model"
        )
    return kept


class SpeechBatches(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Utterances of about equal length as padded batches; one item is one whole batch.

    Attributes:
        visits: Number of items that were read. The augmentation depends on it, so that an utterance
            is changed in another way each time.
    """

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
        # Utterances of about equal length are in random order.
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
        if torch.utils.data.get_worker_info() is not None:
            # Ctrl-C is for the process that trains: it still needs data for its last step.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
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
        # Some tokenizers would add marks of sentences, which nobody speaks.
        labels = [
            self.tokenizer(u.text or "", add_special_tokens=False)["input_ids"] for u in chosen
        ]
        width = max(1, *map(len, labels))
        padded = np.full((len(labels), width), IGNORED)
        for row, ids in zip(padded, labels, strict=True):
            row[: len(ids)] = ids
        return {**batch, "labels": torch.from_numpy(padded)}


def _seconds(utterance: Utterance) -> float:
    if utterance.duration is None:
        raise InputError(
            f"utterance {utterance.id}: training needs its `duration` (seconds); add it to the "
            "manifest"
        )
    return utterance.duration
