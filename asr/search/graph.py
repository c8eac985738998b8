"""All that a beam search needs to know, as arrays: labels, words, n-gram models, hot words."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from asr.options import DecoderOptions
from asr.search.hotwords import build_hotwords, most_gained
from asr.vocabulary import (
    LEAST_SPELLED,
    WORD_START,
    Vocabulary,
    check_spelling,
    letters_of,
    spellings,
    to_bytes,
)
from lm.errors import InputError
from lm.jit import kernel
from lm.ngram.arpa import MARKS
from lm.ngram.lexicon import Lexicon, best_below, build_lexicon
from lm.ngram.model import NgramModel
from lm.ngram.query import INNER, LEAF, NgramArrays, advance
from lm.ngram.store import frozen, no_books

LOG = logging.getLogger("secondpass")
LN10 = 2.302585092994046
DELIMITER_WORDS = ("|", "<space>", WORD_START, "_")  # a word's end in texts of labels


class Graph(NamedTuple):
    """The constant data of a search, for V labels, K n-gram models and J columns of scores.

    Attributes:
        spelling: the texts of all labels as bytes.
        spelled: (V + 1,) int32, label c is spelled by spelling[spelled[c] : spelled[c + 1]].
        letters: (V,) int32, number of characters of each label.
        boundary: (V,) bool, whether a word ends before the label's text.
        followed: (V,) bool, whether the label stands for text; False for blank and special ones.
        blank: column of the blank.
        lexicon: the models' words.
        estimate: (X,) weighted natural-log estimate of an unfinished word, by lexicon node.
        outside: the same for letters that no word starts with.
        ids: (W, K) int32, each model's id of a word; the last row is for words outside the
            lexicon.
        unseen: (W,) or (V,) bool, whether no model knows the word, or the label.
        models: the n-gram models' arrays, one model after another.
        parts: (K, 3) int64, the place of each model in them, as `lm.ngram.query.Part`.
        eos: (K,) id of `</s>`, -1 where a model has none.
        linear: (K,) natural log of the share of each model in a linear mixture; empty for a
            log-linear mixture.
        weights: (J,) weight of each column of scores.
        word_bonus: bonus for each word.
        unknown: weighted penalty of a word that no model knows.
        tokens: (V, K) int32, each model's id of a label, if the models are over labels; (0, K)
            if they are over words.
        goto: (S, C) int32, next state of the hot words' automaton by class of byte.
        classes: (256,) uint8, class of each byte.
        completed: (S,) weights of the hot words that end on entering a state.
        partial: (S,) share of the weight of the hot word that a state is in.
        hot_slack: largest gain from hot words by one label.
    """

    spelling: np.ndarray
    spelled: np.ndarray
    letters: np.ndarray
    boundary: np.ndarray
    followed: np.ndarray
    blank: int
    lexicon: Lexicon
    estimate: np.ndarray
    outside: float
    ids: np.ndarray
    unseen: np.ndarray
    models: NgramArrays
    parts: np.ndarray
    eos: np.ndarray
    linear: np.ndarray
    weights: np.ndarray
    word_bonus: float
    unknown: float
    tokens: np.ndarray
    goto: np.ndarray
    classes: np.ndarray
    completed: np.ndarray
    partial: np.ndarray
    hot_slack: float


def build_graph(
    vocabulary: Vocabulary, options: DecoderOptions, models: Sequence[NgramModel]
) -> Graph:
    """Makes the constant data of a search.

    Raises:
        InputError: Less than a tenth of a model's words (or of the labels) can be used with the
            vocabulary, or a hot word cannot be spelled.
    """
    texts, boundary, followed = spellings(vocabulary)
    encoded = [to_bytes(text) for text in texts]
    spoken = (word for model in models for word in model.vocabulary)
    letters = letters_of(texts, chain(spoken, options.hotwords))
    shares = mixture_shares(options, len(models))
    linear = options.mixture == "linear" and len(models) > 1
    nothing = np.zeros((0, len(models)), np.int32)
    words: list[str] = []
    ids = tokens = nothing
    unseen = np.zeros(0, bool)
    if models and options.lm_unit == "label":
        tokens, unseen = label_ids(models, vocabulary, followed)
    elif models:
        for model in models:
            known = [word for word in model.vocabulary if word not in MARKS]
            check_spelling(known, letters, str(model.path))
        words = joint_words(models)
        ids, unseen = word_ids(models, words)
    lexicon = build_lexicon(words)
    arrays, parts = joined(models)
    columns = options.alpha * (np.ones(1) if linear or not models else shares)
    unknown = options.alpha * LN10 * options.unknown
    outside, estimate = unknown, np.zeros(len(lexicon.byte))
    if options.lookahead and words:
        logprobs = LN10 * unigram_logprobs(arrays, parts, ids)
        if linear:
            likely = options.alpha * np.logaddexp.reduce(logprobs + np.log(shares), axis=1)
        else:
            likely = logprobs @ columns
        outside += likely[-1]
        # At least the estimate outside the lexicon, so that a longer prefix never scores better.
        estimate = np.maximum(best_below(lexicon, likely[:-1]), outside)
    # Half of the limit is left, so that what has begun does not drop the texts without it.
    most = -options.beam_prune_logp / 2
    hot = build_hotwords(options.hotwords, letters, any(boundary), most)
    return Graph(
        spelling=np.frombuffer(b"".join(encoded), dtype=np.uint8).copy(),
        spelled=np.cumsum([0, *map(len, encoded)]).astype(np.int32),
        letters=np.array([len(text) for text in texts], dtype=np.int32),
        boundary=np.array(boundary),
        followed=np.array(followed),
        blank=vocabulary.blank,
        lexicon=lexicon,
        estimate=estimate,
        outside=float(outside),
        ids=ids,
        unseen=unseen,
        models=arrays,
        parts=parts,
        eos=np.array([model.eos for model in models], dtype=np.int32),
        linear=np.log(shares) if linear else np.zeros(0),
        weights=columns,
        word_bonus=float(options.beta if models else 0.0),
        unknown=float(unknown),
        tokens=tokens,
        goto=hot.goto,
        classes=hot.classes,
        completed=hot.completed,
        partial=hot.partial,
        hot_slack=most_gained(hot, max(map(len, encoded))),
    )


def without_hotwords(graph: Graph) -> Graph:
    """The constant data of the same search without hot words."""
    hot = build_hotwords({}, set())
    return graph._replace(
        goto=hot.goto,
        classes=hot.classes,
        completed=hot.completed,
        partial=hot.partial,
        hot_slack=0.0,
    )


def joint_words(models: Sequence[NgramModel]) -> list[str]:
    """The words of all models, each once."""
    words = dict.fromkeys(word for model in models for word in model.vocabulary)
    return [word for word in words if word not in MARKS]


def mixture_shares(options: DecoderOptions, count: int) -> np.ndarray:
    """(K,) the weight of each model; all are equal by default."""
    if options.lm_weights:
        return np.array(options.lm_weights, dtype=float)
    return np.full(count, 1.0 / count if options.mixture == "linear" and count else 1.0)


def word_ids(models: Sequence[NgramModel], words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each model's id of every word, and whether no model knows the word.

    Returns:
        (W + 1, K) int32 and (W + 1,) bool; the last row is for all other words.
    """
    ids = np.zeros((len(words) + 1, len(models)), np.int32)
    for k, model in enumerate(models):
        ids[:-1, k] = model.ids(words)
        ids[-1, k] = model.unknown
    unknown = np.array([model.unknown for model in models], dtype=np.int32)
    return ids, (ids == unknown).all(axis=1)


