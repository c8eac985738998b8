"""Entropy pruning: against the relative entropy summed up word by word."""

from __future__ import annotations

import math
import random
from pathlib import Path

import kenlm
import numpy as np
import pytest

from lm.errors import InputError
from lm.estimation.backoff_tables import unite
from lm.estimation.entropy_pruning import context_probabilities, prune, relative_entropies
from lm.ngram.arpa import Arpa, write_arpa
from lm.ngram.model import NgramModel
from tests.support.arpas import Dictionary, Gram, small_model

WORDS = [f"w{i}" for i in range(9)]


@pytest.fixture(params=[2, 3])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Arpa:
    return small_model(tmp_path, request.param, WORDS, seed=7, sentences=150)


def _prior(model: Dictionary, context: Gram) -> float:
    """P(context) by the chain rule; `<s>` is as frequent as `</s>`."""
    prior = 1.0
    for i, word in enumerate(context):
        word = "</s>" if word == "<s>" else word
        prior *= model.probability(context[:i], word)
    return prior


def _without(model: Dictionary, grams: set[Gram]) -> Dictionary:
    """A copy without some n-grams; its back-off weights are corrected context by context."""
    copy = Dictionary.__new__(Dictionary)
    copy.words, copy.order = model.words, model.order
    copy.logprob = {gram: p for gram, p in model.logprob.items() if gram not in grams}
    copy.backoff = {gram: b for gram, b in model.backoff.items() if gram not in grams}
    followers: dict[Gram, list[str]] = {}
    for *context, word in copy.logprob:
        followers.setdefault(tuple(context), []).append(word)
    for context in sorted(copy.backoff, key=len):
        copy.backoff[context] = 0.0
        words = followers.get(context, [])
        if words:
            left = 1 - sum(10 ** copy.logprob[*context, word] for word in words)
            below = 1 - sum(copy.probability(context[1:], word) for word in words)
            copy.backoff[context] = math.log10(left / below)
    return copy


def _relative_entropy(model: Dictionary, gram: Gram) -> float:
    """Relative entropy of the models without and with one n-gram, over all words."""
    without, context = _without(model, {gram}), gram[:-1]
    return _prior(model, context) * sum(
        p * math.log(p / without.probability(context, word))
        for word in model.words
        if (p := model.probability(context, word)) > 0
    )


def test_relative_entropy_is_the_sum_over_words(model: Arpa) -> None:
    tables, (values,) = unite([model])
    kept = [level.known for level in values]
    priors = context_probabilities(tables, values)
    exact = _without(Dictionary(model), set())  # weights without a file's rounding
    for k in range(1, model.order):
        got = relative_entropies(tables, values, kept, priors, k)
        grams = model.sections[k].words.tolist()
        rows = tables.rows(model.sections[k].words)
        assert len(grams) > 30
        for row, numbers in list(zip(rows, grams, strict=True))[::3]:
            gram = tuple(model.vocabulary[number] for number in numbers)
            expected = _relative_entropy(exact, gram)
            assert got[row] == pytest.approx(expected, rel=1e-3, abs=1e-9), gram


@pytest.mark.parametrize("threshold", [1e-4, 1e-3, 1e-2])
def test_the_same_n_grams_go(model: Arpa, threshold: float) -> None:
    """Stolcke's procedure in plain Python: from the highest order down, contexts stay."""
    exact = _without(Dictionary(model), set())
    removed: set[Gram] = set()
    for k in range(model.order, 1, -1):
        contexts = {gram[:-1] for gram in exact.logprob if gram not in removed}
        for gram in [gram for gram in exact.logprob if len(gram) == k and gram not in contexts]:
            if math.expm1(_relative_entropy(exact, gram)) < threshold:
                removed.add(gram)
    expected = _without(exact, removed)
    pruned = Dictionary(prune(model, threshold))
    assert 0 < len(removed) < len(exact.logprob) - len(exact.words)
    assert set(pruned.logprob) == set(expected.logprob)
    for gram, logprob in pruned.logprob.items():
        assert logprob == pytest.approx(expected.logprob[gram], abs=1e-6)
        assert pruned.backoff[gram] == pytest.approx(expected.backoff[gram], abs=1e-3)


def test_pruned_models_are_read_alike(tmp_path: Path) -> None:
    """Trigrams stay whose last two words are no longer a bigram: KenLM, we and the rules agree."""
    pruned = prune(small_model(tmp_path, 3, WORDS, seed=7, sentences=300), 1e-3)
    rules = Dictionary(pruned)
    assert sum(len(gram) == 3 and gram[1:] not in rules.logprob for gram in rules.logprob) > 5
    path = tmp_path / "lm.arpa"
    write_arpa(pruned, path)
    by_kenlm, ours = kenlm.Model(str(path)), NgramModel.load(path)
    draw = random.Random(0)
    for _ in range(100):
        words = draw.choices(WORDS, k=5)
        sentence = ["<s>", *words, "</s>"]
        expected = [
            math.log(rules.probability(tuple(sentence[:i]), sentence[i])) for i in range(1, 7)
        ]
        text = " ".join(words)
        assert ours.word_logprobs([text])[0] == pytest.approx(expected, abs=1e-5)
        scores = [log10 * math.log(10) for log10, _, _ in by_kenlm.full_scores(text)]
        assert scores == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("threshold", [0, 1e-4, 1e-3, 1e-2, 10])
def test_every_context_sums_to_one(model: Arpa, threshold: float) -> None:
    pruned = Dictionary(prune(model, threshold))
    for history in [*Dictionary(model).contexts(), ("w1", "w1", "w1", "w1")]:
        total = sum(pruned.probability(history, word) for word in pruned.words)
        assert total == pytest.approx(1, abs=1e-5), history


def test_a_higher_threshold_keeps_less(model: Arpa) -> None:
    sizes = np.zeros((7, model.order), int)
    for i, threshold in enumerate((0, 1e-5, 1e-4, 1e-3, 1e-2, 1, 1e9)):
        pruned = prune(model, threshold)
        sizes[i, : pruned.order] = [len(section) for section in pruned.sections]
    assert sizes[0].tolist() == [len(section) for section in model.sections]
    assert (np.diff(sizes, axis=0) <= 0).all()
    assert pruned.order == 1 and len(pruned.sections[0]) == len(model.sections[0])


def test_the_threshold_is_a_change_of_perplexity(tmp_path: Path) -> None:
    """exp(D) - 1, not D itself: the n-gram that matters most stays at a threshold in between."""
    model = small_model(tmp_path, 2, WORDS, seed=7, sentences=60)
    tables, (values,) = unite([model])
    priors = context_probabilities(tables, values)
    entropies = relative_entropies(tables, values, [v.known for v in values], priors, 1)
    most = float(entropies.max())
    assert math.expm1(most) > 1.005 * most
    assert len(prune(model, (most + math.expm1(most)) / 2).sections[1]) == 1
    assert prune(model, math.expm1(most) * 1.001).order == 1


def test_pruning_twice_changes_nothing_without_need(model: Arpa) -> None:
    """Threshold 0 gives the model itself."""
    same, before = Dictionary(prune(model, 0)), Dictionary(model)
    for gram, logprob in before.logprob.items():
        assert same.logprob[gram] == pytest.approx(logprob, abs=1e-6)
        assert same.backoff[gram] == pytest.approx(before.backoff[gram], abs=1e-3)


@pytest.mark.parametrize("threshold", [-1e-9, float("nan"), float("inf")])
def test_bad_thresholds_are_named(model: Arpa, threshold: float) -> None:
    with pytest.raises(InputError, match="--entropy-prune"):
        prune(model, threshold)
