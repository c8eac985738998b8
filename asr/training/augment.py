"""Augmentation of training audio: speed, noise, level, and SpecAugment's masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from asr.audio import NOISES, Noise, mix_noise, resample


@dataclass(frozen=True)
class Augmentation:
    """What is done to training audio, anew each time that it is seen.

    Attributes:
        speeds: Factors of speed (and pitch), one drawn for each utterance (Ko et al. 2015).
        noise: Share of the utterances that get white, pink or brown noise.
        snr_db: Range of their signal-to-noise ratio, dB.
        gain_db: The level is changed by up to so much, up or down, dB; of no effect on feature
            extractors that normalise it away.
        time_masks: SpecAugment (Park et al. 2019): masked stretches a second of audio.
        time_width: Longest of them, seconds.
        mel_masks: Masked bands.
        mel_width: Widest of them, mel bins.
    """

    speeds: tuple[float, ...] = (1.0,)
    noise: float = 0.0
    snr_db: tuple[float, ...] = (0.0, 30.0)
    gain_db: float = 0.0
    time_masks: float = 0.5
    time_width: float = 0.3
    mel_masks: int = 2
    mel_width: int = 20


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
    """SpecAugment's masks, in place, on normalised log-mel features (B, T, mel) of so long."""
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
