"""Errors taken apart: groups and N against sums by hand, confusions against jiwer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from experiments.breakdown import (
    by_group,
    class_of,
    confusions,
    most_frequent,
    natural,
    oracle_by_n,
    unknown_words,
    with_classes,
)
from experiments.results import load_results
from tests.support.result_folders import random_results


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0–5 words"),
        (5, "0–5 words"),
        (6, "6–10 words"),
        (30, "21–30 words"),
        (31, "31 words or more"),
    ],
)
def test_classes_of_length(number: int, expected: str) -> None:
    assert class_of(number, (5, 10, 15, 20, 30), "words") == expected


def test_classes_of_ranks_and_of_what_is_not_known() -> None:
    assert [class_of(n, (1, 3, 10), first=1) for n in (1, 2, 3, 4, 11)] == [
        *("1", "2–3", "2–3", "4–10", "11 or more"),
    ]
    assert class_of(np.nan, (1,)) is None
    order = ["11 or more", "b", "2–3", "1", "a"]
    assert sorted(order, key=natural) == ["1", "2–3", "11 or more", "a", "b"]


def test_groups_hold_the_sums_of_their_utterances(tmp_path: Path) -> None:
    results = load_results(random_results(tmp_path / "run", utterances=30))
    rows = with_classes(results.utterances[results.utterances["split"] == "dev"])
    for column in ("tag.length", "tag.chosen rank", "tag.speaker"):
        table = by_group(rows, column, resamples=50)
        for found in table.to_dict("records"):
            part = rows[(rows["system"] == found["system"]) & (rows[column] == found["group"])]
            errors = part[["substitutions", "deletions", "insertions"]].sum(axis=1)
            words = part["ref"].str.split().str.len()
            assert found["utterances"] == len(part)
            assert found["wer"] == errors.sum() / words.sum()
            assert found["ser"] == (part["ref"] != part["hyp"]).mean()
            if len(part) > 1:
                assert found["wer_low"] <= found["wer"] <= found["wer_high"]
            else:
                assert np.isnan(found["wer_low"])
        assert table.groupby("system")["utterances"].sum().eq(30).all()
    first = rows[rows["system"] == "first-pass"]
    assert set(first["tag.chosen rank"]) == {"1"}


def test_utterances_without_a_value_are_in_no_group(tmp_path: Path) -> None:
    results = load_results(random_results(tmp_path / "run"))
    rows = with_classes(results.utterances[results.utterances["split"] == "dev"])
    rows.loc[rows["utt"] == "dev-0000", "tag.speaker"] = None
    assert by_group(rows, "tag.speaker", 50).groupby("system")["utterances"].sum().eq(11).all()


def test_oracle_by_n_equals_a_loop_and_ends_at_the_oracle(tmp_path: Path) -> None:
    results = load_results(random_results(tmp_path / "run"))
    table = results.hypotheses[results.hypotheses["split"] == "test"]
    table = table.drop(table.index[table["utt"].eq("test-0003") & (table["rank"] > 2)])  # shorter
    systems = results.systems[results.systems["split"] == "test"]
    words = int(systems["ref_words"].iloc[0])
    found = oracle_by_n(table, words)
    assert found["n"].tolist() == list(range(1, int(table["rank"].max()) + 1))
    for n, errors in zip(found["n"], found["errors"], strict=True):
        expected = sum(own[own["rank"] <= n]["errors"].min() for _, own in table.groupby("utt"))
        assert errors == expected
    whole = oracle_by_n(results.hypotheses[results.hypotheses["split"] == "test"], words)
    assert whole["wer"].iloc[-1] == pytest.approx(systems["oracle_wer"].iloc[0])


def test_confusions_by_either_alignment() -> None:
    found = confusions(["a b x", "c", "same"], ["b c x", "", "same"])
    assert found["substitutions"] == Counter({("a", "b"): 1, ("b", "c"): 1})
    assert found["deletions"] == Counter({("c",): 1}) and not found["insertions"]
    found = confusions(["a b x"], ["b c x"], "sclite")
    assert not found["substitutions"]
    assert found["deletions"] == Counter({("a",): 1})
    assert found["insertions"] == Counter({("c",): 1})
    assert most_frequent(Counter({("b",): 2, ("a",): 2, ("c",): 9}), 2) == [
        (("c",), 9),
        (("a",), 2),
    ]


def test_words_that_no_model_knows() -> None:
    models = [{"the", "CAT"}.__contains__, {"sat"}.__contains__]
    assert unknown_words("THE cat Sat mat mat", models) == 2
    assert unknown_words("", models) == 0
    assert unknown_words("a", []) == 1
