"""How words are counted and how rates are compared, the same for every system of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from asr.evaluation.alignment import Alignment, Method, align
from asr.evaluation.significance import (
    RESAMPLES,
    MatchedPairs,
    Test,
    bootstrap_interval,
    delta_interval,
    matched_pairs,
)
from lm.errors import InputError
from lm.text.normalisers import Normaliser, normaliser

SPEAKER = "tag.speaker"
AS_IT_IS = normaliser("none")
Unit = Literal["utterances", "speakers"]


@dataclass(frozen=True)
class Counting:
    """How texts are normalised before words are counted, and how rates get their intervals.

    Attributes:
        normalise: normaliser of references and hypotheses.
        alignment: how hypotheses are aligned, see `asr.evaluation.alignment.WordIds`.
        intervals: what the bootstrap draws. Utterances of one speaker have similar errors, so
            intervals over speakers are wider; they show what to expect for new speakers.
        resamples: number of bootstrap samples.
        seed: random seed for the bootstrap and the search for weights.
        significance: where p-values come from, see `asr.evaluation.significance.matched_pairs`.
    """

    normalise: Normaliser = AS_IT_IS
    alignment: Method = "jiwer"
    intervals: Unit = "utterances"
    resamples: int = RESAMPLES
    seed: int = 0
    significance: Test = "mapsswe"

    def aligned(self, references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
        """Alignments of texts with the method by which errors are counted."""
        return align(references, hypotheses, self.alignment)

    def tested(self, system: Sequence[Alignment], baseline: Sequence[Alignment]) -> MatchedPairs:
        """The matched-pairs test of a system against the baseline."""
        return matched_pairs(system, baseline, self.significance)

    def interval(self, errors: np.ndarray, words: np.ndarray) -> tuple[float, float]:
        """95 % interval of an error rate, NaN if there is none.

        Args:
            errors: (G,) number of errors of each utterance or speaker.
            words: (G,) number of reference words.
        """
        found = bootstrap_interval(errors, words, resamples=self.resamples, seed=self.seed)
        return found or (np.nan, np.nan)

    def difference(
        self,
        system: np.ndarray,
        baseline: np.ndarray,
        words: np.ndarray,
        baseline_words: np.ndarray | None = None,
    ) -> tuple[float, float]:
        """95 % interval of a difference in error rate, paired; NaN if there is none.

        See `asr.evaluation.significance.delta_interval`.
        """
        found = delta_interval(
            system,
            baseline,
            words,
            resamples=self.resamples,
            seed=self.seed,
            baseline_words=baseline_words,
        )
        return found or (np.nan, np.nan)

    def units(self, utts: Sequence[str], tags: pd.DataFrame | None, split: str) -> np.ndarray:
        """The group of each utterance, as an integer; the bootstrap draws whole groups.

        Raises:
            InputError: Intervals over speakers are requested, and not all speakers are known.
        """
        if self.intervals == "utterances":
            return np.arange(len(utts))
        speakers = pd.Series(index=pd.Index(utts), dtype=object)
        if tags is not None and SPEAKER in tags:
            speakers = tags[SPEAKER].reindex(list(utts))
        unknown = speakers.index[speakers.isna()]
        if len(unknown):
            raise InputError(
                f"{split}: intervals over speakers need the speaker of every utterance, but "
                f"{len(unknown)} of {len(utts)} have none (first: {unknown[0]}); "
                "set `speaker` in the manifest or a `speaker` pattern for the split, or set "
                "`intervals: utterances`"
            )
        return pd.factorize(speakers)[0]


def same_utterances(
    tables: Mapping[str, pd.DataFrame], where: str, intersect: bool = False
) -> dict[str, pd.DataFrame]:
    """N-best tables with the same utterances, each in the order of the first table.

    Args:
        tables: N-best tables by name.
        where: Name of the split, for messages.
        intersect: Removes the utterances that a table lacks; otherwise they are an error.

    Raises:
        InputError: The tables have different utterances (the message names them), or have none in
            common.
    """
    sets = {name: set(table["utt"]) for name, table in tables.items()}
    shared = set.intersection(*sets.values())
    lacking = []
    for name, utts in sets.items():
        if missing := sorted(set.union(*sets.values()) - utts):
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            lacking.append(f"{name} lacks {len(missing)} ({shown})")
    if lacking and not intersect:
        raise InputError(
            f"{where}: the systems were scored on different utterances: {'; '.join(lacking)}; "
            "only rates on the same utterances can be compared. Add the N-best lists that are "
            "missing, or use --intersect to compare on the utterances that all systems have"
        )
    if not shared:
        raise InputError(f"{where}: the systems have no utterance in common")
    order = next(iter(tables.values()))["utt"].drop_duplicates()
    place = {utt: number for number, utt in enumerate(u for u in order if u in shared)}
    found = {}
    for name, table in tables.items():
        kept = table[table["utt"].isin(shared)]
        rows = np.argsort(kept["utt"].map(place).to_numpy(), kind="stable")
        found[name] = kept.iloc[rows].reset_index(drop=True)
    return found
