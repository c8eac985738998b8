"""Systems: which hypothesis each one picks, its errors, and how they compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from asr.significance import holm, mapsswe
from asr.wer import COUNTS, ErrorRate, char_errors, oracle
from experiments.counting import Counting, same_utterances
from lm.combine import total, winners
from lm.errors import InputError
from lm.tune import Tuned, tune


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        lists: The first pass whose N-best lists it picks from.
        columns: Columns whose weights are tuned on dev (`acoustic` has weight 1); without any,
            the first pass's own best hypothesis is taken.
        weights: Fixed weights instead of tuned ones.
    """

    lists: str
    columns: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.columns and self.weights:
            raise InputError("a system has either `columns` to tune or fixed `weights`, not both")


@dataclass(frozen=True)
class Picked:
    """The choices of one system on one split.

    Attributes:
        rows: One row an utterance: `utt, text`, the scores of the hypothesis and `total`.
        counts: Word error counts, aligned with `rows`.
        first_errors: (U,) word errors of each list's rank 1.
        oracle_errors: (U,) fewest word errors in each list.
    """

    rows: pd.DataFrame
    counts: pd.DataFrame
    first_errors: np.ndarray
    oracle_errors: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """(U,) word errors."""
        found: np.ndarray = self.counts["errors"].to_numpy()
        return found

    @property
    def gap_recovered(self) -> float:
        """Share of the errors between rank 1 and the oracle that the choices avoid; NaN where
        rank 1 is the oracle."""
        gap = self.first_errors.sum() - self.oracle_errors.sum()
        return float((self.first_errors.sum() - self.errors.sum()) / gap) if gap else np.nan


@dataclass(frozen=True)
class Evaluation:
    """All systems on one split, over the utterances that every system has.

    Attributes:
        split: Its name.
        systems: One row a system, the columns of `systems.parquet`.
        utterances: One row a system and utterance, the columns of `utterances.parquet`.
    """

    split: str
    systems: pd.DataFrame
    utterances: pd.DataFrame


def weights_of(
    systems: Mapping[str, System],
    tables: Mapping[str, Sequence[pd.DataFrame]],
    references: Mapping[str, str],
    counting: Counting,
) -> dict[str, Tuned | None]:
    """Tuned weights of every system that has columns to tune; None for the others.

    Args:
        systems: By name.
        tables: Dev N-best tables by first pass, one for each dev split.
        references: Dev references of all splits.
        counting: How words are counted.
    """
    found: dict[str, Tuned | None] = {}
    for name, system in systems.items():
        if not system.columns:
            found[name] = None
            continue
        table = pd.concat(tables[system.lists], ignore_index=True)
        errors = counting.counts(table, references)["errors"].to_numpy()
        found[name] = tune(table, errors, system.columns, seed=counting.seed)
    return found


def pick(
    table: pd.DataFrame,
    weights: Mapping[str, float] | None,
    references: Mapping[str, str],
    counting: Counting,
) -> Picked:
    """A system's hypothesis for every utterance, and its errors."""
    table = table.reset_index(drop=True)
    clean = counting.spelled(table)
    counts = counting.counts(table, references)
    errors = counts["errors"].to_numpy()
    scores = total(table, weights) if weights else np.zeros(len(table))
    chosen = winners(table, scores)
    rows = clean.iloc[chosen].reset_index(drop=True)
    rows = rows.assign(chosen=table["text"].to_numpy()[chosen])
    rows = rows.assign(total=scores[chosen] if weights else np.nan)
    return Picked(
        rows,
        counts.iloc[chosen].reset_index(drop=True),
        errors[winners(table, np.zeros(len(table)))],
        errors[oracle(table, errors)],
    )


