"""A scorer of one's own, named by its file and class."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.stages import fingerprint
from lm.errors import InputError
from lm.rescore import load_scorer

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
