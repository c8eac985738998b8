"""The results of a search: complete texts with their scores and word times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.search.extension import close, mixture
from asr.search.graph import Graph
from asr.search.prefixes import FNV_OFFSET, FNV_PRIME, SPACE, copy_row
from asr.search.state import BEAM, TRACES, State
from lm.jit import inner_kernel, kernel

LINE_FEED = 10

# A label of a path with its first and its last frame.
PATH = np.dtype([("label", "i4"), ("since", "i4"), ("until", "i4")])


class Endings(NamedTuple):
    """N different texts, best first.

    Attributes:
        text: uint8, the texts as UTF-8, each with a line feed after it.
        acoustic: (N,) natural log.
        ngram: (N, J) natural log, unweighted, sentence end included.
        words: (N,) int64, number of words.
        oov: (N,) int64, number of words (or labels) that no n-gram model knows.
        bonus: (N,) summed weights of the hot words in the text.
        since: First frame of every word on the best single path, one text after the other.
        until: Last frame of every word.
    """

    text: np.ndarray
    acoustic: np.ndarray
    ngram: np.ndarray
    words: np.ndarray
    oov: np.ndarray
    bonus: np.ndarray
    since: np.ndarray
    until: np.ndarray


@kernel
def endings(graph: Graph, state: State, most: int, ended: bool) -> Endings:
    """The best texts of the beam, as if the audio ended here.

    Args:
        most: Largest number of texts.
        ended: Whether the n-gram models score the end of the sentence.
    """
    size, columns = state.counters.whole[BEAM], state.prefixes.ngram.shape[1]
    total, added, bonus = np.empty(size), np.empty(size), np.empty(size)
    ngram, oov = np.empty((size, columns)), np.empty(size, np.int64)
    texts = np.empty(size, np.uint64)
    longest = state.counters.whole[TRACES]
    path = np.empty(longest, PATH)
    after = np.empty(len(graph.parts), np.int32)
    finish(graph, state, ended, total, added, bonus, ngram, oov, after)
    hash_texts(graph, state, path, texts)
    best = merged(texts, total, added)[:most]
    letters, labels = room_of(graph, state, path, best)
    text = np.empty(letters, np.uint8)
    since, until = np.empty(labels, np.int32), np.empty(labels, np.int32)
    words = np.zeros(len(best), np.int64)
    letters, found = spell(graph, state, path, best, text, since, until, words)
    acoustic = total[best] + state.counters.offset[0]
    return Endings(
        text[:letters],
        acoustic,
        ngram[best],
        words,
        oov[best],
        bonus[best],
        since[:found],
        until[:found],
    )


@inner_kernel
def finish(
    graph: Graph,
    state: State,
    ended: bool,
    total: np.ndarray,
    added: np.ndarray,
    bonus: np.ndarray,
    ngram: np.ndarray,
    oov: np.ndarray,
    after: np.ndarray,
) -> None:
    """Ends every prefix of the beam; fills the arrays `total` to `oov`, one row a prefix."""
    prefixes = state.prefixes
    for slot in range(len(total)):
        row = state.beam[slot].row
        prefix = prefixes.rows[row]
        total[slot], bonus[slot] = state.beam[slot].total, prefix.bonus
        if prefix.open:
            if not prefix.closed:
                close(graph, prefixes, row)
            added[slot], oov[slot] = prefix.closed_fixed, prefix.closed_oov
            copy_row(prefixes.closed_ngram, row, ngram, slot)
            bonus[slot] += graph.completed[graph.goto[prefix.hot, graph.classes[SPACE]]]
        else:
            added[slot], oov[slot] = prefix.fixed, prefix.oov
            copy_row(prefixes.ngram, row, ngram, slot)
        if ended:
            states = prefixes.closed_state[row] if prefix.open else prefixes.state[row]
            added[slot] += mixture(graph, states, graph.eos, after, ngram[slot])
        added[slot] += bonus[slot]


@kernel
def merged(texts: np.ndarray, total: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Adds up the totals of equal texts; returns one slot for each text, best score first.

    Of equal texts the slot with the best score is returned.
    """
    order = np.argsort(-(total + added), kind="mergesort")
    # Equal hashes are side by side, the best score first.
    grouped = order[np.argsort(texts[order], kind="mergesort")]
    leads = np.zeros(len(texts), np.bool_)
    leader = -1
    for slot in grouped:
        if leader >= 0 and texts[slot] == texts[leader]:
            total[leader] = np.logaddexp(total[leader], total[slot])
        else:
            leader = slot
            leads[slot] = True
    leaders = order[leads[order]]
    return leaders[np.argsort(-(total + added)[leaders], kind="mergesort")]


@inner_kernel
def follow_path(state: State, slot: int, path: np.ndarray) -> int:
    """The best single path of a slot; returns its number of labels."""
    here, traces = state.beam[slot], state.traces
    trace, until = here.trace_blank, here.until_blank
    if here.path_label > here.path_blank:
        trace, until = here.trace_label, here.until_label
    count, at = 0, trace
    while at >= 0:
        count += 1
        at = traces[at].before
    left = count
    while trace >= 0:
        left -= 1
        path[left].label, path[left].since = traces[trace].label, traces[trace].since
        path[left].until = until
        trace, until = traces[trace].before, traces[trace].until
    return count


@inner_kernel
def hash_texts(graph: Graph, state: State, path: np.ndarray, texts: np.ndarray) -> None:
    """Fills `texts` with hashes of the beam's texts, without spaces at their ends."""
    for slot in range(len(texts)):
        value = FNV_OFFSET
        started = pending = False
        for at in range(follow_path(state, slot, path)):
            label = path[at].label
            pending = pending or (graph.boundary[label] and started)
            for i in range(graph.spelled[label], graph.spelled[label + 1]):
                if pending:
                    value = (value ^ np.uint64(SPACE)) * FNV_PRIME
                    pending = False
                value = (value ^ np.uint64(graph.spelling[i])) * FNV_PRIME
                started = True
        texts[slot] = value


@inner_kernel
def room_of(graph: Graph, state: State, path: np.ndarray, slots: np.ndarray) -> tuple[int, int]:
    """Upper limits for the number of letters and of labels in the texts of some slots."""
    letters, labels = len(slots), 0
    for slot in slots:
        count = follow_path(state, slot, path)
        labels += count
        for at in range(count):
            letters += 1 + graph.spelled[path[at].label + 1] - graph.spelled[path[at].label]
    return letters, labels


@inner_kernel
def spell(
    graph: Graph,
    state: State,
    path: np.ndarray,
    slots: np.ndarray,
    text: np.ndarray,
    since: np.ndarray,
    until: np.ndarray,
    words: np.ndarray,
) -> tuple[int, int]:
    """Fills `text`, `since`, `until` and `words`; returns the numbers of letters and words."""
    size = found = 0
    for n in range(len(slots)):
        begins = True  # whether the next letter begins a word
        for at in range(follow_path(state, slots[n], path)):
            label = path[at].label
            begins = begins or graph.boundary[label]
            low, high = graph.spelled[label], graph.spelled[label + 1]
            if low == high:
                continue
            if begins:
                if words[n]:
                    text[size] = SPACE
                    size += 1
                since[found] = path[at].since
                words[n] += 1
                found += 1
                begins = False
            until[found - 1] = path[at].until
            for i in range(low, high):
                text[size] = graph.spelling[i]
                size += 1
        text[size] = LINE_FEED
        size += 1
    return size, found
