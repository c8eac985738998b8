"""Totals, reranking and weight files: -inf, ties, and names that do not exist."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lm.combine import one_best, read_weights, rerank, total, winners, write_weights
from lm.errors import InputError

INF = np.inf


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "utt": ["u2", "u2", "u2", "u1", "u1"],
            "rank": [1, 2, 3, 1, 2],
            "text": ["a", "b b", "c", "", "e"],
            "acoustic": [-1.0, -2.0, -3.0, -5.0, -5.0],
            "gpt": [-9.0, -1.0, -INF, -INF, -INF],
            "words": [1, 2, 1, 0, 1],
        }
    )


def test_total_is_the_weighted_sum(table: pd.DataFrame) -> None:
    scores = total(table, {"acoustic": 1.0, "gpt": 0.5, "words": -2.0})
    assert scores.tolist() == [-7.5, -6.5, -INF, -INF, -INF]
    assert total(table, {}).tolist() == [0.0] * 5


def test_weight_zero_ignores_minus_infinity(table: pd.DataFrame) -> None:
    assert total(table, {"acoustic": 2.0, "gpt": 0.0}).tolist() == [-2, -4, -6, -10, -10]


def test_impossible_stays_impossible_under_a_negative_weight(table: pd.DataFrame) -> None:
    assert total(table, {"gpt": -1.0}).tolist() == [9.0, 1.0, -INF, -INF, -INF]
    both = table.assign(other=-INF)
    assert total(both, {"gpt": 1.0, "other": -1.0}).tolist() == [-INF] * 5


def test_rerank_renews_ranks_and_keeps_everything_else(table: pd.DataFrame) -> None:
    shuffled = table.iloc[[4, 2, 0, 3, 1]]
    before = shuffled.copy()
    reranked = rerank(shuffled, {"acoustic": 1.0, "gpt": 1.0})
    pd.testing.assert_frame_equal(shuffled, before)
    assert reranked["utt"].tolist() == ["u1", "u1", "u2", "u2", "u2"]
    assert reranked["text"].tolist() == ["", "e", "b b", "a", "c"]
    assert reranked["rank"].tolist() == [1, 2, 1, 2, 3]
    assert list(reranked.columns) == list(table.columns)
    pd.testing.assert_frame_equal(rerank(reranked, {"acoustic": 1.0, "gpt": 1.0}), reranked)


def test_one_best(table: pd.DataFrame) -> None:
    assert one_best(table).to_dict() == {"u2": "a", "u1": ""}
    # u1 is impossible as a whole: its first rank stays, although it is worse acoustically.
    assert one_best(table, {"acoustic": 1.0, "gpt": 1.0}).to_dict() == {"u2": "b b", "u1": ""}
    assert one_best(table, {"gpt": 1.0, "words": 1.0}).index.tolist() == ["u2", "u1"]
    assert one_best(table.iloc[[2, 1, 0]]).to_dict() == {"u2": "a"}


def test_winners_and_rerank_against_sorted_lists() -> None:
    rng = np.random.default_rng(5)
    rows = [
        (f"u{utt}", rank)
        for utt, length in enumerate(rng.integers(1, 6, 50))
        for rank in range(1, length + 1)
    ]
    table = pd.DataFrame(rows, columns=["utt", "rank"]).assign(text="x")
    table["acoustic"] = rng.integers(-2, 0, len(table)).astype(float)
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    expected: dict[str, list[int]] = {}
    for utt, group in itertools.groupby(
        sorted(table.itertuples(), key=lambda row: (row.utt, -row.acoustic, row.rank)),
        key=lambda row: row.utt,
    ):
        expected[utt] = [row.Index for row in group]
    best = winners(table, table["acoustic"].to_numpy())
    assert best.tolist() == [expected[utt][0] for utt in table["utt"].unique()]
    reranked = rerank(table.assign(row=table.index), {"acoustic": 1.0})
    assert reranked.groupby("utt")["row"].apply(list).to_dict() == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"gtp": 1.0}, "'gtp' names no score column.*did you mean 'gpt'"),
        ({"zzz": 0.0}, "'zzz' .*it has acoustic, gpt, words"),
        ({"rank": 1.0}, "'rank' names no score column"),
        ({"text": 1.0}, "'text' names no score column"),
        ({"gpt": float("nan")}, "weight of column 'gpt' is nan"),
    ],
)
def test_bad_weights(table: pd.DataFrame, weights: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        total(table, weights)


def test_nan_in_a_column_names_the_utterance(table: pd.DataFrame) -> None:
    table.loc[4, "acoustic"] = np.nan
    with pytest.raises(InputError, match="'acoustic' is nan for utterance u1, rank 2"):
        total(table, {"acoustic": 1.0})


def test_weights_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    weights = {"acoustic": 1.0, "gpt": 0.1 + 0.2}
    write_weights(path, {"acoustic": 9.0})
    write_weights(path, weights, tuned_on="dev_clean", errors=12)
    assert read_weights(path) == weights
    assert json.loads(path.read_text())["tuned_on"] == "dev_clean"
    with pytest.raises(TypeError):
        write_weights(path, weights, tuned_on=object())
    assert read_weights(path) == weights, "a failed write leaves the old file"
    assert [file.name for file in tmp_path.iterdir()] == ["weights.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[1]", 'no "weights"'),
        ('{"acoustic": 1}', 'no "weights"'),
        ('{"weights": {}}', 'no "weights"'),
        ('{"weights": {"gpt": 1, "gpt": 2}}', "key 'gpt' occurs twice"),
        (f'{{"weights": {{"gpt": 1{"0" * 400}}}}}', "weight of 'gpt' is 100"),
        ('{"weights": {"gpt": "0.5"}}', "weight of 'gpt' is '0.5'"),
        ('{"weights": {"gpt": NaN}}', "weight of 'gpt' is nan"),
        ('{"weights": {"gpt": true}}', "weight of 'gpt' is True"),
    ],
)
def test_bad_weights_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "weights.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


def test_missing_weights_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        read_weights(tmp_path / "none.json")
