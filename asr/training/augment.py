"""Augmentation of training audio: speed, noise, level, and SpecAugment's masks."""

from __future__ import annotations

import numpy as np
import torch

from asr.audio import NOISES, Noise, mix_noise, resample
from asr.training.settings import Augmentation


def change_signal(
    signal: np.ndarray, rate: int, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """A signal (samples,) at another speed, with noise, at another level."""
    speed = rng.choice(augmentation.speeds)
    if speed != 1.0:
        signal = resample(signal, round(rate * speed), rate)
    if rng.random() < augmentation.noise:
        low, high = augmentation.snr_db
        kind = str(rng.choice(list(NOISES)))
        signal = mix_noise(signal, Noise(kind, rng.uniform(low, high), int(rng.integers(2**31))))
    if augmentation.gain_db:
        gain = rng.uniform(-augmentation.gain_db, augmentation.gain_db)
        signal = (signal * 10 ** (gain / 20)).astype(np.float32)
    return signal


def mask_features(
    features: torch.Tensor, seconds: float, augmentation: Augmentation, rng: np.random.Generator
) -> None:
    """Applies SpecAugment's masks, in place.

    Args:
        features: (B, T, mel) normalised log-mel features.
        seconds: Duration of the T frames, seconds.
        augmentation: Number and size of the masks.
        rng: Random numbers.
    """
    frames, mels = features.shape[1:]
    longest = round(augmentation.time_width * frames / seconds)
    for row in features:
        for _ in range(rng.poisson(augmentation.time_masks * seconds)):
            width = int(rng.integers(0, longest + 1))
            start = int(rng.integers(0, max(1, frames - width)))
            row[start : start + width] = 0.0
        for _ in range(augmentation.mel_masks):
            width = int(rng.integers(0, augmentation.mel_width + 1))
            start = int(rng.integers(0, max(1, mels - width)))
            row[:, start : start + width] = 0.0
