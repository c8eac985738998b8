"""Minimum Bayes risk, votes and confidences against brute force and definitions."""

from __future__ import annotations

import itertools

import jiwer
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.nbest import Hypothesis, build_nbest
from lm.errors import InputError
from lm.rerank.confidence import (
    Calibration,
    calibration_error,
    normalised_cross_entropy,
    reliability,
)
from lm.rerank.confusion import networks
from lm.rerank.decision import Choice, Trust, choose, confidences, tune_choice, tune_trust
from lm.rerank.mbr import Distances, least_risk, risks
from lm.rerank.pool import Pool

TEXT = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6).map(" ".join)
LIST = st.lists(st.tuples(TEXT, st.floats(-9, 0)), min_size=1, max_size=7)
LISTS = st.lists(LIST, min_size=1, max_size=4)


def table_of(lists: list[list[tuple[str, float]]]) -> pd.DataFrame:
    """An N-best table; texts of a list need not differ."""
    rows = [
        {"utt": f"u{n}", "rank": rank, "text": text, "acoustic": score}
        for n, one in enumerate(lists)
        for rank, (text, score) in enumerate(one, 1)
    ]
    return pd.DataFrame(rows)


def pool_of(*systems: list[list[tuple[str, float]]]) -> Pool:
    tables = [table_of(lists) for lists in systems]
    return Pool.of(tables, [table["acoustic"].to_numpy() for table in tables])


def errors(truth: str, said: str) -> int:
    found = jiwer.process_words(truth, said)
    return found.substitutions + found.deletions + found.insertions


@given(LISTS, st.floats(0.1, 20))
@settings(max_examples=60, deadline=None)
def test_least_risk_equals_expected_errors_by_jiwer(
    lists: list[list[tuple[str, float]]], temperature: float
) -> None:
    pool = pool_of(lists)
    posterior = pool.posterior(temperature)
    distances = Distances.of(pool)
    found = risks(pool, distances, posterior)
    chosen = least_risk(pool, distances, posterior)
    for number, one in enumerate(lists):
        weights = np.exp(np.array([score for _, score in one]) / temperature)
        weights /= weights.sum()
        texts = [text for text, _ in one]
        expected = [np.dot(weights, [errors(truth, text) for truth in texts]) for text in texts]
        span = slice(pool.lists[number], pool.lists[number + 1])
        assert np.allclose(posterior[span], weights, atol=1e-9)
        assert np.allclose(found[span], expected, atol=1e-9)
        assert found[chosen[number]] == pytest.approx(min(expected), abs=1e-9)


@given(LISTS, st.floats(0.1, 20))
@settings(max_examples=100, deadline=None)
def test_networks_hold_every_hypothesis_and_all_mass(
    lists: list[list[tuple[str, float]]], temperature: float
) -> None:
    pool = pool_of(lists)
    posterior = pool.posterior(temperature)
    for number, network in enumerate(networks(pool, posterior)):
        assert np.allclose(network.mass.sum(axis=1), 1.0)
        for position in range(pool.lists[number], pool.lists[number + 1]):
            assert is_path(network.mass, network.words, pool.texts[position])
        # Expected words of the network are those of the list.
        lengths = [len(text.split()) for text in pool.texts]
        span = range(pool.lists[number], pool.lists[number + 1])
        expected = sum(posterior[n] * lengths[n] for n in span)
        assert (1 - network.mass[:, 0]).sum() == pytest.approx(expected)


def is_path(mass: np.ndarray, words: tuple[str, ...], text: str) -> bool:
    """Whether a text can be read from slot to slot, skipping only where no word has mass."""
    reached = {0}
    said = text.split()
    for slot in mass:
        following = set()
        for place in reached:
            if slot[0] > 0:
                following.add(place)
            if place < len(said) and slot[words.index(said[place], 1)] > 0:
                following.add(place + 1)
        reached = following
    return len(said) in reached


@given(LIST)
@settings(deadline=None)
def test_a_cold_vote_and_a_cold_choice_are_the_best_hypothesis(
    one: list[tuple[str, float]],
) -> None:
    scores = [score for _, score in one]
    if len(scores) > 1 and np.diff(np.sort(scores))[-1] < 0.1:
        return  # no clear winner
    best = one[int(np.argmax(scores))][0]
    pool = pool_of([one])
    for method in ("map", "mbr", "vote"):
        assert choose(pool, Choice(method, temperature=1e-3)).texts == [best]  # type: ignore[arg-type]


