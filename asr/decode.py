"""The first pass: emissions to N-best lists, by any decoder, on all processors."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from safetensors import SafetensorError

from asr.emissions import Emissions, check_log_probs
from asr.greedy import greedy
from asr.nbest import Hypothesis
from asr.vocabulary import Vocabulary
from lm.errors import InputError, SecondpassError

CHUNK = 8  # most utterances that a worker takes at once
AHEAD = 4  # chunks for each worker that may wait to be taken


@dataclass(frozen=True)
class DecoderOptions:
    """How to decode.

    The search's score, by which lists are ranked, is acoustic + alpha · ngram + beta · words, where
    alpha is also given to the penalty of unknown words; without an n-gram model it is acoustic.

    Attributes:
        decoder: `beam`, `greedy` or `pyctcdecode`.
        lm: n-gram model over words, ARPA or our own format; None searches without one.
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
        lookahead: Whether an unfinished word counts as the most frequent word that begins so; else
            it costs nothing as long as some known word does. `beam` only, as all that follows.
        lm_unit: What the n-gram model's words are: `word` or `label`, the vocabulary's own.
        more_lms: Further n-gram models.
        lm_weights: For each n-gram model, `lm` first: its share of a linear mixture, or its factor
            beside alpha in a log-linear one. Empty: equal shares, or factors of 1.
        mixture: `log-linear` (scores are added; each model has a column) or `linear`
            (probabilities are added word by word).
        hotwords: Bonus, natural log, by word or phrase that is favoured.
        exact: Whether to add the column `ctc`, the log-prob over all paths of each text. Takes time
            by frames times letters, more than the search does.
    """

    decoder: str = "beam"
    lm: str | None = None
    alpha: float = 0.5
    beta: float = 1.0
    unknown: float = -10.0
    beam_width: int = 100
    nbest: int = 50
    token_min_logp: float = -6.0
    beam_prune_logp: float = -25.0
    lookahead: bool = True
    lm_unit: str = "word"
    more_lms: tuple[str, ...] = ()
    lm_weights: tuple[float, ...] = ()
    mixture: str = "log-linear"
    hotwords: Mapping[str, float] = field(default_factory=dict)
    exact: bool = False

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("decoder", self.decoder, tuple(DECODERS)),
            ("lm_unit", self.lm_unit, ("word", "label")),
            ("mixture", self.mixture, ("log-linear", "linear")),
        ):
            if value not in choices:
                raise InputError(f"{name} {value!r} is not one of {', '.join(choices)}")
        if self.beam_width < 1 or self.nbest < 1:
            raise InputError(
                f"beam_width {self.beam_width} and nbest {self.nbest} must be at least 1"
            )
        numbers = (self.alpha, self.beta, self.unknown, *self.lm_weights)
        limits = (self.token_min_logp, self.beam_prune_logp)
        if not all(map(math.isfinite, numbers)) or any(map(math.isnan, limits)):
            raise InputError(f"{(*numbers, *limits)}: weights and limits must be finite numbers")
        if self.token_min_logp > 0 or self.beam_prune_logp > 0 or self.unknown > 0:
            raise InputError(
                f"token_min_logp {self.token_min_logp}, beam_prune_logp {self.beam_prune_logp} and "
                f"unknown {self.unknown} are logs and must not be above 0"
            )
        if self.alpha < 0:
            raise InputError(f"alpha {self.alpha} must not be negative")
        if self.decoder == "greedy" and self.lm is not None:
            raise InputError("the greedy decoder takes no language model; leave `lm` out")
        if self.more_lms and self.lm is None:
            raise InputError("`more_lms` need a first one; set `lm`")
        if self.lm_weights:
            self._check_weights()
        for name in ("lm_unit", "more_lms", "lm_weights", "mixture", "hotwords", "exact"):
            default = {} if name == "hotwords" else getattr(type(self), name)
            if getattr(self, name) != default and self.decoder != "beam":
                raise InputError(f"`{name}` needs decoder `beam`, not {self.decoder}")

    def _check_weights(self) -> None:
        given = ", ".join(map(str, self.lm_weights))
        if len(self.lm_weights) != len(self.lms):
            raise InputError(f"lm_weights {given} for {len(self.lms)} n-gram models; give as many")
        if min(self.lm_weights) <= 0:
            raise InputError(f"lm_weights {given} must be above 0")
        if self.mixture == "linear" and abs(sum(self.lm_weights) - 1) > 1e-6:
            raise InputError(f"lm_weights {given} are shares of a mixture and must add up to 1")

    @property
    def lms(self) -> tuple[str, ...]:
        """All n-gram models."""
        return () if self.lm is None else (self.lm, *self.more_lms)

    @property
    def more_columns(self) -> tuple[str, ...]:
        """The columns of the N-best table that not every decoder has."""
        models = len(self.lms) if self.mixture == "log-linear" else 1
        return (
            *(f"ngram{k}" for k in range(2, models + 1)),
            *(["hotwords"] if self.hotwords else []),
            *(["ctc"] if self.exact else []),
        )


class Decoder(Protocol):
    """A decoder, ready for utterances."""

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Distinct hypotheses, best first, for log-probs (T, V) in natural log."""


