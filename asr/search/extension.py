"""A prefix with one more label: the scores of its language models, and the new prefix."""

from __future__ import annotations

import math

import numpy as np

from asr.search.graph import LN10, Graph
from asr.search.prefixes import FNV_PRIME, SPACE, Prefixes, copy_row, enter
from lm.jit import inlined, inner_kernel
from lm.ngram.lexicon import follow
from lm.ngram.query import advance

USUAL_LETTERS = 6.0  # letters of a word, as in pyctcdecode; longer unknown words cost more


@inner_kernel
def mixture(
    graph: Graph, state: np.ndarray, ids: np.ndarray, after: np.ndarray, out: np.ndarray
) -> float:
    """Adds the log-probs of one word or label to `out` (J,); returns their weighted sum.

    Args:
        state: (K,) states of the models before it.
        ids: (K,) its id in each model; -1 where a model cannot score it and is left out.
        after: (K,) is filled with the states after it; may be `state`.
        out: (J,) natural log; one column for a linear mixture, else one for each model.
    """
    weighted, used = 0.0, 0.0
    total = -np.inf
    for k in range(len(graph.parts)):
        logprob = 0.0
        follows = state[k]
        if ids[k] >= 0:
            part = (graph.parts[k, 0], graph.parts[k, 1], graph.parts[k, 2])
            log10, follows = advance(graph.models, part, state[k], ids[k])
            logprob = log10 * LN10
        after[k] = follows
        if len(graph.linear):
            if ids[k] >= 0:
                total = np.logaddexp(total, graph.linear[k] + logprob)
                used += math.exp(graph.linear[k])
        else:
            out[k] += logprob
            weighted += graph.weights[k] * logprob
    if len(graph.linear) and used > 0.0:
        # Divided by the shares of the models that can score it.
        total -= math.log(used)
        out[0] += total
        weighted = graph.weights[0] * total
    return weighted


@inner_kernel
def close(graph: Graph, prefixes: Prefixes, row: int) -> None:
    """Ends the open word of a prefix and stores its scores."""
    prefix = prefixes.rows[row]
    prefix.closed = True
    copy_row(prefixes.state, row, prefixes.closed_state, row)
    copy_row(prefixes.ngram, row, prefixes.closed_ngram, row)
    prefix.closed_oov = prefix.oov
    prefix.closed_fixed = prefix.fixed + graph.word_bonus
    if len(graph.parts) and not len(graph.tokens):
        # -1, the last row, is for words outside the lexicon.
        word = graph.lexicon.word[prefix.node] if prefix.node >= 0 else -1
        states, columns = prefixes.closed_state[row], prefixes.closed_ngram[row]
        prefix.closed_fixed += mixture(graph, states, graph.ids[word], states, columns)
        if graph.unseen[word]:
            prefix.closed_oov += 1
            prefix.closed_fixed += graph.unknown


@inlined
def extended(
    graph: Graph, prefixes: Prefixes, row: int, label: int, state: np.ndarray, ngram: np.ndarray
) -> tuple[float, int]:
    """The score of a prefix with one more label, and its lexicon node.

    Args:
        state: (K,), overwritten.
        ngram: (J,), overwritten.
    """
    prefix = prefixes.rows[row]
    score, node = prefix.fixed, prefix.node
    ends = graph.boundary[label] and prefix.open
    if ends:
        if not prefix.closed:
            close(graph, prefixes, row)
        score, node = prefix.closed_fixed, 0
    low, high = graph.spelled[label], graph.spelled[label + 1]
    if len(graph.tokens):
        score += mixture(graph, prefixes.state[row], graph.tokens[label], state, ngram)
        if graph.unseen[label]:
            score += graph.unknown
    elif high > low and len(graph.parts):
        for i in range(low, high):
            node = follow(graph.lexicon, node, graph.spelling[i])
        if node >= 0:
            score += graph.estimate[node]
        else:
            # Without this, one long unknown word would cost less than several known words.
            letters = graph.letters[label] + (0 if ends else prefix.letters)
            score += graph.outside * max(1.0, letters / USUAL_LETTERS)
    if len(graph.goto) > 1:
        hot, gained = hot_words(graph, prefix.hot, label, ends)
        score += prefix.bonus + gained + graph.partial[hot]
    return score, node


@inner_kernel
def hot_words(graph: Graph, hot: int, label: int, ends: bool) -> tuple[int, float]:
    """The automaton's state after a label, and the weights of the hot words that it completes."""
    gained = 0.0
    if ends:
        hot = graph.goto[hot, graph.classes[SPACE]]
        gained += graph.completed[hot]
    for i in range(graph.spelled[label], graph.spelled[label + 1]):
        hot = graph.goto[hot, graph.classes[graph.spelling[i]]]
        gained += graph.completed[hot]
    return hot, gained


@inlined
def text_of(graph: Graph, prefixes: Prefixes, row: int, label: int) -> np.uint64:
    """Hash of the text of a prefix with one more label."""
    prefix = prefixes.rows[row]
    text = prefix.text
    if len(graph.tokens):
        # For models over labels the spelling of a text matters, so prefixes are label sequences.
        text = (text ^ np.uint64(label + 1)) * FNV_PRIME
    else:
        if graph.boundary[label] and prefix.open:
            text = (text ^ np.uint64(SPACE)) * FNV_PRIME
        for i in range(graph.spelled[label], graph.spelled[label + 1]):
            text = (text ^ np.uint64(graph.spelling[i])) * FNV_PRIME
    return text


@inlined
def create(
    graph: Graph,
    prefixes: Prefixes,
    row: int,
    parent: int,
    label: int,
    node: int,
    score: float,
    text: int,
    key: int,
) -> None:
    """Makes `row` the prefix `parent` with one more label, from what `extended` returned."""
    prefix, shorter = prefixes.rows[row], prefixes.rows[parent]
    ends = graph.boundary[label] and shorter.open
    if ends:
        prefix.fixed, prefix.oov = shorter.closed_fixed, shorter.closed_oov
        copy_row(prefixes.closed_state, parent, prefixes.state, row)
        copy_row(prefixes.closed_ngram, parent, prefixes.ngram, row)
    else:
        prefix.fixed, prefix.oov = shorter.fixed, shorter.oov
        copy_row(prefixes.state, parent, prefixes.state, row)
        copy_row(prefixes.ngram, parent, prefixes.ngram, row)
    if len(graph.tokens):
        states = prefixes.state[row]
        prefix.fixed += mixture(graph, states, graph.tokens[label], states, prefixes.ngram[row])
        if graph.unseen[label]:
            prefix.oov += 1
            prefix.fixed += graph.unknown
    prefix.hot, prefix.bonus = shorter.hot, shorter.bonus
    if len(graph.goto) > 1:
        hot, gained = hot_words(graph, shorter.hot, label, ends)
        prefix.hot = hot
        prefix.bonus += gained
    letters = graph.letters[label]
    prefix.letters = letters if graph.boundary[label] else shorter.letters + letters
    prefix.open = prefix.letters > 0
    prefix.parent, prefix.label, prefix.node, prefix.slot = parent, label, node, -1
    prefix.score, prefix.text, prefix.key = score, np.uint64(text), np.uint64(key)
    prefix.closed = False
    enter(prefixes.rows, prefixes.table, row)