def test_a_vote_may_stand_in_no_list() -> None:
    # Each hypothesis has one word wrong that the two others have right.
    one = [("x b c d", 0.0), ("a x c d", -0.01), ("a b x d", -0.02)]
    chosen = choose(pool_of([one]), Choice("vote"))
    assert chosen.texts == ["a b c d"]
    assert chosen.positions.tolist() == [-1]


def test_votes_of_three_systems_are_by_majority() -> None:
    # Fiscus 1997: one-best outputs, all trusted alike, are decided by how often a word occurs.
    systems = [
        [[("the cat sat on mat", 0.0)]],
        [[("the cat sat on the mat", 0.0)]],
        [[("a cat sat in the mat", 0.0)]],
    ]
    assert choose(pool_of(*systems), Choice("vote")).texts == ["the cat sat on the mat"]
    alone = Choice("vote", shares=(0.8, 0.1, 0.1))
    assert choose(pool_of(*systems), alone).texts == ["the cat sat on mat"]


def test_no_word_can_be_made_likelier() -> None:
    one = [("a b c", 0.0), ("a c", -0.1)]
    assert choose(pool_of([one]), Choice("vote")).texts == ["a b c"]
    assert choose(pool_of([one]), Choice("vote", nothing=2.0)).texts == ["a c"]


def test_impossible_empty_and_single_hypotheses() -> None:
    lists = [
        [("a b", -np.inf), ("c", -np.inf)],  # nothing possible: the first
        [("", -1.0), ("", -2.0)],  # silence
        [("only one", -5.0)],
        [("a", -np.inf), ("b", -3.0)],
    ]
    pool = pool_of(lists)
    for method in ("map", "mbr", "vote"):
        found = choose(pool, Choice(method))  # type: ignore[arg-type]
        assert found.texts == ["a b", "", "only one", "b"]
    sure = confidences(pool, ["a b", "", "only one", "b"], Trust())
    assert np.isnan(sure[0]).tolist() == [True, True]  # and nothing says how sure its words are
    assert [c.round(3).tolist() for c in sure[1:]] == [[], [1.0, 1.0], [1.0]]
    assert pool.hopeless.tolist() == [True, False, False, False]


def test_one_list_of_two_without_possible_hypotheses_is_hopeless() -> None:
    tables = [table_of([[("a", 0.0)], [("b", 0.0)]])] * 2
    pool = Pool.of(tables, [np.array([-1.0, -np.inf]), np.array([-2.0, -1.0])])
    assert pool.hopeless.tolist() == [False, True]
    sure = confidences(pool, ["a", "b"], Trust())
    assert sure[0] == [pytest.approx(1.0, abs=1e-3)] and np.isnan(sure[1]).all()


def test_trust_is_learned_from_known_confidences_alone() -> None:
    rng = np.random.default_rng(0)
    lists = [[("a", float(rng.normal())), ("b", float(rng.normal()))] for _ in range(40)]
    right = rng.random(40) < 0.7
    alone = tune_trust(pool_of(lists), ["a"] * 40, right)
    dead = [[("a", -np.inf), ("b", -np.inf)]] * 5
    more = np.concatenate([right, np.zeros(5, dtype=bool)])
    assert tune_trust(pool_of([*lists, *dead]), ["a"] * 45, more) == alone


def test_the_order_of_utterances_and_rows_does_not_matter() -> None:
    lists = [[("a b", -1.0), ("a c", -1.5), ("d c", -1.6)], [("x", -1.0), ("y", -1.2)]]
    table = table_of(lists)
    turned = table.iloc[::-1].reset_index(drop=True)
    for method in ("map", "mbr", "vote"):
        found = []
        for one in (table, turned):
            pool = Pool.of([one], [one["acoustic"].to_numpy()])
            texts = choose(pool, Choice(method, 2.0)).texts  # type: ignore[arg-type]
            found.append(dict(zip(pool.utts, texts, strict=True)))
        assert found[0] == found[1]