def evaluate(
    split: str,
    systems: Mapping[str, System],
    tables: Mapping[str, pd.DataFrame],
    references: Mapping[str, str],
    weights: Mapping[str, Mapping[str, float] | None],
    counting: Counting,
    *,
    seconds: Mapping[str, float] | None = None,
    audio_seconds: float = 0.0,
    tags: pd.DataFrame | None = None,
    baseline: str | None = None,
) -> Evaluation:
    """Error rates of every system on one split, with intervals and tests against the baseline.

    Args:
        split: The split's name.
        systems: By name.
        tables: N-best table by first pass; all hold the same utterances.
        references: Reference by utterance; may hold more than the tables do.
        weights: Weights by system; None takes rank 1.
        counting: How words are counted and rates compared.
        seconds: Wall time of each system's stages on this split, where known.
        audio_seconds: Length of the split's audio; 0 where there is none.
        tags: What else is known of the utterances, indexed by `utt`; joined to the details.
        baseline: The system that the others are tested against; by default the first.

    Raises:
        InputError: The systems' tables hold different utterances, a reference is missing, or
            speakers are to be drawn and not all are known.
    """
    tables = same_utterances({s.lists: tables[s.lists] for s in systems.values()}, split)
    picked = {
        name: pick(tables[system.lists], weights[name], references, counting)
        for name, system in systems.items()
    }
    first = baseline or next(iter(systems))
    utts = picked[first].rows["utt"].tolist()
    clean = [counting.normalise(references[utt]) for utt in utts]
    alignments = {
        name: counting.aligned(clean, p.rows["text"].tolist()) for name, p in picked.items()
    }
    p_values = holm(
        [
            np.nan if name == first else mapsswe(alignments[name], alignments[first]).p_value
            for name in systems
        ]
    )
    units = counting.units(utts, tags, split)
    words = np.array([len(reference.split()) for reference in clean])
    drawn_words = np.bincount(units, words)
    summary, details = [], []
    for (name, choice), p_value in zip(picked.items(), p_values, strict=True):
        rate = ErrorRate.total(choice.counts)
        chars = [
            char_errors(reference, text)
            for reference, text in zip(clean, choice.rows["text"], strict=True)
        ]
        errors = np.bincount(units, choice.errors)
        low, high = counting.interval(errors, drawn_words)
        delta_low = delta_high = delta = np.nan
        if name != first:
            base = np.bincount(units, picked[first].errors)
            delta = rate.rate - ErrorRate.total(picked[first].counts).rate
            delta_low, delta_high = counting.difference(errors, base, drawn_words)
        summary.append(
            {
                "system": name,
                "split": split,
                "wer": rate.rate,
                "wer_low": low,
                "wer_high": high,
                "cer": sum(chars, ErrorRate()).rate,
                "ser": float((choice.errors > 0).mean()),
                "substitutions": rate.substitutions,
                "deletions": rate.deletions,
                "insertions": rate.insertions,
                "ref_words": rate.ref_words,
                "utterances": len(utts),
                "oracle_wer": choice.oracle_errors.sum() / max(rate.ref_words, 1),
                "gap_recovered": choice.gap_recovered,
                "delta_wer": delta,
                "delta_low": delta_low,
                "delta_high": delta_high,
                "p_value": p_value,
                "weights": json.dumps(weights[name]) if weights[name] else None,
                "seconds": float((seconds or {}).get(name, 0.0)),
                "audio_seconds": audio_seconds,
            }
        )
        scores = choice.rows.drop(columns=["utt", "text"])
        details.append(
            pd.DataFrame(
                {
                    "split": split,
                    "system": name,
                    "utt": utts,
                    "ref": clean,
                    "hyp": choice.rows["text"],
                    **{count: choice.counts[count] for count in COUNTS},
                    "char_errors": [c.errors for c in chars],
                    "ref_chars": [c.ref_words for c in chars],
                    "first_errors": choice.first_errors,
                    "oracle_errors": choice.oracle_errors,
                }
            ).join(scores)
        )
    utterances = pd.concat(details, ignore_index=True)
    if tags is not None and not tags.empty:
        utterances = utterances.join(tags, on="utt")
    return Evaluation(split, pd.DataFrame(summary), utterances)
