"""Which hypotheses a system chooses, with their errors and those of rank 1 and the oracle."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.comparison.references import References
from experiments.comparison.system import SystemPlan
from experiments.comparison.tuning import Decision, pool_of
from lm.rerank.decision import choose, confidences
from lm.rerank.pool import Pool

LOG = logging.getLogger("secondpass")
EXAMPLES = 5


@dataclass(frozen=True)
class Picked:
    """The choices of one system on one split.

    Attributes:
        rows: one row for each utterance: `utt, text`, the scores of the hypothesis and `total`.
        counts: word error counts, aligned with `rows`.
        first_errors: (U,) word errors of each list's rank 1.
        oracle_errors: (U,) fewest word errors in each list.
        oracle_words: (U,) number of reference words of the hypothesis with the fewest errors.
        confidence: confidence of every word of each transcript, U arrays, NaN where no hypothesis
            is possible; None if it is not known.
    """

    rows: pd.DataFrame
    counts: pd.DataFrame
    first_errors: np.ndarray
    oracle_errors: np.ndarray
    oracle_words: np.ndarray
    confidence: list[np.ndarray] | None

    @property
    def errors(self) -> np.ndarray:
        """(U,) word errors of the choices."""
        found: np.ndarray = self.counts["errors"].to_numpy()
        return found

    @property
    def words(self) -> np.ndarray:
        """(U,) number of reference words with which the choices were compared."""
        found: np.ndarray = ref_words(self.counts)
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
    warn_of_impossible(plan.name, pool)
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
    every_counts = references.counts(every)
    errors, words = every_counts["errors"].to_numpy()[rows], ref_words(every_counts)[rows]
    first = np.lexsort((pool.system, pool.rank, pool.owner))[pool.lists[:-1]]
    oracle = np.lexsort((pool.system, pool.rank, errors, pool.owner))[pool.lists[:-1]]
    confidence = None
    if decision.trust is not None:
        confidence = confidences(pool, chosen.texts, decision.trust, decision.choice.shares)
    return Picked(picked, counts, errors[first], errors[oracle], words[oracle], confidence)


def ref_words(counts: pd.DataFrame) -> np.ndarray:
    """(N,) number of reference words of each row of a table of word error counts."""
    found: np.ndarray = counts[["hits", "substitutions", "deletions"]].sum(axis=1).to_numpy()
    return found


def known_only(confidence: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """Confidences for a table: None for the words of an utterance where they are NaN."""
    return [None if np.isnan(sure).any() else sure for sure in confidence]


def warn_of_impossible(name: str, pool: Pool) -> None:
    """Warns of lists in which no hypothesis is possible, because nothing speaks for the choice.

    Args:
        name: name of the system.
        pool: the lists that it chooses from.
    """
    dead = [utt for utt, hopeless in zip(pool.utts, pool.hopeless, strict=True) if hopeless]
    if dead:
        shown = ", ".join(dead[:EXAMPLES]) + (", …" if len(dead) > EXAMPLES else "")
        LOG.warning(
            f"{name}: all hypotheses of {len(dead)} of {len(pool.utts)} utterances have a total "
            f"score of -inf ({shown}), so rank 1 is taken there and its words have no confidence. "
            "Look for -inf in the columns of these lists, or give their weights the value 0"
        )
