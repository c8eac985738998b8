"""A scorer of one's own, named by its file and class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments.comparison.stages import fingerprint
from lm.errors import InputError
from lm.rescore import load_scorer, rescore

SOURCE = """
import numpy as np
from lm.scorer import Scores, Texts


class Length:
    def score(self, batch, progress=None):
        words = np.array([len(text.split()) for text in Texts.of(batch).texts])
        return Scores(-1.0 * words, words)


class Nothing:
    pass
"""


def test_a_class_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "length.py"
    path.write_text(SOURCE)
    scores = load_scorer(f"{path}:Length").score(["the cat", ""])
    assert scores.logprob.tolist() == [-2.0, 0.0]
    before = fingerprint(f"{path}:Length")
    assert before != fingerprint(f"{path}:Nothing")
    path.write_text(SOURCE.replace("-1.0", "-2.0"))
    assert before != fingerprint(f"{path}:Length")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.py:Length", "no such file"),
        ("length.py:Other", "no class 'Other'"),
        ("length.py:Nothing", "no method `score"),
    ],
)
def test_what_is_no_scorer(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "length.py").write_text(SOURCE)
    with pytest.raises(InputError, match=says):
        load_scorer(str(tmp_path / name))


def test_a_dataclass_with_late_annotations(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        + SOURCE.replace("class Length:", "@dataclass\nclass Length:\n    scale: float = 1.0\n")
    )
    assert load_scorer(f"{tmp_path}/late.py:Length").score(["a b"]).logprob.tolist() == [-2.0]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nothing_of_that_name\n", r"ModuleNotFoundError .*in line 1"),
        ("class Length:\n    def __init__(self):\n        1 / 0\n", r"ZeroDivision.* in line 3"),
        ("class Length\n", "SyntaxError"),
    ],
)
def test_what_fails_is_named_with_its_line(tmp_path: Path, source: str, says: str) -> None:
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(InputError, match=rf"bad\.py:Length: fails with {says}"):
        load_scorer(f"{tmp_path}/bad.py:Length")


def test_scores_of_another_number_than_texts(tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text(SOURCE.replace("-1.0 * words", "-1.0 * words[1:]"))
    table = pd.DataFrame({"utt": "a", "rank": [1, 2], "text": ["a", "b"]})
    with pytest.raises(InputError, match="1 log-probs and 2 token counts for 2 texts"):
        rescore(table, load_scorer(f"{tmp_path}/short.py:Length"), "length")


def test_checkpoints_of_different_runs_are_different_models(tmp_path: Path) -> None:
    found = set()
    for run in ("one", "two"):
        model = tmp_path / run / "checkpoints" / "checkpoint-5"
        model.mkdir(parents=True)
        (model / "model.safetensors").write_text(run)
        found.add(fingerprint(model))
        found.add(fingerprint(tmp_path / run))  # nothing in it but checkpoints
    assert len(found) == 3
    (tmp_path / "one" / "a").mkdir()
    (tmp_path / "one" / "a" / "weights").write_text("w")
    inside = fingerprint(tmp_path / "one")
    (tmp_path / "one" / "a").rename(tmp_path / "one" / "b")
    assert fingerprint(tmp_path / "one") != inside
