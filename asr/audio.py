"""Audio as arrays: any file that libsndfile reads, at the sampling rate of the model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asr.loading.containers import cut_of, finished
from lm.errors import InputError

LOG = logging.getLogger("secondpass")

RATE = 16_000  # Hz, the sampling rate of nearly every CTC model

# A file may be shorter than the manifest says by this many seconds: manifests round their numbers,
# and MP3 has padding.
SLACK = 0.1
# A decoder may give this many seconds less than a header says, because of the padding of MP3.
PADDING = 0.25
BLOCK = 1 << 18  # frames that are read at a time
UNKNOWN_FRAMES = 1 << 62  # more is the number of frames of a stream without a length
NO_HEADER = (
    "not readable as audio (no header says how its samples are written); copy it again if it is "
    "damaged, or convert it to WAV or FLAC"
)
# Channels cancel each other if their mean has less than this part of the power of independent ones.
CANCELLED = 0.1
SILENT = 1e-12  # power of what may be a rounding error
# The power of each kind of noise falls with the frequency to the power of this number.
NOISES = {"white": 0.0, "pink": 1.0, "brown": 2.0}


@dataclass(frozen=True)
class Noise:
    """Stationary noise that is added when the audio is loaded.

    Attributes:
        kind: `white`, `pink` (power ~ 1/f) or `brown` (power ~ 1/f²).
        snr_db: Signal-to-noise ratio over the whole utterance, dB.
        seed: Random seed of the noise.
    """

    kind: str
    snr_db: float
    seed: int


def load_audio(
    path: str | Path,
    rate: int = RATE,
    offset: float = 0.0,
    duration: float | None = None,
    channel: int | None = None,
    claimed_rate: int | None = None,
) -> np.ndarray:
    """Reads (part of) an audio file.

    Args:
        path: A file that libsndfile reads: WAV, FLAC, Ogg, Opus, MP3, …
        rate: Sampling rate of the result, Hz. A file at another rate is resampled by soxr at high
            quality.
        offset: Start, seconds.
        duration: Length, seconds; None reads to the end. A file that ends up to a tenth of a
            second early is accepted.
        channel: Number of the channel, from 0; None averages all channels (see `averaged`).
        claimed_rate: Sampling rate of the file according to the manifest, Hz; it is checked.

    Returns:
        (samples,) float32, full scale ±1.

    Raises:
        InputError: The file is missing or unreadable, has no samples there, is not as the manifest
            says, or, where it is read to its end, is cut.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such audio file")
    if path.suffix.lower() == ".raw":
        raise InputError(f"{path}: {NO_HEADER}")
    try:
        whole = finished(path)
        if whole is not None:
            LOG.warning(
                f"{path}: the header says that there is no audio, but there is; it is read to the "
                "end of the file, where some may be missing"
            )
        with Sequential(whole or path) as file:
            found, frames = file.samplerate, file.frames
            if file.format == "RAW":  # libsndfile guesses how samples are written by the ending
                raise InputError(f"{path}: {NO_HEADER}")
            if claimed_rate is not None and claimed_rate != found:
                raise InputError(
                    f"{path}: the manifest says {claimed_rate} Hz, the file has {found} Hz; "
                    "correct `sample_rate` or remove it"
                )
            if channel is not None and not 0 <= channel < file.channels:
                raise InputError(
                    f"{path}: there is no channel {channel}; the file has {file.channels}, "
                    "counted from 0: correct `channel`"
                )
            start = round(offset * found)
            if start and start >= frames:
                raise InputError(
                    f"{path}: offset {offset:g} s is after the end of the file "
                    f"({frames / found:.2f} s); correct `offset`"
                )
            wanted = None if duration is None else round(duration * found)
            samples = file.part(start, wanted)
        if duration is None:
            _check_end(path, start + len(samples), frames, found)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except soundfile.SoundFileError as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise InputError(
            f"{path}: not readable as audio ({reason}); copy it again if it is damaged, or convert "
            "it to WAV or FLAC"
        ) from error
    if not len(samples):
        raise InputError(f"{path}: the file has no samples; remove the utterance")
    if duration is not None and len(samples) < (duration - SLACK) * found:
        raise InputError(
            f"{path}: the manifest says {duration:g} s after {offset:g} s, the file has only "
            f"{len(samples) / found:.2f} s there; correct `duration` or replace the file"
        )
    if not np.isfinite(samples if channel is None else samples[:, channel]).all():
        raise InputError(f"{path}: some samples are not finite; write the file again")
    mono = averaged(samples, path) if channel is None else samples[:, channel]
    return resample(mono, found, rate)


class Sequential(soundfile.SoundFile):
    """A file that is read block by block, without soundfile's own seek after each block.

    Some files cannot be sought in, such as GSM 6.10 in WAV, and a header that is damaged or was
    never finished has a number of frames for which there is no memory.
    """

    def seekable(self) -> bool:
        """For soundfile's methods it cannot be sought in."""
        return False

    def part(self, start: int, frames: int | None) -> np.ndarray:
        """(F, C) float32, at most `frames` from `start`; None reads to the end of the file."""
        if start and super().seekable() and self.frames < UNKNOWN_FRAMES:
            self.seek(start)
            start = 0
        last = np.inf if frames is None else start + frames
        blocks, at = [np.zeros((0, self.channels), np.float32)], 0
        while at < last:
            count = int(min(BLOCK, (start if at < start else last) - at))
            block = self.read(count, dtype="float32", always_2d=True)
            if at >= start:
                blocks.append(block)
            if not len(block):
                break
            at += len(block)
        return np.concatenate(blocks)


