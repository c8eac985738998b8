"""Several dev splits as one: the same utterances under two conditions stay two."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from asr.nbest import write_nbest
from experiments.cli import main
from experiments.results import load_results
from tests.asr.formats.test_transcripts import truth_and_lists


def written(folder: Path, own_names: bool) -> Path:
    """A config of two dev splits whose utterances have the same names, or their own."""
    folder.mkdir()
    splits = {}
    for seed, split in enumerate(("clean", "noisy", "test")):
        references, table = truth_and_lists(seed, 40)
        if own_names:
            table = table.assign(utt=f"{split}-" + table["utt"])
            references = {f"{split}-{utt}": text for utt, text in references.items()}
        write_nbest(table, folder / f"{split}.parquet")
        lines = (f"{utt} {text}\n" for utt, text in references.items())
        (folder / f"{split}.txt").write_text("".join(lines))
        splits[split] = {
            "nbest": str(folder / f"{split}.parquet"),
            "format": "parquet",
            "references": str(folder / f"{split}.txt"),
        }
    content = {
        "name": "two",
        "splits": splits,
        "dev": ["clean", "noisy"],
        "systems": {
            "first": {"lists": "imported"},
            "tuned": {"lists": "imported", "columns": ["acoustic", "words"]},
        },
        "normaliser": "none",
        "resamples": 50,
        "cache": None,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_utterances_of_one_name_in_two_dev_splits(tmp_path: Path) -> None:
    found = []
    for own_names in (True, False):
        config = written(tmp_path / str(own_names), own_names)
        assert main(["compare", str(config), "--out", str(config.parent / "out")]) == 0
        found.append(load_results(config.parent / "out"))
    distinct, shared = found
    columns = ["system", "split", "wer", "weights", "nce", "ece"]
    pd.testing.assert_frame_equal(distinct.systems[columns], shared.systems[columns])
    tuned = shared.meta["tuned"]["tuned"]
    assert tuned["errors"] == distinct.meta["tuned"]["tuned"]["errors"]
    dev = shared.systems[
        (shared.systems["system"] == "tuned") & (shared.systems["split"] != "test")
    ]
    wrong = dev[["substitutions", "deletions", "insertions"]].sum(axis=1)
    assert tuned["errors"] == wrong.sum()
    assert tuned["words"] == dev["ref_words"].sum()
    # Both conditions of an utterance are left out together.
    assert tuned["groups"] == "utterance"
    assert tuned["validated_errors"] == pytest.approx(wrong.sum(), rel=0.2)
