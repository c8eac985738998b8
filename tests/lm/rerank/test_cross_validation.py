"""Near-ties, cross-validation, grids and the smooth objective of weights."""

from __future__ import annotations

import numpy as np
import pytest

from lm.errors import InputError
from lm.rerank.cross_validation import cross_validate
from lm.rerank.error_grid import error_grid
from lm.rerank.tune import tune
from tests.lm.rerank.test_tune import errors_under, random_table


@pytest.mark.parametrize("seed", range(6))
def test_near_ties_give_smaller_weights_and_hardly_more_errors(seed: int) -> None:
    table, errors = random_table(seed, utterances=60)
    columns = ["lm", "big", "words"]
    best, near = (tune(table, errors, columns, near=n) for n in (0.0, 0.5))
    assert best.errors <= near.errors
    for name in columns:
        assert abs(near.weights[name]) <= abs(best.weights[name]) * 1.05 + 1e-9
    # The paired difference is within half a standard error for each of the three steps.
    picks = [
        np.array(
            [
                errors_under(part, errors[part.index], tuned.weights)
                for _, part in table.groupby("utt", sort=False)
            ]
        )
        for tuned in (best, near)
    ]
    more = picks[1] - picks[0]
    assert more.sum() <= 0.5 * np.sqrt(((more - more.mean()) ** 2).sum()) + 1e-9
    assert near.errors - best.errors == more.sum()


def test_a_weight_that_chance_explains_becomes_zero() -> None:
    """One lucky utterance of a hundred is no reason to trust a column."""
    table, errors = random_table(1, utterances=100)
    table["acoustic"] = -errors.astype(float)
    table["lm"] = np.random.default_rng(0).normal(size=len(table))
    first = table.index[table["utt"] == table["utt"].iloc[0]]
    table.loc[first, "acoustic"] = 0.0
    table.loc[first, "lm"] = -10.0 * errors[first]
    assert tune(table, errors, ["lm"], near=0).weights["lm"] > 0
    assert tune(table, errors, ["lm"], near=1.01).weights["lm"] == 0


def test_cross_validation_by_hand() -> None:
    table, errors = random_table(4, utterances=12)
    speakers = table["utt"].str[1:].astype(int) % 3
    found = cross_validate(table, errors, ["lm", "words"], speakers.astype(str), folds=3, seed=7)
    assert found is not None and len(found.weights) == 3
    expected = 0
    for speaker in range(3):
        held_out = (speakers == speaker).to_numpy()
        rest = table[~held_out].reset_index(drop=True)
        weights = tune(rest, errors[~held_out], ["lm", "words"], seed=7).weights
        assert weights in found.weights
        part = table[held_out].reset_index(drop=True)
        expected += errors_under(part, errors[held_out], weights)
    assert found.errors == expected
    # Fewer folds than speakers, more than speakers, and one speaker.
    assert len(cross_validate(table, errors, ["lm"], speakers.astype(str), 2).weights) == 2
    assert len(cross_validate(table, errors, ["lm"], speakers.astype(str), 9).weights) == 3
    assert cross_validate(table, errors, ["lm"], ["one"] * len(table)) is None
    with pytest.raises(InputError, match="at least 2"):
        cross_validate(table, errors, ["lm"], folds=1)


def test_over_fitting_shows() -> None:
    """Weights of a column of noise look good where they were tuned, and only there."""
    table, errors = random_table(11, utterances=40)
    noise = np.random.default_rng(3).normal(size=(len(table), 3))
    table = table.assign(acoustic=0.0, **{f"n{i}": 5 * noise[:, i] for i in range(3)})
    columns = ["n0", "n1", "n2"]
    tuned = tune(table, errors, columns, near=0)
    found = cross_validate(table, errors, columns, near=0)
    assert found is not None and found.errors > tuned.errors


def test_grid_counts_as_one_by_one() -> None:
    table, errors = random_table(5, utterances=20)
    table.loc[table.index % 7 == 3, "lm"] = -np.inf
    values = {"lm": [0.0, 0.5, 2.0], "words": [-1.0, 0.0]}
    grid = error_grid(table, errors, {"acoustic": 1.0, "big": 0.3, "lm": 9.0}, values)
    assert grid[["lm", "words"]].to_numpy().tolist() == [
        [a, b] for a in values["lm"] for b in values["words"]
    ]
    for row in grid.itertuples():
        weights = {"acoustic": 1.0, "big": 0.3, "lm": row.lm, "words": row.words}
        assert row.errors == errors_under(table, errors, weights)
