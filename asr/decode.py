"""The first pass: emissions to N-best lists, by any decoder, on all processors."""

from __future__ import annotations

import importlib
import math
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from safetensors import SafetensorError

from asr.emissions import Emissions
from asr.greedy import greedy
from asr.hypothesis import Hypothesis
from asr.log_probs import check_log_probs
from asr.options import DecoderOptions
from asr.vocabulary import Vocabulary
from lm.errors import InputError, SecondpassError

CHUNK = 8  # largest number of utterances that a worker takes at once
AHEAD = 4  # chunks for each worker that may wait


class Decoder(Protocol):
    """A decoder that is ready for utterances."""

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Distinct hypotheses, best first, for log-probs (T, V) in natural log."""


@dataclass(frozen=True)
class GreedyDecoder:
    """The best path as a list of one hypothesis."""

    vocabulary: Vocabulary

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """One hypothesis.

        Raises:
            InputError: As `check_log_probs`.
        """
        checked = check_log_probs(log_probs, "the log-probs")
        return [Hypothesis(*greedy(checked, self.vocabulary))]


def _greedy(vocabulary: Vocabulary, options: DecoderOptions) -> Decoder:
    return GreedyDecoder(vocabulary)


def _beam(vocabulary: Vocabulary, options: DecoderOptions) -> Decoder:
    from asr.beam import BeamDecoder  # its machine code takes a second to load

    return BeamDecoder.build(vocabulary, options)


def _pyctcdecode(vocabulary: Vocabulary, options: DecoderOptions) -> Decoder:
    check_installed(options.decoder)
    from asr.pyctcdecode_beam import PyctcdecodeBeam

    return PyctcdecodeBeam.build(vocabulary, options)


def check_installed(decoder: str) -> None:
    """Checks that the packages that a decoder needs can be imported.

    Raises:
        InputError: They cannot.
    """
    try:
        for package in PACKAGES.get(decoder, ()):
            importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"decoder `{decoder}` is not available, because the package {package} cannot be "
            f"imported ({error}): run `pip install kenlm pygtrie` and `pip install --no-deps "
            "pyctcdecode==0.5.0`, or use decoder `beam`"
        ) from error


# A new decoder is one module, one line here, and its name in `asr.options`.
BUILDERS: dict[str, Callable[[Vocabulary, DecoderOptions], Decoder]] = {
    "beam": _beam,
    "greedy": _greedy,
    "pyctcdecode": _pyctcdecode,
}
PACKAGES = {"pyctcdecode": ("kenlm", "pyctcdecode")}  # packages that may not be installed
THREADED = ("beam",)  # decoders that release Python's lock; the others get processes


@dataclass(frozen=True)
class Decoded:
    """The result for one utterance.

    Attributes:
        utt: Id of the utterance.
        hypotheses: N-best list, best first; None if the utterance failed.
        reason: Why it failed.
        frames: Number of frames.
    """

    utt: str
    hypotheses: list[Hypothesis] | None
    reason: str = ""
    frames: int = 0


def decode(
    emissions: Emissions, options: DecoderOptions, workers: int | None = None
) -> Iterator[Decoded]:
    """Decodes any number of utterances, one after the other, in the order of the emissions.

    Args:
        emissions: Log-probs of the utterances.
        options: Decoder and its settings.
        workers: Number of threads, or of processes for decoders in Python; by default one for
            each processor. The results do not depend on it.

    Raises:
        InputError: A language model is missing or does not fit the vocabulary, or there are no
            utterances.
        SecondpassError: A worker process was killed.
    """
    _check(emissions, workers)
    decoder = BUILDERS[options.decoder](emissions.meta.vocabulary, options)
    return decode_with(decoder, emissions, workers, threaded=options.decoder in THREADED)


def decode_with(
    decoder: Decoder, emissions: Emissions, workers: int | None = None, threaded: bool = False
) -> Iterator[Decoded]:
    """Decodes as `decode` does, with a decoder that has been built already or a custom one.

    Args:
        decoder: Its `decode` is called in every worker.
        emissions: Log-probs of the utterances.
        workers: See `decode`.
        threaded: Whether the workers are threads, for a decoder that releases Python's lock.

    Raises:
        InputError: There are no utterances, or no workers.
        SecondpassError: A worker process was killed.
    """
    _check(emissions, workers)
    workers = min(workers or os.cpu_count() or 1, len(emissions))
    return _decoded(_Worker(emissions, decoder), emissions.ids, workers, threaded)


def _check(emissions: Emissions, workers: int | None) -> None:
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers cannot decode; use 1 or more")
    if not len(emissions):
        raise InputError(f"{emissions.folder}: no utterances in it; run `secondpass emit` again")


@dataclass(frozen=True)
class _Worker:
    """Decodes any utterance."""

    emissions: Emissions
    decoder: Decoder

    def run(self, utts: Sequence[str]) -> list[Decoded]:
        """The hypotheses of some utterances, or why they have none."""
        return [self.one(utt) for utt in utts]

    def one(self, utt: str) -> Decoded:
        """The hypotheses of one utterance, or why it has none."""
        try:
            log_probs = self.emissions[utt]
            if not len(log_probs):
                return Decoded(utt, None, f"utterance {utt}: its emissions have no frames")
            hypotheses = self.decoder.decode(check_log_probs(log_probs))
            if not all(h.acoustic < math.inf and not math.isnan(h.ngram) for h in hypotheses):
                reason = "its scores are not numbers; run `secondpass emit` again"
                return Decoded(utt, None, f"utterance {utt}: {reason}")
            return Decoded(utt, hypotheses, frames=len(log_probs))
        except (SecondpassError, SafetensorError, OSError) as error:
            return Decoded(utt, None, f"utterance {utt}: {error}")


# The worker of a forked process. It is inherited, because a decoder with a loaded n-gram model
# cannot be sent to a process.
_forked: list[_Worker] = []


def _start(worker: _Worker) -> None:
    _forked[:] = [worker]


def _run(utts: Sequence[str]) -> list[Decoded]:
    return _forked[0].run(utts)


def _decoded(
    worker: _Worker, utts: Sequence[str], workers: int, threaded: bool
) -> Iterator[Decoded]:
    """Results in the order of the utterances."""
    size = max(1, min(CHUNK, len(utts) // (AHEAD * workers)))
    chunks = [utts[i : i + size] for i in range(0, len(utts), size)]
    forks = "fork" in multiprocessing.get_all_start_methods()
    if workers == 1 or not (threaded or forks):
        for chunk in chunks:
            yield from worker.run(chunk)
    elif threaded:
        with ThreadPoolExecutor(workers) as threads:
            yield from _in_order(threads, worker.run, chunks, workers)
    else:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(workers, context, _start, (worker,)) as pool:
            try:
                yield from _in_order(pool, _run, chunks, workers)
            except BrokenProcessPool as error:
                raise SecondpassError(
                    "decoding: a worker process was killed, probably because the memory was full; "
                    "use fewer --workers"
                ) from error


def _in_order(
    pool: Executor,
    run: Callable[[Sequence[str]], list[Decoded]],
    chunks: Sequence[Sequence[str]],
    workers: int,
) -> Iterator[Decoded]:
    """Results in order. Only as many chunks wait as keep the workers busy."""
    waiting: deque[Future[list[Decoded]]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(run, chunk))
        if len(waiting) > AHEAD * workers:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()
