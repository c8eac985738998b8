"""What a comparison finds: every stage, decisions from dev, error rates of every system."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asr.evaluation.marks import plain
from experiments.breakdown import unknown_words
from experiments.comparison.config import to_plain
from experiments.comparison.counting import Counting
from experiments.comparison.dev import Dev
from experiments.comparison.evaluation import ScoredSplit, evaluate
from experiments.comparison.inputs import SplitInput
from experiments.comparison.pipeline import load_split
from experiments.comparison.plan import Plan
from experiments.comparison.references import References, hypotheses_of
from experiments.comparison.second_pass import Models
from experiments.comparison.signature import signatures
from experiments.comparison.spelling import warn_of_spelling
from experiments.comparison.split import SplitData
from experiments.comparison.token_scores import explanations
from experiments.comparison.tuning import Decision, decide
from lm.errors import InputError
from lm.ngram.model import NgramModel
from lm.rescore import is_ngram


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Attributes:
        systems: one row a system and split, see `experiments.results`.
        utterances: one row a system, split and utterance.
        hypotheses: one row a hypothesis of a list, with its errors and all its scores.
        pieces: one row a token of a transcript on which systems differ.
        meta: how it was made.
        failures: reason by utterance that failed, by split.
    """

    systems: pd.DataFrame
    utterances: pd.DataFrame
    hypotheses: pd.DataFrame
    pieces: pd.DataFrame
    meta: Mapping[str, Any]
    failures: Mapping[str, Mapping[str, str]]


def run_comparison(
    plan: Plan,
    inputs: Mapping[str, SplitInput],
    stages: Path,
    models: Models,
    workers: int | None = None,
) -> Outcome:
    """Runs a comparison, or reads back the stages that have not changed.

    Args:
        plan: the comparison.
        inputs: what each split starts from.
        stages: folder of the stages.
        models: loads the language models.
        workers: threads or processes of the decoder; by default one for each processor.

    Raises:
        InputError: An input is missing or wrong.
    """
    started = time.perf_counter()
    comparison = plan.comparison
    data = {
        name: load_split(inputs[name], plan.lists, stages, models, comparison.acoustic, workers)
        for name in comparison.splits
    }
    counting = comparison.counting()
    scored = {name: scored_split(name, split, plan, counting) for name, split in data.items()}
    tables = {name: split.tables for name, split in scored.items()}
    dev = Dev.of(plan.dev, data, tables, counting)
    warn_of_spelling(dev)
    decisions = decide(plan.systems, dev.tables, dev.references)
    evaluations = [
        evaluate(split, plan.systems, decisions, plan.baseline) for split in scored.values()
    ]
    utterances = pd.concat([e.utterances for e in evaluations], ignore_index=True)
    hypotheses = pd.concat(
        [
            hypotheses_of(name, lists, table, split.references)
            for name, split in scored.items()
            for lists, table in split.tables.items()
        ],
        ignore_index=True,
    )
    pieces = explanations(plan, tables, utterances, stages, models)
    hashes = {key: value for split in data.values() for key, value in split.hashes.items()}
    systems = pd.concat([e.systems for e in evaluations], ignore_index=True)
    made = {name: split.made for name, split in data.items()}
    signed = signatures(plan, decisions, hashes, made)
    systems["signature"] = systems["system"].map(signed)
    meta = {
        "config": to_plain(comparison),
        "inputs": hashes,
        "signatures": signed,
        "stage_seconds": {name: dict(split.seconds) for name, split in data.items()},
        "tuned": tuned_facts(plan, dev, decisions),
        "decisions": {name: to_plain(found) for name, found in decisions.items()},
        "failed": {name: len(split.failures) for name, split in data.items()},
        "seconds": time.perf_counter() - started,
    }
    failures = {name: split.failures for name, split in data.items()}
    return Outcome(systems, utterances, hypotheses, pieces, meta, failures)


def scored_split(name: str, split: SplitData, plan: Plan, counting: Counting) -> ScoredSplit:
    """A split as systems choose from it: without what failed, with all that is known."""
    references = References(split.references, counting)
    return ScoredSplit(
        name,
        without_failures(name, split),
        references,
        with_unknown_words(split, plan, references),
        split.seconds,
        split.audio_seconds,
    )


def tuned_facts(plan: Plan, dev: Dev, decisions: Mapping[str, Decision]) -> dict[str, Any]:
    """What tuning gave, by system, and what it gives on lists that were left out of it."""
    comparison = plan.comparison
    return {
        name: to_plain(found.tuned)
        | dev.validated(comparison.systems[name], comparison.folds, comparison.seed)
        for name, found in decisions.items()
        if found.tuned
    }


def with_unknown_words(split: SplitData, plan: Plan, references: References) -> pd.DataFrame:
    """The split's tags and, where there are n-gram models over words, how many words of each
    reference none of them knows (`unknown`)."""
    comparison = plan.comparison
    files = [lm for o in comparison.first_passes.values() if o.lm_unit == "word" for lm in o.lms]
    files += [column.model for column in comparison.columns.values() if is_ngram(column.model)]
    if not files:
        return split.tags
    models = [NgramModel.load(file).__contains__ for file in dict.fromkeys(files)]
    counts = [unknown_words(plain(text), models) for text in references.of(split.references)]
    index = pd.Index(list(split.references), name="utt")
    return split.tags.reindex(index).assign(unknown=np.array(counts, dtype=int))


def without_failures(name: str, split: SplitData) -> dict[str, pd.DataFrame]:
    """The split's tables without the utterances that failed in any stage.

    Raises:
        InputError: Nothing is left.
    """
    kept = {
        lists: table[~table["utt"].isin(split.failures.keys())].reset_index(drop=True)
        for lists, table in split.tables.items()
    }
    if any(table.empty for table in kept.values()):
        utt, reason = next(iter(split.failures.items()), ("", "it has no hypotheses"))
        raise InputError(
            f"split {name}: no utterance has hypotheses; correct the first and run again: "
            f"{utt}: {reason}"
        )
    return kept
