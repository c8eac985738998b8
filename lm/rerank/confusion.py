"""Confusion networks: the possible words at each place of an utterance, and a vote over them.

Mangu, Brill & Stolcke 2000, "Finding consensus in speech recognition", Computer Speech and Language
14(4), here from N-best lists. Over N-best lists of several systems it is the vote of Fiscus 1997,
"A post-processing system to yield reduced word error rates: ROVER", ASRU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lm.rerank.pool import Pool
from lm.rerank.slots import EQUAL, NOTHING, align_slots, build_slots


@dataclass(frozen=True)
class Network:
    """The confusion network of one utterance: S slots, V words, at most K of them in a slot.

    Attributes:
        words: the words by number; number 0 means no word.
        entries: int32 (S, K), the words of each slot by number: 0 first, -1 where there is no more.
        shares: float (S, K), the probability of each of these words; rows sum to 1.
        pivot: int (S,), the word of the likeliest hypothesis in each slot.
    """

    words: tuple[str, ...]
    entries: np.ndarray
    shares: np.ndarray
    pivot: np.ndarray

    @property
    def mass(self) -> np.ndarray:
        """float (S, V), the probability of every word in each slot: large for a long text."""
        found = np.zeros((len(self.entries), len(self.words)))
        slots, places = np.nonzero(self.entries >= 0)
        found[slots, self.entries[slots, places]] = self.shares[slots, places]
        return found

    def vote(self, nothing: float = 1.0) -> tuple[list[str], np.ndarray]:
        """The likeliest word of every slot. Among equals it is that of the likeliest hypothesis,
        then the word that came first.

        Args:
            nothing: factor of the mass of no word; above 1 for shorter transcripts.

        Returns:
            The words, and the mass of each in its slot, (words,).
        """
        if not len(self.entries):
            return [], np.zeros(0)
        used = self.entries >= 0
        scores = np.where(used, self.shares, -np.inf)
        scores[:, NOTHING] *= nothing
        scores[self.entries == self.pivot[:, None]] += EQUAL
        # Among equals the lowest number, which is that of the word that came first.
        leads = scores == scores.max(axis=1, keepdims=True)
        best = np.where(leads, self.entries, len(self.words)).argmin(axis=1)
        chosen = self.entries[np.arange(len(best)), best]
        kept = np.flatnonzero(chosen != NOTHING)
        return [self.words[n] for n in chosen[kept]], self.shares[kept, best[kept]]

    def confidences(self, text: str) -> np.ndarray:
        """The mass of each word of a text in the slot that it falls in, (words,).

        The text is aligned with the network for the fewest expected errors; a word that is not in
        the network has 0.
        """
        numbers = {word: number for number, word in enumerate(self.words) if number}
        words = np.array([numbers.get(word, -1) for word in text.split()], dtype=np.int64)
        slots = align_slots(
            self.entries, self.shares, len(self.entries), 1.0, len(self.words) - 1, words
        )
        found = np.zeros(len(words))
        inside = np.flatnonzero((slots >= 0) & (words >= 0))
        here = self.entries[slots[inside]] == words[inside, None]
        found[inside] = np.where(here, self.shares[slots[inside]], 0.0).sum(axis=1)
        return found


def networks(pool: Pool, posterior: np.ndarray) -> list[Network]:
    """The network of every utterance of a pool.

    The likeliest hypothesis comes first and gives the slots. The others follow in the order of
    their probability; each is aligned with the network so far for the fewest expected word errors.
    A word costs 1 minus its share of the slot, to skip a slot costs 1 minus the share of no word,
    and a new slot costs 1. So every hypothesis of the list is a path through its network.

    Args:
        pool: N hypotheses.
        posterior: (N,) probabilities from `Pool.posterior`.
    """
    found = []
    # A text of several systems is one hypothesis; its probabilities are added.
    alone = np.flatnonzero(pool.twin == np.arange(len(pool.twin)))
    joint = np.bincount(pool.twin, posterior, minlength=len(posterior))
    owner = pool.owner[alone]
    order = alone[np.lexsort((alone, -joint[alone], owner))]
    lists = np.searchsorted(owner, np.arange(len(pool.utts) + 1))
    for utt in range(len(pool.utts)):
        rows = order[lists[utt] : lists[utt + 1]]
        numbers, entries, shares, pivot = build_slots(pool.words, pool.starts, rows, joint)
        words = ("", *(pool.vocabulary[number] for number in numbers))
        found.append(Network(words, entries, shares, pivot))
    return found
