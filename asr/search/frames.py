"""CTC prefix beam search, frame by frame, over arrays.

The sources are Graves 2012, "Supervised Sequence Labelling with Recurrent Neural Networks", section
7.5.2 (the recursion over prefixes), and Hannun et al. 2014, "First-Pass Large Vocabulary Continuous
Speech Recognition using Bi-Directional Recurrent DNNs", algorithm 1 (with a language model and a
beam). `stay` and `grow` have the equations.

Three differences make this search fast. A prefix keeps its probability and the share of it that
ends in a blank, so that one logarithm a frame updates both. The search tries the frame's labels
from the best one downwards and stops where no extension can reach the beam. A frame in which only
the blank is followed costs one addition for the whole beam.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from asr.search.candidates import keep_best, nth_best
from asr.search.extension import create, extended, text_of
from asr.search.graph import Graph
from asr.search.labels import bare, follow_labels, scale
from asr.search.prefixes import find, mixed
from asr.search.state import BEAM, FRAMES, ROWS, TRACES, Limits, State, enough_room
from lm.jit import inlined, inner_kernel

# `advance` returns BROKEN - t if frame t cannot be searched.
BROKEN = -1


@inner_kernel
def advance(graph: Graph, limits: Limits, log_probs: np.ndarray, first: int, state: State) -> int:
    """Continues the search with frame `first` and all frames after it.

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
            only_blank(blank, state)
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
def only_blank(blank: float, state: State) -> None:
    """A frame in which only the blank is followed: y(blank) multiplies all paths alike."""
    state.counters.offset[0] += blank
    for slot in range(state.counters.whole[BEAM]):
        here = state.beam[slot]
        here.p_blank, here.p_label = 1.0, 0.0
        if here.path_label > here.path_blank:
            here.path_blank = here.path_label
            here.trace_blank, here.until_blank = here.trace_label, here.until_label
        here.path_label = -math.inf


@inlined
def stay(graph: Graph, limits: Limits, blank: float, state: State) -> float:
    """Fills `state.stayed` with the prefixes of the beam as they are after the frame.

    Let a prefix l end in the label c, and let l' be its parent, which is l without c. With y(k, t)
    for the probability of label k in frame t, the recursion is (Graves 2012; Hannun et al. 2014)

        p_blank(l, t) = y(blank, t) · (p_blank(l, t-1) + p_label(l, t-1))
        p_label(l, t) = y(c, t) · (p_label(l, t-1) + reach(l', t-1))

    where p_blank is the probability of the paths of l that end in a blank, p_label that of the
    paths that end in c, and reach(l') that of the parent's paths that c can follow as a new label:
    p_blank(l') + p_label(l'), or p_blank(l') alone if l' ends in c too, because a repeated label
    without a blank in between is one label. A parent outside the beam adds nothing.

    There is one deviation. Where c ends a word and spells nothing, as `|` does, a second c after a
    blank changes no text, so that p_blank(l, t-1) is added in the second equation as well.

    A SLOT has `total`, the log of p_blank + p_label, and both of them as shares of that sum.

    Args:
        blank: log y(blank, t), -inf where the blank is not followed.

    Returns:
        A score that the worst prefix of the next beam will not be below.
    """
    beam, rows, scratch = state.beam, state.prefixes.rows, state.scratch
    child, sibling = scratch.child, scratch.sibling
    size, now = state.counters.whole[BEAM], state.counters.whole[FRAMES]
    y_blank = math.exp(blank)
    best, worst = -math.inf, math.inf
    child[:size] = -1
    for slot in range(size):
        here, after = beam[slot], state.stayed[slot]
        prefix = rows[here.row]
        label = prefix.label
        log_y, y = -math.inf, 0.0
        repeatable = bare(graph, label)
        parent = -1
        if label >= 0:
            log_y, y = scratch.log_of[label], scratch.share_of[label]
            parent = rows[prefix.parent].slot
        # Both are relative to exp(total); total changes if the parent's paths are likelier.
        total = here.total
        p_blank = y_blank
        p_label = y if repeatable else here.p_label * y
        path_label = here.path_label + log_y
        trace_label, until_label = here.trace_label, now
        if repeatable and here.path_blank > here.path_label:
            path_label, trace_label = here.path_blank + log_y, here.trace_blank
        if parent >= 0:
            sibling[slot] = child[parent]
            child[parent] = slot
            if y > 0.0:
                shorter = beam[parent]
                same = rows[shorter.row].label == label
                reached = shorter.total + log_y  # log of y(c, t) · reach(l', t-1)
                if same:
                    reached += math.log(shorter.p_blank) if shorter.p_blank > 0.0 else -math.inf
                if reached > total:
                    scale = math.exp(total - reached)
                    p_blank, p_label = p_blank * scale, p_label * scale + 1.0
                    total = reached
                elif reached > -math.inf:
                    p_label += math.exp(reached - total)
                path, trace, until = leading_path(shorter, same)
                if path + log_y > path_label:
                    path_label = path + log_y
                    trace_label = add_trace(state, trace, label, now, until)
        label_leads = here.path_label > here.path_blank
        after.path_blank = (here.path_label if label_leads else here.path_blank) + blank
        after.trace_blank = here.trace_label if label_leads else here.trace_blank
        after.until_blank = here.until_label if label_leads else here.until_blank
        after.path_label = path_label
        after.trace_label, after.until_label = trace_label, until_label
        after.row = here.row
        summed = p_blank + p_label
        if summed > 0.0:
            after.total = total + math.log(summed)
            after.p_blank, after.p_label = p_blank / summed, p_label / summed
        else:
            after.total, after.p_blank, after.p_label = -math.inf, 0.0, 0.0
        after.score = after.total + prefix.score
        best, worst = max(best, after.score), min(worst, after.score)
    threshold = best + limits.beam_prune_logp
    return max(threshold, worst) if size == limits.beam_width else threshold


