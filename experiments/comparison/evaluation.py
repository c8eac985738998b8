"""Systems: which hypothesis each one picks, its errors, and how they compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from asr.evaluation.alignment import right_words
from asr.evaluation.significance import holm, mapsswe
from asr.evaluation.wer import COUNTS, ErrorRate, char_errors
from experiments.comparison.counting import Counting, same_utterances
from experiments.comparison.references import References
from experiments.comparison.tuning import Decision, System, parts_of, pool_of
from lm.rerank.confidence import calibration_error, normalised_cross_entropy
from lm.rerank.decision import choose, confidences


@dataclass(frozen=True)
class Picked:
    """The choices of one system on one split.

    Attributes:
        rows: One row an utterance: `utt, text`, the scores of the hypothesis and `total`.
        counts: Word error counts, aligned with `rows`.
        first_errors: (U,) word errors of each list's rank 1.
        oracle_errors: (U,) fewest word errors in each list.
        confidence: Of every word of each transcript, U arrays; None where it is not known.
    """

    rows: pd.DataFrame
    counts: pd.DataFrame
    first_errors: np.ndarray
    oracle_errors: np.ndarray
    confidence: list[np.ndarray] | None

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


def pick(
    name: str,
    systems: Mapping[str, System],
    tables: Mapping[str, pd.DataFrame],
    references: References,
    decisions: Mapping[str, Decision],
) -> Picked:
    """A system's transcript of every utterance, its errors, and what its lists could have given.

    Args:
        name: The system.
        systems: By name.
        tables: N-best table by first pass, all of the same utterances in the same order.
        references: Of these utterances.
        decisions: Of all systems.
    """
    decision = decisions[name]
    parts = [systems[part].lists for part in parts_of(name, systems)]
    pool = pool_of(name, systems, tables, decisions)
    chosen = choose(pool, decision.choice)
    every = pd.concat([tables[lists] for lists in parts], ignore_index=True)
    begins = np.cumsum([0, *(len(tables[lists]) for lists in parts)])
    rows = begins[pool.system] + pool.row
    inside = chosen.positions >= 0
    scores = every.iloc[rows[np.maximum(chosen.positions, 0)]].reset_index(drop=True)
    scores = scores.drop(columns=["utt", "text"])
    # A transcript that no list holds has no scores of its own.
    scores = scores if inside.all() else scores.where(pd.Series(inside))
    weighted = decision.weights is not None and inside
    picked = pd.DataFrame(
        {
            "utt": pool.utts,
            "text": [references.spell(text) for text in chosen.texts],
            "chosen": chosen.texts,
            "total": np.where(weighted, pool.totals[chosen.positions], np.nan),
        }
    ).join(scores)
    counts = references.counts(picked.assign(text=chosen.texts))
    errors = references.counts(every)["errors"].to_numpy()[rows]
    first = np.lexsort((pool.system, pool.rank, pool.owner))[pool.lists[:-1]]
    confidence = None
    if decision.trust is not None:
        confidence = confidences(pool, chosen.texts, decision.trust, decision.choice.shares)
    return Picked(
        picked, counts, errors[first], np.minimum.reduceat(errors, pool.lists[:-1]), confidence
    )


def evaluate(
    split: str,
    systems: Mapping[str, System],
    tables: Mapping[str, pd.DataFrame],
    references: References,
    decisions: Mapping[str, Decision],
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
        references: May hold more utterances than the tables do.
        decisions: How each system decides.
        seconds: Wall time of each system's stages on this split, where known.
        audio_seconds: Length of the split's audio; 0 where there is none.
        tags: What else is known of the utterances, indexed by `utt`; joined to the details.
        baseline: The system that the others are tested against; by default the first.

    Raises:
        InputError: The systems' tables hold different utterances, a reference is missing, or
            speakers are to be drawn and not all are known.
    """
    counting = references.counting
    used = [system.lists for system in systems.values() if system.lists]
    tables = same_utterances({lists: tables[lists] for lists in used}, split)
    picked = {name: pick(name, systems, tables, references, decisions) for name in systems}
    first = baseline or next(iter(systems))
    utts = picked[first].rows["utt"].tolist()
    clean = references.of(utts)
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
                "weights": json.dumps(decisions[name].weights) if decisions[name].weights else None,
                "choice": decisions[name].told,
                **trusted(choice, clean, counting),
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
                    "confidence": choice.confidence,
                }
            ).join(scores)
        )
    utterances = pd.concat(details, ignore_index=True)
    if tags is not None and not tags.empty:
        utterances = utterances.join(tags, on="utt")
    return Evaluation(split, pd.DataFrame(summary), utterances)


def trusted(picked: Picked, references: Sequence[str], counting: Counting) -> dict[str, float]:
    """How good the word confidences are: normalised cross-entropy and calibration error."""
    measured = {"nce": np.nan, "ece": np.nan}
    if picked.confidence is None:
        return measured
    right = right_words(references, picked.rows["text"].tolist(), counting.alignment)
    confidence = np.concatenate(picked.confidence or [np.zeros(0)])
    if len(right) == len(confidence):
        measured["nce"] = normalised_cross_entropy(confidence, right)
        measured["ece"] = calibration_error(confidence, right)
    return measured
