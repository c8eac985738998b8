"""CTC prefix beam search, frame by frame, over arrays.

Graves et al. 2006 (the collapse), Hannun et al. 2014, "First-Pass Large Vocabulary Continuous
Speech Recognition using Bi-Directional Recurrent DNNs" (fusing a word model), with three
differences that make it fast. A prefix keeps its probability and the share of it that ends in a
blank, so that one logarithm a frame updates both. Extensions are tried from the frame's best
label downwards and stop where none can reach the beam. Frames in which only the blank is followed
cost one addition for the whole beam.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from asr.search.candidates import keep_best, nth_best
from asr.search.graph import Graph
from asr.search.prefixes import create, extended, find, mixed, text_of
from asr.search.state import BEAM, FRAMES, ROWS, TRACES, Limits, Scratch, State, enough_room
from lm.jit import inlined, inner_kernel

# What `advance` returns instead of a frame where it had to stop, minus the frame.
BROKEN = -1


@inner_kernel
def advance(graph: Graph, limits: Limits, log_probs: np.ndarray, first: int, state: State) -> int:
    """Goes on with the search over the frames from `first` on.

    Args:
        log_probs: (T, V) float32, natural log.

    Returns:
        T; or the frame before which `state` needs room for prefixes or traces; or BROKEN - t where
        no label is possible in frame t, or a log-prob is NaN or +inf.
    """
    counters, scratch = state.counters, state.scratch
    for t in range(first, len(log_probs)):
        if not enough_room(limits, state):
            return t
        followed = follow_labels(graph, limits, log_probs[t], scratch)
        if followed < 0:
            return BROKEN - t
        blank = float(log_probs[t, graph.blank])
        if followed == 0:
            rest(blank, state)
        else:
            if blank < limits.token_min_logp and blank < scratch.logs[0]:
                blank = -math.inf
            blank = scale(followed, blank, state)
            threshold = stay(graph, limits, blank, state)
            count = grow(graph, limits, followed, threshold, state)
            install(graph, count, state)
        for i in range(followed):
            scratch.log_of[scratch.labels[i]] = -math.inf
            scratch.share_of[scratch.labels[i]] = 0.0
        counters.whole[FRAMES] += 1
    return len(log_probs)


@inlined
def follow_labels(graph: Graph, limits: Limits, frame: np.ndarray, scratch: Scratch) -> int:
    """Collects the frame's labels that are followed, best first, the blank left out.

    Returns:
        How many; -1 where nothing is possible, or NaN.
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
    """Divides the frame's probabilities by the highest, so that none is lost however low it is.

    Returns:
        The blank's log-prob then.
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
    """Best first; Shell's sort, in place."""
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
def rest(blank: float, state: State) -> None:
    """A frame in which only the blank is followed."""
    state.counters.offset[0] += blank
    for slot in range(state.counters.whole[BEAM]):
        here = state.beam[slot]
        here.rest, here.held = 1.0, 0.0
        if here.path_label > here.path_rest:
            here.path_rest = here.path_label
            here.trace_rest, here.until_rest = here.trace_label, here.until_label
        here.path_label = -math.inf


@inlined
def bare(graph: Graph, label: int) -> bool:
    """Whether a label ends a word and spells nothing, so that a second one changes nothing."""
    return label >= 0 and graph.spelled[label] == graph.spelled[label + 1]


