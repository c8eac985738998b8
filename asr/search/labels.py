"""The labels of one frame that a search follows, best first."""

from __future__ import annotations

import math

import numpy as np

from asr.search.graph import Graph
from asr.search.state import Limits, Scratch, State
from lm.jit import inlined


@inlined
def follow_labels(graph: Graph, limits: Limits, frame: np.ndarray, scratch: Scratch) -> int:
    """Collects the labels of the frame that are followed, without the blank, best first.

    Returns:
        The number of labels; -1 if no label is possible, or a value is NaN.
    """
    count = 0
    best, best_label = -math.inf, -1
    for label in range(len(frame)):
        value = float(frame[label])
        # One comparison in the common case; NaN fails it too.
        if value < limits.token_min_logp and value <= best:
            continue
        if not value < math.inf:
            return -1
        if not graph.followed[label] and label != graph.blank:
            continue
        if value > best:
            best, best_label = value, label
        if value >= limits.token_min_logp and label != graph.blank:
            scratch.labels[count] = label
            scratch.logs[count] = value
            count += 1
    if best == -math.inf:
        return -1
    if count == 0 and best_label != graph.blank:
        scratch.labels[0], scratch.logs[0] = best_label, best
        count = 1
    sort_labels(scratch, count)
    return count


@inlined
def scale(followed: int, blank: float, state: State) -> float:
    """Divides the frame's probabilities by the highest one, so that small ones do not become 0.

    Returns:
        The log-prob of the blank after that.
    """
    scratch = state.scratch
    highest = max(blank, scratch.logs[0])
    state.counters.offset[0] += highest
    for i in range(followed):
        log = scratch.logs[i] - highest
        scratch.logs[i] = log
        scratch.log_of[scratch.labels[i]] = log
        scratch.share_of[scratch.labels[i]] = math.exp(log)
    return blank - highest


@inlined
def sort_labels(scratch: Scratch, count: int) -> None:
    """Sorts the labels in place, best first, by Shell's method."""
    gap = count // 2
    while gap:
        for i in range(gap, count):
            label, value = scratch.labels[i], scratch.logs[i]
            j = i
            while j >= gap and scratch.logs[j - gap] < value:
                scratch.labels[j], scratch.logs[j] = scratch.labels[j - gap], scratch.logs[j - gap]
                j -= gap
            scratch.labels[j], scratch.logs[j] = label, value
        gap //= 2


@inlined
def bare(graph: Graph, label: int) -> bool:
    """Whether a label ends a word and spells nothing, so that it can be repeated."""
    return label >= 0 and graph.spelled[label] == graph.spelled[label + 1]
