"""The state of a beam search as arrays, and how they grow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.search.candidates import CANDIDATE
from asr.search.graph import Graph
from asr.search.prefixes import Prefixes, compact, enter_all, room_for, start
from lm.jit import inlined, kernel


class Limits(NamedTuple):
    """Limits of the search, see `asr.options.DecoderOptions`."""

    beam_width: int
    token_min_logp: float
    beam_prune_logp: float


SLOT = np.dtype(
    [
        ("total", "f8"),  # log-prob of all paths of the prefix so far, without the `offset`
        ("p_blank", "f8"),  # share of these paths that end in a blank, 0 to 1
        ("p_label", "f8"),  # share of these paths that end in the label
        ("score", "f8"),  # total and what the language models add
        ("path_blank", "f8"),  # log-prob of the best single path that ends in a blank
        ("path_label", "f8"),  # the same for paths that end in the label; both without `offset`
        ("row", "i4"),  # row of the prefix
        ("trace_blank", "i4"),  # where the traces have the last label of the path to a blank
        ("trace_label", "i4"),  # the same for the path that ends in the label
        ("until_blank", "i4"),  # last frame of that label, on the path to a blank
        ("until_label", "i4"),  # the same for the path that ends in the label
    ],
    align=True,
)

# Labels of the best single paths with their times, as linked lists that share their beginnings.
TRACE = np.dtype(
    [
        ("before", "i4"),  # the label before it; -1 for none
        ("label", "i4"),
        ("since", "i4"),  # its first frame
        ("until", "i4"),  # the last frame of the label before it
    ]
)


class Scratch(NamedTuple):
    """Arrays that every frame uses again.

    Attributes:
        labels: (V,) int32, followed labels, best first.
        logs: (V,) log-probs of these labels.
        log_of: (V,) log-prob by label, -inf if it is not followed.
        share_of: (V,) the same as probability.
        stamp: (V,) int32, the last slot that has a child in the beam with this label.
        child: (B,) int32, first child of a slot in the beam, -1 for none.
        sibling: (B,) int32, next child of the same parent, -1 for none.
        values: (C,) scores, to find the n-th best.
        state: (K,) int32, states of the language models.
        ngram: (J,) scores of the language models.
    """

    labels: np.ndarray
    logs: np.ndarray
    log_of: np.ndarray
    share_of: np.ndarray
    stamp: np.ndarray
    child: np.ndarray
    sibling: np.ndarray
    values: np.ndarray
    state: np.ndarray
    ngram: np.ndarray


class Counters(NamedTuple):
    """The numbers of a search that change.

    Attributes:
        whole: (4,) int64: prefixes in the beam, rows of prefixes, rows of traces, frames so far.
        offset: (1,) log-prob that all prefixes of the beam share.
    """

    whole: np.ndarray
    offset: np.ndarray


BEAM, ROWS, TRACES, FRAMES = 0, 1, 2, 3


class State(NamedTuple):
    """A search between two chunks of frames.

    Attributes:
        beam: (B,) SLOT, the beam.
        stayed: (B,) SLOT, the same prefixes after a frame in which they did not grow.
        after: (B,) SLOT, the next beam.
        prefixes: All prefixes that the search has met and not removed.
        traces: (R,) TRACE.
        candidates: (C,) CANDIDATE.
        scratch: Arrays that every frame uses again.
        counters: Numbers that change.
    """

    beam: np.ndarray
    stayed: np.ndarray
    after: np.ndarray
    prefixes: Prefixes
    traces: np.ndarray
    candidates: np.ndarray
    scratch: Scratch
    counters: Counters


@inlined
def enough_room(limits: Limits, state: State) -> bool:
    """Whether one more frame fits."""
    whole = state.counters.whole
    return whole[ROWS] + limits.beam_width <= len(state.prefixes.rows) and whole[
        TRACES
    ] + 2 * limits.beam_width <= len(state.traces)


@kernel
def tidy(state: State) -> None:
    """Removes the prefixes and traces that the beam does not need."""
    whole, traces = state.counters.whole, state.traces
    beam = state.beam[: whole[BEAM]]
    whole[ROWS] = compact(state.prefixes, whole[ROWS], beam)
    number = np.full(whole[TRACES], -1, np.int32)
    for slot in range(len(beam)):
        for trace in (beam[slot].trace_blank, beam[slot].trace_label):
            while trace >= 0 and number[trace] < 0:
                number[trace] = 0
                trace = traces[trace].before
    left = 0
    for trace in range(whole[TRACES]):
        if number[trace] < 0:
            continue
        number[trace] = left
        traces[left] = traces[trace]
        if traces[left].before >= 0:
            traces[left].before = number[traces[left].before]
        left += 1
    for slot in range(len(beam)):
        if beam[slot].trace_blank >= 0:
            beam[slot].trace_blank = number[beam[slot].trace_blank]
        if beam[slot].trace_label >= 0:
            beam[slot].trace_label = number[beam[slot].trace_label]
    whole[TRACES] = left


def new_state(graph: Graph, width: int, rows: int, columns: int) -> State:
    """Arrays for a search."""
    labels, models, most = len(graph.followed), len(graph.parts), 4 * width
    return State(
        beam=np.zeros(width, SLOT),
        stayed=np.zeros(width, SLOT),
        after=np.zeros(width, SLOT),
        prefixes=room_for(rows, models, columns),
        traces=np.zeros(2 * rows, TRACE),
        candidates=np.zeros(most, CANDIDATE),
        scratch=Scratch(
            labels=np.zeros(labels, np.int32),
            logs=np.zeros(labels),
            log_of=np.full(labels, -np.inf),
            share_of=np.zeros(labels),
            stamp=np.zeros(labels, np.int32),
            child=np.zeros(width, np.int32),
            sibling=np.zeros(width, np.int32),
            values=np.zeros(most),
            state=np.zeros(models, np.int32),
            ngram=np.zeros(columns),
        ),
        counters=Counters(whole=np.zeros(4, np.int64), offset=np.zeros(1)),
    )


def begin(graph: Graph, bos: np.ndarray, state: State) -> None:
    """Begins a new search; the beam has the empty prefix only."""
    start(graph, state.prefixes, bos)
    empty = state.beam[:1]
    empty["row"], empty["total"], empty["p_blank"], empty["p_label"] = 0, 0.0, 1.0, 0.0
    empty["score"] = state.prefixes.rows["score"][0]
    empty["path_blank"], empty["path_label"] = 0.0, -np.inf
    for name in ("trace_blank", "trace_label", "until_blank", "until_label"):
        empty[name] = -1
    state.scratch.log_of[:] = -np.inf
    state.scratch.share_of[:] = 0.0
    state.counters.whole[:] = (1, 1, 0, 0)
    state.counters.offset[0] = 0.0


def more_room(state: State) -> State:
    """The same search with twice the room for prefixes and traces."""
    old, used = state.prefixes, int(state.counters.whole[ROWS])
    prefixes = room_for(2 * len(old.rows), old.state.shape[1], old.ngram.shape[1])
    for column, wider in zip(old[:-1], prefixes[:-1], strict=True):
        wider[:used] = column[:used]
    enter_all(prefixes, used)
    traces = np.zeros(2 * len(state.traces), TRACE)
    traces[: len(state.traces)] = state.traces
    return state._replace(prefixes=prefixes, traces=traces)
