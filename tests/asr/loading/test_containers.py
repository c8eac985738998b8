"""Audio files as recorders leave them: cut, unfinished, without seeking, with inverted channels."""

from __future__ import annotations

import logging
import struct
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import averaged, load_audio
from asr.corpus import Utterance, load_utterance
from asr.loading.containers import cut_of, finished
from lm.errors import InputError
from tests.support.damage import refusals

RATE = 16_000
SECONDS = np.arange(RATE // 10) / RATE
# Format and coding of libsndfile, and the name's ending.
WITH_LENGTH = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "ulaw.wav": ("WAV", "ULAW"),
    "adpcm.wav": ("WAV", "MS_ADPCM"),
    "gsm.wav": ("WAV", "GSM610"),
    "extensible.wav": ("WAVEX", "PCM_16"),
    "rf64.wav": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "gsm.aiff": ("AIFF", "GSM610"),
    "au": ("AU", "PCM_16"),
    "ulaw.au": ("AU", "ULAW"),
    "sph": ("NIST", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
STREAMS = {"ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}
EVERY = WITH_LENGTH | STREAMS
# Four seconds of notes, each a tenth of a second of two tones of different loudness.
NOTES = np.random.default_rng(7).uniform([0.1, 300, 800], [0.3, 600, 1200], (40, 3))
SPOKEN = np.concatenate(
    [
        loudness * (np.sin(2 * np.pi * low * SECONDS) + np.sin(2 * np.pi * high * SECONDS))
        for loudness, low, high in NOTES
    ]
).astype(np.float32)


def write(folder: Path, ending: str, seconds: float = 4.0) -> Path:
    """A whole file."""
    path = folder / f"a.{ending}"
    kind, coding = EVERY[ending]
    soundfile.write(path, SPOKEN[: round(seconds * RATE)], RATE, format=kind, subtype=coding)
    return path


@pytest.mark.parametrize("ending", EVERY)
def test_a_whole_file_is_read_to_its_end(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, ending)
    signal = load_audio(path)
    assert len(signal) == pytest.approx(len(SPOKEN), abs=1200)
    near = np.corrcoef(signal[: len(SPOKEN)], SPOKEN[: len(signal)])[0, 1]
    assert near > 0.9
    assert cut_of(path) is None
    assert finished(path) is None
    part = load_audio(path, offset=1.0, duration=1.5)
    assert len(part) == 1.5 * RATE
    if ending not in ("mp3", "ogg", "opus"):  # these may begin a block later with other rounding
        assert np.array_equal(part, signal[RATE : 2 * RATE + RATE // 2])
    assert not caplog.records


@pytest.mark.parametrize("ending", EVERY)
@pytest.mark.parametrize("left", [0.3, 0.5, 0.9])
def test_a_cut_file_is_not_read_as_a_shorter_one(tmp_path: Path, ending: str, left: float) -> None:
    path = write(tmp_path, ending)
    content = path.read_bytes()
    path.write_bytes(content[: round(left * len(content))])
    with pytest.raises(InputError, match=r"is cut: .*copy it again|not readable as audio") as error:
        load_audio(path)
    assert str(error.value).startswith(str(path))
    with pytest.raises(InputError, match="utterance u1: "):
        load_utterance(Utterance("u1", path))


@pytest.mark.parametrize("ending", [e for e in EVERY if e not in ("caf", "mp3")])
def test_utterances_before_the_cut_are_read(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, ending)
    expected = load_audio(path, offset=0.25, duration=0.5)
    content = path.read_bytes()
    path.write_bytes(content[: round(0.7 * len(content))])
    assert np.allclose(load_audio(path, offset=0.25, duration=0.5), expected, atol=1e-4)
    with pytest.raises(InputError, match=r"the file has only|not readable|after the end"):
        load_audio(path, offset=0.25, duration=3.5)


def test_a_header_says_how_long_the_whole_was(tmp_path: Path) -> None:
    path = write(tmp_path, "wav")
    path.write_bytes(path.read_bytes()[: 44 + 2 * RATE])
    with pytest.raises(InputError, match=r"header says 4\.00 s, and only 1\.00 s can be read"):
        load_audio(path)


def test_some_lost_samples_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "wav")
    path.write_bytes(path.read_bytes()[:-200])
    assert len(load_audio(path)) == len(SPOKEN) - 100
    assert "0.006 s more than the file has" in caplog.text


@pytest.mark.parametrize(
    ("ending", "length"),
    [
        *product(["wav", "float.wav", "ulaw.wav"], [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000]),
        *product(["au", "ulaw.au"], [0, 0xFFFFFFFF]),
    ],
)
def test_a_file_from_a_pipe_has_no_length(
    tmp_path: Path, ending: str, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, ending)
    expected = load_audio(path)
    content = bytearray(path.read_bytes())
    if ending.endswith("au"):
        content[8:12] = struct.pack(">I", length)
    else:
        at = content.index(b"data") + 4
        content[4:8] = content[at : at + 4] = struct.pack("<I", length)
    path.write_bytes(content)
    assert np.array_equal(load_audio(path), expected)
    assert np.array_equal(load_audio(path, offset=2.0), expected[2 * RATE :])
    assert ("the header says that there is no audio" in caplog.text) == (length == 0)


def test_an_empty_file_with_other_chunks_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), RATE)
    content = path.read_bytes()
    for more in (b"", b"LIST\x04\0\0\0INFO", b"id3 \x03\0\0\0abc"):
        path.write_bytes(content[: content.index(b"data") + 8] + more)
        with pytest.raises(InputError, match="no samples"):
            load_audio(path)


def test_a_flac_from_a_pipe_has_no_number_of_samples(tmp_path: Path) -> None:
    path = write(tmp_path, "flac")
    expected = load_audio(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert np.array_equal(load_audio(path), expected)
    assert np.array_equal(load_audio(path, offset=1.0, duration=1.0), expected[RATE : 2 * RATE])


def test_channels_of_opposite_sign_do_not_become_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([SPOKEN, -0.9 * SPOKEN], axis=1), RATE, subtype="FLOAT")
    assert np.allclose(load_audio(path), SPOKEN)
    assert f"{path}: its channels cancel each other" in caplog.text
    caplog.clear()
    assert np.allclose(load_audio(path, channel=1), -0.9 * SPOKEN)
    assert not caplog.records
    soundfile.write(
        path, np.stack([0.3 + SPOKEN, 0.3 - 0.9 * SPOKEN], axis=1), RATE, subtype="FLOAT"
    )
    assert np.allclose(load_audio(path), 0.3 + SPOKEN)  # an offset is no sound
    assert f"{path}: its channels cancel each other" in caplog.text


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_other_channels_are_averaged(channels: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(channels)
    independent = rng.standard_normal((5000, channels)).astype(np.float32)
    one = independent * (np.arange(channels) == 1)
    turns = np.where(np.arange(5000)[:, None] // 500 % channels == np.arange(channels), 1, 0)
    for samples in (independent, one, independent * turns, np.zeros_like(one)):
        expected = samples.mean(axis=1)
        assert np.array_equal(averaged(samples, "a.wav"), expected)
    assert not caplog.records


@pytest.mark.parametrize(
    "ending", ["wav", "gsm.wav", "aiff", "au", "sph", "w64", "caf", "rf64.wav"]
)
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, ending, seconds=0.05)
    logging.getLogger("secondpass").disabled = True
    try:
        messages = refusals(load_audio, path)
    finally:
        logging.getLogger("secondpass").disabled = False
    assert all(message.startswith(str(path)) for message in messages)
    assert len(messages) > 8


@pytest.mark.parametrize("ending", ["flac", "ogg", "opus", "mp3"])
def test_a_damaged_compressed_file_is_read_or_refused(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, ending, seconds=0.05)
    messages = refusals(load_audio, path)
    assert all(message.startswith(str(path)) for message in messages)
    assert len(messages) > 8
