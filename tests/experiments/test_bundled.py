"""What is claimed of the bundled models, and that the demo holds together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import experiments.demo
from asr.corpus import read_corpus
from asr.evaluation.wer import row_errors
from asr.formats.nbest_import import Imported, import_nbest
from experiments.cli import main
from experiments.demo.bundled import CONFIG as DEMO
from experiments.demo.perplexity import word_perplexity
from experiments.results import load_results
from lm.combine import total, winners
from lm.rerank.tune import tune
from lm.rescore import load_scorer, rescore

FOLDER = Path(experiments.demo.__path__[0])


def test_bundled_files_are_small() -> None:
    files = [p for p in FOLDER.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in files) <= 30e6
    assert {p.suffix for p in FOLDER.glob("audio/*/*")} == {".opus"}


@pytest.mark.slow
def test_the_demo_runs_from_its_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", str(DEMO), "--out", str(tmp_path), "resamples=100"]
    assert main([*command, "splits.dev.limit=12", "splits.test.limit=12"]) == 0
    systems = load_results(tmp_path).systems
    assert list(systems["split"].unique()) == ["dev", "test"]
    expected = ["greedy", "beam", "beam+ngram", "beam+ngram+llm"]
    assert list(systems[systems["split"] == "test"]["system"]) == expected
    assert "synthetic" in capsys.readouterr().out


def test_test_voices_and_sentences_are_not_devs() -> None:
    dev, test = (read_corpus(FOLDER / f"{split}.jsonl") for split in ("dev", "test"))
    assert not {u.speaker for u in dev} & {u.speaker for u in test}
    assert not {u.text for u in dev} & {u.text for u in test}


@pytest.fixture(scope="module")
def lists(shared_data: Path) -> dict[str, Imported]:
    folder = shared_data / "librispeech-10best"
    names = ("dev_clean", "dev_other", "test_clean")
    return {n: import_nbest(folder / f"{n}.jsonl.xz", "jsonl") for n in names}


@pytest.mark.slow
def test_the_causal_lm_predicts_english_better_than_the_ngram(lists: dict[str, Imported]) -> None:
    references = lists["dev_clean"].references
    assert references is not None
    texts = list(references.values())
    causal, _ = word_perplexity(texts, str(FOLDER / "lm"), "lower")
    ngram, unknown = word_perplexity(texts, str(FOLDER / "lm.arpa.gz"), "librispeech")
    assert unknown > 0  # which flatters the n-gram: they cost it one <unk> each
    assert causal < ngram


@pytest.mark.slow
def test_the_causal_lm_alone_improves_a_real_systems_lists(lists: dict[str, Imported]) -> None:
    """Weights from parts of the dev sets; all of test_clean, where the first pass has 6.42 %."""
    scorer = load_scorer(str(FOLDER / "lm"))
    tables, errors = {}, {}
    for name, found in lists.items():
        utts = found.table["utt"].drop_duplicates()
        chosen = utts if name == "test_clean" else utts.head(400)
        table = found.table[found.table["utt"].isin(chosen)].reset_index(drop=True)
        tables[name] = rescore(table, scorer, "llm", "lower")
        assert found.references is not None
        errors[name] = row_errors(table, found.references)["errors"].to_numpy()
    dev = ("dev_clean", "dev_other")
    weights = tune(
        pd.concat([tables[name] for name in dev], ignore_index=True),
        np.concatenate([errors[name] for name in dev]),
        ("acoustic", "llm", "words"),
    ).weights
    test = tables["test_clean"]
    first = errors["test_clean"][test["rank"] == 1].sum()
    rescored = errors["test_clean"][winners(test, total(test, weights))].sum()
    assert first == 3376
    assert rescored < 0.985 * first
