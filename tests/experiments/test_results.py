"""Results folders, N-best tables and stages that are damaged: read, refused, or made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.nbest import read_nbest, write_nbest
from experiments.comparison.stages import STAMP, Recipe, run_stage
from experiments.results import load_results, write_results
from lm.errors import InputError
from tests.support.damage import refusals

ROWS = pd.DataFrame({"system": ["a", "ü"] * 3, "split": "dev", "wer": np.arange(6) / 7})
LISTS = pd.DataFrame(
    {
        "utt": ["u1", "u1", "u2"],
        "rank": [1, 2, 1],
        "text": ["one two", "one too", "drei"],
        "acoustic": [-1.5, -2.5, -0.25],
        "ngram": [-3.0, -4.0, -1.0],
        "words": [2, 2, 1],
        "oov": [0, 1, 0],
    }
)


@pytest.mark.parametrize("name", ["meta.json", "systems.parquet"])
def test_damaged_results_are_read_or_refused(tmp_path: Path, name: str) -> None:
    write_results(tmp_path, {"systems": ROWS, "utterances": ROWS}, {"config": {"name": "a"}})
    messages = refusals(lambda path: load_results(path.parent), tmp_path / name)
    assert len(messages) > 200
    assert all(message.startswith(str(tmp_path)) for message in messages)
    for content in ("[]", "1", "[" * 100_000):
        (tmp_path / "meta.json").write_text(content)
        with pytest.raises(InputError, match=str(tmp_path)):
            load_results(tmp_path)


def test_a_damaged_table_of_lists_is_refused_or_its_scores_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "n.parquet"
    write_nbest(LISTS, path)

    def read(path: Path) -> None:
        found = read_nbest(path)
        assert np.array_equal(found["acoustic"], LISTS["acoustic"])

    messages = refusals(read, path)
    assert len(messages) > 200
    assert all(message.startswith(str(path)) for message in messages)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": "x", "facts": {}}', "[" * 100_000])
def test_a_stage_with_a_damaged_stamp_runs_again(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = Recipe("stage", {"a": 1})
    first = run_stage(tmp_path, recipe, lambda folder: {"made": 1})
    assert run_stage(tmp_path, recipe, lambda folder: {"made": 2}).facts == {"made": 1}
    (first.folder / STAMP).write_text(content)
    assert recipe.last_seconds(tmp_path) is None
    again = run_stage(tmp_path, recipe, lambda folder: {"made": 3})
    assert (again.reused, again.facts) == (False, {"made": 3})
    assert "damaged; the stage runs again" in caplog.text
