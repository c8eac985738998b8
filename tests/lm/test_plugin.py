"""Custom scorers, named by file and class, and messages about their mistakes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from asr.nbest import Hypothesis, build_nbest, write_nbest
from experiments.cli import main
from experiments.comparison.stages import fingerprint
from lm.errors import InputError
from lm.plugin import CustomScorer
from lm.rescore import load_scorer, rescore, with_options
from lm.scorer import ScorerOptions
from tests.support.arpas import two_words

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
        ("length.py:Nothing", "no method `score`; add `def score"),
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


TABLE = pd.DataFrame({"utt": "a", "rank": [1, 2], "text": ["a", "b"]})
RETURNS = r"must return `lm\.scorer\.Scores\(logprob, tokens\)`: two NumPy arrays of shape \(2,\)"


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("Scores(-1.0 * words[1:], words)", "1 log-probs and 2 token counts for 2 texts"),
        ("[-1.0, -2.0]", "an object of type list"),
        ("(-1.0 * words, words)", "an object of type tuple"),
        ("-1.0 * words", r"ndarray of shape \(2,\)"),
        ("None", "None"),
        ("Scores(-1.0 * words[:, None], words)", r"as `logprob` ndarray of shape \(2, 1\)"),
        ("Scores([[1], [2, 3]], words)", "as `logprob` an object of type list"),
        ("Scores(-1.0, words)", "as `logprob` an object of type float"),
        ("Scores(words.astype(str), words)", "as `logprob` values of type <U21, not numbers"),
        ("Scores(-1.0 * words, 1.5 * words)", "as `tokens` values of type float64, not integers"),
    ],
)
def test_what_is_no_scores(tmp_path: Path, returned: str, says: str) -> None:
    source = SOURCE.replace("Scores(-1.0 * words, words)", returned)
    assert source != SOURCE
    (tmp_path / "wrong.py").write_text(source)
    scorer = load_scorer(f"{tmp_path}/wrong.py:Length")
    with pytest.raises(
        InputError, match=rf"wrong\.py:Length: `score` returns {says}.*; it {RETURNS}"
    ):
        rescore(TABLE, scorer, "length")
    # The same for an object that is given in Python.
    assert isinstance(scorer, CustomScorer)
    with pytest.raises(InputError, match=rf"^`score` returns {says}"):
        rescore(TABLE, scorer.scorer, "length")


def test_lists_in_scores_are_taken_as_arrays(tmp_path: Path) -> None:
    source = SOURCE.replace("-1.0 * words, words", "(-1.0 * words).tolist(), words.tolist()")
    (tmp_path / "lists.py").write_text(source)
    scored = rescore(TABLE, load_scorer(f"{tmp_path}/lists.py:Length"), "length")
    assert scored["length"].tolist() == [-1.0, -1.0]
    assert scored["length.tokens"].dtype == "int64"


@pytest.mark.parametrize(
    "parameters", ["self", "self, batch", "self, batch, progress, more", "self, *, batch, progress"]
)
def test_score_that_takes_other_arguments(tmp_path: Path, parameters: str) -> None:
    (tmp_path / "wrong.py").write_text(
        SOURCE.replace("score(self, batch, progress=None)", f"score({parameters})")
    )
    with pytest.raises(
        InputError,
        match=r"wrong\.py:Length: `score\(.*\)` cannot be called with a batch and a progress .*; "
        r"define it as `def score\(self, batch, progress=None\)`",
    ):
        load_scorer(f"{tmp_path}/wrong.py:Length")


def test_score_that_raises_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(SOURCE.replace("return Scores(", "return {}['key'], Scores("))
    with pytest.raises(
        InputError,
        match=r"bad\.py:Length: `score` fails with KeyError \('key'\) in line 9",
    ):
        rescore(TABLE, load_scorer(f"{path}:Length"), "length")
    write_nbest(
        build_nbest({"a": [Hypothesis("a", -1.0), Hypothesis("b", -2.0)]}), tmp_path / "n.parquet"
    )
    output = str(tmp_path / "out.parquet")
    command = ["rescore", str(tmp_path / "n.parquet"), "--model", f"{path}:Length"]
    assert main([*command, "--name", "length", "-o", output]) == 2
    message = capsys.readouterr().err
    assert "`score` fails with KeyError" in message
    assert "Traceback" not in message


def test_a_custom_scorer_keeps_its_own_options(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from dataclasses import dataclass\n"
        + SOURCE.replace("class Length:", "@dataclass\nclass Length:\n    options: str = 'own'\n")
    )
    scorer = load_scorer(f"{tmp_path}/own.py:Length")
    assert with_options(scorer, ScorerOptions(eos=False)) is scorer
    assert isinstance(scorer, CustomScorer)
    assert with_options(scorer.scorer, ScorerOptions(eos=False)) is scorer.scorer


def test_our_scorers_take_options(tmp_path: Path) -> None:
    scorer = load_scorer(two_words(tmp_path / "lm.arpa"))
    without = with_options(scorer, ScorerOptions(eos=False))
    assert scorer.score(["the cat"]).tokens.tolist() == [3]
    assert without.score(["the cat"]).tokens.tolist() == [2]


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
