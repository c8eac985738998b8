"""Audio: formats, rates, channels, offsets, noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.audio import (
    NOISES,
    Noise,
    coloured_noise,
    load_audio,
    mix_noise,
    split_quietly,
)
from asr.corpus import Utterance, load_utterance
from lm.errors import InputError

RATE = 16_000


def tone(seconds: float, hertz: float, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def loudest(signal: np.ndarray, rate: int = RATE) -> float:
    return float(np.abs(np.fft.rfft(signal)).argmax() * rate / len(signal))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_any_format_and_rate(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"a.{suffix}"
    kind = {"opus": {"format": "OGG", "subtype": "OPUS"}}.get(suffix, {})
    soundfile.write(path, tone(1.0, 1000, rate), rate, **kind)
    signal = load_audio(path, RATE)
    assert signal.dtype == np.float32
    assert len(signal) == pytest.approx(RATE, rel=0.1)
    assert loudest(signal) == pytest.approx(1000, abs=12)
    assert np.sqrt(np.mean(signal[2000:14000] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


def test_resampling_does_not_alias(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, 15_000, 48_000), 48_000)
    assert np.abs(load_audio(tmp_path / "a.wav", RATE)[500:-500]).max() < 1e-3


def test_channels_and_offsets(tmp_path: Path) -> None:
    left, right = tone(2.0, 400), tone(2.0, 900)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    assert np.allclose(load_audio(path, channel=1), right)
    assert np.allclose(load_audio(path), (left + right) / 2, atol=1e-6)
    assert np.allclose(load_audio(path, offset=0.5, duration=0.25, channel=0), left[8000:12000])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channel": 2}, "there is no channel 2; the file has 1"),
        ({"offset": 5.0}, "after the end of the file"),
        ({"claimed_rate": 8000}, "the manifest says 8000 Hz, the file has 16000 Hz"),
        ({"duration": 0.0}, "no samples"),
        ({"duration": 1.5}, "the manifest says 1.5 s after 0 s, the file has only 1.00 s"),
    ],
)
def test_wrong_requests(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0, 400), RATE)
    with pytest.raises(InputError, match=message) as error:
        load_audio(path, **settings)
    assert str(path) in str(error.value)


def test_missing_unreadable_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "half.flac", tone(1.0, 400), RATE)
    whole = (tmp_path / "half.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(whole[: len(whole) // 2])
    for name in ("samples.raw", "samples.au"):
        (tmp_path / name).write_bytes(bytes(range(1, 255)) * 20)
    soundfile.write(tmp_path / "nan.wav", np.full(9, np.nan), RATE, subtype="FLOAT")
    for name, message in (
        ("none.wav", "no such audio file"),
        ("text.wav", "not readable"),
        ("half.flac", "not readable"),
        ("empty.wav", "no samples"),
        ("nan.wav", "not finite"),
        ("samples.raw", "no header"),
        ("samples.au", "no header"),
    ):
        with pytest.raises(InputError, match=message):
            load_audio(tmp_path / name)


@pytest.mark.parametrize("kind", NOISES)
def test_noise_has_the_stated_level_and_colour(kind: str) -> None:
    signal = tone(4.0, 440)
    noisy = mix_noise(signal, Noise(kind, 7.0, 5))
    added = noisy.astype(np.float64) - signal
    snr = 10 * np.log10(np.mean(signal.astype(np.float64) ** 2) / np.mean(added**2))
    assert snr == pytest.approx(7.0, abs=0.01)
    assert np.array_equal(noisy, mix_noise(signal, Noise(kind, 7.0, 5)))
    assert not np.array_equal(noisy, mix_noise(signal, Noise(kind, 7.0, 6)))
    # The slope of the spectrum over two decades, in powers of frequency.
    noise = coloured_noise(1 << 18, NOISES[kind], 1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.arange(len(power))
    low, high = power[100:200].mean(), power[10_000:20_000].mean()
    slope = np.log(low / high) / np.log(frequency[15_000] / frequency[150])
    assert slope == pytest.approx(NOISES[kind], abs=0.1)


def test_silence_gets_no_noise() -> None:
    assert not mix_noise(np.zeros(100, np.float32), Noise("pink", 10.0, 1)).any()


def test_an_utterances_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"utterance u7: .*none\.wav"):
        load_utterance(Utterance("u7", tmp_path / "none.wav"))


def test_long_audio_is_cut_in_its_pauses() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal(RATE * 8) * 0.1, np.zeros(RATE)] * 5
    signal = np.concatenate(parts).astype(np.float32)
    cuts = split_quietly(signal, RATE, longest=20.0)
    assert np.array_equal(np.concatenate(cuts), signal)
    assert all(len(part) <= 20 * RATE for part in cuts)
    ends = np.cumsum([len(part) for part in cuts])[:-1]
    assert len(ends) >= 2
    assert not signal[ends].any()