def test_confidence_is_the_mass_of_the_words_that_agree() -> None:
    one = [("a b", np.log(0.6)), ("a c", np.log(0.3)), ("a", np.log(0.1))]
    pool = pool_of([one])
    (network,) = networks(pool, pool.posterior())
    assert network.confidences("a b").tolist() == pytest.approx([1.0, 0.6])
    assert network.confidences("a c").tolist() == pytest.approx([1.0, 0.3])
    assert network.confidences("z a").tolist() == pytest.approx([0.0, 1.0])
    assert network.confidences("").tolist() == []


def test_pools_need_the_same_utterances() -> None:
    first, second = table_of([[("a", 0.0)], [("b", 0.0)]]), table_of([[("a", 0.0)]])
    zeros = [np.zeros(2), np.zeros(1)]
    with pytest.raises(
        InputError,
        match=r"tables 1 and 2 have different utterances: 1 are in one table only \(u1",
    ):
        Pool.of([first, second], zeros)
    with pytest.raises(InputError, match="empty"):
        Pool.of([first.iloc[:0]], [np.zeros(0)])
    pool = Pool.of([first], zeros[:1])
    with pytest.raises(ValueError, match="temperature is 0"):
        pool.posterior(0)
    with pytest.raises(ValueError, match="sum 1"):
        pool.posterior(1.0, (0.5, 0.5))
    with pytest.raises(InputError, match="no way to choose named 'best'"):
        Choice("best")  # type: ignore[arg-type]


def test_tuning_finds_what_helps_on_dev() -> None:
    """Lists in which the truth is what most hypotheses nearly say, not what the first one does."""
    rng = np.random.default_rng(0)
    truth, lists = [], []
    for _ in range(60):
        words = rng.choice(list("abcdefgh"), 6)
        truth.append(" ".join(words))
        one = []
        for number in range(6):
            wrong = words.tolist()
            for place in rng.choice(6, 1 if number else 3, replace=False):
                wrong[place] = f"z{number}"
            one.append((" ".join(wrong), -0.3 * number))
        lists.append(one)
    pool = pool_of(lists)

    def count(texts: list[str]) -> np.ndarray:
        return np.array([errors(t, text) for t, text in zip(truth, texts, strict=True)])

    found = {
        method: int(count(choose(pool, tune_choice(pool, method, count)).texts).sum())  # type: ignore[arg-type]
        for method in ("map", "mbr", "vote")
    }
    assert found["map"] == 180
    assert found["mbr"] <= 60  # one wrong word at most, for the best of the others
    assert found["vote"] < 10
    assert tune_choice(pool, "vote", count) == tune_choice(pool, "vote", count)


def test_tuning_trusts_the_better_of_two_systems() -> None:
    truth = [f"w{n} same" for n in range(40)]
    good = [[(text, 0.0)] for text in truth]
    bad = [[(f"no{n} same", 0.0)] for n in range(40)]

    def count(texts: list[str]) -> np.ndarray:
        return np.array([errors(t, text) for t, text in zip(truth, texts, strict=True)])

    pool = pool_of(bad, good)
    choice = tune_choice(pool, "vote", count)  # type: ignore[arg-type]
    assert choice.shares[1] > choice.shares[0]
    assert count(choose(pool, choice).texts).sum() == 0


def test_normalised_cross_entropy_by_its_definition() -> None:
    right = np.array([True] * 8 + [False] * 2)
    assert normalised_cross_entropy(np.full(10, 0.8), right) == pytest.approx(0.0, abs=1e-12)
    assert normalised_cross_entropy(np.where(right, 1.0, 0.0), right) == pytest.approx(1, abs=1e-3)
    assert normalised_cross_entropy(np.where(right, 0.1, 0.9), right) < 0
    assert np.isnan(normalised_cross_entropy(np.ones(3), np.ones(3, dtype=bool)))
    assert np.isnan(normalised_cross_entropy(np.zeros(0), np.zeros(0, dtype=bool)))
    # NIST's formula, written out for two words.
    expected = (2 + np.log2(0.9) + np.log2(0.7)) / 2
    assert normalised_cross_entropy(np.array([0.9, 0.3]), right[[0, 9]]) == pytest.approx(expected)


