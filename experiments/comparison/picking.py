"""Which hypotheses a system chooses, with their errors and those of rank 1 and the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.comparison.references import References
from experiments.comparison.system import SystemPlan
from experiments.comparison.tuning import Decision, pool_of
from lm.rerank.decision import choose, confidences


@dataclass(frozen=True)
class Picked:
    """The choices of one system on one split.

    Attributes:
        rows: one row for each utterance: `utt, text`, the scores of the hypothesis and `total`.
        counts: word error counts, aligned with `rows`.
        first_errors: (U,) word errors of each list's rank 1.
        oracle_errors: (U,) fewest word errors in each list.
        confidence: confidence of every word of each transcript, U arrays; None if it is not
            known.
    """

    rows: pd.DataFrame
    counts: pd.DataFrame
    first_errors: np.ndarray
    oracle_errors: np.ndarray
    confidence: list[np.ndarray] | None

    @property
    def errors(self) -> np.ndarray:
        """(U,) word errors of the choices."""
        found: np.ndarray = self.counts["errors"].to_numpy()
        return found

    @property
    def gap_recovered(self) -> float:
        """Share of the difference in errors between rank 1 and the oracle that the choices remove.

        It is NaN if rank 1 has no more errors than the oracle.
        """
        gap = self.first_errors.sum() - self.oracle_errors.sum()
        return float((self.first_errors.sum() - self.errors.sum()) / gap) if gap else np.nan


def pick(
    plan: SystemPlan,
    tables: Mapping[str, pd.DataFrame],
    references: References,
    decisions: Mapping[str, Decision],
) -> Picked:
    """A system's transcripts and their errors, with the errors of rank 1 and the oracle.

    Args:
        plan: the system.
        tables: N-best table of each first pass, all with the same utterances in the same order.
        references: the references of these utterances.
        decisions: how this system and its parts decide, by name.
    """
    decision = decisions[plan.name]
    sources = [tables[lists] for lists in plan.parts.values()]
    pool = pool_of(plan, tables, decisions)
    chosen = choose(pool, decision.choice)
    every = pd.concat(sources, ignore_index=True)
    begins = np.cumsum([0, *map(len, sources)])
    rows = begins[pool.system] + pool.row
    inside = chosen.positions >= 0
    scores = every.iloc[rows[np.maximum(chosen.positions, 0)]].reset_index(drop=True)
    scores = scores.drop(columns=["utt", "text"])
    # A transcript that is in no list has no scores.
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
