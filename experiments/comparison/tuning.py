"""How each system decides: weights, the way to choose, trust in its words, all from dev."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from asr.evaluation.alignment import right_words
from experiments.comparison.references import References
from lm.combine import total
from lm.errors import InputError
from lm.rerank.decision import Choice, Count, Trust, choose, tune_choice, tune_trust
from lm.rerank.methods import Method
from lm.rerank.pool import Pool
from lm.rerank.tune import Tuned, tune


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        lists: The first pass whose N-best lists it picks from.
        columns: Columns whose weights are tuned on dev (`acoustic` has weight 1); without any,
            the first pass's own best hypothesis is taken.
        weights: Fixed weights instead of tuned ones.
        choose: `map` takes the hypothesis of the best weighted sum, `mbr` the one of least
            expected word errors, `vote` each word by itself (the result may stand in no list).
        systems: Instead of `lists`: other systems whose lists are pooled, to choose from all.
    """

    lists: str = ""
    columns: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None
    choose: Method = "map"
    systems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.columns and self.weights:
            raise InputError("a system has either `columns` to tune or fixed `weights`, not both")
        if bool(self.lists) == bool(self.systems):
            raise InputError("a system picks from `lists`, or from those of other `systems`")
        if self.systems and (self.columns or self.weights):
            raise InputError("a system of other `systems` uses their weights and has none itself")
        if self.systems and self.choose == "map":
            raise InputError("a system of other `systems` needs `choose: vote` or `choose: mbr`")
        if self.choose != "map" and not (self.systems or self.columns or self.weights):
            raise InputError(f"`choose: {self.choose}` needs `columns` or `weights`")


@dataclass(frozen=True)
class Decision:
    """How a system decides, once it is tuned.

    Attributes:
        weights: By column; None takes rank 1.
        choice: The way to choose.
        trust: In its words; None where nothing is known of their posteriors.
        tuned: What tuning its weights gave, where they were tuned.
    """

    weights: Mapping[str, float] | None = None
    choice: Choice = field(default_factory=Choice)
    trust: Trust | None = None
    tuned: Tuned | None = None

    @property
    def told(self) -> str | None:
        """The way to choose in words; None for the plain weighted sum or rank 1."""
        if self.choice.method == "map":
            return None
        parts = [self.choice.method, f"temperature {self.choice.temperature:g}"]
        if self.choice.method == "vote" and self.choice.nothing != 1:
            parts.append(f"no word × {self.choice.nothing:g}")
        if self.choice.shares:
            parts.append("shares " + " ".join(f"{share:.3g}" for share in self.choice.shares))
        return ", ".join(parts)


def decide(
    systems: Mapping[str, System],
    dev: Mapping[str, pd.DataFrame],
    references: References,
) -> dict[str, Decision]:
    """Tunes every system on dev.

    Weights come first; then, with these, the temperature of the posteriors and whatever else the
    way to choose has; then what a word's posterior says about its being right.

    Args:
        systems: By name; those made of other systems may stand anywhere.
        dev: Dev N-best table by first pass; without any, nothing but fixed weights can be had.
        references: Of all dev splits.

    Raises:
        InputError: A system is made of one that is not there, or that has no weights; or there is
            no dev to tune on.
    """
    found: dict[str, Decision] = {}
    for name, system in sorted(systems.items(), key=lambda item: bool(item[1].systems)):
        weights, tuned = system.weights, None
        if system.columns:
            if system.lists not in dev:
                raise InputError(
                    f"system {name!r} has `columns` to tune, but there is no dev split to do it "
                    "on; name one in `dev`, or give the system fixed `weights`"
                )
            tuned = tune_weights(dev[system.lists], system.columns, references)
            weights = tuned.weights
        found[name] = Decision(weights, Choice(system.choose), None, tuned)
        parts = parts_of(name, systems)
        if weights is None and not system.systems:
            continue
        if any(systems[part].lists not in dev for part in parts):
            continue  # no dev: as the defaults have it
        pool = pool_of(name, systems, dev, found)
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
    """Weights with the fewest word errors on some lists, see `lm.rerank.tune.tune`."""
    errors = references.counts(table)["errors"].to_numpy()
    return tune(table, errors, columns, seed=references.counting.seed)


def parts_of(name: str, systems: Mapping[str, System]) -> tuple[str, ...]:
    """The systems whose lists a system chooses from: itself, where it has lists.

    Raises:
        InputError: It is made of a system that is not there, or that has no weights.
    """
    system = systems[name]
    for part in system.systems:
        if part not in systems or systems[part].systems:
            raise InputError(
                f"system {name!r} is made of {part!r}, which is no system with lists of its own "
                f"({', '.join(n for n, s in systems.items() if s.lists)})"
            )
        if not (systems[part].columns or systems[part].weights):
            raise InputError(
                f"system {name!r} is made of {part!r}, which has neither `columns` nor `weights`, "
                "so no posteriors"
            )
    return system.systems or (name,)


def pool_of(
    name: str,
    systems: Mapping[str, System],
    tables: Mapping[str, pd.DataFrame],
    decisions: Mapping[str, Decision],
) -> Pool:
    """The lists that a system chooses from, with their totals.

    Args:
        name: The system.
        systems: By name.
        tables: N-best table by first pass.
        decisions: Weights of the systems that it is made of.
    """
    parts = [(tables[systems[p].lists], decisions[p].weights) for p in parts_of(name, systems)]
    totals = [total(t, weights) if weights else np.zeros(len(t)) for t, weights in parts]
    return Pool.of([table for table, _ in parts], totals)


def counter(pool: Pool, references: References) -> Count:
    """Counts the word errors of a transcript for each utterance of the pool."""

    def count(texts: Sequence[str]) -> np.ndarray:
        table = pd.DataFrame({"utt": pool.utts, "text": texts})
        return references.counts(table)["errors"].to_numpy()

    return count
