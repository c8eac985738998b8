"""Results folders with hypotheses and tokens, from what a run left in its `stages/`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from asr.nbest import read_nbest
from asr.wer import row_errors
from experiments.systems import normalised
from lm.text import normaliser


def completed(
    folder: Path, target: Path, imported: Mapping[str, pd.DataFrame] | None = None
) -> Path:
    """Copies a results folder and adds `hypotheses.parquet`.

    Args:
        folder: What `compare` wrote, with its stages.
        target: The new folder.
        imported: N-best table by split where the first pass was another system's.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in ("systems.parquet", "utterances.parquet", "meta.json"):
        shutil.copy(folder / name, target / name)
    config = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["config"]
    utterances = pd.read_parquet(folder / "utterances.parquet")
    clean = normaliser(config["normaliser"])
    parts = []
    for split, rows in utterances.groupby("split", sort=False):
        references = dict(zip(rows["utt"], rows["ref"], strict=True))
        for lists in dict.fromkeys(s["lists"] for s in config["systems"].values()):
            table = imported[split] if imported else stage_table(folder, f"decode-{split}-{lists}")
            for column in config["columns"]:
                scores = stage_scores(folder, f"rescore-{split}-{lists}-{column}", len(table))
                if scores is not None:
                    table = pd.concat([table.reset_index(drop=True), scores], axis=1)
            table = table[table["utt"].isin(references)].reset_index(drop=True)
            errors = row_errors(normalised(table, clean), references)["errors"]
            table = table.drop(columns=["word_starts", "word_ends"], errors="ignore")
            parts.append(table.assign(split=split, lists=lists, errors=errors))
    hypotheses = pd.concat(parts, ignore_index=True)
    first = ["split", "lists", "utt", "rank", "text", "errors"]
    hypotheses = hypotheses[first + [c for c in hypotheses.columns if c not in first]]
    hypotheses.to_parquet(target / "hypotheses.parquet", index=False)
    return target


def stage_table(folder: Path, stage: str) -> pd.DataFrame:
    """The newest N-best table of a decoding stage."""
    found = sorted((folder / "stages").glob(f"{stage}-*/nbest.parquet"), key=lambda p: p.stat().st_mtime)
    return read_nbest(found[-1])


def stage_scores(folder: Path, stage: str, rows: int) -> pd.DataFrame | None:
    """The newest scores of as many rows, None where the lists were not rescored."""
    found = sorted((folder / "stages").glob(f"{stage}-*/scores.parquet"), key=lambda p: p.stat().st_mtime)
    for path in reversed(found):
        scores = pd.read_parquet(path)
        if len(scores) == rows:
            return scores
    return None


def add_words(folder: Path, words: pd.DataFrame) -> None:
    """Writes `words.parquet`."""
    words.to_parquet(folder / "words.parquet", index=False)


def token_rows(split: str, column: str, utt: str, text: str, tokens: list[tuple[str, float]]) -> pd.DataFrame:
    """Rows of `words.parquet` for one text."""
    pieces, logprobs = zip(*tokens, strict=True)
    return pd.DataFrame(
        {
            "split": split,
            "column": column,
            "utt": utt,
            "text": text,
            "position": np.arange(len(tokens)),
            "piece": pieces,
            "logprob": np.array(logprobs, dtype=float),
        }
    )
