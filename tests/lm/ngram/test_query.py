"""Queries and batches of queries: against a dictionary, for words at any place."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest

from lm.ngram.arpa import Arpa, Section
from lm.ngram.batch_query import LANES, repeated_words, score_in_lanes, score_in_turn, score_words
from lm.ngram.query import FAR, GOLDEN, NgramArrays, advance, place_of
from lm.ngram.store import Stored, compile_model, frozen, no_books
from tests.support.arpas import Dictionary, small_model

WORDS = ["a", "b", "c", "d", "e"]


def alone(arrays: NgramArrays) -> tuple[int, int, int]:
    """The part of a model that is alone."""
    return 0, len(arrays.inner) - 1, 0


def thinned(model: Arpa, seed: int) -> Arpa:
    """Without back-off weights of a third of the n-grams, and without some n-grams that are no
    context, so that longer ones lack their suffixes."""
    draw = np.random.default_rng(seed)
    contexts = [
        {tuple(gram[:-1]) for gram in section.words.tolist()} for section in model.sections[1:]
    ]
    sections = []
    for k, section in enumerate(model.sections):
        keep = np.ones(len(section), bool)
        if 0 < k < model.order - 1:
            needed = [tuple(gram) in contexts[k] for gram in section.words.tolist()]
            keep = np.array(needed) | (draw.random(len(section)) < 0.5)
        backoff = np.where(draw.random(len(section)) < 1 / 3, np.float32(0), section.backoff)
        sections.append(Section(section.words[keep], section.logprob[keep], backoff[keep]))
    return Arpa(model.vocabulary, sections)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_each_step_equals_the_rules_and_keeps_the_longest_state(tmp_path: Path, order: int) -> None:
    model = thinned(small_model(tmp_path, order, WORDS, seed=order), seed=order)
    rules, arrays = Dictionary(model), compile_model(model, "model").arrays
    names = {-1: (), **spelled(model, arrays)}
    goes_on = {gram[:-1] for gram in rules.logprob}
    draw = random.Random(order)
    state, history = -1, ()
    seen = set()
    for _ in range(3000):
        word = draw.randrange(len(model.vocabulary))
        expected = rules.probability(history, model.vocabulary[word])
        logprob, state = advance(arrays, alone(arrays), state, word)
        assert 10**logprob == pytest.approx(expected, rel=1e-5)
        history = (*history, model.vocabulary[word])[-order:]
        suffixes = (history[i:] for i in range(max(0, len(history) - order + 1), len(history) + 1))
        matters = (s for s in suffixes if s in goes_on or rules.backoff.get(s))
        longest = () if order == 1 else next(matters, ())
        assert names[state] == longest
        seen.add(state)
    assert len(seen) > (1 if order > 1 else 0)


def spelled(model: Arpa, arrays: NgramArrays) -> dict[int, tuple[str, ...]]:
    """The words of every inner node."""
    inner = arrays.inner
    grams = {i: (word,) for i, word in enumerate(model.vocabulary)}
    for node in range(len(inner) - 1):
        for child in range(inner["first"][node], inner["first"][node + 1]):
            if child < len(inner) - 1:
                grams[child] = (*grams[node], model.vocabulary[inner["word"][child]])
    return grams


def wide_model(followers: np.ndarray, types: int) -> Stored:
    """A bigram model in which those words follow word 0, each with its own probability."""
    unigrams = np.arange(types, dtype=np.int32)[:, None]
    pairs = np.column_stack([np.zeros(len(followers)), followers]).astype(np.int32)
    backoff = np.full(types, -0.5, np.float32)
    sections = [
        Section(unigrams, np.full(types, -9, np.float32), backoff),
        Section(pairs, -followers.astype(np.float32) / types, 0 * followers.astype(np.float32)),
    ]
    return compile_model(Arpa([f"w{i}" for i in range(types)], sections), "model")


def at_one_place(types: int, count: int) -> np.ndarray:
    """The words that are nearest to the middle of all places: the worst case."""
    places = np.array([place_of(word) for word in range(types)])
    return np.sort(np.argsort(abs(places - 2**31))[:count])


@pytest.mark.parametrize("count", [1, 2, 7, 30, FAR, FAR + 1, 5000])
@pytest.mark.parametrize("spread", ["evenly", "first words", "one place"])
def test_every_word_of_a_context_is_found_and_no_other(count: int, spread: str) -> None:
    types = 20_000
    followers = {
        "evenly": np.sort(np.random.default_rng(count).permutation(types)[:count]),
        "first words": np.arange(count),
        "one place": at_one_place(types, count),
    }[spread]
    arrays = wide_model(followers, types).arrays
    expected = np.full(types, -9.5)
    expected[followers] = -(followers / types)
    found = [advance(arrays, alone(arrays), 0, word)[0] for word in range(0, types)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    texts = np.tile([[0, 0]], (types, 1)).astype(np.int32)
    texts[:, 1] = np.arange(types)
    out = np.empty(2 * types)
    score_in_lanes(arrays, -1, texts.ravel(), np.arange(0, 2 * types + 1, 2), out)
    np.testing.assert_array_equal(out[1::2], found)


def test_places_are_different_and_spread() -> None:
    places = np.array([place_of(word) for word in range(100_000)])
    assert len(np.unique(places)) == len(places)
    assert places.min() >= 0 and places.max() < 2**32
    assert round(2**32 / ((1 + math.sqrt(5)) / 2)) == GOLDEN
    counts = np.histogram(places[5000:6000], bins=100, range=(0, 2**32))[0]
    assert counts.min() >= 8 and counts.max() <= 12


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, LANES - 1, LANES, 10 * LANES + 3])
def test_batches_equal_single_queries(
    tmp_path: Path, order: int, quantise: bool, count: int
) -> None:
    model = thinned(small_model(tmp_path, order, WORDS, seed=order), seed=order)
    arrays = compile_model(model, "model", quantise).arrays
    draw = random.Random(count)
    texts = [
        [draw.randrange(len(model.vocabulary)) for _ in range(draw.choice([0, 0, 1, 2, 9, 30]))]
        for _ in range(count)
    ]
    bos = 1 if order > 1 else -1
    expected = []
    for text in texts:
        state = bos
        for word in text:
            logprob, state = advance(arrays, alone(arrays), state, word)
            expected.append(logprob)
    words = np.array([word for text in texts for word in text], np.int32)
    first = np.cumsum([0, *map(len, texts)])
    for score in (score_in_lanes, score_in_turn, score_words):
        out = np.full(len(words), np.nan)
        score(arrays, bos, words, first, out)
        np.testing.assert_array_equal(out, expected)


def test_texts_that_begin_alike_are_noticed() -> None:
    texts = [[], [1, 2, 3], [1, 2, 4], [1, 2], [], [5], [1, 2], [1, 2], [1, 2, 7]]
    words = np.array([word for text in texts for word in text], np.int32)
    assert repeated_words(words, np.cumsum([0, *map(len, texts)])) == 2 + 2 + 2 + 2


def test_several_models_in_one_set_of_arrays(tmp_path: Path) -> None:
    models = [small_model(tmp_path, order, WORDS, seed=order) for order in (3, 1, 2, 4)]
    compiled = [compile_model(model, "model").arrays for model in models]
    together = frozen(
        NgramArrays(
            np.concatenate([arrays.inner for arrays in compiled]),
            np.concatenate([arrays.leaf for arrays in compiled]),
            *no_books(),
        )
    )
    draw = random.Random(5)
    inner_at = leaf_at = 0
    for model, arrays in zip(models, compiled, strict=True):
        part = (inner_at, len(arrays.inner) - 1, leaf_at)
        state = other = -1
        for _ in range(300):
            word = draw.randrange(len(model.vocabulary))
            expected, state = advance(arrays, alone(arrays), state, word)
            logprob, other = advance(together, part, other, word)
            assert (logprob, other) == (expected, state)
        inner_at, leaf_at = inner_at + len(arrays.inner), leaf_at + len(arrays.leaf)
