"""The error rates of systems on one split, and tests of each system against the baseline."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from asr.evaluation.alignment import readings, right_words
from asr.evaluation.significance import holm
from asr.evaluation.wer import COUNTS, ErrorRate, char_errors, rate
from experiments.comparison.counting import Counting, same_utterances
from experiments.comparison.picking import Picked, known_only, pick
from experiments.comparison.references import References
from experiments.comparison.system import SystemPlan
from experiments.comparison.tuning import Decision
from lm.rerank.confidence import calibration_error, normalised_cross_entropy

LOG = logging.getLogger("secondpass")


@dataclass(frozen=True)
class ScoredSplit:
    """One split with all scores: the N-best lists to choose from, and the references.

    Attributes:
        name: the split's name.
        tables: N-best table of each first pass; all have the same utterances.
        references: the references; they may have more utterances than the tables.
        tags: speaker and other tags of the utterances, indexed by `utt`.
        seconds: wall time of each stage, if it is known, see `SplitData.seconds`.
        audio_seconds: length of the audio; 0 if there is none.
    """

    name: str
    tables: Mapping[str, pd.DataFrame]
    references: References
    tags: pd.DataFrame | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    audio_seconds: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """All systems on one split, over the utterances that every system has.

    Attributes:
        split: name of the split.
        systems: one row for each system, the columns of `systems.parquet`.
        utterances: one row for each system and utterance, the columns of `utterances.parquet`.
    """

    split: str
    systems: pd.DataFrame
    utterances: pd.DataFrame


@dataclass(frozen=True)
class Truth:
    """The references of U utterances, in the order of every system's choices.

    Attributes:
        counting: how words are counted.
        utts: names of the utterances.
        texts: their normalised references.
        units: (U,) unit of each utterance that the bootstrap draws, see `Counting.units`.
    """

    counting: Counting
    utts: list[str]
    texts: list[str]
    units: np.ndarray

    @classmethod
    def of(cls, split: ScoredSplit, utts: list[str]) -> Truth:
        """The references of some utterances of a split.

        Raises:
            InputError: A reference is missing, or not all speakers are known and the bootstrap
                draws speakers.
        """
        counting = split.references.counting
        texts = split.references.of(utts)
        units = counting.units(utts, split.tags, split.name)
        return cls(counting, utts, texts, units)

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """Errors or words of units, (D,), from those of utterances, (U,)."""
        return np.bincount(self.units, counts)


def evaluate(
    split: ScoredSplit,
    systems: Mapping[str, SystemPlan],
    decisions: Mapping[str, Decision],
    baseline: str | None = None,
) -> Evaluation:
    """Error rates of every system on one split, with intervals and tests against the baseline.

    Args:
        split: the N-best lists and references.
        systems: systems by name.
        decisions: how each system decides.
        baseline: the system with which the others are compared; by default the first.

    Raises:
        InputError: The systems' tables have different utterances, a reference is missing, or the
            bootstrap draws speakers and not all are known.
    """
    used = [plan.system.lists for plan in systems.values() if plan.system.lists]
    tables = same_utterances({lists: split.tables[lists] for lists in used}, split.name)
    picked = {
        name: pick(plan, tables, split.references, decisions) for name, plan in systems.items()
    }
    first = baseline or next(iter(systems))
    truth = Truth.of(split, picked[first].rows["utt"].tolist())
    if not picked[first].words.any():
        LOG.warning(
            f"{split.name}: the references of all {len(truth.utts)} utterances are empty, so there "
            "is no error rate; every word of a hypothesis is an insertion. Check the references "
            "and the normaliser"
        )
    compared = against_baseline(picked, first, truth)
    summary, details = [], []
    for name, choice in picked.items():
        characters = [
            char_errors(*readings(reference, text, truth.counting.alignment))
            for reference, text in zip(truth.texts, choice.rows["text"], strict=True)
        ]
        weights = decisions[name].weights
        stages = sorted(set(systems[name].stages))
        summary.append(
            {
                "system": name,
                "split": split.name,
                **rates(choice, characters, truth),
                **compared[name],
                "weights": json.dumps(weights) if weights else None,
                "choice": decisions[name].description,
                **trusted(choice, truth),
                "seconds": float(sum(split.seconds.get(stage, 0.0) for stage in stages)),
                "audio_seconds": split.audio_seconds,
            }
        )
        details.append(utterance_rows(split.name, name, choice, characters, truth))
    utterances = pd.concat(details, ignore_index=True)
    if split.tags is not None and not split.tags.empty:
        utterances = utterances.join(split.tags, on="utt")
    return Evaluation(split.name, pd.DataFrame(summary), utterances)


def rates(picked: Picked, characters: Sequence[ErrorRate], truth: Truth) -> dict[str, Any]:
    """A system's error rates and counts, as columns of `systems.parquet`."""
    total = ErrorRate.total(picked.counts)
    low, high = truth.counting.interval(truth.drawn(picked.errors), truth.drawn(picked.words))
    return {
        "wer": total.rate,
        "wer_low": low,
        "wer_high": high,
        "cer": sum(characters, ErrorRate()).rate,
        "ser": float((picked.errors > 0).mean()),
        "substitutions": total.substitutions,
        "deletions": total.deletions,
        "insertions": total.insertions,
        "ref_words": total.ref_words,
        "utterances": len(truth.utts),
        "oracle_wer": rate(int(picked.oracle_errors.sum()), int(picked.oracle_words.sum())),
        "gap_recovered": picked.gap_recovered,
    }


