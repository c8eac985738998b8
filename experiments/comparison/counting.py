"""How words are counted and rates compared: the same for every system of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from asr.evaluation.alignment import Alignment, Method, align
from asr.evaluation.significance import RESAMPLES, bootstrap_interval, delta_interval
from lm.errors import InputError

SPEAKER = "tag.speaker"
Unit = Literal["utterances", "speakers"]


@dataclass(frozen=True)
class Counting:
    """What is done to texts before words are counted, and how rates get their intervals.

    Attributes:
        normalise: what is applied to references and hypotheses.
        alignment: how hypotheses are aligned, see `asr.evaluation.alignment.WordIds`.
        intervals: what the bootstrap draws. Utterances of one speaker have similar errors, so
            intervals over speakers are wider; they say what to expect of new speakers.
        resamples: number of bootstrap samples.
        seed: random seed for the bootstrap and the search for weights.
    """

    normalise: Callable[[str], str] = str
    alignment: Method = "jiwer"
    intervals: Unit = "utterances"
    resamples: int = RESAMPLES
    seed: int = 0

    def aligned(self, references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
        """Alignments of texts as they are counted."""
        return align(references, hypotheses, self.alignment)

    def interval(self, errors: np.ndarray, words: np.ndarray) -> tuple[float, float]:
        """95 % interval of an error rate, NaN where there is none.

        Args:
            errors: (G,) of each utterance or speaker.
            words: (G,) of the references.
        """
        found = bootstrap_interval(errors, words, resamples=self.resamples, seed=self.seed)
        return found or (np.nan, np.nan)

    def difference(
        self, system: np.ndarray, baseline: np.ndarray, words: np.ndarray
    ) -> tuple[float, float]:
        """95 % interval of a difference in error rate, paired; NaN where there is none."""
        found = delta_interval(system, baseline, words, resamples=self.resamples, seed=self.seed)
        return found or (np.nan, np.nan)

    def units(self, utts: Sequence[str], tags: pd.DataFrame | None, split: str) -> np.ndarray:
        """What the bootstrap draws: an integer by utterance, the same for those drawn together.

        Raises:
            InputError: Speakers are asked for, and not all are known.
        """
        if self.intervals == "utterances":
            return np.arange(len(utts))
        speakers = pd.Series(index=pd.Index(utts), dtype=object)
        if tags is not None and SPEAKER in tags:
            speakers = tags[SPEAKER].reindex(list(utts))
        if speakers.isna().any():
            raise InputError(
                f"{split}: intervals over speakers, but {int(speakers.isna().sum())} of "
                f"{len(utts)} utterances have none (first: {speakers.index[speakers.isna()][0]}); "
                "the manifest's `speaker` or the split's `speaker` pattern gives it, or set "
                "`intervals: utterances`"
            )
        return pd.factorize(speakers)[0]


def same_utterances(
    tables: Mapping[str, pd.DataFrame], where: str, intersect: bool = False
) -> dict[str, pd.DataFrame]:
    """N-best tables that hold the same utterances, each in the order of the first.

    Args:
        tables: By name.
        where: The split, for messages.
        intersect: Leave out what some table lacks, instead of refusing.

    Raises:
        InputError: The tables hold different utterances (the message names them), or share none.
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
            "only rates on the same utterances can be compared. Complete the lists, or use "
            "--intersect to compare on what all have"
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
