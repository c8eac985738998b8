"""Confusion networks: the possible words at each place of an utterance, and a vote over them.

Mangu, Brill & Stolcke 2000, "Finding consensus in speech recognition", Computer Speech and Language
14(4), here from N-best lists. Over N-best lists of several systems it is the vote of Fiscus 1997,
"A post-processing system to yield reduced word error rates: ROVER", ASRU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lm.jit import kernel
from lm.rerank.pool import Pool

NOTHING = 0  # the choice of no word in a slot
EQUAL = 1e-12  # masses closer than this are the same mass


@dataclass(frozen=True)
class Network:
    """The confusion network of one utterance: S slots, V words.

    Attributes:
        words: the words by number; number 0 means no word.
        mass: float (S, V), the probability of each word in each slot; rows sum to 1.
        pivot: int (S,), the word of the likeliest hypothesis in each slot.
    """

    words: tuple[str, ...]
    mass: np.ndarray
    pivot: np.ndarray

    def vote(self, nothing: float = 1.0) -> tuple[list[str], np.ndarray]:
        """The likeliest word of every slot. Among equals it is that of the likeliest hypothesis,
        then the word that came first.

        Args:
            nothing: factor of the mass of no word; above 1 for shorter transcripts.

        Returns:
            The words, and the mass of each in its slot, (words,).
        """
        scores = self.mass.copy()
        scores[:, NOTHING] *= nothing
        scores[np.arange(len(scores)), self.pivot] += EQUAL
        best = scores.argmax(axis=1) if len(scores) else np.zeros(0, dtype=int)
        kept = np.flatnonzero(best != NOTHING)
        return [self.words[n] for n in best[kept]], self.mass[kept, best[kept]]

    def confidences(self, text: str) -> np.ndarray:
        """The mass of each word of a text in the slot that it falls in, (words,).

        The text is aligned with the network for the fewest expected errors; a word that is not in
        the network has 0.
        """
        numbers = {word: number for number, word in enumerate(self.words) if number}
        words = np.array([numbers.get(word, -1) for word in text.split()], dtype=np.int64)
        slots = _align(self.mass, len(self.mass), words)
        found = np.zeros(len(words))
        inside = (slots >= 0) & (words >= 0)
        found[inside] = self.mass[slots[inside], words[inside]]
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
        numbers, mass, pivot = _build(pool.words, pool.starts, rows, joint)
        words = ("", *(pool.vocabulary[number] for number in numbers))
        found.append(Network(words, mass, pivot))
    return found


@kernel
def _build(
    words: np.ndarray, starts: np.ndarray, rows: np.ndarray, posterior: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of the network's words, its masses and its pivot."""
    count = 0
    for row in rows:
        count += starts[row + 1] - starts[row]
    every = np.empty(count, dtype=np.int64)
    count = 0
    for row in rows:
        for place in range(starts[row], starts[row + 1]):
            every[count] = words[place]
            count += 1
    numbers = np.unique(every)
    room = starts[rows[0] + 1] - starts[rows[0]] + 8
    mass = np.zeros((room, len(numbers) + 1))
    pivot = np.zeros(room, dtype=np.int64)
    size = 0
    before = 0.0
    for turn in range(len(rows)):
        row = rows[turn]
        own = words[starts[row] : starts[row + 1]]
        spelled = np.searchsorted(numbers, own) + 1
        share = posterior[row]
        if turn == 0:
            size = len(spelled)
            for slot in range(size):
                mass[slot, spelled[slot]] = share
                pivot[slot] = spelled[slot]
            before = share
            continue
        slots = _align(mass[:size] / max(before, 1e-300), size, spelled)
        new = 0
        for slot in slots:
            new += slot < 0
        if size + new > len(mass):
            larger = np.zeros((2 * (size + new), mass.shape[1]))
            larger[:size] = mass[:size]
            mass = larger
            longer = np.zeros(len(mass), dtype=np.int64)
            longer[:size] = pivot[:size]
            pivot = longer
        # From the end, so that every slot is moved only once.
        target = size + new - 1
        source = size - 1
        word = len(spelled) - 1
        while target >= 0:
            if word >= 0 and slots[word] < 0:
                mass[target] = 0.0
                mass[target, NOTHING] = before
                mass[target, spelled[word]] = share
                pivot[target] = NOTHING
                word -= 1
            else:
                if target != source:
                    mass[target] = mass[source]
                    pivot[target] = pivot[source]
                if word >= 0 and slots[word] == source:
                    mass[target, spelled[word]] += share
                    word -= 1
                else:
                    mass[target, NOTHING] += share
                source -= 1
            target -= 1
        size += new
        before += share
    return numbers, mass[:size] / max(before, 1e-300), pivot[:size].copy()


@kernel
def _align(mass: np.ndarray, size: int, words: np.ndarray) -> np.ndarray:
    """The slot of each word for the fewest expected errors, -1 for a word between slots.

    Args:
        mass: (S, V) with rows that sum to 1.
        size: S.
        words: (W,) numbers of words, -1 for one that is not in the network.
    """
    cost = np.empty((size + 1, len(words) + 1))
    cost[0, 0] = 0.0
    for slot in range(size):
        cost[slot + 1, 0] = cost[slot, 0] + 1.0 - mass[slot, NOTHING]
    for word in range(len(words)):
        cost[0, word + 1] = cost[0, word] + 1.0
    for slot in range(size):
        skip = 1.0 - mass[slot, NOTHING]
        for word in range(len(words)):
            share = mass[slot, words[word]] if words[word] >= 0 else 0.0
            cost[slot + 1, word + 1] = min(
                cost[slot, word] + 1.0 - share,
                cost[slot, word + 1] + skip,
                cost[slot + 1, word] + 1.0,
            )
    found = np.full(len(words), -1)
    slot, word = size, len(words)
    while word > 0:
        if slot > 0:
            number = words[word - 1]
            share = mass[slot - 1, number] if number >= 0 else 0.0
            here = cost[slot, word]
            if cost[slot - 1, word - 1] + 1.0 - share <= here + EQUAL:
                slot -= 1
                word -= 1
                found[word] = slot
                continue
            if cost[slot - 1, word] + 1.0 - mass[slot - 1, NOTHING] <= here + EQUAL:
                slot -= 1
                continue
        word -= 1
    return found
