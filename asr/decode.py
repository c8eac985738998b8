"""The first pass: emissions to N-best lists, by any decoder, on any number of processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from safetensors import SafetensorError

from asr.emissions import Emissions
from asr.greedy import greedy
from asr.nbest import Hypothesis, build_nbest
from asr.vocabulary import Vocabulary
from lm.errors import InputError, SecondpassError

CHUNK = 4  # utterances that a worker process takes at once


@dataclass(frozen=True)
class DecoderOptions:
    """How to decode.

    The search's score, by which lists are ranked, is acoustic + alpha · ngram + beta · words, where
    alpha is also given to the penalty of unknown words; without an n-gram model it is acoustic.

    Attributes:
        decoder: `greedy` or `pyctcdecode`.
        lm: ARPA file of a word n-gram model; None searches without one.
        alpha: Weight of the n-gram log-prob in the search.
        beta: Bonus for each word in the search, natural log; only with an n-gram model.
        unknown: Added to the log10 probability of a word that the n-gram model lacks.
        beam_width: Prefixes that are kept after each frame.
        nbest: Longest list.
        token_min_logp: Labels below this natural-log probability in a frame are not followed,
            except the frame's best.
        beam_prune_logp: Prefixes that are worse than the best by more than this natural log are
            dropped. pyctcdecode's own default of -10 leaves lists of a few hypotheses whatever the
            beam width; at -25 the width is what limits the list.
    """

    decoder: str = "pyctcdecode"
    lm: str | None = None
    alpha: float = 0.5
    beta: float = 1.0
    unknown: float = -10.0
    beam_width: int = 100
    nbest: int = 50
    token_min_logp: float = -6.0
    beam_prune_logp: float = -25.0

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise InputError(f"decoder {self.decoder!r} is not one of {', '.join(DECODERS)}")
        if self.beam_width < 1 or self.nbest < 1:
            raise InputError(
                f"beam_width {self.beam_width} and nbest {self.nbest} must be at least 1"
            )
        if self.token_min_logp > 0 or self.beam_prune_logp > 0:
            raise InputError(
                f"token_min_logp {self.token_min_logp} and beam_prune_logp {self.beam_prune_logp} "
                "are natural logs and must not be above 0"
            )
        if self.decoder == "greedy" and self.lm is not None:
            raise InputError("the greedy decoder takes no language model; leave `lm` out")


class Decoder(Protocol):
    """A decoder, ready for utterances."""

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Distinct hypotheses, best first, for log-probs (T, V) in natural log."""


@dataclass(frozen=True)
class DecodeResult:
    """What decoding gave.

    Attributes:
        table: N-best table, utterances in the emissions' order.
        failures: Reason by utterance that failed.
    """

    table: pd.DataFrame
    failures: dict[str, str]


@dataclass(frozen=True)
class GreedyDecoder:
    """The best path as a list of one."""

    vocabulary: Vocabulary

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """One hypothesis."""
        return [Hypothesis(*greedy(log_probs, self.vocabulary))]


def _greedy(vocabulary: Vocabulary, options: DecoderOptions) -> Decoder:
    return GreedyDecoder(vocabulary)


def _pyctcdecode(vocabulary: Vocabulary, options: DecoderOptions) -> Decoder:
    from asr.reference import ReferenceDecoder

    return ReferenceDecoder.build(vocabulary, options)


# A new decoder is one module and one line here.
DECODERS: dict[str, Callable[[Vocabulary, DecoderOptions], Decoder]] = {
    "greedy": _greedy,
    "pyctcdecode": _pyctcdecode,
}


def decode(
    emissions: Emissions,
    options: DecoderOptions,
    processes: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> DecodeResult:
    """N-best lists of all utterances.

    Args:
        emissions: From the acoustic stage.
        options: Decoder and its settings.
        processes: Worker processes, started once for the whole run; by default one for each
            processor. Results do not depend on their number.
        progress: Told of each utterance that is done.

    Raises:
        InputError: The language model is missing or does not fit the vocabulary.
        SecondpassError: A worker process was killed.
    """
    if processes is not None and processes < 1:
        raise InputError(f"{processes} processes cannot decode; give 1 or more")
    decoder = DECODERS[options.decoder](emissions.meta.vocabulary, options)
    processes = min(processes or os.cpu_count() or 1, max(1, len(emissions) // CHUNK))
    lists: dict[str, list[Hypothesis]] = {}
    failures: dict[str, str] = {}
    for utt, found in _results(_Worker(emissions, decoder), emissions.ids, processes):
        if isinstance(found, str):
            failures[utt] = found
        else:
            lists[utt] = found
        if progress is not None:
            progress(1)
    return DecodeResult(build_nbest(lists), failures)


@dataclass(frozen=True)
class _Worker:
    """What a process needs to decode any utterance."""

    emissions: Emissions
    decoder: Decoder

    def run(self, utt: str) -> tuple[str, list[Hypothesis] | str]:
        """An utterance's hypotheses, or why it has none."""
        try:
            log_probs = self.emissions[utt]
            if not len(log_probs):
                return utt, f"utterance {utt}: its emissions have no frames"
            if np.isnan(log_probs).any():
                return utt, f"utterance {utt}: its emissions hold NaN; run `secondpass emit` again"
            return utt, self.decoder.decode(log_probs)
        except (SecondpassError, SafetensorError, OSError) as error:
            return utt, f"utterance {utt}: {error}"


# The worker of a forked process: a decoder with a loaded n-gram model cannot be sent to one.
_forked: list[_Worker] = []


def _start(worker: _Worker) -> None:
    _forked[:] = [worker]


def _run(utt: str) -> tuple[str, list[Hypothesis] | str]:
    return _forked[0].run(utt)


def _results(
    worker: _Worker, utts: list[str], processes: int
) -> Iterator[tuple[str, list[Hypothesis] | str]]:
    """Results in the order of the utterances."""
    if processes == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(worker.run, utts)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, _start, (worker,)) as pool:
        try:
            yield from pool.map(_run, utts, chunksize=CHUNK)
        except BrokenProcessPool as error:
            raise SecondpassError(
                "decoding: a worker process was killed, most often for lack of memory; "
                "use fewer --processes"
            ) from error