@dataclass(frozen=True)
class GreedyDecoder:
    """The best path as a list of one."""

    vocabulary: Vocabulary

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """One hypothesis."""
        return [Hypothesis(*greedy(log_probs, self.vocabulary))]


def _greedy(vocabulary: Vocabulary, options: DecoderOptions) -> Decoder:
    return GreedyDecoder(vocabulary)


def _beam(vocabulary: Vocabulary, options: DecoderOptions) -> Decoder:
    from asr.beam import BeamDecoder  # its machine code takes a second to load

    return BeamDecoder.build(vocabulary, options)


def _pyctcdecode(vocabulary: Vocabulary, options: DecoderOptions) -> Decoder:
    from asr.reference import ReferenceDecoder

    return ReferenceDecoder.build(vocabulary, options)


# A new decoder is one module and one line here.
DECODERS: dict[str, Callable[[Vocabulary, DecoderOptions], Decoder]] = {
    "beam": _beam,
    "greedy": _greedy,
    "pyctcdecode": _pyctcdecode,
}
THREADED = ("beam",)  # decoders that leave Python's lock to others; the rest get processes


@dataclass(frozen=True)
class Decoded:
    """One utterance.

    Attributes:
        utt: Its id.
        hypotheses: Its list, best first; None if it failed.
        reason: Why it failed.
        frames: Its length.
    """

    utt: str
    hypotheses: list[Hypothesis] | None
    reason: str = ""
    frames: int = 0


def decode(
    emissions: Emissions, options: DecoderOptions, workers: int | None = None
) -> Iterator[Decoded]:
    """Decodes utterance by utterance, in the emissions' order, whatever their number.

    Args:
        emissions: From the acoustic stage.
        options: Decoder and its settings.
        workers: Threads, or processes for decoders in Python; by default one for each processor.
            Results do not depend on their number.

    Raises:
        InputError: A language model is missing or does not fit the vocabulary.
        SecondpassError: A worker process was killed.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers cannot decode; give 1 or more")
    decoder = DECODERS[options.decoder](emissions.meta.vocabulary, options)
    workers = min(workers or os.cpu_count() or 1, max(1, len(emissions)))
    threaded = options.decoder in THREADED
    return _decoded(_Worker(emissions, decoder), emissions.ids, workers, threaded)


@dataclass(frozen=True)
class _Worker:
    """What it takes to decode any utterance."""

    emissions: Emissions
    decoder: Decoder

    def run(self, utts: Sequence[str]) -> list[Decoded]:
        """Utterances' hypotheses, or why they have none."""
        return [self.one(utt) for utt in utts]

    def one(self, utt: str) -> Decoded:
        """One utterance's hypotheses, or why it has none."""
        try:
            log_probs = self.emissions[utt]
            if not len(log_probs):
                return Decoded(utt, None, f"utterance {utt}: its emissions have no frames")
            hypotheses = self.decoder.decode(check_log_probs(log_probs))
            if not all(h.acoustic < math.inf and not math.isnan(h.ngram) for h in hypotheses):
                reason = "its scores are no numbers; make its emissions again"
                return Decoded(utt, None, f"utterance {utt}: {reason}")
            return Decoded(utt, hypotheses, frames=len(log_probs))
        except (SecondpassError, SafetensorError, OSError) as error:
            return Decoded(utt, None, f"utterance {utt}: {error}")


# The worker of a forked process: a decoder with a loaded n-gram model cannot be sent to one.
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
                    "decoding: a worker process was killed, most often for lack of memory; "
                    "use fewer --workers"
                ) from error


def _in_order(
    pool: Executor,
    run: Callable[[Sequence[str]], list[Decoded]],
    chunks: Sequence[Sequence[str]],
    workers: int,
) -> Iterator[Decoded]:
    """Results in order; no more chunks wait than keep the workers busy."""
    waiting: deque[Future[list[Decoded]]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(run, chunk))
        if len(waiting) > AHEAD * workers:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()