@inlined
def stay(graph: Graph, limits: Limits, blank: float, state: State) -> float:
    """Fills `state.stayed` with the prefixes of the beam as they are after the frame.

    A prefix whose parent is in the beam gets the parent's paths that grow into it, too.

    Args:
        blank: log-prob of the blank, -inf where it is not followed.

    Returns:
        A score that the worst of the next beam will not be below.
    """
    beam, rows, scratch = state.beam, state.prefixes.rows, state.scratch
    child, sibling = scratch.child, scratch.sibling
    size, now = state.counters.whole[BEAM], state.counters.whole[FRAMES]
    blank_share = math.exp(blank)
    best, worst = -math.inf, math.inf
    child[:size] = -1
    for slot in range(size):
        here, after = beam[slot], state.stayed[slot]
        prefix = rows[here.row]
        label = prefix.label
        log, share = -math.inf, 0.0
        again = bare(graph, label)
        parent = -1
        if label >= 0:
            log, share = scratch.log_of[label], scratch.share_of[label]
            parent = rows[prefix.parent].slot
        total = here.total
        rests = blank_share  # factors of the paths so far, by how they go on
        repeats = share if again else here.held * share
        path_label = here.path_label + log
        trace_label, until_label = here.trace_label, now
        if again and here.path_rest > here.path_label:
            path_label, trace_label = here.path_rest + log, here.trace_rest
        if parent >= 0:
            sibling[slot] = child[parent]
            child[parent] = slot
            if share > 0.0:
                longer = beam[parent]
                same = rows[longer.row].label == label
                grown = longer.total + log
                if same:
                    grown += math.log(longer.rest) if longer.rest > 0.0 else -math.inf
                if grown > total:
                    scale = math.exp(total - grown)
                    rests, repeats = rests * scale, repeats * scale + 1.0
                    total = grown
                elif grown > -math.inf:
                    repeats += math.exp(grown - total)
                path, trace, until = leading_path(longer, same)
                if path + log > path_label:
                    path_label = path + log
                    trace_label = add_trace(state, trace, label, now, until)
        label_leads = here.path_label > here.path_rest
        after.path_rest = (here.path_label if label_leads else here.path_rest) + blank
        after.trace_rest = here.trace_label if label_leads else here.trace_rest
        after.until_rest = here.until_label if label_leads else here.until_rest
        after.path_label = path_label
        after.trace_label, after.until_label = trace_label, until_label
        after.row = here.row
        summed = rests + repeats
        if summed > 0.0:
            after.total = total + math.log(summed)
            after.rest, after.held = rests / summed, repeats / summed
        else:
            after.total, after.rest, after.held = -math.inf, 0.0, 0.0
        after.score = after.total + prefix.score
        best, worst = max(best, after.score), min(worst, after.score)
    threshold = best + limits.beam_prune_logp
    return max(threshold, worst) if size == limits.beam_width else threshold


@inlined
def leading_path(here: Any, same: bool) -> tuple[float, int, int]:
    """The best single path of a slot that a label may follow: log-prob, trace, last frame.

    Args:
        here: The slot, a SLOT.
        same: Whether it is the label that the slot's prefix ends with.
    """
    if same or here.path_rest >= here.path_label:
        path, trace, until = here.path_rest, here.trace_rest, here.until_rest
    else:
        path, trace, until = here.path_label, here.trace_label, here.until_label
    return path, trace, until


@inlined
def add_trace(state: State, before: int, label: int, since: int, until: int) -> int:
    """One more label of a path."""
    trace = state.counters.whole[TRACES]
    state.counters.whole[TRACES] += 1
    added = state.traces[trace]
    added.before, added.label, added.since, added.until = before, label, since, until
    return trace