def label_ids(
    models: Sequence[NgramModel], vocabulary: Vocabulary, followed: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """The same for labels, (V, K) and (V,).

    Raises:
        InputError: A model knows less than a tenth of the labels.
    """
    names = list(vocabulary.labels)
    if vocabulary.word_delimiter is not None:
        at = names.index(vocabulary.word_delimiter)
        known = [word for word in DELIMITER_WORDS if all(word in model for model in models)]
        names[at] = known[0] if known else names[at]
    ids, unseen = word_ids(models, names)
    used = np.array(followed)
    for k, model in enumerate(models):
        seen = int((ids[:-1, k][used] != model.unknown).sum())
        if seen < LEAST_SPELLED * used.sum():
            raise InputError(
                f"{model.path}: the model knows {seen} of the {used.sum()} labels; a model over "
                "labels is estimated from text that is split into labels (for a model over words "
                "remove `lm_unit`)"
            )
        if seen < used.sum():
            lacking = [names[i] for i in np.flatnonzero(used & (ids[:-1, k] == model.unknown))]
            LOG.warning(
                f"{model.path}: {len(lacking)} of the {used.sum()} labels are unknown to the "
                f"model, such as {', '.join(lacking[:3])}"
            )
    return np.ascontiguousarray(ids[:-1]), unseen[:-1]


def joined(models: Sequence[NgramModel]) -> tuple[NgramArrays, np.ndarray]:
    """The arrays of all models, one model after the other, and the part of each, (K, 3) int64.

    The arrays of a single model are not copied: they stay memory-mapped.

    Raises:
        InputError: One of several models is quantised.
    """
    inner = [model.arrays.inner for model in models]
    leaf = [model.arrays.leaf for model in models]
    parts = np.zeros((len(models), 3), np.int64)
    parts[1:, 0] = np.cumsum([len(nodes) for nodes in inner[:-1]])
    parts[:, 1] = [len(nodes) - 1 for nodes in inner]
    parts[1:, 2] = np.cumsum([len(nodes) for nodes in leaf[:-1]])
    if len(models) == 1:
        return models[0].arrays, parts
    if any(len(model.arrays.bounds) for model in models):
        raise InputError(
            "several n-gram models cannot be mixed if one has 8 bits for each value; store them "
            "without quantisation"
        )
    nodes = np.concatenate([np.zeros(0, INNER), *inner])
    leaves = np.concatenate([np.zeros(0, LEAF), *leaf])
    return frozen(NgramArrays(nodes, leaves, *no_books())), parts


@kernel
def unigram_logprobs(models: NgramArrays, parts: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(W, K) log10 probabilities of words without context."""
    found = np.empty(ids.shape)
    for w in range(len(ids)):
        for k in range(len(parts)):
            part = (parts[k, 0], parts[k, 1], parts[k, 2])
            found[w, k], _ = advance(models, part, -1, ids[w, k])
    return found