def _check_end(path: Path, end: int, frames: int, rate: int) -> None:
    """Checks that a file that was read up to a frame is complete.

    Raises:
        InputError: Its header or its last page says that it is cut.
    """
    cut = cut_of(path)
    claimed = max(end, frames) if frames < UNKNOWN_FRAMES else end
    if cut is not None:
        claimed = max(claimed, round(end * cut.whole)) if cut.whole else claimed
    lost = (claimed - end) / rate
    if cut is None and lost <= PADDING:
        return
    if cut is not None and cut.whole and lost <= SLACK:
        LOG.warning(f"{path}: the header says {lost:.3f} s more than the file has; it is read")
        return
    said = f"its header says {claimed / rate:.2f} s" if lost > 0 else "its end is missing"
    raise InputError(
        f"{path}: the file is cut: {said}, and only {end / rate:.2f} s can be read; copy it again, "
        "or write a manifest with the `duration` that is there"
    )


def averaged(samples: np.ndarray, path: str | Path) -> np.ndarray:
    """(F,) the mean of the channels (F, C), or the loudest one where they cancel each other.

    A channel that was recorded with the opposite sign, as in a wrongly wired stereo pair, makes
    silence of the mean. Independent channels leave 1 / C of their power.
    """
    mono: np.ndarray = samples.mean(axis=1)
    channels = samples.shape[1]
    if channels == 1:
        return mono
    # einsum sums in float64 without a copy of all samples in it. A constant offset is no sound.
    frames = max(1, len(samples))
    powers = np.einsum("fc,fc->c", samples, samples, dtype=np.float64) / frames
    powers -= (samples.sum(axis=0, dtype=np.float64) / frames) ** 2
    left = np.einsum("f,f->", mono, mono, dtype=np.float64) / frames
    left -= (mono.sum(dtype=np.float64) / frames) ** 2
    if left + SILENT >= CANCELLED * powers.mean() / channels:
        return mono
    loudest = int(powers.argmax())
    LOG.warning(
        f"{path}: its channels cancel each other: they have opposite signs; channel {loudest} is "
        "read alone (a manifest can name the `channel`)"
    )
    return samples[:, loudest]


def resample(signal: np.ndarray, source: int, target: int) -> np.ndarray:
    """A signal (samples,) at another sampling rate (Hz), as float32."""
    if source == target:
        return np.ascontiguousarray(signal, dtype=np.float32)
    return np.asarray(soxr.resample(signal, source, target, quality="HQ"), dtype=np.float32)


def split_quietly(signal: np.ndarray, rate: int, longest: float = 30.0) -> list[np.ndarray]:
    """Cuts a long signal (samples,) into parts of at most `longest` seconds.

    Each cut is in the last third of its part, at the quietest tenth of a second.
    """
    parts = []
    most, window = round(longest * rate), max(1, rate // 10)
    while len(signal) > most:
        search = signal[most - most // 3 : most]
        frames = search[: len(search) // window * window].reshape(-1, window)
        quietest = int(np.square(frames, dtype=np.float64).sum(axis=1).argmin())
        cut = most - most // 3 + quietest * window + window // 2
        parts.append(signal[:cut])
        signal = signal[cut:]
    return [*parts, signal]


def mix_noise(signal: np.ndarray, noise: Noise) -> np.ndarray:
    """The signal (samples,) with noise at the noise's signal-to-noise ratio.

    Digital silence gets no noise, because there is no level that the ratio could refer to.
    """
    power = float(np.mean(np.square(signal, dtype=np.float64)))
    if power == 0.0:
        return signal
    added = coloured_noise(len(signal), NOISES[noise.kind], noise.seed)
    scale = np.sqrt(power / 10 ** (noise.snr_db / 10))
    return (signal + scale * added).astype(np.float32)


def coloured_noise(samples: int, exponent: float, seed: int) -> np.ndarray:
    """Gaussian noise of unit power, (samples,) float64, whose spectrum falls as 1/f^exponent.

    White noise is shaped in the frequency domain (Timmer & König 1995). There is no power at 0 Hz.
    """
    rng = np.random.default_rng(seed)
    # A power of two is fast to transform; it is longer, so that the end does not join the start.
    length = 1 << max(samples, 2).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.arange(len(spectrum), dtype=np.float64)
    frequency[0] = np.inf if exponent else 1.0
    shaped = np.fft.irfft(spectrum * frequency ** (-exponent / 2), length)[:samples]
    shaped -= shaped.mean() if samples > 1 else 0.0
    power = np.mean(np.square(shaped))
    return np.asarray(shaped / np.sqrt(power) if power else shaped)