@inlined
def leading_path(here: Any, same: bool) -> tuple[float, int, int]:
    """The best single path of a slot that a new label can follow: log-prob, trace, last frame.

    Args:
        here: The slot, a SLOT.
        same: Whether it is the label that the slot's prefix ends with.
    """
    if same or here.path_blank >= here.path_label:
        path, trace, until = here.path_blank, here.trace_blank, here.until_blank
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
    """Fills `state.candidates` with what may be in the next beam.

    First come the prefixes that stay, then those that grow by a label. A prefix l that grows by c
    into lc, which is not in the beam, begins with (Graves 2012; Hannun et al. 2014)

        p_label(lc, t) = y(c, t) · reach(l, t-1)
        p_blank(lc, t) = 0

    with `reach` as in `stay`. Candidates are ranked by log p + alpha · log P(words of lc) + beta ·
    |words of lc|, which is Hannun's score, and P is estimated for an unfinished word.

    Args:
        followed: The number of labels that are followed.
        threshold: Candidates below this score are left out.

    Returns:
        The number of candidates.
    """
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
        # Upper limits: no label raises the score of an open word, and its end adds at most a bonus.
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
            log_y = logs[i]
            if highest + log_y < threshold:
                break
            label = labels[i]
            if (outside if graph.boundary[label] else inside) + log_y < threshold:
                continue
            if stamp[label] == slot:
                continue
            reached = here.total + log_y
            if label == prefix.label:
                if bare(graph, label) or here.p_blank <= 0.0:
                    continue
                reached += math.log(here.p_blank)
            added, node = extended(
                graph, state.prefixes, here.row, label, scratch.state, scratch.ngram
            )
            score = reached + added
            if not score >= threshold or score == -math.inf:
                continue
            candidate = candidates[count]
            candidate.score, candidate.total = score, reached
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
    """Makes the candidates the beam; two that are the same prefix are added up."""
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
            # As if it were new, so that results do not depend on what `tidy` has removed.
            rows[row].parent, rows[row].score = shorter.row, added
        slot = rows[row].slot
        if slot < 0:
            slot = size
            size += 1
            rows[row].slot = slot
            here = after[slot]
            here.row, here.total, here.p_blank, here.p_label = row, candidate.total, 0.0, 1.0
            here.score = candidate.score
            here.path_blank, here.path_label = -math.inf, -math.inf
            here.trace_blank, here.until_blank = -1, -1
        else:
            # The beam has the same text already, spelled with other pieces.
            here = after[slot]
            summed = np.logaddexp(here.total, candidate.total)
            part = math.exp(here.total - summed)
            here.p_blank *= part
            here.p_label = here.p_label * part + math.exp(candidate.total - summed)
            here.total = summed
            here.score = summed + rows[row].score
        if path > here.path_label:
            here.path_label, here.until_label = path, now
            here.trace_label = add_trace(state, trace, label, now, until)
    for slot in range(size):
        beam[slot] = after[slot]
    whole[BEAM] = size
