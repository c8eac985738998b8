"""Mixing models: against the linear mixture word by word, and the best weights by search."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import kenlm
import numpy as np
import pytest

from experiments.cli import main
from lm.errors import InputError
from lm.estimation.backoff_tables import numbered, unite, word_probabilities
from lm.estimation.mixture import heldout_perplexity, interpolate, mixture_weights, perplexity
from lm.ngram.arpa import Arpa, Section, write_arpa
from lm.ngram.arpa_reader import read_arpa
from lm.ngram.model import NgramModel
from tests.support.arpas import Dictionary, small_model

WORDS = [f"w{i}" for i in range(12)]


@pytest.fixture
def pair(tmp_path: Path) -> list[Arpa]:
    """Two models of different orders with some words in common, others only in one."""
    return [
        small_model(tmp_path, 2, [*WORDS, "only-first"], seed=1),
        small_model(tmp_path, 3, [*WORDS[::-1], "only-second"], seed=2),
    ]


def _heldout(seed: int = 3) -> list[str]:
    draw = random.Random(seed)
    words = [*WORDS, "only-first", "only-second", "in-neither"]
    return [" ".join(draw.choices(words, k=draw.randint(0, 7))) for _ in range(60)]


def _histories(models: list[Dictionary]) -> list[tuple[str, ...]]:
    """Contexts of the models, and some that no model has."""
    draw = random.Random(5)
    seen = {context for model in models for context in model.contexts()}
    return [*sorted(seen), *(tuple(draw.choices(WORDS, k=3)) for _ in range(30)), ("in-neither",)]


def test_words_have_the_models_probabilities(tmp_path: Path, pair: list[Arpa]) -> None:
    """The common tables give the probabilities of the format's rules and of KenLM."""
    tables, values = unite(pair)
    texts = _heldout()
    got = word_probabilities(tables, values, *numbered(tables, texts))
    for i, model in enumerate(pair):
        rules = Dictionary(model)
        path = tmp_path / "lm.arpa"
        write_arpa(model, path)
        by_kenlm = kenlm.Model(str(path))
        at = 0
        for text in texts:
            history: tuple[str, ...] = ("<s>",)
            scores = by_kenlm.full_scores(text)
            for word, (log10, _, oov) in zip([*text.split(), "</s>"], scores, strict=True):
                expected = rules.probability(history, word)
                assert got[i, at] == pytest.approx(expected, rel=1e-5)
                if not oov:
                    assert math.log10(got[i, at]) == pytest.approx(log10, abs=1e-5)
                history, at = (*history, word), at + 1
        assert at == got.shape[1]


def test_weights_of_two_are_the_best_by_search(pair: list[Arpa]) -> None:
    tables, values = unite(pair)
    probabilities = word_probabilities(tables, values, *numbered(tables, _heldout()))
    probabilities = probabilities[:, probabilities.max(axis=0) > 0]

    def loss(weight: float) -> float:
        return float(-np.log(weight * probabilities[0] + (1 - weight) * probabilities[1]).sum())

    low, high = 0.0, 1.0
    while high - low > 1e-10:  # the loss is convex
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    assert 0.05 < low < 0.95
    np.testing.assert_allclose(mixture_weights(probabilities), [low, 1 - low], atol=1e-5)
    found = interpolate(pair, heldout=_heldout())
    np.testing.assert_allclose(found.weights, [low, 1 - low], atol=1e-5)
    assert found.heldout is not None
    assert found.heldout.mixed == pytest.approx(math.exp(loss(low) / probabilities.shape[1]))
    assert found.heldout.words == probabilities.shape[1]
    assert found.heldout.unknown == sum(text.split().count("in-neither") for text in _heldout())


def test_weights_of_several_are_at_the_maximum() -> None:
    """The conditions of Kuhn and Tucker, a model that helps nothing among them."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(50), 4)[:, rng.integers(0, 50, 2000)]
    probabilities[3] = probabilities[0] * 0.5
    shares = mixture_weights(probabilities)
    gain = (probabilities / (shares @ probabilities)).mean(axis=1)
    assert shares.sum() == pytest.approx(1)
    assert (shares[:3] > 0.01).all() and shares[3] < 1e-6
    np.testing.assert_allclose(gain[:3], 1, atol=1e-4)
    assert gain[3] < 1


def test_n_grams_have_the_linear_mixture(pair: list[Arpa]) -> None:
    """Every n-gram of either model, exactly; and so a history's n-grams that both have."""
    mixed = Dictionary(interpolate(pair, weights=[3, 1]).model)
    models = [Dictionary(model) for model in pair]
    union = set(models[0].logprob) | set(models[1].logprob)
    assert set(mixed.logprob) == union
    assert {("w0", "w1"), ("only-first",), ("only-second",)} <= union
    for *history, word in union:
        if word != "<s>":
            first, second = (model.probability(tuple(history), word) for model in models)
            expected = 0.75 * first + 0.25 * second
            assert mixed.probability(tuple(history), word) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [[1, 1], [999, 1]])