def test_reliability_and_its_error() -> None:
    confidence = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
    right = np.array([False, True, False, True, True])
    table = reliability(confidence, right)
    assert table["words"].tolist() == [1, 2, 2]
    assert table["right"].tolist() == [0.0, 0.5, 1.0]
    assert table["confidence"].tolist() == pytest.approx([0.05, 0.15, 0.975])
    assert calibration_error(confidence, right) == pytest.approx((0.05 + 0.7 + 0.05) / 5)
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, dtype=bool)))


@pytest.mark.parametrize(("slope", "offset"), [(0.5, -1.0), (2.0, 0.5), (1.0, 0.0)])
def test_calibration_recovers_the_map_that_made_the_data(slope: float, offset: float) -> None:
    rng = np.random.default_rng(3)
    raw = rng.uniform(0.02, 0.98, 60_000)
    right = rng.random(60_000) < Calibration(slope, offset)(raw)
    found = Calibration.fit(raw, right)
    assert found.slope == pytest.approx(slope, abs=0.06)
    assert found.offset == pytest.approx(offset, abs=0.06)
    before, after = (calibration_error(c, right) for c in (raw, found(raw)))
    assert after < 0.02 and after <= before + 0.005


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.01, 0.6, 0.97, 0.999, 1.0]), st.booleans()),
        min_size=2,
        max_size=200,
    )
)
@settings(max_examples=100, deadline=None)
def test_no_other_calibration_fits_better(words: list[tuple[float, bool]]) -> None:
    raw, right = np.array([c for c, _ in words]), np.array([r for _, r in words])
    found = Calibration.fit(raw, right)
    if right.all() or not right.any():
        assert found == Calibration()
        return
    # Platt's targets: words seen once more right, and once more wrong.
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def cost(slope: float, offset: float) -> float:
        p = Calibration(slope, offset)(raw)
        return float(-(target * np.log(p) + (1 - target) * np.log1p(-p)).sum())

    best = cost(found.slope, found.offset)
    for slope, offset in itertools.product((-0.3, -0.01, 0.0, 0.01, 0.3), repeat=2):
        assert best <= cost(found.slope + slope, found.offset + offset) + 1e-6


def test_calibration_of_perfect_or_one_sided_data_stays_finite() -> None:
    assert Calibration.fit(np.array([0.2, 0.9]), np.array([True, True])) == Calibration()
    found = Calibration.fit(np.array([0.1] * 50 + [0.9] * 50), np.array([False] * 50 + [True] * 50))
    assert np.isfinite([found.slope, found.offset]).all() and found.slope > 0


def test_trust_makes_overconfident_posteriors_honest() -> None:
    """Scores that are four times too sharp: the temperature or the calibration corrects this."""
    rng = np.random.default_rng(1)
    lists, truth, honest = [], [], []
    for _ in range(1500):
        scores = np.sort(rng.normal(0, 1.5, 4))[::-1]
        p = np.exp(scores) / np.exp(scores).sum()
        truth.append("wxyz"[rng.choice(4, p=p)])
        honest.append(p[0])
        lists.append([(word, 4 * score) for word, score in zip("wxyz", scores, strict=True)])
    pool = pool_of(lists)
    texts = choose(pool, Choice()).texts
    right = np.array([t == text for t, text in zip(truth, texts, strict=True)])
    raw = np.concatenate(confidences(pool, texts, Trust()))
    trust = tune_trust(pool, texts, right)
    corrected = np.concatenate(confidences(pool, texts, trust))
    assert calibration_error(raw, right) > 0.1 > 0.05 > calibration_error(corrected, right)
    most = normalised_cross_entropy(np.array(honest), right)
    assert normalised_cross_entropy(raw, right) < 0
    assert normalised_cross_entropy(corrected, right) == pytest.approx(most, abs=0.03)


def test_real_lists_are_pooled_as_they_stand() -> None:
    table = build_nbest({"u": [Hypothesis("a b", -1.0), Hypothesis("a", -2.0)]})
    pool = Pool.of([table], [table["acoustic"].to_numpy()])
    assert pool.texts == ["a b", "a"] and pool.utts == ["u"]
    for a, b in itertools.product(range(2), repeat=2):
        assert Distances.of(pool).values[2 * a + b] == (a != b)
