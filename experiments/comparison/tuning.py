"""Tunes on dev how each system decides: weights, method of choice, and word confidences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from asr.evaluation.alignment import right_words
from experiments.comparison.references import References
from experiments.comparison.system import SystemPlan
from lm.combine import total
from lm.errors import InputError
from lm.rerank.decision import Choice, Count, Trust, choose, tune_choice, tune_trust
from lm.rerank.pool import Pool
from lm.rerank.tune import Tuned, tune


@dataclass(frozen=True)
class Decision:
    """How a system decides after tuning.

    Attributes:
        weights: weight of each column; None if the system takes rank 1.
        choice: method of choice and its settings.
        trust: how posteriors of words become confidences; None if this was not tuned.
        tuned: result of tuning the weights; None if they were not tuned.
    """

    weights: Mapping[str, float] | None = None
    choice: Choice = field(default_factory=Choice)
    trust: Trust | None = None
    tuned: Tuned | None = None

    @property
    def description(self) -> str | None:
        """The method of choice as a text; None for the weighted sum and for rank 1."""
        if self.choice.method == "map":
            return None
        parts = [self.choice.method, f"temperature {self.choice.temperature:g}"]
        if self.choice.method == "vote" and self.choice.nothing != 1:
            parts.append(f"no word × {self.choice.nothing:g}")
        if self.choice.shares:
            parts.append("shares " + " ".join(f"{share:.3g}" for share in self.choice.shares))
        return ", ".join(parts)


def decide(
    systems: Mapping[str, SystemPlan],
    dev: Mapping[str, pd.DataFrame],
    references: References,
) -> dict[str, Decision]:
    """Tunes every system on dev.

    First the weights are tuned. With these weights, the temperature of the posteriors and the
    other settings of the method of choice are tuned, and last the confidences of words.

    Args:
        systems: systems by name, in any order.
        dev: dev N-best table of each first pass; if it is empty, weights must be fixed.
        references: the references of all dev splits.

    Raises:
        InputError: There are weights to tune, but no dev split.
    """
    found: dict[str, Decision] = {}
    for name, plan in sorted(systems.items(), key=lambda item: bool(item[1].system.systems)):
        system = plan.system
        weights, tuned = system.weights, None
        if system.columns:
            if system.lists not in dev:
                raise InputError(
                    f"system {name!r} has `columns` to tune, but there is no dev split to "
                    "tune them on; name one in `dev`, or give the system fixed `weights`"
                )
            tuned = tune_weights(dev[system.lists], system.columns, references)
            weights = tuned.weights
        found[name] = Decision(weights, Choice(system.choose), None, tuned)
        if weights is None and not system.systems:
            continue
        if any(lists not in dev for lists in plan.parts.values()):
            continue  # without dev, the defaults are used
        pool = pool_of(plan, dev, found)
        choice = tune_choice(pool, system.choose, counter(pool, references))
        texts = choose(pool, choice).texts
        right = right_words(
            references.of(pool.utts),
            [references.spell(text) for text in texts],
            references.counting.alignment,
        )
        trust = None
        if len(right) == sum(len(text.split()) for text in texts):
            trust = tune_trust(pool, texts, right, choice.shares)
        found[name] = Decision(weights, choice, trust, tuned)
    return {name: found[name] for name in systems}


def tune_weights(table: pd.DataFrame, columns: Sequence[str], references: References) -> Tuned:
    """Weights with the fewest word errors on N-best lists, see `lm.rerank.tune.tune`."""
    errors = references.counts(table)["errors"].to_numpy()
    return tune(table, errors, columns, seed=references.counting.seed)


def pool_of(
    plan: SystemPlan, tables: Mapping[str, pd.DataFrame], decisions: Mapping[str, Decision]
) -> Pool:
    """The N-best lists that a system chooses from, with their weighted sums.

    Args:
        plan: the system.
        tables: N-best table by first pass.
        decisions: decisions of the parts of the system, by name; their weights are used.
    """
    parts = [(tables[lists], decisions[part].weights) for part, lists in plan.parts.items()]
    totals = [total(t, weights) if weights else np.zeros(len(t)) for t, weights in parts]
    return Pool.of([table for table, _ in parts], totals)


def counter(pool: Pool, references: References) -> Count:
    """Counts the word errors of a transcript for each utterance of the pool."""

    def count(texts: Sequence[str]) -> np.ndarray:
        table = pd.DataFrame({"utt": pool.utts, "text": texts})
        return references.counts(table)["errors"].to_numpy()

    return count