def test_every_context_sums_to_one(pair: list[Arpa], weights: list[float]) -> None:
    mixed = Dictionary(interpolate(pair, weights).model)
    for history in _histories([mixed]):
        total = sum(mixed.probability(history, word) for word in mixed.words)
        assert total == pytest.approx(1, abs=1e-5), history


def _followers(shares: list[float]) -> Arpa:
    """A model of the words a and b; after a only some of `<unk>`, `</s>`, a and b are listed."""
    unigrams = Section(
        np.arange(5, dtype=np.int32)[:, None],
        np.log10([0.25, 1, 0.25, 0.25, 0.25]).astype(np.float32),
        np.zeros(5, np.float32),
    )
    words = np.array([[3, 0], [3, 2], [3, 3], [3, 4]], np.int32)[: len(shares)]
    nothing = np.zeros(len(shares), np.float32)
    bigrams = Section(words, np.log10(shares).astype(np.float32), nothing)
    return Arpa(["<unk>", "<s>", "</s>", "a", "b"], [unigrams, bigrams])


@pytest.mark.parametrize(
    "shares",
    [
        [0.2, 0.3, 0.4, 0.1],
        [0.2, 0.3, 0.4, 0.1001],  # by rounding or worse more than everything,
        [0.2, 0.3, 0.4, 0.0999],  # or less, with no other words,
        [0.2, 0.3, 0.5],  # or nothing for the one that is left
        [0.2, 0.3, 0.5001],
        [0.2, 0.3, 0.4],
    ],
)
def test_contexts_that_leave_nothing_sum_to_one(shares: list[float]) -> None:
    mixed = Dictionary(interpolate([_followers(shares)], weights=[1]).model)
    after = [mixed.probability(("a",), word) for word in mixed.words]
    assert sum(after) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(after[: len(shares)], shares, rtol=2e-4)
    assert 0 < after[-1] < 1


def test_histories_end_where_sentences_begin() -> None:
    """Even in a model that reaches over the border."""
    model = _followers([0.2, 0.3, 0.4])
    words = np.array([[2, 1], *model.sections[1].words], np.int32)
    logprob = np.array([-0.1, *model.sections[1].logprob], np.float32)
    bigrams = Section(words, logprob, np.array([-0.5, 0, 0, 0], np.float32))
    trigrams = Section(np.array([[2, 1, 3]], np.int32), *np.float32([[-0.3], [0]]))
    tables, values = unite([Arpa(model.vocabulary, [model.sections[0], bigrams, trigrams])])
    got = word_probabilities(tables, values, *numbered(tables, ["a", "a"]))
    np.testing.assert_allclose(got, [[0.25, 0.3, 0.25, 0.3]], rtol=1e-6)


def test_perplexity_is_kenlms(tmp_path: Path, pair: list[Arpa]) -> None:
    """The perplexity of the static mixture, to four digits, without unknown words."""
    mixture = interpolate(pair, heldout=_heldout())
    path = tmp_path / "mix.arpa"
    write_arpa(mixture.model, path)
    scores = [score for text in _heldout() for score in kenlm.Model(str(path)).full_scores(text)]
    known = [log10 for log10, _, oov in scores if not oov]
    words, unknown, value = heldout_perplexity(NgramModel.load(path), _heldout())
    assert value == pytest.approx(10 ** -np.mean(known), rel=1e-4)
    assert (words, unknown) == (len(known), len(scores) - len(known))
    assert mixture.heldout is not None
    assert (mixture.heldout.words, mixture.heldout.unknown) == (words, unknown)
    assert mixture.heldout.mixed == pytest.approx(value, rel=0.05)


def test_a_model_without_some_suffixes(pair: list[Arpa]) -> None:
    """Models of other tools after pruning: trigrams whose last two words are no bigram."""
    model = pair[1]
    bigrams, trigrams = model.sections[1], model.sections[2]
    contexts = set(map(tuple, trigrams.words[:, :2].tolist()))
    keep = np.array([tuple(gram) in contexts for gram in bigrams.words.tolist()])
    assert not keep.all()
    pruned = Section(bigrams.words[keep], bigrams.logprob[keep], bigrams.backoff[keep])
    lacking = Arpa(model.vocabulary, [model.sections[0], pruned, trigrams])
    models = [Dictionary(lacking), Dictionary(pair[0])]
    mixed = Dictionary(interpolate([lacking, pair[0]], weights=[1, 1]).model)
    for *history, word in set(models[0].logprob) | set(models[1].logprob):
        if word != "<s>":
            expected = sum(model.probability(tuple(history), word) for model in models) / 2
            assert mixed.probability(tuple(history), word) == pytest.approx(expected, rel=1e-5)


