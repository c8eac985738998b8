"""Tuned weights against brute force over all regions of weight space, on small random tables."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lm.combine import total, winners
from lm.errors import InputError
from lm.rerank.tune import Tuned, tune


def fewest(*arguments: Any, **options: Any) -> Tuned:
    """Weights that are tuned without regard to small differences."""
    return tune(*arguments, **options, near=0)


def random_table(
    seed: int, utterances: int = 8, length: int = 5
) -> tuple[pd.DataFrame, np.ndarray]:
    """Lists of uneven length whose scores say a little about their errors."""
    rng = np.random.default_rng(seed)
    rows = []
    for utt in range(utterances):
        for rank in range(1, int(rng.integers(1, length + 1)) + 1):
            errors = int(rng.integers(0, 5))
            rows.append(
                {
                    "utt": f"u{utt}",
                    "rank": rank,
                    "text": "x",
                    "acoustic": rng.normal(),
                    "lm": -0.5 * errors + rng.normal(),
                    "big": -0.4 * errors + 2 * rng.normal(),
                    "words": int(rng.integers(3, 8)),
                    "errors": errors,
                }
            )
    table = pd.DataFrame(rows)
    return table.drop(columns="errors"), table["errors"].to_numpy()


def errors_under(table: pd.DataFrame, errors: np.ndarray, weights: dict[str, float]) -> int:
    return int(errors[winners(table, total(table, weights))].sum())


def ties(table: pd.DataFrame, columns: list[str]) -> list[np.ndarray]:
    """Every hyperplane of weights on which two hypotheses of a list have equal totals."""
    planes = []
    for _, group in table.groupby("utt"):
        values = group[["acoustic", *columns]].to_numpy(dtype=float)
        finite = values[np.isfinite(values).all(axis=1)]
        planes += [a - b for a, b in itertools.combinations(finite, 2)]
    return planes


def brute_force_line(table: pd.DataFrame, errors: np.ndarray, column: str, signed: bool) -> int:
    """Fewest errors over one weight: a point between every two neighbouring ties, and 0."""
    points = [0.0] + [-c / d for c, d in ties(table, [column]) if d]
    points = sorted(p for p in points if signed or p >= 0)
    middles = [(a + b) / 2 for a, b in itertools.pairwise(points)]
    probes = [0.0, points[-1] + 1, *middles] + ([points[0] - 1] if signed else [])
    return min(errors_under(table, errors, {"acoustic": 1, column: p}) for p in probes)


def brute_force_plane(table: pd.DataFrame, errors: np.ndarray, columns: list[str]) -> int:
    """Fewest errors over two weights >= 0: points around every vertex of the arrangement of ties.

    Every region of positive weights has a vertex among the crossings of ties and axes (they cut
    the plane into convex regions, none of which holds a whole line), so probes in all directions
    around the vertices meet every region that is not tiny.
    """
    lines = [*ties(table, columns), np.array([0.0, 1, 0]), np.array([0.0, 0, 1])]
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False) + 0.05
    best = errors_under(table, errors, {"acoustic": 1.0})
    for (c1, *n1), (c2, *n2) in itertools.combinations(lines, 2):
        normals = np.array([n1, n2])
        if abs(np.linalg.det(normals)) < 1e-9:
            continue
        vertex = np.linalg.solve(normals, [-c1, -c2])
        for angle in angles:
            point = vertex + 1e-5 * np.array([np.cos(angle), np.sin(angle)])
            if (point >= 0).all():
                weights = {"acoustic": 1.0, **dict(zip(columns, point, strict=True))}
                best = min(best, errors_under(table, errors, weights))
    return best


@pytest.mark.parametrize("seed", range(25))
def test_one_weight_equals_brute_force(seed: int) -> None:
    table, errors = random_table(seed)
    for column, signed in (("lm", False), ("words", True)):
        tuned = fewest(table, errors, [column])
        assert tuned.errors == brute_force_line(table, errors, column, signed)
        assert tuned.errors == errors_under(table, errors, tuned.weights)
        assert tuned.baseline == errors_under(table, errors, {"acoustic": 1.0})
        assert tuned.weights["acoustic"] == 1.0
        assert signed or tuned.weights[column] >= 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_two_weights_equal_brute_force(seed: int) -> None:
    table, errors = random_table(100 + seed, utterances=6, length=4)
    tuned = fewest(table, errors, ["lm", "big"])
    assert tuned.errors == brute_force_plane(table, errors, ["lm", "big"])


@pytest.mark.parametrize("seed", range(5))
def test_three_weights_beat_random_search(seed: int) -> None:
    table, errors = random_table(200 + seed, utterances=20)
    tuned = fewest(table, errors, ["lm", "big", "words"])
    rng = np.random.default_rng(seed)
    drawn = rng.exponential(1.0, (2000, 3)) * [1, 1, rng.choice([-1, 1])]
    names = ["acoustic", "lm", "big", "words"]
    searched = min(
        errors_under(table, errors, dict(zip(names, (1.0, *point), strict=True))) for point in drawn
    )
    assert tuned.errors <= searched
    assert min(tuned.weights["lm"], tuned.weights["big"]) >= 0


def test_deterministic() -> None:
    table, errors = random_table(7, utterances=40)
    columns = ["lm", "big", "words"]
    first = fewest(table, errors, columns, seed=1)
    assert fewest(table, errors, columns, seed=1) == first
    shuffled = np.random.default_rng(0).permutation(len(table))
    assert fewest(table.iloc[shuffled], errors[shuffled], columns, seed=1).errors == first.errors


def test_middle_of_the_best_interval() -> None:
    # The better hypothesis of u wins above weight 1, that of v below weight 3.
    table = pd.DataFrame(
        {
            "utt": ["u", "u", "v", "v"],
            "rank": [1, 2, 1, 2],
            "text": "x",
            "acoustic": [0.0, -1.0, 0.0, -3.0],
            "lm": [-1.0, 0.0, -1.0, 0.0],
        }
    )
    tuned = fewest(table, np.array([1, 0, 0, 1]), ["lm"])
    assert tuned.weights == {"acoustic": 1.0, "lm": 2.0}
    assert (tuned.errors, tuned.baseline) == (0, 1)


@pytest.mark.parametrize(("column", "sign"), [("lm", 1.0), ("words", 1.0), ("words", -1.0)])
def test_of_equally_good_intervals_the_one_nearest_to_zero(column: str, sign: float) -> None:
    # The winner changes at weights 1, 2 and 3; the second and the fourth hypothesis are right.
    table = pd.DataFrame({"utt": "u", "rank": [1, 2, 3, 4], "text": "x"})
    table["acoustic"] = [0.0, -1.0, -3.0, -6.0]
    table[column] = sign * np.arange(4.0)
    assert fewest(table, np.array([1, 0, 1, 0]), [column]).weights[column] == sign * 1.5


def test_nothing_to_choose() -> None:
    table, errors = random_table(2)
    even = fewest(table, np.ones_like(errors), ["lm", "words"])
    assert even.weights == {"acoustic": 1.0, "lm": 0.0, "words": 0.0}
    assert even.errors == even.baseline == table["utt"].nunique()
    alone = fewest(table, errors, [])
    assert alone.weights == {"acoustic": 1.0} and alone.errors == alone.baseline
    single = table.drop_duplicates("utt")
    assert fewest(single, errors[single.index], ["lm", "big"]).weights["lm"] == 0.0


def test_a_column_that_cannot_help_gets_zero() -> None:
    table, errors = random_table(3, utterances=30)
    perfect = table.assign(acoustic=-errors.astype(float))
    assert fewest(perfect, errors, ["lm", "big", "words"]).weights == {
        "acoustic": 1.0,
        "lm": 0.0,
        "big": 0.0,
        "words": 0.0,
    }
    misleading = perfect.assign(lm=errors.astype(float) - errors.max())
    assert fewest(misleading, errors, ["lm"]).weights["lm"] == 0.0


def test_another_scale_and_a_scale_among_the_columns() -> None:
    table, errors = random_table(9)
    tuned = fewest(table, errors, ["acoustic", "lm"], scale="lm")
    assert list(tuned.weights) == ["lm", "acoustic"] and tuned.weights["lm"] == 1.0
    assert fewest(table, errors, ["acoustic", "lm"]) == fewest(table, errors, ["lm"])


@pytest.mark.parametrize("seed", range(10))
def test_impossible_hypotheses(seed: int) -> None:
    table, errors = random_table(300 + seed, utterances=12)
    rng = np.random.default_rng(seed)
    table.loc[rng.random(len(table)) < 0.3, "lm"] = -np.inf
    table.loc[table["utt"] == "u1", "lm"] = -np.inf
    tuned = fewest(table, errors, ["lm"])
    assert tuned.errors == brute_force_line(table, errors, "lm", signed=False)


def test_impossible_winners_are_seen_only_with_weight_zero() -> None:
    table = pd.DataFrame(
        {
            "utt": ["u", "u"],
            "rank": [1, 2],
            "text": "x",
            "acoustic": [0.0, -1.0],
            "lm": [-np.inf, -1.0],
        }
    )
    assert fewest(table, np.array([0, 1]), ["lm"]).weights["lm"] == 0.0
    useful = fewest(table, np.array([1, 0]), ["lm"])
    assert useful.weights["lm"] > 0 and useful.errors == 0
    nothing = fewest(table.assign(acoustic=-np.inf), np.array([1, 0]), ["lm"])
    assert nothing.errors == nothing.baseline == 1


def test_bad_input() -> None:
    table, errors = random_table(0)
    with pytest.raises(InputError, match="'gpt' names no score column"):
        fewest(table, errors, ["gpt"])
    with pytest.raises(ValueError, match="errors have shape"):
        fewest(table, errors[:-1], ["lm"])
    with pytest.raises(InputError, match="empty"):
        fewest(table.iloc[:0], errors[:0], ["lm"])
    with pytest.raises(ValueError, match="restarts"):
        fewest(table, errors, ["lm"], restarts=0)
