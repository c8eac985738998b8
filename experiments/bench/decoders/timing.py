"""Times decoders in turns on the same emissions, and counts errors and texts of their results."""

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
from experiments.bench.decoders.interface import Peer, Search, Width
from experiments.bench.decoders.tasks import Sounds

LIMIT = 0.6  # seconds; a search that took longer is not repeated
MOST_PASSES = 50


@dataclass(frozen=True)
class Entry:
    """A decoder with its settings.

    Attributes:
        peer: The decoder.
        width: How far it looks; None if it has no such setting.
        beam: Number of hypotheses that it keeps; 0 if it has no such setting.
        search: The decoder, ready for utterances.
    """

    peer: Peer
    width: Width | None
    beam: int
    search: Search


@dataclass(frozen=True)
class Figures:
    """Results of a decoder on a set of utterances.

    Attributes:
        seconds: Time of one pass over the set on one thread, without texts; median of the passes.
        texts: Seconds to make texts of the results.
        all_cores: Seconds of one pass on all cores; NaN if it was not measured.
        wer: Error rate of the first hypothesis of each list.
        oracle: Error rate of the best hypothesis of each list.
        distinct: Mean number of different texts in a list, without regard to white space.
    """

    seconds: float
    texts: float
    all_cores: float
    wer: ErrorRate
    oracle: ErrorRate
    distinct: float


def race(
    entries: Sequence[Entry],
    sounds: Sounds,
    rounds: int,
    all_cores: Callable[[Entry], bool],
    warm: bool = True,
) -> list[Figures]:
    """Times all entries in turns: in each round, every entry makes one pass over the set.

    Args:
        entries: The decoders.
        sounds: The utterances.
        rounds: How often a decoder is timed, at most; a slow one is timed once.
        all_cores: Which entries are also timed on all cores.
        warm: Whether every entry is warmed up first.
    """
    for entry in entries if warm else ():
        warm_up(entry, sounds)
    passes: list[list[float]] = [[] for _ in entries]
    texts: list[float] = []
    lists: list[list[list[str]]] = []
    for turn in range(rounds):
        for entry, times in zip(entries, passes, strict=True):
            if turn and sum(times) > LIMIT:
                continue
            # As timeit does: otherwise a search would pay for the objects that others have left.
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
    """Compiles code and fills caches: decodes one utterance, or all of them if that is quick."""
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
    """WER of the first text of each list, WER of the best, mean number of different texts."""
    different = [list(dict.fromkeys(" ".join(text.split()) for text in texts)) for texts in lists]
    # A decoder may find no text at all; that counts as an empty text.
    table = build_nbest(
        {str(i): [Hypothesis(t, 0.0) for t in texts or [""]] for i, texts in enumerate(different)}
    )
    errors = row_errors(table, {str(i): text for i, text in enumerate(references)})
    best = oracle(table, errors["errors"])
    first = ErrorRate.total(errors[(table["rank"] == 1).to_numpy()])
    return first, ErrorRate.total(errors.iloc[best]), float(np.mean(list(map(len, different))))


def processors() -> int:
    """Number of workers that use all cores."""
    return os.cpu_count() or 1


# Search and utterances for forked processes: they cannot be sent to a process.
_forked: list[tuple[Search, Sequence[np.ndarray]]] = []


def on_all_cores(entry: Entry, sounds: Sounds, one_thread: float) -> float:
    """Seconds of one pass over the set by as many workers as there are processors.

    Args:
        entry: The decoder.
        sounds: The utterances.
        one_thread: Seconds of a pass on one thread. From it follows the number of passes, so that
            the time to start the workers does not matter.
    """
    cores = processors()
    passes = min(MOST_PASSES, math.ceil(cores * LIMIT / one_thread))
    work = [*range(len(sounds.log_probs))] * passes
    with workers(entry, sounds) as (pool, run):
        list(pool.map(run, [0] * 4 * cores))  # starts all workers
        start = time.perf_counter()
        list(pool.map(run, work, chunksize=math.ceil(len(work) / (8 * cores))))
        return (time.perf_counter() - start) / passes


@contextmanager
def workers(entry: Entry, sounds: Sounds) -> Iterator[tuple[Executor, Callable[[int], None]]]:
    """Threads; processes for a decoder that holds Python's lock."""
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
    """An entry. A decoder without width and beam gets none."""
    if not peer.widens:
        return Entry(peer, None, 0, searches(width, beam))
    return Entry(peer, width, beam, searches(width, beam))