def test_models_without_sentence_marks() -> None:
    """Words are still mixed; ends are not scored, and histories do not cross lines."""
    words = ["a", "b"]
    numbers, nothing = np.arange(2, dtype=np.int32)[:, None], np.zeros(2, np.float32)
    unigrams = [Section(numbers, np.log10(p).astype(np.float32), nothing) for p in ([0.5, 0.5],)]
    bigrams = Section(np.array([[0, 1]], np.int32), np.log10([0.9], dtype=np.float32), nothing[:1])
    lower = Section(
        numbers,
        np.log10([0.2, 0.8], dtype=np.float32),
        np.log10([0.1 / 0.2, 1], dtype=np.float32),
    )
    models = [Arpa(words, unigrams), Arpa(words, [lower, bigrams])]
    found = interpolate(models, [1, 1], heldout=["a b", "b", "zz a"])
    assert found.heldout is not None
    assert (found.heldout.words, found.heldout.unknown) == (4, 1)
    expected = [0.35, 0.7, 0.65, 0.35]  # a, b after a, b, a after an unknown word
    assert found.heldout.mixed == pytest.approx(np.prod(expected) ** -0.25, rel=1e-5)
    assert found.model.vocabulary == words


def test_perplexity_by_hand() -> None:
    assert perplexity(np.array([0.5, 0.125])) == pytest.approx(4)
    assert perplexity(np.array([])) == math.inf


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda models: interpolate(models), "no weights"),
        (lambda models: interpolate(models, [1]), "1 weights for 2 models"),
        (lambda models: interpolate(models, [1, 0]), "above 0"),
        (lambda models: interpolate(models, [1, float("nan")]), "above 0"),
        (lambda models: interpolate(models, [1, float("inf")]), "above 0"),
        (lambda models: interpolate(models, heldout=[]), "no words"),
        (lambda models: interpolate(models, heldout=["", " "]), "no words"),
        (lambda models: interpolate(models, heldout=["W0 W1"]), "knows any"),
    ],
)
def test_bad_settings_are_named(
    pair: list[Arpa], call: Callable[[list[Arpa]], object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        call(pair)


def test_the_command(tmp_path: Path, pair: list[Arpa], capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(tmp_path / f"{name}.arpa") for name in "ab"]
    for model, path in zip(pair, paths, strict=True):
        write_arpa(model, path)
    dev, output = tmp_path / "dev.txt", tmp_path / "mix.arpa.gz"
    dev.write_text("".join(f"{line.upper()}\n" for line in _heldout()))
    command = ["ngram", "--models", *paths, "-o", str(output)]
    assert main([*command, "--heldout", str(dev)]) == 2
    assert "upper or lower case" in capsys.readouterr().err
    dev.write_text("".join(f"{line}\n" for line in _heldout()))
    assert main([*command, "--heldout", str(dev)]) == 0
    said = capsys.readouterr().err
    expected = interpolate(pair, heldout=_heldout())
    assert f"weight {expected.weights[0]:.4f}" in said
    assert expected.heldout is not None and f"{expected.heldout.mixed:.2f}" in said
    written = Dictionary(read_arpa(output))
    for gram, logprob in Dictionary(expected.model).logprob.items():
        assert written.logprob[gram] == pytest.approx(logprob, abs=1e-5)
    assert main([*command, "--mix-weights", "1", "3"]) == 0
    assert "weight 0.2500" in capsys.readouterr().err
    for options, says in [
        (["--mix-weights", "1"], "1 weights for 2 models"),
        (["--order", "3"], "--order is for estimating"),
        (["--weights", "1", "1"], "--weights is for estimating"),
        (["--heldout", str(tmp_path / "gone.txt")], "gone.txt"),
        ([], "--heldout TEXT"),
        (["--entropy-prune", "-1", "--mix-weights", "1", "1"], "--entropy-prune -1"),
    ]:
        assert main([*command, *options]) == 2, options
        assert says in capsys.readouterr().err
    assert main(["ngram", "--models", paths[0], str(tmp_path / "no.arpa"), "-o", "x.arpa"]) == 2
    assert "no.arpa: no such file" in capsys.readouterr().err
