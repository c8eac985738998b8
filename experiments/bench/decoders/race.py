"""Decoders timed side by side on the same emissions, in turns, and what they find counted."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from asr.evaluation.wer import ErrorRate, oracle, row_errors
from asr.nbest import Hypothesis, build_nbest
from experiments.bench.decoders.search import Peer, Search, Width
from experiments.bench.decoders.tasks import Sounds

LIMIT = 0.6  # seconds after which a search is not repeated
MOST_PASSES = 50


@dataclass(frozen=True)
class Entry:
    """A decoder with its settings.

    Attributes:
        peer: The decoder.
        width: How far it looks; None where that means nothing to it.
        beam: Hypotheses that it keeps; 0 where that means nothing to it.
        search: Ready for utterances.
    """

    peer: Peer
    width: Width | None
    beam: int
    search: Search


@dataclass(frozen=True)
class Figures:
    """What a decoder did with a set of utterances.

    Attributes:
        seconds: Of one pass over the set on one thread, without texts; the median of the passes.
        texts: Seconds that it takes to make texts of the results.
        all_cores: Seconds of one pass on all cores; NaN where it was not measured.
        wer: Of the first in each list.
        oracle: Of the best in each list.
        distinct: Mean number of different texts in a list, white space apart.
    """

    seconds: float
    texts: float
    all_cores: float
    wer: ErrorRate
    oracle: ErrorRate
    distinct: float


def race(
    entries: Sequence[Entry], sounds: Sounds, rounds: int, all_cores: Callable[[Entry], bool]
) -> list[Figures]:
    """Times all entries in turns: a pass over the set each, then the next round.

    Args:
        entries: The decoders.
        sounds: The utterances.
        rounds: How often a decoder is timed at most; a slow one is timed once.
        all_cores: Which entries are timed on all cores too.
    """
    for entry in entries:
        warm_up(entry, sounds)
    passes: list[list[float]] = [[] for _ in entries]
    texts: list[float] = []
    lists: list[list[list[str]]] = []
    for turn in range(rounds):
        for entry, times in zip(entries, passes, strict=True):
            if turn and sum(times) > LIMIT:
                continue
            # As timeit does: else a search pays for the objects that others have left.
            gc.collect()
            gc.disable()
            start = time.perf_counter()
            found = [entry.search.run(values) for values in sounds.log_probs]
            times.append(time.perf_counter() - start)
            gc.enable()
            if not turn:
                start = time.perf_counter()
                lists.append([entry.search.texts(result) for result in found])
                texts.append(time.perf_counter() - start)
    return [
        Figures(
            statistics.median(times),
            spent,
            on_all_cores(entry, sounds, min(times)) if all_cores(entry) else np.nan,
            *accuracy(found, sounds.references),
        )
        for entry, times, spent, found in zip(entries, passes, texts, lists, strict=True)
    ]


def warm_up(entry: Entry, sounds: Sounds) -> None:
    """Compiled code, caches and mapped files: one utterance, or all where that is quick."""
    for _ in range(2):
        start = time.perf_counter()
        entry.search.texts(entry.search.run(sounds.log_probs[0]))
        spent = time.perf_counter() - start
    if spent * len(sounds.log_probs) < LIMIT:
        for values in sounds.log_probs:
            entry.search.run(values)


def accuracy(
    lists: Sequence[Sequence[str]], references: Sequence[str]
) -> tuple[ErrorRate, ErrorRate, float]:
    """WER of the first of each list, of its best, and the mean number of different texts."""
    different = [list(dict.fromkeys(" ".join(text.split()) for text in texts)) for texts in lists]
    # A decoder may find nothing: that is an empty text.
    table = build_nbest(
        {str(i): [Hypothesis(t, 0.0) for t in texts or [""]] for i, texts in enumerate(different)}
    )
    errors = row_errors(table, {str(i): text for i, text in enumerate(references)})
    best = oracle(table, errors["errors"])
    first = ErrorRate.total(errors[(table["rank"] == 1).to_numpy()])
    return first, ErrorRate.total(errors.iloc[best]), float(np.mean(list(map(len, different))))


def processors() -> int:
    """How many workers use all cores."""
    return os.cpu_count() or 1


# The search and the utterances of a forked process: neither can be sent to one.
_forked: list[tuple[Search, Sequence[np.ndarray]]] = []


def on_all_cores(entry: Entry, sounds: Sounds, one_thread: float) -> float:
    """Seconds of a pass over the set by as many workers as there are processors.

    Args:
        entry: The decoder.
        sounds: The utterances.
        one_thread: Seconds of a pass on one thread; so many passes are made that starting and
            telling the workers does not count.
    """
    cores = processors()
    passes = min(MOST_PASSES, math.ceil(cores * LIMIT / one_thread))
    work = [*range(len(sounds.log_probs))] * passes
    with workers(entry, sounds) as (pool, run):
        list(pool.map(run, [0] * 4 * cores))  # until all workers are there
        start = time.perf_counter()
        list(pool.map(run, work, chunksize=math.ceil(len(work) / (8 * cores))))
        return (time.perf_counter() - start) / passes


@contextmanager
def workers(entry: Entry, sounds: Sounds) -> Iterator[tuple[Executor, Callable[[int], None]]]:
    """Threads, or processes for a decoder that holds Python's lock."""
    cores = processors()
    if entry.peer.threads:
        with ThreadPoolExecutor(cores) as threads:
            yield threads, partial(_run, entry.search, sounds.log_probs)
    else:
        context = multiprocessing.get_context("fork")
        _forked[:] = [(entry.search, sounds.log_probs)]
        with ProcessPoolExecutor(cores, context) as processes:
            yield processes, _run_forked


def _run(search: Search, log_probs: Sequence[np.ndarray], index: int) -> None:
    search.run(log_probs[index])


def _run_forked(index: int) -> None:
    _run(*_forked[0], index)


def build(peer: Peer, searches: Callable[[Width, int], Search], width: Width, beam: int) -> Entry:
    """An entry; a decoder without a width has none."""
    if not peer.widens:
        return Entry(peer, None, 0, searches(width, beam))
    return Entry(peer, width, beam, searches(width, beam))
