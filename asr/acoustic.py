"""Acoustic models: audio to CTC log-probs, by any AutoModelForCTC checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr.audio import load_audio, resample, split_quietly
from asr.greedy import greedy
from asr.loading.checkpoint import blank_of, read_checkpoint
from asr.vocabulary import Vocabulary
from lm.errors import InputError

# What models call the mask of a padded batch: 1 where there is audio.
MASKS = ("attention_mask", "padding_mask")
# Architectures whose convolutions mix padding into the speech, even with a mask.
LEAKING = ("data2vec-audio", "wav2vec2-conformer")
# Largest difference (nats) between a batch and one at a time that counts as rounding.
PADDING_TOLERANCE = 2e-5
# What is said of log-probs that a model could not compute.
NOT_A_NUMBER = "the model's output is not a number; compute in float32, or remove the utterance"
# A shorter signal, seconds, is not speech, and some feature extractors divide by zero for it.
SHORTEST = 0.04


@dataclass(frozen=True)
class CTCModel:
    """A loaded acoustic model.

    Attributes:
        model: transformers' model.
        features: transformers' feature extractor.
        vocabulary: Labels of the V outputs.
        rate: Sampling rate of the audio, Hz.
        frame_seconds: Time from one output frame to the next, seconds.
        name: Hub name or folder.
        mixes_lengths: Whether utterances of different lengths may be in one batch; in some
            architectures padding changes the result, even with a mask.
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
            name_or_folder: Hub name or local folder; safetensors only.
            device: torch device; by default the GPU if there is one.
            dtype: `float32`, `float16` (not on a CPU) or `bfloat16`; by default float16 on a
                GPU, else float32.

        Raises:
            InputError: There is no such checkpoint, it has no CTC head, or its tokenizer does not
                fit; or the device cannot be used.
        """
        name = str(name_or_folder)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or ("float16" if device.startswith("cuda") else "float32")
        if dtype not in ("float32", "float16", "bfloat16"):
            raise InputError(f"dtype {dtype!r}: choose float32, float16 or bfloat16")
        if dtype == "float16" and device == "cpu":
            # Some of torch's float16 convolutions take minutes for a second of audio on a CPU.
            raise InputError("dtype 'float16' needs a GPU; choose float32 or bfloat16 on a CPU")
        model, features, tokenizer = read_checkpoint(name)
        vocabulary = vocabulary_of(model.config, tokenizer, name)
        try:
            model = model.to(device).eval()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(f"device {device!r} cannot be used: {reason}") from error
        rate = int(features.sampling_rate)
        loaded = cls(model, features, vocabulary, rate, 0.0, name, mixes_lengths=False)
        try:
            loaded = replace(
                loaded,
                frame_seconds=loaded._frame_samples() / rate,
                mixes_lengths=not _leaks_by_design(model.config) and loaded._padding_is_harmless(),
            )
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        return replace(loaded, model=model.to(getattr(torch, dtype)))

    def _frame_samples(self) -> int:
        """Samples from one output frame to the next."""
        second = np.zeros(self.rate, np.float32)
        few, many = (int(self._inputs([second.repeat(n)])[1][0]) for n in (1, 61))
        # Counts are rounded down to whole inputs and frames. Over a minute, and over a million
        # inputs, this changes neither quotient by as much as a half.
        hop = round(60 * self.rate / (many - few))
        inputs = round(1_000_000 / (self._frames(2_000_000) - self._frames(1_000_000)))
        return hop * inputs

    def _padding_is_harmless(self) -> bool:
        """Whether a short signal gives the same log-probs in a batch with a long one."""
        rng = np.random.default_rng(0)
        short = rng.standard_normal(self.rate // 2).astype(np.float32) * 0.1
        long = rng.standard_normal(self.rate * 2).astype(np.float32) * 0.1
        alone, together = self._batch_log_probs([short])[0], self._batch_log_probs([short, long])[0]
        return bool(np.abs(alone - together).max() <= PADDING_TOLERANCE)

    def log_probs(self, signals: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log-probs of signals, computed in one batch where that does not change them.

        Args:
            signals: (samples,) float32 each, at the model's rate.

        Returns:
            (T, V) float32 each, natural log, normalised over V; T does not depend on the others.

        Raises:
            InputError: A signal is too short for one frame.
        """
        for signal in signals:
            if len(signal) < SHORTEST * self.rate:
                raise self._too_short(signal)
        together: dict[int, list[int]] = {}
        for i, signal in enumerate(signals):
            together.setdefault(0 if self.mixes_lengths else len(signal), []).append(i)
        found: dict[int, np.ndarray] = {}
        for batch in together.values():
            computed = self._batch_log_probs([signals[i] for i in batch])
            found.update(zip(batch, computed, strict=True))
        return [found[i] for i in range(len(signals))]

    @torch.inference_mode()
    def _batch_log_probs(self, signals: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log-probs of one padded batch."""
        batch, counts = self._inputs(signals)
        lengths = [self._frames(int(n)) for n in counts]
        if min(lengths) < 1:
            raise self._too_short(signals[int(np.argmin(lengths))])
        precise = self.model.dtype == torch.float32
        moved = {
            key: value.to(
                self.model.device, self.model.dtype if value.is_floating_point() else None
            )
            for key, value in batch.items()
        }
        # On a GPU, convolutions use TF32 by default, and the third decimal is wrong.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=not precise):
            logits = self.model(**moved).logits.float()
        found = torch.log_softmax(logits, dim=-1).cpu().numpy()
        return [row[:length].copy() for row, length in zip(found, lengths, strict=True)]

    def _inputs(self, signals: Sequence[np.ndarray]) -> tuple[dict[str, torch.Tensor], np.ndarray]:
        """The model's inputs for a padded batch, and the length of each row without padding."""
        batch = self.features(
            list(signals),
            sampling_rate=self.rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        inputs = {k: v for k, v in batch.items() if torch.is_tensor(v)}
        mask = mask_of(inputs)
        counts = inputs[mask].sum(-1).numpy()
        # wav2vec2 checkpoints with group norm were trained without a mask, and their feature
        # extractor says so. With a mask the results are different.
        if not getattr(self.features, "return_attention_mask", True):
            del inputs[mask]
        return inputs, counts

    def _frames(self, length: int) -> int:
        """Number of output frames for an input of `length` samples or feature frames."""
        encoder = getattr(self.model, "encoder", None)
        for owner, method in (
            (self.model, "_get_feat_extract_output_lengths"),
            (encoder, "_get_subsampling_output_length"),
            (self.model, "_get_subsampling_output_length"),
        ):
            if hasattr(owner, method):
                return int(getattr(owner, method)(torch.tensor([length]))[0])
        return length

    def _too_short(self, signal: np.ndarray) -> InputError:
        return InputError(
            f"{len(signal)} samples at {self.rate} Hz are too short for one frame of the model; "
            "remove the utterance"
        )

    def transcribe(self, audio: str | Path | np.ndarray, rate: int | None = None) -> str:
        """The text of an audio file or array, by the best path.

        Args:
            audio: File that libsndfile reads, or (samples,) floats of full scale ±1. Long audio
                is cut at quiet moments.
            rate: Sampling rate of an array, Hz; by default that of the model.

        Raises:
            InputError: The file is missing, unreadable or too short, the array is not a single
                signal, or the model's output is not a number.
        """
        if isinstance(audio, np.ndarray):
            if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
                raise InputError(
                    f"the audio has shape {audio.shape} and type {audio.dtype}; use one channel of "
                    "floats, full scale ±1"
                )
            if not len(audio) or not np.isfinite(audio).all():
                raise InputError("the audio is empty or has values that are not finite")
            where, signal = "audio", resample(audio, rate or self.rate, self.rate)
        else:
            where, signal = str(audio), load_audio(audio, self.rate)
        try:
            found = [self.log_probs([part])[0] for part in split_quietly(signal, self.rate)]
            if any(np.isnan(log_probs).any() for log_probs in found):
                raise InputError(NOT_A_NUMBER)
            texts = [greedy(log_probs, self.vocabulary)[0] for log_probs in found]
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        return " ".join(text for text in texts if text)


def vocabulary_of(config: Any, tokenizer: Any, name: str) -> Vocabulary:
    """The labels and the blank of a CTC checkpoint.

    Args:
        config: The checkpoint's configuration.
        tokenizer: Its tokenizer.
        name: Its name, for messages.

    Raises:
        InputError: Model and tokenizer do not belong together, or have different blanks.
    """
    try:
        blank = blank_of(config, tokenizer)
        return Vocabulary.from_tokenizer(tokenizer, config.vocab_size, blank)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def mask_of(inputs: Mapping[str, Any]) -> str:
    """The name of the mask among a model's inputs.

    Raises:
        InputError: There is none.
    """
    for name in MASKS:
        if name in inputs:
            return name
    raise InputError(
        f"its feature extractor gives {', '.join(inputs)} and no mask ({' or '.join(MASKS)}), so "
        "that the lengths of utterances are not known; this model cannot be used"
    )


def _leaks_by_design(config: Any) -> bool:
    """Whether padding is known to change the result of an architecture for all weights.

    Group norm computes its statistics over time, padding included.
    """
    group = getattr(config, "feat_extract_norm", None) == "group"
    return group or config.model_type in LEAKING
