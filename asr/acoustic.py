"""Acoustic models: audio to CTC log-probs, through any AutoModelForCTC checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

from asr.audio import load_audio, resample, split_quietly
from asr.greedy import greedy
from asr.vocabulary import Vocabulary
from lm.errors import InputError
from lm.neural.quiet import quiet_transformers

# Used in pre-training only; published checkpoints often lack it.
NOT_NEEDED = ("masked_spec_embed",)
# Architectures whose convolutions carry padding into speech, masks or not.
LEAKING = ("data2vec-audio", "wav2vec2-conformer")
# Largest difference (nats) between a batch and one at a time that counts as rounding.
PADDING_TOLERANCE = 2e-5
# Less than this, seconds, is no speech, and some feature extractors divide by zero over it.
SHORTEST = 0.04


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
            dtype: `float32`, `float16` (not on a CPU) or `bfloat16`; by default float16 on a
                GPU, float32 elsewhere.

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
            # Some of torch's float16 convolutions take minutes a second of audio there.
            raise InputError("dtype 'float16' needs a GPU; choose float32 or bfloat16 on a CPU")
        model, features, tokenizer = _read_checkpoint(name)
        config = model.config
        blank = config.pad_token_id
        if blank is None:
            raise InputError(
                f"{name}: config.json has no `pad_token_id`, which is the CTC blank; add it"
            )
        try:
            vocabulary = Vocabulary.from_tokenizer(tokenizer, config.vocab_size, int(blank))
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        try:
            model = model.to(device).eval()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(f"device {device!r} cannot be used: {reason}") from error
        rate = int(features.sampling_rate)
        loaded = cls(model, features, vocabulary, rate, 0.0, name, mixes_lengths=False)
        loaded = replace(
            loaded,
            frame_seconds=loaded._frame_samples() / rate,
            mixes_lengths=not _leaks_by_design(config) and loaded._padding_is_harmless(),
        )
        return replace(loaded, model=model.to(getattr(torch, dtype)))

    def _frame_samples(self) -> int:
        """Samples from one output frame to the next."""
        second = np.zeros(self.rate, np.float32)
        few, many = (int(self._inputs([second.repeat(n)])[1][0]) for n in (1, 61))
        # Counts are rounded down to whole inputs and frames: over a minute and over a million
        # inputs that shifts neither quotient by half.
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
        """Log-probs of signals, computed together where that does not change them.

        Args:
            signals: (samples,) float32 each, at the model's rate.

        Returns:
            (T, V) float32 each, natural log, normalised over V; T is what the signal has alone.

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
        # On a GPU, TF32 convolutions are the default, and wrong in the third decimal.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=not precise):
            logits = self.model(**moved).logits.float()
        found = torch.log_softmax(logits, dim=-1).cpu().numpy()
        return [row[:length].copy() for row, length in zip(found, lengths, strict=True)]

    def _inputs(self, signals: Sequence[np.ndarray]) -> tuple[dict[str, torch.Tensor], np.ndarray]:
        """The model's inputs for a padded batch, and how many of each row are no padding."""
        batch = self.features(
            list(signals),
            sampling_rate=self.rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        inputs = {k: v for k, v in batch.items() if torch.is_tensor(v)}
        counts = inputs["attention_mask"].sum(-1).numpy()
        # Group-norm wav2vec2 checkpoints were trained without a mask, and their feature extractor
        # says so; with one they give other results.
        if not getattr(self.features, "return_attention_mask", True):
            del inputs["attention_mask"]
        return inputs, counts

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

    def _too_short(self, signal: np.ndarray) -> InputError:
        return InputError(
            f"{len(signal)} samples at {self.rate} Hz are too short for one frame of the model; "
            "leave the utterance out"
        )

    def transcribe(self, audio: str | Path | np.ndarray, rate: int | None = None) -> str:
        """The text of an audio file or array, by the best path.

        Args:
            audio: File that libsndfile reads, or (samples,) floats of full scale ±1; audio of
                any length is cut at quiet moments.
            rate: Of an array, Hz; by default the model's.

        Raises:
            InputError: The file is missing, unreadable or too short, or the array is not one
                signal.
        """
        if isinstance(audio, np.ndarray):
            if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
                raise InputError(
                    f"audio of shape {audio.shape} and type {audio.dtype}: give one channel of "
                    "floats, full scale ±1"
                )
            if not len(audio) or not np.isfinite(audio).all():
                raise InputError("audio is empty or holds values that are not finite")
            where, signal = "audio", resample(audio, rate or self.rate, self.rate)
        else:
            where, signal = str(audio), load_audio(audio, self.rate)
        try:
            found = [self.log_probs([part])[0] for part in split_quietly(signal, self.rate)]
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        texts = [greedy(log_probs, self.vocabulary)[0] for log_probs in found]
        return " ".join(text for text in texts if text)


def _read_checkpoint(name: str) -> tuple[Any, Any, Any]:
    """A checkpoint's model (float32), feature extractor and tokenizer."""
    if (Path(name).is_absolute() or name.startswith(".")) and not Path(name).is_dir():
        raise InputError(f"{name}: no such model folder")
    try:
        with quiet_transformers():  # missing weights are reported below
            model, info = AutoModelForCTC.from_pretrained(
                name,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below too
            )
            features = AutoFeatureExtractor.from_pretrained(name)
            tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # there is no telling what a broken folder makes the library raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(
            f"{name}: no CTC checkpoint that can be loaded; it needs config.json, "
            "model.safetensors, preprocessor_config.json and a tokenizer's files "
            f"({reason})"
        ) from error
    mismatched = [str(key[0]) for key in info["mismatched_keys"]]
    if mismatched:
        raise InputError(
            f"{name}: the weights' shapes are not those of config.json ({_first(mismatched)}); "
            "the two files do not belong together"
        )
    missing = sorted(k for k in info["missing_keys"] if not k.endswith(NOT_NEEDED))
    if missing:
        raise InputError(
            f"{name}: the checkpoint has no CTC head or lacks other weights ({_first(missing)}); "
            "fine-tune it with `secondpass train-acoustic` first"
        )
    return model, features, tokenizer


def _first(names: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _leaks_by_design(config: Any) -> bool:
    """Whether an architecture is known to let padding change the result, whatever its weights.

    Group norm takes its statistics over time, padding included.
    """
    group = getattr(config, "feat_extract_norm", None) == "group"
    return group or config.model_type in LEAKING
