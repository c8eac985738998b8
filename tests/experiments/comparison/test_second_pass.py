"""The second pass as a stage: models are loaded once, when needed, and scores are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.comparison.column import Column
from experiments.comparison.config import build
from experiments.comparison.second_pass import Models, add_column, score, score_scope
from lm.cache import ScoreCache
from lm.errors import InputError
from lm.neural.causal import CausalScorer
from lm.rescore import load_scorer, rescore
from lm.scorer import ScorerOptions
from lm.text.truecase import HEADER
from tests.support.arpas import two_words
from tests.support.causal_models import save_model

TABLE = pd.DataFrame(
    {
        "utt": ["a-1", "a-1", "a-2", "a-2"],
        "rank": [1, 2, 1, 2],
        "text": ["the cat", "the dog", "the cat", "the"],
        "acoustic": [-1.0, -2.0, -1.0, -3.0],
    }
)


@pytest.fixture()
def arpa(tmp_path: Path) -> Path:
    """A bigram model of two words."""
    return two_words(tmp_path / "two.arpa")


def test_a_second_run_loads_no_model(arpa: Path, tmp_path: Path) -> None:
    cache = ScoreCache.open(tmp_path / "scores.sqlite")
    column = Column(model=str(arpa))
    loaded: list[str] = []

    def loading(model: str, options: ScorerOptions) -> Any:
        loaded.append(model)
        return load_scorer(model, options)

    models = Models(cache, loading)
    stages = [
        add_column(split, "beam", TABLE, "two", column, tmp_path / "stages", models)
        for split in ("dev", "test")
    ]
    assert loaded == [str(arpa)]  # once for both
    expected = rescore(TABLE, load_scorer(arpa), "two")
    for stage in stages:
        found = pd.read_parquet(stage.folder / "scores.parquet")
        np.testing.assert_allclose(found["two"], expected["two"])
    # Another run, of other stages.
    add_column("dev", "beam", TABLE, "two", column, tmp_path / "others", Models(cache, loading))
    assert len(loaded) == 1
    add_column("dev", "beam", TABLE, "two", column, tmp_path / "none", Models(load=loading))
    assert len(loaded) == 2


def test_what_changes_scores_is_another_scope(arpa: Path, tmp_path: Path) -> None:
    plain = score_scope(arpa, ScorerOptions())
    assert plain == score_scope(arpa, ScorerOptions(batch_tokens=7, method="padded", device="cpu"))
    others = [
        ScorerOptions(eos=False),
        ScorerOptions(history=4),
        ScorerOptions(dtype="bfloat16"),
        ScorerOptions(separator="eos"),
        ScorerOptions(max_tokens=9),
    ]
    assert len({plain, *(score_scope(arpa, o) for o in others)}) == len(others) + 1
    other = tmp_path / "other.arpa"
    other.write_text(arpa.read_text().replace("-0.9", "-0.8"))
    assert score_scope(other, ScorerOptions()) != plain


def test_columns_from_a_config(arpa: Path) -> None:
    settings = {
        "model": str(arpa),
        "history": 4,
        "context": {"previous": 2, "prompt": "the"},
        "bits": 8,
    }
    column = build(Column, settings, "config", "columns.two")
    assert (column.options.history, column.context.previous) == (4, 2)
    assert build(Column, {"model": "m", "history": "exact"}, "config", "c").history == "exact"
    for wrong, says in (
        ({"history": "some"}, "should be"),
        ({"histroy": 4}, "nearest valid one is `c.history`"),
        ({"context": {"previous": -1}}, "at least 0"),
        ({"bits": 3}, "8 | 4"),
    ):
        with pytest.raises(InputError, match=says.replace("|", r"\|")):
            build(Column, {"model": "m", **wrong}, "config", "c")


def test_a_stage_is_made_again_when_the_context_changes(arpa: Path, tmp_path: Path) -> None:
    models, root = Models(), tmp_path / "stages"
    keys = set()
    for context in ({}, {"previous": 1}, {"prompt": "the"}):
        column = build(Column, {"model": str(arpa), "context": context}, "config", "c")
        keys.add(add_column("dev", "beam", TABLE, "two", column, root, models).key)
    assert len(keys) == 3
    assert "two.tokens" in score(TABLE, models, "two", column, "rescore")


def test_another_truecasing_model_of_the_same_name_scores_again(arpa: Path, tmp_path: Path) -> None:
    case = tmp_path / "case.tsv"
    keys = []
    for form in ("Cat", "CAT", "Cat"):
        case.write_text(f"{HEADER}\n{form}\t1\t1\n")
        column = Column(model=str(arpa), normaliser=f"truecase:{case}+stop")
        keys.append(add_column("dev", "beam", TABLE, "two", column, tmp_path, Models()).key)
    assert keys[0] == keys[2] != keys[1]


def test_a_model_is_loaded_once_for_all_settings(arpa: Path) -> None:
    loaded = []

    def loading(model: str, options: ScorerOptions) -> Any:
        loaded.append(model)
        return load_scorer(model, options)

    models = Models(load=loading)
    with_end, without = (
        models.scorer(arpa, ScorerOptions(eos=eos)).score(["the cat"]) for eos in (True, False)
    )
    assert loaded == [str(arpa)]
    for eos, scores in ((True, with_end), (False, without)):
        expected = load_scorer(arpa, ScorerOptions(eos=eos)).score(["the cat"])
        assert scores.logprob == expected.logprob and scores.tokens == expected.tokens


def test_a_checkpoint_is_loaded_once_for_all_settings(tmp_path: Path) -> None:
    models = Models()
    folder = save_model(tmp_path, "gpt2")
    exact, merged = (
        models.scorer(folder, ScorerOptions(device="cpu", history=h)) for h in ("exact", 2)
    )
    assert isinstance(exact, CausalScorer) and isinstance(merged, CausalScorer)
    assert exact.model is merged.model
    assert (exact.options.history, merged.options.history) == ("exact", 2)
