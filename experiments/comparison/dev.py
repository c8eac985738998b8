"""All dev splits joined: the N-best lists on which weights are tuned and cross-validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from asr.evaluation.wer import ErrorRate
from experiments.comparison.counting import SPEAKER, Counting
from experiments.comparison.references import References
from experiments.comparison.split import SplitData
from experiments.comparison.system import System
from lm.rerank.cross_validation import cross_validate


@dataclass(frozen=True)
class Dev:
    """The N-best lists of all dev splits together.

    The name of an utterance starts with that of its split, `dev_clean/1272-128104-0000`, because
    several splits may have the same utterances under different conditions.

    Attributes:
        tables: N-best table of each first pass; empty if there is no dev split.
        references: the references of all of them.
        groups: speaker of each utterance; if not all speakers are known, its name without the
            split.
        grouped_by: `speaker` or `utterance`.
    """

    tables: Mapping[str, pd.DataFrame]
    references: References
    groups: Mapping[str, str]
    grouped_by: str

    @classmethod
    def of(
        cls,
        splits: Sequence[str],
        data: Mapping[str, SplitData],
        kept: Mapping[str, Mapping[str, pd.DataFrame]],
        counting: Counting,
    ) -> Dev:
        """Joins the dev splits.

        Args:
            splits: Names of the dev splits.
            data: Data of all splits.
            kept: N-best tables by split and first pass, without the utterances that failed.
            counting: How words are counted.
        """
        found: dict[str, list[pd.DataFrame]] = {}
        references: dict[str, str] = {}
        speakers: dict[str, Any] = {}
        own: dict[str, str] = {}
        for split in splits:
            for lists, table in kept[split].items():
                found.setdefault(lists, []).append(table.assign(utt=f"{split}/" + table["utt"]))
            tags = data[split].tags
            known = tags[SPEAKER] if SPEAKER in tags else pd.Series(dtype=object)
            for utt, text in data[split].references.items():
                name = f"{split}/{utt}"
                references[name], own[name] = text, utt
                speakers[name] = known.get(utt)
        known_all = not pd.isna(list(speakers.values())).any()
        return cls(
            {lists: pd.concat(parts, ignore_index=True) for lists, parts in found.items()},
            References(references, counting),
            speakers if known_all else own,
            "speaker" if known_all else "utterance",
        )

    def validated(self, system: System, folds: int, seed: int) -> dict[str, Any]:
        """Cross-validates a system: tunes on all folds but one and counts errors on that one.

        Returns:
            `words` of the references, `validated_errors`, `folds` and `groups` (`speaker` or
            `utterance`; no group is in two folds). The errors are None without cross-validation.
        """
        table = self.tables[system.lists]
        counts = self.references.counts(table)
        words = ErrorRate.total(counts[~table["utt"].duplicated()]).ref_words
        facts = {"words": words, "validated_errors": None, "folds": folds}
        if not folds:
            return facts
        groups = table["utt"].map(self.groups).tolist()
        found = cross_validate(
            table, counts["errors"], system.columns, groups, folds, seed, restarts=4
        )
        errors = None if found is None else found.errors
        return facts | {"validated_errors": errors, "groups": self.grouped_by}
