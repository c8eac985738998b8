"""What a comparison finds: every stage, decisions from dev, error rates of every system."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.breakdown import unknown_words
from experiments.comparison.config import to_plain
from experiments.comparison.dev import Dev
from experiments.comparison.evaluation import evaluate
from experiments.comparison.experiment import Comparison
from experiments.comparison.pipeline import load_split
from experiments.comparison.references import References, hypotheses_of
from experiments.comparison.second_pass import Models
from experiments.comparison.signature import signatures
from experiments.comparison.split import SplitData
from experiments.comparison.token_scores import explanations
from experiments.comparison.tuning import decide, parts_of
from lm.errors import InputError
from lm.ngram.model import NgramModel
from lm.rescore import is_ngram


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Attributes:
        systems: One row a system and split, see `experiments.results`.
        utterances: One row a system, split and utterance.
        hypotheses: One row a hypothesis of a list, with its errors and all its scores.
        pieces: One row a token of a transcript on which systems differ.
        meta: How it was made.
        failures: Reason by utterance that failed, by split.
    """

    systems: pd.DataFrame
    utterances: pd.DataFrame
    hypotheses: pd.DataFrame
    pieces: pd.DataFrame
    meta: Mapping[str, Any]
    failures: Mapping[str, Mapping[str, str]]


def run_comparison(
    comparison: Comparison, stages: Path, models: Models, workers: int | None = None
) -> Outcome:
    """Runs a comparison, or reads back the stages that have not changed.

    Args:
        comparison: The experiment.
        stages: Folder of the stages.
        models: Loads the language models.
        workers: Threads or processes of the decoder; by default one for each processor.

    Raises:
        InputError: An input is missing or wrong.
    """
    started = time.perf_counter()
    needed = comparison.needed()
    first_passes = {n: o for n, o in comparison.first_passes.items() if n in needed}
    data = {
        name: load_split(
            name,
            split,
            comparison.acoustic,
            first_passes,
            comparison.columns,
            needed,
            stages,
            workers,
            models,
        )
        for name, split in comparison.splits.items()
    }
    kept = {name: without_failures(split) for name, split in data.items()}
    counting = comparison.counting()
    references = {name: References(split.references, counting) for name, split in data.items()}
    dev = Dev.of([name for name in comparison.dev if name in data], data, kept, counting)
    decisions = decide(comparison.systems, dev.tables, dev.references)
    evaluations = [
        evaluate(
            name,
            comparison.systems,
            kept[name],
            references[name],
            decisions,
            seconds=system_seconds(comparison, split),
            audio_seconds=split.audio_seconds,
            tags=tags_of(comparison, split, references[name]),
            baseline=comparison.baseline,
        )
        for name, split in data.items()
    ]
    hypotheses = pd.concat(
        [
            hypotheses_of(name, lists, table, references[name])
            for name, tables in kept.items()
            for lists, table in tables.items()
        ],
        ignore_index=True,
    )
    utterances = pd.concat([e.utterances for e in evaluations], ignore_index=True)
    pieces = explanations(comparison, kept, utterances, stages, models)
    hashes = {key: value for split in data.values() for key, value in split.hashes.items()}
    systems = pd.concat([e.systems for e in evaluations], ignore_index=True)
    signed = signatures(comparison, decisions, hashes)
    systems["signature"] = systems["system"].map(signed)
    meta = {
        "config": to_plain(comparison),
        "inputs": hashes,
        "signatures": signed,
        "stage_seconds": {name: dict(split.seconds) for name, split in data.items()},
        "tuned": {
            name: to_plain(found.tuned)
            | dev.validated(comparison.systems[name], comparison.folds, comparison.seed)
            for name, found in decisions.items()
            if found.tuned
        },
        "decisions": {name: to_plain(found) for name, found in decisions.items()},
        "failed": {name: len(split.failures) for name, split in data.items()},
        "seconds": time.perf_counter() - started,
    }
    failures = {name: split.failures for name, split in data.items()}
    return Outcome(systems, utterances, hypotheses, pieces, meta, failures)


def tags_of(comparison: Comparison, split: SplitData, references: References) -> pd.DataFrame:
    """The split's tags and, where there are n-gram models over words, how many words of each
    reference none of them knows (`unknown`)."""
    files = [lm for o in comparison.first_passes.values() if o.lm_unit == "word" for lm in o.lms]
    files += [column.model for column in comparison.columns.values() if is_ngram(column.model)]
    if not files:
        return split.tags
    models = [NgramModel.load(file).__contains__ for file in dict.fromkeys(files)]
    counts = [unknown_words(text, models) for text in references.of(split.references)]
    index = pd.Index(list(split.references), name="utt")
    return split.tags.reindex(index).assign(unknown=np.array(counts, dtype=int))


def without_failures(split: SplitData) -> dict[str, pd.DataFrame]:
    """The split's tables without the utterances that failed in any stage.

    Raises:
        InputError: Nothing is left.
    """
    kept = {
        name: table[~table["utt"].isin(split.failures.keys())].reset_index(drop=True)
        for name, table in split.tables.items()
    }
    if any(table.empty for table in kept.values()):
        first = next(iter(split.failures.items()), ("", "no hypotheses"))
        raise InputError(f"every utterance failed; the first, {first[0]}: {first[1]}")
    return kept


def system_seconds(comparison: Comparison, split: SplitData) -> dict[str, float]:
    """Wall time of the stages that each system needs on a split."""
    seconds = {}
    for name, system in comparison.systems.items():
        stages = {"emit"}
        for part in parts_of(name, comparison.systems):
            lists, columns = comparison.systems[part].lists, comparison.columns_of(system)
            stages |= {f"decode.{lists}", *(f"rescore.{lists}.{c}" for c in columns)}
        seconds[name] = sum(split.seconds.get(stage, 0.0) for stage in sorted(stages))
    return seconds