def against_baseline(
    picked: Mapping[str, Picked], first: str, truth: Truth
) -> dict[str, dict[str, Any]]:
    """Compares every system with the baseline: difference, its interval and the p-value.

    All are NaN for the baseline itself. The p-values are of the matched-pairs test, adjusted for
    the number of systems by Holm's method; `p_test` says where each comes from.
    """
    alignments = {
        name: truth.counting.aligned(truth.texts, choice.rows["text"].tolist())
        for name, choice in picked.items()
    }
    tests = {
        name: truth.counting.tested(alignments[name], alignments[first])
        for name in picked
        if name != first
    }
    p_values = holm([tests[name].p_value if name in tests else np.nan for name in picked])
    base, base_words = truth.drawn(picked[first].errors), truth.drawn(picked[first].words)
    base_rate = ErrorRate.total(picked[first].counts).rate
    found = {}
    for (name, choice), p_value in zip(picked.items(), p_values, strict=True):
        delta = low = high = np.nan
        if name != first:
            own_rate = ErrorRate.total(choice.counts).rate
            delta = own_rate - base_rate if np.isfinite([own_rate, base_rate]).all() else np.nan
            low, high = truth.counting.difference(
                truth.drawn(choice.errors), base, truth.drawn(choice.words), base_words
            )
        found[name] = {
            "delta_wer": delta,
            "delta_low": low,
            "delta_high": high,
            "p_value": p_value,
            "p_test": tests[name].test if name in tests else None,
        }
    return found


def utterance_rows(
    split: str, system: str, picked: Picked, characters: Sequence[ErrorRate], truth: Truth
) -> pd.DataFrame:
    """One row for each utterance: the columns of `utterances.parquet` without tags."""
    rows = pd.DataFrame(
        {
            "split": split,
            "system": system,
            "utt": truth.utts,
            "ref": truth.texts,
            "hyp": picked.rows["text"],
            **{count: picked.counts[count] for count in COUNTS},
            "char_errors": [rate.errors for rate in characters],
            "ref_chars": [rate.ref_words for rate in characters],
            "first_errors": picked.first_errors,
            "oracle_errors": picked.oracle_errors,
            "confidence": None if picked.confidence is None else known_only(picked.confidence),
        }
    )
    return rows.join(picked.rows.drop(columns=["utt", "text"]))


def trusted(picked: Picked, truth: Truth) -> dict[str, float]:
    """The normalised cross-entropy and the calibration error of the word confidences."""
    measured = {"nce": np.nan, "ece": np.nan}
    if picked.confidence is None:
        return measured
    texts = picked.rows["text"].tolist()
    right = right_words(truth.texts, texts, truth.counting.alignment)
    confidence = np.concatenate(picked.confidence or [np.zeros(0)])
    if len(right) == len(confidence):
        known = ~np.isnan(confidence)
        measured["nce"] = normalised_cross_entropy(confidence[known], right[known])
        measured["ece"] = calibration_error(confidence[known], right[known])
    return measured
