"""The exact permutation test against all sign choices one by one, and in the table of systems."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from typing import cast

import numpy as np
import pytest

from asr.evaluation.alignment import align
from asr.evaluation.permutation import sign_flip
from asr.evaluation.significance import Test, mapsswe, matched_pairs
from asr.hypothesis import Hypothesis
from asr.nbest import build_nbest
from experiments.comparison.counting import Counting
from experiments.comparison.evaluation import ScoredSplit, evaluate
from experiments.comparison.references import References
from experiments.comparison.system import System, resolve
from experiments.comparison.table import cells
from experiments.comparison.tuning import Decision
from lm.errors import InputError
from tests.asr.evaluation.test_significance import marks


def by_enumeration(differences: list[int]) -> float:
    sums = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return float(Fraction(sum(abs(s) >= abs(sum(differences)) for s in sums), len(sums)))


@pytest.mark.parametrize("values", [[-1, 0, 1], [-3, -2, -1, 0, 1, 1, 2], [4, -4, 6], [5, 7, -3]])
def test_all_signs_one_by_one(values: list[int]) -> None:
    rng = random.Random(len(values))
    for _ in range(60):
        differences = rng.choices(values, k=rng.randint(0, 11))
        assert sign_flip(differences) == pytest.approx(by_enumeration(differences), rel=1e-12)


def test_many_differences_are_a_binomial_tail_and_then_normal() -> None:
    # 61 of 100 differences of 1 are positive: twice the tail of the binomial distribution.
    tail = Fraction(sum(math.comb(100, k) for k in range(61, 101)), 2**100)
    assert sign_flip([1] * 61 + [-1] * 39) == pytest.approx(float(2 * tail), rel=1e-10)
    rng = np.random.default_rng(0)
    differences = rng.integers(-4, 5, 30_000)
    # Sums are 2 apart: half of that is the continuity correction.
    z = (abs(differences.sum()) - 1) / math.sqrt((differences.astype(float) ** 2).sum())
    assert sign_flip(differences) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-4)


def test_sign_flip_at_its_ends() -> None:
    assert sign_flip([]) == sign_flip([0, 0]) == sign_flip([7]) == 1.0
    assert sign_flip([1] * 40) == sign_flip([-3] * 40) == 2.0**-39
    assert 0 < sign_flip([1] * 5000) < 1e-20
    assert 0 < sign_flip([1] * 5000 + [2]) < 1e-20
    with pytest.raises(ValueError, match="shape"):
        sign_flip(np.zeros((2, 2)))


def test_equal_differences_get_the_exact_p_value() -> None:
    better, worse = [marks("....") for _ in range(40)], [marks("x...") for _ in range(40)]
    found = mapsswe(better, worse)
    assert (found.segments, found.mean, found.z) == (40, -1.0, 0.0)
    assert (found.p_value, found.test) == (2.0**-39, "permutation")
    assert mapsswe(worse, better).p_value == 2.0**-39
    one_other = mapsswe([*better, marks("..")], [*worse, marks("xx")])
    assert one_other.test == "mapsswe" and one_other.p_value < 1e-9


def test_permutation_by_choice() -> None:
    references = ["a b c d e f g h", "i j k l", "m n o", "p q"]
    system = ["a b c d e f g h", "i j k l", "m n o", "p q r"]
    baseline = ["x b c d e x x h", "i j k", "m o", "p q r"]
    first, second = align(references, system), align(references, baseline)
    found = matched_pairs(first, second, "permutation")  # d = -1, -2, -1, -1, 0
    assert (found.p_value, found.test) == (2 / 16, "permutation")
    assert found.z == mapsswe(first, second).z
    with pytest.raises(InputError, match="'wilcoxon'; use mapsswe or permutation"):
        matched_pairs(first, second, cast(Test, "wilcoxon"))


@pytest.mark.parametrize(("significance", "shown"), [("mapsswe", "(exact)"), ("permutation", "ex")])
def test_table_shows_the_exact_p_value_of_40_better_utterances(
    significance: Test, shown: str
) -> None:
    utts = [f"u{n}" for n in range(40)]
    lists = {
        name: build_nbest({utt: [Hypothesis(text, -1.0)] for utt in utts})
        for name, text in (("worse", "a x c d e"), ("better", "a b c d e"))
    }
    counting = Counting(significance=significance)
    references = References({utt: "a b c d e" for utt in utts}, counting)
    split = ScoredSplit("test", lists, references)
    systems = {name: System(name) for name in lists}
    found = evaluate(split, resolve(systems), {name: Decision() for name in lists}).systems
    row = found.set_index("system", drop=False).loc["better"]
    assert (row["p_value"], row["p_test"]) == (2.0**-39, "permutation")
    assert any("<0.001" in cell and shown in cell for cell in cells(row.to_dict()))
    assert found["p_test"].isna().tolist() == [True, False]
