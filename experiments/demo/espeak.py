"""espeak-ng as a function from text to samples, with the same bits each time.

The synthesiser comes from the PyPI package espeakng-loader and is called through ctypes. One
utterance changes its state, so the same text would sound different after other texts. Therefore
`synthesise` and `synthesise_all` start it again in a forked process for every utterance; their
samples are reproducible to the bit. An `Espeak` object that speaks many texts one after another is
faster, but its samples depend on everything that it spoke before.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import soxr

from experiments.demo.voices import Voice
from lm.errors import InputError, SecondpassError

RATE = 16000  # sampling rate of all samples that this module returns, Hz

# Constants of espeak-ng's speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_PARAMETER_RATE, _PARAMETER_VOLUME, _PARAMETER_PITCH = 1, 2, 3
_VOLUME = 70  # of 100: several variants clip at the default

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class _EspeakVoice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
    )


class Job(NamedTuple):
    """One utterance to speak."""

    text: str
    voice: Voice
    seed: int


class Espeak:
    """The synthesiser of this process. The C library has one state, so make only one object."""

    def __init__(self, fresh: bool = False) -> None:
        """Starts espeak-ng.

        Args:
            fresh: Whether to refuse a process in which espeak-ng was started before, because its
                speech would depend on everything that was spoken there.

        Raises:
            InputError: espeakng-loader is not installed, or its data cannot be read.
            SecondpassError: espeak-ng ran in this process before, and `fresh` is set.
        """
        try:
            import espeakng_loader
        except ImportError as error:
            raise InputError(
                "speech synthesis needs the package espeakng-loader: pip install espeakng-loader"
            ) from error
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        if fresh and self._library.espeak_ng_GetSampleRate() != 0:  # 0 until the first start
            raise SecondpassError(
                "reproducible speech needs a process in which espeak-ng has not been started: "
                "call synthesise before making an Espeak, or in another process"
            )
        data = espeakng_loader.get_data_path()
        self._rate = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(data).encode(), 0
        )
        if self._rate <= 0:
            raise InputError(f"{data}: espeak-ng cannot read its data; reinstall espeakng-loader")
        self._library.espeak_GetCurrentVoice.restype = ctypes.POINTER(_EspeakVoice)
        self._chunks: list[bytes] = []
        self._callback = _Callback(self._keep)  # an attribute, so that it outlives this call
        self._library.espeak_SetSynthCallback(self._callback)

    def _keep(self, wave: ctypes._Pointer[ctypes.c_short], samples: int, _events: int) -> int:
        if wave and samples > 0:
            self._chunks.append(ctypes.string_at(wave, 2 * samples))
        return 0

    def speak(self, text: str, voice: Voice, seed: int) -> np.ndarray:
        """Speaks a text.

        Args:
            text: Lower-case words; single letters are read as their names.
            voice: The speaker, the rate and the pitch.
            seed: Random seed of the synthesiser's flutter.

        Returns:
            (samples,) float32 in [-1, 1] at 16 kHz.

        Raises:
            InputError: espeak-ng has no such voice or variant, or the text has no sound.
        """
        self._choose(voice)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._chunks.clear()
        spoken = spoken_form(text).encode()
        self._library.espeak_Synth(
            spoken, ctypes.c_size_t(len(spoken) + 1), 0, 1, 0, _CHARS_UTF8, None, None
        )
        samples = np.frombuffer(b"".join(self._chunks), dtype=np.int16).astype(np.float32) / 32768
        if not np.any(samples):
            raise InputError(f"espeak-ng made no sound from {text!r}; give a text with words")
        return np.clip(soxr.resample(samples, self._rate, RATE), -1.0, 1.0)

    def _choose(self, voice: Voice) -> None:
        # espeak-ng refuses an unknown accent only by a return code, and ignores an unknown variant
        # silently. So the voice that is set afterwards is compared.
        status = self._library.espeak_SetVoiceByName(voice.name.encode())
        current = self._library.espeak_GetCurrentVoice().contents.identifier.decode()
        if status != 0 or current.lower() != f"gmw/{voice.name}".lower():
            raise InputError(
                f"espeak-ng has no voice {voice.name}; choose another accent or another variant"
            )
        for parameter, value in (
            (_PARAMETER_RATE, voice.rate),
            (_PARAMETER_VOLUME, _VOLUME),
            (_PARAMETER_PITCH, voice.pitch),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)


def spoken_form(text: str) -> str:
    """Writes the letter `a` so that it is read as a letter where the text spells something.

    espeak-ng reads a single letter as its name but takes `a` for the article, also in `b a c k`. In
    four or more single letters in a row every `a` is a letter. In fewer, an `a` after a letter is a
    letter (`u s a`), unless a word comes next (`vitamin c a day`).
    """

    def letters(match: re.Match[str]) -> str:
        run = match[0].split()
        last = len(run) - (match.end() < len(text))
        return " ".join(
            "ay" if letter == "a" and (len(run) >= 4 or 0 < place < last) else letter
            for place, letter in enumerate(run)
        )

    return re.sub(r"(?<![\w'])[a-z](?: [a-z])+(?![\w'])", letters, text)


def synthesise(text: str, voice: Voice, seed: int) -> np.ndarray:
    """Speaks one text, with the same bits each time; see `Espeak.speak` for details."""
    return next(synthesise_all([Job(text, voice, seed)]))


def synthesise_all(
    jobs: Iterable[tuple[str, Voice, int]], processes: int = 1
) -> Iterator[np.ndarray]:
    """Speaks texts in order, each in a new fork of this process.

    Args:
        jobs: Text, voice and seed of each utterance.
        processes: Number of processes at a time; the result does not depend on it.

    Yields:
        Samples of each job, (samples,) float32 in [-1, 1] at 16 kHz.

    Raises:
        SecondpassError: A job failed, or this process has made an `Espeak`.
    """
    running: deque[tuple[int, int]] = (
        deque()
    )  # process id, and the end of the pipe from which its samples are read
    try:
        for job in jobs:
            if len(running) >= max(processes, 1):
                yield _collect(*running.popleft())
            running.append(_start(Job(*job)))
        while running:
            yield _collect(*running.popleft())
    finally:
        for process, pipe in running:  # the caller stopped early; closing the pipe ends the writer
            os.close(pipe)
            os.waitpid(process, 0)


def _start(job: Job) -> tuple[int, int]:
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    status = 1
    try:
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            try:
                pipe.write(Espeak(fresh=True).speak(*job).astype(np.float32).tobytes())
                status = 0
            except SecondpassError as error:
                pipe.write(str(error).encode())
    finally:
        os._exit(status)  # the child must not run the parent's flush and atexit


def _collect(process: int, pipe: int) -> np.ndarray:
    with os.fdopen(pipe, "rb") as file:
        content = file.read()
    _, status = os.waitpid(process, 0)
    if status:
        raise SecondpassError(content.decode() or f"speech synthesis ended with status {status}")
    return np.frombuffer(content, dtype=np.float32)
