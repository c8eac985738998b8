"""Systems: which hypothesis each one picks, its errors, and how they compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from asr.significance import RESAMPLES, bootstrap_interval, delta_interval, holm, mapsswe
from asr.wer import COUNTS, ErrorRate, align, char_errors, oracle, row_errors
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
        oracle_errors: (U,) fewest word errors in each list.
    """

    rows: pd.DataFrame
    counts: pd.DataFrame
    oracle_errors: np.ndarray


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
    normalise: Callable[[str], str],
    seed: int,
) -> dict[str, Tuned | None]:
    """Tuned weights of every system that has columns to tune; None for the others.

    Args:
        systems: By name.
        tables: Dev N-best tables by first pass, one for each dev split.
        references: Dev references of all splits.
        normalise: Applied to references and hypotheses before words are counted.
        seed: Of the search.
    """
    found: dict[str, Tuned | None] = {}
    for name, system in systems.items():
        if not system.columns:
            found[name] = None
            continue
        table = pd.concat(tables[system.lists], ignore_index=True)
        clean = normalised(table, normalise)
        errors = row_errors(clean, {u: normalise(r) for u, r in references.items()})["errors"]
        found[name] = tune(table, errors.to_numpy(), system.columns, seed=seed)
    return found


def normalised(table: pd.DataFrame, normalise: Callable[[str], str]) -> pd.DataFrame:
    """The table with every text as it is counted."""
    spelled = {text: normalise(text) for text in table["text"].unique()}
    return table.assign(text=table["text"].map(spelled))


def pick(
    table: pd.DataFrame,
    weights: Mapping[str, float] | None,
    references: Mapping[str, str],
    normalise: Callable[[str], str],
) -> Picked:
    """A system's hypothesis for every utterance, and its errors."""
    table = table.reset_index(drop=True)
    clean = normalised(table, normalise)
    counts = row_errors(clean, {u: normalise(r) for u, r in references.items()})
    scores = total(table, weights) if weights else np.zeros(len(table))
    chosen = winners(table, scores)
    rows = clean.iloc[chosen].reset_index(drop=True)
    rows = rows.assign(chosen=table["text"].to_numpy()[chosen])
    rows = rows.assign(total=scores[chosen] if weights else np.nan)
    best = oracle(table, counts["errors"])
    return Picked(
        rows,
        counts.iloc[chosen].reset_index(drop=True),
        counts["errors"].to_numpy()[best],
    )


def evaluate(
    split: str,
    systems: Mapping[str, System],
    tables: Mapping[str, pd.DataFrame],
    references: Mapping[str, str],
    weights: Mapping[str, Mapping[str, float] | None],
    normalise: Callable[[str], str],
    seconds: Mapping[str, float],
    audio_seconds: float = 0.0,
    seed: int = 0,
    resamples: int = RESAMPLES,
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
        normalise: Applied to references and hypotheses before words are counted.
        seconds: Wall time of each system's stages on this split.
        audio_seconds: Length of the split's audio; 0 where there is none.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
        tags: What else is known of the utterances, indexed by `utt`; joined to the details.
        baseline: The system that the others are tested against; by default the first.

    Raises:
        InputError: The systems' tables hold different utterances.
    """
    picked = {
        name: pick(tables[system.lists], weights[name], references, normalise)
        for name, system in systems.items()
    }
    first = baseline or next(iter(systems))
    utts = picked[first].rows["utt"].tolist()
    for name, choice in picked.items():
        if choice.rows["utt"].tolist() != utts:
            raise InputError(f"{split}: system {name} was scored on other utterances")
    clean = [normalise(references[utt]) for utt in utts]
    alignments = {name: align(clean, p.rows["text"].tolist()) for name, p in picked.items()}
    p_values = holm(
        [
            np.nan if name == first else mapsswe(alignments[name], alignments[first]).p_value
            for name in systems
        ]
    )
    words = np.array([len(reference.split()) for reference in clean])
    summary, details = [], []
    for (name, choice), p_value in zip(picked.items(), p_values, strict=True):
        errors = choice.counts["errors"].to_numpy()
        rate = ErrorRate.total(choice.counts)
        chars = [
            char_errors(reference, text)
            for reference, text in zip(clean, choice.rows["text"], strict=True)
        ]
        interval = bootstrap_interval(errors, words, resamples=resamples, seed=seed)
        low, high = interval or (np.nan, np.nan)
        base = picked[first].counts["errors"].to_numpy()
        delta = None
        if name != first:
            delta = delta_interval(errors, base, words, resamples=resamples, seed=seed)
        delta_low, delta_high = delta or (np.nan, np.nan)
        summary.append(
            {
                "system": name,
                "split": split,
                "wer": rate.rate,
                "wer_low": low,
                "wer_high": high,
                "cer": sum(chars, ErrorRate()).rate,
                "substitutions": rate.substitutions,
                "deletions": rate.deletions,
                "insertions": rate.insertions,
                "ref_words": rate.ref_words,
                "utterances": len(utts),
                "oracle_wer": choice.oracle_errors.sum() / max(rate.ref_words, 1),
                "delta_wer": np.nan if name == first else rate.rate - _rate(picked[first]),
                "delta_low": delta_low,
                "delta_high": delta_high,
                "p_value": p_value,
                "weights": json.dumps(weights[name]) if weights[name] else None,
                "seconds": float(seconds.get(name, 0.0)),
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
                    "oracle_errors": choice.oracle_errors,
                }
            ).join(scores)
        )
    utterances = pd.concat(details, ignore_index=True)
    if tags is not None and not tags.empty:
        utterances = utterances.join(tags, on="utt")
    return Evaluation(split, pd.DataFrame(summary), utterances)


def _rate(picked: Picked) -> float:
    return ErrorRate.total(picked.counts).rate
