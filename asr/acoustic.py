"""Acoustic models: audio to CTC log-probs, through any AutoModelForCTC checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
from transformers.utils import logging as transformers_logging

from asr.audio import load_audio, load_utterance, resample, split_quietly
from asr.corpus import Utterance
from asr.greedy import greedy
from asr.vocabulary import Vocabulary
from lm.errors import InputError, SecondpassError

# Used in pre-training only; published checkpoints often lack it.
NOT_NEEDED = ("masked_spec_embed",)
# Largest difference (nats) between a batch and one at a time that counts as none.
PADDING_TOLERANCE = 2e-5
# Utterances that are loaded, sorted by length and batched together.
WINDOW = 256


@dataclass(frozen=True)
class CTCModel:
    """An acoustic model, loaded.

    Attributes:
        model: transformers' model.
        features: Its feature extractor.
        vocabulary: What its V outputs stand for.
        rate: Of the audio that it takes, Hz.
        frame_seconds: From one output frame to the next, seconds.
        name: As it was loaded.
        mixes_lengths: Whether utterances of different lengths may share a batch: some
            architectures let padding change the result, masks or not.
    """

    model: Any
    features: Any
    vocabulary: Vocabulary
    rate: int
    frame_seconds: float
    name: str
    mixes_lengths: bool

    @classmethod
    def load(
        cls, name_or_folder: str | Path, device: str | None = None, dtype: str | None = None
    ) -> CTCModel:
        """Loads a checkpoint.

        Args:
            name_or_folder: Hub name, or a local folder; safetensors only.
            device: torch device; by default the GPU if there is one.
            dtype: `float32` or `float16`; by default float16 on a GPU, float32 elsewhere.

        Raises:
            InputError: There is no such checkpoint, it has no CTC head, or its tokenizer does not
                fit.
        """
        name = str(name_or_folder)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or ("float16" if device.startswith("cuda") else "float32")
        if dtype not in ("float32", "float16", "bfloat16"):
            raise InputError(f"dtype {dtype!r}: choose float32, float16 or bfloat16")
        verbosity = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()  # missing weights are reported below
        try:
            model, info = AutoModelForCTC.from_pretrained(
                name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            features = AutoFeatureExtractor.from_pretrained(name)
            tokenizer = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{name}: no CTC checkpoint that can be loaded: {reason}") from error
        finally:
            transformers_logging.set_verbosity(verbosity)
        missing = sorted(k for k in info["missing_keys"] if not k.endswith(NOT_NEEDED))
        if missing:
            raise InputError(
                f"{name}: the checkpoint has no CTC head or lacks other weights "
                f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}); fine-tune it with "
                "`secondpass train-acoustic` first"
            )
        config = model.config
        try:
            vocabulary = Vocabulary.from_tokenizer(
                tokenizer, config.vocab_size, int(config.pad_token_id)
            )
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        model = model.to(device).eval()
        rate = int(features.sampling_rate)
        loaded = cls(model, features, vocabulary, rate, 0.0, name, mixes_lengths=True)
        frames = [len(p) for p in loaded.log_probs([np.zeros(n * rate, np.float32) for n in (1, 3)])]
        frame_seconds = round(2 * rate / (frames[1] - frames[0])) / rate
        mixes = loaded._padding_is_harmless()
        model = model.to(getattr(torch, dtype))
        return cls(model, features, vocabulary, rate, frame_seconds, name, mixes)

    def _padding_is_harmless(self) -> bool:
        """Whether a short signal gives the same log-probs in a batch with a long one."""
        rng = np.random.default_rng(0)
        short = rng.standard_normal(self.rate // 2).astype(np.float32) * 0.1
        long = rng.standard_normal(self.rate * 2).astype(np.float32) * 0.1
        alone, together = self.log_probs([short])[0], self.log_probs([short, long])[0]
        return bool(np.abs(alone - together).max() <= PADDING_TOLERANCE)

    @torch.inference_mode()
    def log_probs(self, signals: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log-probs of one batch of signals.

        Args:
            signals: (samples,) float32 each, at the model's rate.

        Returns:
            (T, V) float32 each, natural log, normalised over V; T is what the signal has alone.

        Raises:
            InputError: A signal is too short for one frame.
        """
        if not signals:
            return []
        batch = self.features(
            list(signals),
            sampling_rate=self.rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = batch.pop("attention_mask")
        lengths = [self._frames(int(n)) for n in mask.sum(-1)]
        if min(lengths) < 1:
            raise InputError(
                f"{len(signals[int(np.argmin(lengths))])} samples at {self.rate} Hz are too short "
                "for one frame of the model; leave the utterance out"
            )
        inputs = {k: v.to(self.model.device) for k, v in batch.items() if torch.is_tensor(v)}
        inputs = {
            k: v.to(self.model.dtype) if v.is_floating_point() else v for k, v in inputs.items()
        }
        if self._takes_mask():
            inputs["attention_mask"] = mask.to(self.model.device)
        logits = self.model(**inputs).logits.float()
        found = torch.log_softmax(logits, dim=-1).cpu().numpy()
        return [row[:length].copy() for row, length in zip(found, lengths, strict=True)]

    def _takes_mask(self) -> bool:
        """Whether the checkpoint was trained with attention masks, by its feature extractor.

        Group-norm wav2vec2 checkpoints were not, and give other results with one.
        """
        return bool(getattr(self.features, "return_attention_mask", True))

    def _frames(self, length: int) -> int:
        """Output frames for an input of so many samples or feature frames."""
        encoder = getattr(self.model, "encoder", None)
        for owner, method in (
            (self.model, "_get_feat_extract_output_lengths"),
            (encoder, "_get_subsampling_output_length"),
        ):
            if hasattr(owner, method):
                return int(getattr(owner, method)(torch.tensor([length]))[0])
        return length

    def transcribe(self, audio: str | Path | np.ndarray, rate: int | None = None) -> str:
        """The text of an audio file or array, by the best path.

        Args:
            audio: File that libsndfile reads, or (samples,) floats of full scale ±1; audio of
                any length is cut at quiet moments.
            rate: Of an array, Hz; by default the model's.

        Raises:
            InputError: The file is missing or unreadable, or the array is not one signal.
        """
        if isinstance(audio, np.ndarray):
            if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
                raise InputError(
                    f"audio of shape {audio.shape} and type {audio.dtype}: give one channel of "
                    "floats, full scale ±1"
                )
            if not len(audio) or not np.isfinite(audio).all():
                raise InputError("audio is empty or holds values that are not finite")
            signal = resample(audio, rate or self.rate, self.rate)
        else:
            signal = load_audio(audio, self.rate)
        texts = [
            greedy(self.log_probs([part])[0], self.vocabulary)[0]
            for part in split_quietly(signal, self.rate)
        ]
        return " ".join(text for text in texts if text)


def emit(
    model: CTCModel, utterances: Iterable[Utterance], batch_seconds: float = 60.0
) -> Iterator[tuple[str, np.ndarray | SecondpassError]]:
    """Log-probs of many utterances, batched by length.

    Args:
        model: The acoustic model.
        utterances: Any number; they are read in windows, so memory does not grow.
        batch_seconds: Audio in one batch, padding counted in, seconds.

    Yields:
        Utterance and (T, V) float32 log-probs, or the error that it met; the others go on. The
        order within a window is that of length.
    """
    waiting = iter(utterances)
    while window := list(islice(waiting, WINDOW)):
        signals: dict[str, np.ndarray] = {}
        for utterance in window:
            try:
                signals[utterance.id] = load_utterance(utterance, model.rate)
            except SecondpassError as error:
                yield utterance.id, error
        for batch in _batches(signals, batch_seconds * model.rate, model.mixes_lengths):
            yield from _emit_batch(model, {utt: signals[utt] for utt in batch})


def _batches(
    signals: dict[str, np.ndarray], batch_samples: float, mixes_lengths: bool
) -> Iterator[list[str]]:
    """Utterances grouped by length, longest first, so that memory runs out at once or never."""
    batch: list[str] = []
    for utt in sorted(signals, key=lambda u: -len(signals[u])):
        longest = len(signals[batch[0]]) if batch else 0
        fits = (len(batch) + 1) * longest <= batch_samples
        if batch and (not fits or not (mixes_lengths or len(signals[utt]) == longest)):
            yield batch
            batch = []
        batch.append(utt)
    if batch:
        yield batch


def _emit_batch(
    model: CTCModel, batch: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray | SecondpassError]]:
    """Log-probs of a batch; where it fails as a whole, of one utterance at a time."""
    try:
        found = model.log_probs(list(batch.values()))
    except (SecondpassError, RuntimeError) as error:
        if len(batch) > 1:
            for utt, signal in batch.items():
                yield from _emit_batch(model, {utt: signal})
        else:
            yield next(iter(batch)), SecondpassError(f"utterance {next(iter(batch))}: {error}")
        return
    for utt, log_probs in zip(batch, found, strict=True):
        if np.isnan(log_probs).any():
            yield utt, SecondpassError(
                f"utterance {utt}: the model's output is not a number; try `dtype: float32`"
            )
        else:
            yield utt, log_probs