@inlined
def grow(graph: Graph, limits: Limits, followed: int, threshold: float, state: State) -> int:
    """Fills `state.candidates`, those that stay first; returns how many there are."""
    beam, stayed, rows = state.beam, state.stayed, state.prefixes.rows
    candidates, scratch = state.candidates, state.scratch
    labels, logs, stamp = scratch.labels, scratch.logs, scratch.stamp
    size, width = state.counters.whole[BEAM], limits.beam_width
    count = 0
    best = -math.inf
    for slot in range(size):
        score = stayed[slot].score
        if score >= threshold and score > -math.inf:
            best = max(best, score)
            candidate = candidates[count]
            candidate.score, candidate.total = score, stayed[slot].total
            candidate.slot, candidate.label = slot, -1
            count += 1
    stamp[:] = -1
    bonus = max(graph.word_bonus, 0.0)
    for slot in range(size):
        here = beam[slot]
        prefix = rows[here.row]
        # No label makes an open word likelier, and words cost nothing but for their bonus.
        inside = here.total + prefix.score + graph.hot_slack
        outside = inside
        if prefix.open:
            fixed = prefix.closed_fixed if prefix.closed else prefix.fixed + bonus
            hot = prefix.bonus + graph.partial[prefix.hot] + graph.hot_slack
            outside = here.total + fixed + hot
        highest = max(inside, outside)
        if highest + logs[0] < threshold:
            continue
        child = scratch.child[slot]
        while child >= 0:
            stamp[rows[beam[child].row].label] = slot
            child = scratch.sibling[child]
        for i in range(followed):
            log = logs[i]
            if highest + log < threshold:
                break
            label = labels[i]
            if (outside if graph.boundary[label] else inside) + log < threshold:
                continue
            if stamp[label] == slot:
                continue
            grown = here.total + log
            if label == prefix.label:
                if bare(graph, label) or here.rest <= 0.0:
                    continue
                grown += math.log(here.rest)
            added, node = extended(
                graph, state.prefixes, here.row, label, scratch.state, scratch.ngram
            )
            score = grown + added
            if not score >= threshold or score == -math.inf:
                continue
            candidate = candidates[count]
            candidate.score, candidate.total = score, grown
            candidate.slot, candidate.label, candidate.node = slot, label, node
            count += 1
            if score > best:
                best = score
                threshold = max(threshold, best + limits.beam_prune_logp)
            if count == len(candidates):
                threshold = max(threshold, nth_best(scratch.values, candidates, count, width))
                count = keep_best(candidates, count, threshold, width)
    if count > width:
        threshold = max(threshold, nth_best(scratch.values, candidates, count, width))
    return keep_best(candidates, count, threshold, width)


@inlined
def install(graph: Graph, count: int, state: State) -> None:
    """Makes the candidates the beam."""
    beam, stayed, after, rows = state.beam, state.stayed, state.after, state.prefixes.rows
    candidates, whole = state.candidates, state.counters.whole
    now = whole[FRAMES]
    for slot in range(whole[BEAM]):
        rows[beam[slot].row].slot = -1
    size = 0
    for i in range(count):
        if candidates[i].label < 0:
            after[size] = stayed[candidates[i].slot]
            rows[after[size].row].slot = size
            size += 1
    for i in range(count):
        candidate = candidates[i]
        label = candidate.label
        if label < 0:
            continue
        shorter = beam[candidate.slot]
        path, trace, until = leading_path(shorter, rows[shorter.row].label == label)
        path += state.scratch.log_of[label]
        text = text_of(graph, state.prefixes, shorter.row, label)
        key = mixed(text, label)
        row = find(rows, state.prefixes.table, key)
        added = candidate.score - candidate.total
        if row < 0:
            row = whole[ROWS]
            whole[ROWS] += 1
            create(graph, state.prefixes, row, shorter.row, label, candidate.node, added, text, key)
        elif rows[row].slot < 0:
            # As if it were new, so that results do not depend on what has been forgotten.
            rows[row].parent, rows[row].score = shorter.row, added
        slot = rows[row].slot
        if slot < 0:
            slot = size
            size += 1
            rows[row].slot = slot
            here = after[slot]
            here.row, here.total, here.rest, here.held = row, candidate.total, 0.0, 1.0
            here.score = candidate.score
            here.path_rest, here.path_label = -math.inf, -math.inf
            here.trace_rest, here.until_rest = -1, -1
        else:
            # Pieces that spell the same text in another way have met.
            here = after[slot]
            summed = np.logaddexp(here.total, candidate.total)
            part = math.exp(here.total - summed)
            here.rest *= part
            here.held = here.held * part + math.exp(candidate.total - summed)
            here.total = summed
            here.score = summed + rows[row].score
        if path > here.path_label:
            here.path_label, here.until_label = path, now
            here.trace_label = add_trace(state, trace, label, now, until)
    for slot in range(size):
        beam[slot] = after[slot]
    whole[BEAM] = size
