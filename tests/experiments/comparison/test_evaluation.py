"""Rates and confidences that do not exist are not shown as numbers."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.evaluation.wer import rate
from asr.hypothesis import Hypothesis
from asr.nbest import build_nbest, write_nbest
from experiments.cli import main
from experiments.comparison.counting import Counting
from experiments.comparison.evaluation import ScoredSplit, evaluate
from experiments.comparison.references import References
from experiments.comparison.system import System, resolve
from experiments.comparison.table import cells, percent
from experiments.comparison.tuning import Decision, decide

WEIGHTS = {"acoustic": 1.0, "lm": 1.0}


def lists_with_impossible(folder: Path) -> Path:
    """Two utterances; under `lm`, no hypothesis of the second is possible."""
    table = build_nbest(
        {
            utt: [Hypothesis("one two", -1.0), Hypothesis("one", -1.5)]
            for utt in ("possible", "impossible")
        }
    ).assign(lm=[-2.0, -3.0, -math.inf, -math.inf])
    path = folder / "lists.parquet"
    write_nbest(table, path)
    (folder / "weights.json").write_text('{"weights": {"acoustic": 1.0, "lm": 1.0}}')
    return path


def test_references_without_words_have_no_rate(caplog: pytest.LogCaptureFixture) -> None:
    table = build_nbest({"u": [Hypothesis("a b", -1.0), Hypothesis("a b c", -2.0)]})
    split = ScoredSplit("test", {"l": table}, References({"u": ""}, Counting()))
    systems = {"first": System("l"), "second": System("l", weights={"acoustic": -1.0})}
    decisions = {name: Decision(system.weights) for name, system in systems.items()}
    with caplog.at_level(logging.WARNING, "secondpass"):
        found = evaluate(split, resolve(systems), decisions).systems
    assert found["wer"].tolist() == found["oracle_wer"].tolist() == [math.inf, math.inf]
    assert found["insertions"].tolist() == [2, 3]
    assert found[["delta_wer", "wer_low", "delta_low"]].isna().all(axis=None)
    shown = cells(found.iloc[1].to_dict())
    assert shown[1:7] == ["–", "–", "0 / 0 / 3", "–", "–", ""]
    assert "test: the references of all 1 utterances are empty" in caplog.text


def test_rates_without_reference_words() -> None:
    assert (rate(0, 0), rate(3, 0), rate(1, 4)) == (0.0, math.inf, 0.25)
    assert (percent(math.inf), percent(math.nan), percent(0.125)) == ("–", "–", "12.50")


def test_words_of_impossible_lists_have_no_confidence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, output = lists_with_impossible(tmp_path), tmp_path / "chosen.parquet"
    weights = ["--weights", str(tmp_path / "weights.json")]
    with caplog.at_level(logging.WARNING, "secondpass"):
        assert main(["choose", str(path), *weights, "--method", "mbr", "-o", str(output)]) == 0
    assert "all hypotheses of 1 of 2 utterances have a total score of -inf (impossible)" in (
        caplog.text
    )
    chosen = pd.read_parquet(output).set_index("utt")
    assert chosen["text"].tolist() == ["one two", "one two"]
    assert len(chosen.loc["possible", "confidence"]) == 2
    assert chosen.loc["impossible", "confidence"] is None
    written = tmp_path / "chosen.jsonl"
    assert main(["export", str(output), "--format", "jsonl", "-o", str(written)]) == 0
    assert "NaN" not in written.read_text()


def test_calibration_measures_leave_out_unknown_confidences(tmp_path: Path) -> None:
    table = pd.read_parquet(lists_with_impossible(tmp_path))
    references = {"possible": "one two", "impossible": "three four"}
    dev = References(references, Counting())
    systems = {"s": System("l", weights=WEIGHTS)}
    decisions = decide(resolve(systems), {"l": table}, dev)
    found = evaluate(ScoredSplit("test", {"l": table}, dev), resolve(systems), decisions)
    row = found.systems.iloc[0]
    # Of the words with confidences all are right, so cross-entropy is not defined.
    assert np.isnan(row["nce"]) and row["ece"] == pytest.approx(0.0, abs=0.5)
    sure = found.utterances.set_index("utt")["confidence"]
    assert sure["impossible"] is None and len(sure["possible"]) == 2
