"""N-best lists of one or several systems, pooled by utterance, with the words as numbers.

`lm.rerank.score_arrays` has the lists of one system as a rectangle of scores, to try weights out;
here they are texts with one total score each, to compare hypotheses with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lm.errors import InputError


@dataclass(frozen=True)
class Pool:
    """N hypotheses of U utterances; those of an utterance are next to each other, in any order.

    Attributes:
        utts: the utterances, U of them.
        lists: int (U + 1,), where each utterance's hypotheses begin.
        texts: the hypotheses, N of them.
        words: int32, the words of all hypotheses one after the other, as numbers.
        starts: int (N + 1,), where each hypothesis's words begin.
        vocabulary: the words by number.
        system: int (N,), which system's list a hypothesis is from.
        row: int (N,), the row of a hypothesis in that system's table.
        totals: float (N,), weighted score of a hypothesis; -inf is legal.
        rank: int (N,), rank of a hypothesis in its list.
        twin: int (N,), number of the first hypothesis of the utterance with the same words.
    """

    utts: list[str]
    lists: np.ndarray
    texts: list[str]
    words: np.ndarray
    starts: np.ndarray
    vocabulary: list[str]
    system: np.ndarray
    row: np.ndarray
    totals: np.ndarray
    rank: np.ndarray
    twin: np.ndarray

    @classmethod
    def of(cls, tables: Sequence[pd.DataFrame], totals: Sequence[np.ndarray]) -> Pool:
        """Pools the lists of systems that have the same utterances.

        Args:
            tables: N-best table of each system.
            totals: weighted score of each row of each table, see `lm.combine.total`.

        Raises:
            InputError: a table is empty, or an utterance is not in every table.
        """
        if not tables or any(table.empty for table in tables):
            raise InputError("no hypotheses to choose from: an N-best table is empty")
        utts = tables[0]["utt"].drop_duplicates().tolist()
        for number, table in enumerate(tables[1:], start=2):
            if different := sorted(set(utts) ^ set(table["utt"])):
                shown = ", ".join(different[:5]) + (", …" if len(different) > 5 else "")
                raise InputError(
                    f"tables 1 and {number} have different utterances: {len(different)} are in one "
                    f"table only ({shown}); remove them from the table that has them, or add "
                    "their N-best lists to the other"
                )
        place = {utt: number for number, utt in enumerate(utts)}
        owner = np.concatenate([table["utt"].map(place).to_numpy() for table in tables])
        system = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        rank = np.concatenate([table["rank"].to_numpy() for table in tables])
        order = np.lexsort((rank, system, owner))
        row = np.concatenate([np.arange(len(table)) for table in tables])
        every = np.concatenate([table["text"].to_numpy(dtype=object) for table in tables])
        texts = every[order].tolist()
        owner = owner[order]
        ids: dict[str, int] = {}
        words: list[int] = []
        starts, twin = [0], []
        known: dict[tuple[int, tuple[int, ...]], int] = {}
        for number, (utt, text) in enumerate(zip(owner.tolist(), texts, strict=True)):
            own = tuple(ids.setdefault(word, len(ids)) for word in text.split())
            words.extend(own)
            starts.append(len(words))
            twin.append(known.setdefault((utt, own), number))
        return cls(
            utts,
            np.searchsorted(owner, np.arange(len(utts) + 1)),
            texts,
            np.array(words, dtype=np.int32),
            np.array(starts, dtype=np.int64),
            list(ids),
            system[order],
            row[order],
            np.concatenate(list(totals))[order].astype(np.float64),
            rank[order],
            np.array(twin, dtype=np.int64),
        )

    @property
    def owner(self) -> np.ndarray:
        """int (N,), the number of each hypothesis's utterance."""
        return np.repeat(np.arange(len(self.utts)), np.diff(self.lists))

    @property
    def hopeless(self) -> np.ndarray:
        """bool (U,), whether all hypotheses of one of an utterance's lists have a total of -inf.

        Such totals do not say which hypothesis is better, nor how sure a word is.
        """
        systems = int(self.system.max()) + 1
        group = self.owner * systems + self.system
        alive = np.bincount(group, self.totals > -np.inf, minlength=len(self.utts) * systems)
        dead: np.ndarray = (alive.reshape(-1, systems) == 0).any(axis=1)
        return dead

    def posterior(self, temperature: float = 1.0, shares: Sequence[float] = ()) -> np.ndarray:
        """Probability of every hypothesis among those of its utterance.

        It is a softmax of the totals, divided by the temperature, within each system's list, times
        the system's share. If all hypotheses of a list are impossible, the first has all.

        Args:
            temperature: number above 0; near 0 the best hypothesis has all of the probability,
                and with a high temperature all hypotheses have equal parts.
            shares: share of each system, with sum 1; by default all are equal.

        Returns:
            (N,), summing to 1 for each utterance.
        """
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        systems = int(self.system.max()) + 1
        given = np.asarray(shares if len(shares) else np.full(systems, 1 / systems), dtype=float)
        if len(given) != systems or (given < 0).any() or abs(given.sum() - 1) > 1e-9:
            raise ValueError(f"shares {list(shares)} of {systems} systems: one each, with sum 1")
        group = self.owner * systems + self.system
        firsts = np.flatnonzero(np.diff(group, prepend=-1))
        lengths = np.diff(np.append(firsts, len(group)))
        best = np.repeat(np.maximum.reduceat(self.totals, firsts), lengths)
        hopeless = np.isneginf(best)
        with np.errstate(invalid="ignore"):
            scores = np.exp((self.totals - best) / temperature)
        scores[hopeless] = 0.0
        scores[firsts[hopeless[firsts]]] = 1.0
        sums = np.repeat(np.add.reduceat(scores, firsts), lengths)
        found: np.ndarray = scores / sums * given[self.system]
        return found
