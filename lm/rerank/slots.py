"""Compiled functions of confusion networks: slots that hold few words, and texts aligned with them.

Memory grows with the number of slots times the number of hypotheses, not with the square of a
text's length: the alignment keeps only some rows of its cost matrix, and makes the others again
when it reads the alignment back.
"""

from __future__ import annotations

import numpy as np

from lm.jit import kernel

NOTHING = 0  # the choice of no word in a slot; its mass is in the first column
EQUAL = 1e-12  # masses closer than this are the same mass
KEPT_CELLS = 1 << 20  # cells of a cost matrix that are kept at once where the matrix is small


@kernel
def build_slots(
    words: np.ndarray, starts: np.ndarray, rows: np.ndarray, posterior: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The network of one utterance.

    Args:
        words: the words of all hypotheses of a pool, one after the other.
        starts: where each hypothesis's words begin.
        rows: (H,) the hypotheses of the utterance, the likeliest first.
        posterior: probability of every hypothesis of the pool.

    Returns:
        (V - 1,) the numbers of the network's words in the pool; int32 (S, K) the words of every
        slot, numbered from 1 in the order of the first array, with 0 (no word) first and -1 where
        there is no more; float (S, K) their masses; int (S,) the pivot.
    """
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
    width = 4
    entries = np.full((room, width), -1, dtype=np.int32)
    mass = np.zeros((room, width))
    entries[:, 0] = NOTHING
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
                entries[slot, 1] = spelled[slot]
                mass[slot, 1] = share
                pivot[slot] = spelled[slot]
            before = share
            continue
        divisor = max(before, 1e-300)
        slots = align_slots(entries, mass, size, divisor, len(numbers), spelled)
        new = 0
        for slot in slots:
            new += slot < 0
        full = False
        for slot in range(size):
            full = full or entries[slot, width - 1] >= 0
        if size + new > len(mass) or full:
            wider = 2 * width if full else width
            longer = max(len(mass), 2 * (size + new))
            more_entries = np.full((longer, wider), -1, dtype=np.int32)
            more_entries[:, 0] = NOTHING
            more_entries[:size, :width] = entries[:size]
            more_mass = np.zeros((longer, wider))
            more_mass[:size, :width] = mass[:size]
            more_pivot = np.zeros(longer, dtype=np.int64)
            more_pivot[:size] = pivot[:size]
            entries, mass, pivot, width = more_entries, more_mass, more_pivot, wider
        # From the end, so that every slot is moved only once.
        target = size + new - 1
        source = size - 1
        word = len(spelled) - 1
        while target >= 0:
            if word >= 0 and slots[word] < 0:
                entries[target, 1:] = -1
                mass[target] = 0.0
                mass[target, NOTHING] = before
                entries[target, 1] = spelled[word]
                mass[target, 1] = share
                pivot[target] = NOTHING
                word -= 1
            else:
                if target != source:
                    entries[target] = entries[source]
                    mass[target] = mass[source]
                    pivot[target] = pivot[source]
                place = NOTHING
                if word >= 0 and slots[word] == source:
                    place = 1
                    while entries[target, place] >= 0 and entries[target, place] != spelled[word]:
                        place += 1
                    entries[target, place] = spelled[word]
                    word -= 1
                mass[target, place] += share
                source -= 1
            target -= 1
        size += new
        before += share
    return numbers, entries[:size].copy(), mass[:size] / max(before, 1e-300), pivot[:size].copy()


@kernel
def align_slots(
    entries: np.ndarray,
    mass: np.ndarray,
    size: int,
    divisor: float,
    vocabulary: int,
    words: np.ndarray,
) -> np.ndarray:
    """The slot of each word for the fewest expected errors, -1 for a word between slots.

    Args:
        entries: (S, K) words of each slot, see `build_slots`.
        mass: (S, K) their masses.
        size: number of slots that are used.
        divisor: sum of the masses of a slot.
        vocabulary: number of different words in the network.
        words: (W,) numbers of words, -1 for one that is not in the network.
    """
    width = len(words)
    # One block holds all rows of a small matrix; otherwise a block has about as many rows as there
    # are blocks.
    step = size
    if size * (width + 1) > KEPT_CELLS:
        step = int(np.ceil(np.sqrt(8.0 * size)))
    blocks = (size + step - 1) // step if size else 0
    kept = np.empty((blocks, width + 1))
    shares = np.zeros(vocabulary + 1)
    line, following = np.empty(width + 1), np.empty(width + 1)
    line[0] = 0.0
    for word in range(width):
        line[word + 1] = line[word] + 1.0
    for block in range(blocks):
        kept[block] = line
        if block + 1 < blocks:
            for slot in range(block * step, (block + 1) * step):
                _next_line(entries, mass, slot, divisor, words, shares, line, following)
                line, following = following, line
    found = np.full(width, -1)
    rows = np.empty((step + 1, width + 1))
    slot, word = size, width
    for block in range(blocks - 1, -1, -1):
        first = block * step
        rows[0] = kept[block]
        last = min(first + step, size)
        # What is right of the word is behind the path.
        rest = words[:word]
        for number in range(first, last):
            before, after = rows[number - first], rows[number + 1 - first]
            _next_line(entries, mass, number, divisor, rest, shares, before, after)
        while slot > first and word > 0:
            number = words[word - 1]
            share = _share(entries, mass, slot - 1, divisor, number)
            here = rows[slot - first, word]
            if rows[slot - 1 - first, word - 1] + 1.0 - share <= here + EQUAL:
                slot -= 1
                word -= 1
                found[word] = slot
                continue
            nothing = mass[slot - 1, NOTHING] / divisor
            if rows[slot - 1 - first, word] + 1.0 - nothing <= here + EQUAL:
                slot -= 1
                continue
            word -= 1
    return found


@kernel
def _next_line(
    entries: np.ndarray,
    mass: np.ndarray,
    slot: int,
    divisor: float,
    words: np.ndarray,
    shares: np.ndarray,
    line: np.ndarray,
    following: np.ndarray,
) -> None:
    """Writes the costs after a slot, from those before it; both are (W + 1 or more,).

    `shares` are zeros by word, to look the masses of the slot up in; they are zeros again at the
    end.
    """
    for place in range(1, entries.shape[1]):
        if entries[slot, place] >= 0:
            shares[entries[slot, place]] = mass[slot, place] / divisor
    skip = 1.0 - mass[slot, NOTHING] / divisor
    following[0] = line[0] + 1.0 - mass[slot, NOTHING] / divisor
    for word in range(len(words)):
        share = shares[words[word]] if words[word] >= 0 else 0.0
        following[word + 1] = min(
            line[word] + 1.0 - share, line[word + 1] + skip, following[word] + 1.0
        )
    for place in range(1, entries.shape[1]):
        if entries[slot, place] >= 0:
            shares[entries[slot, place]] = 0.0


@kernel
def _share(entries: np.ndarray, mass: np.ndarray, slot: int, divisor: float, number: int) -> float:
    """The mass of a word in a slot."""
    share = 0.0
    if number >= 0:
        for place in range(1, entries.shape[1]):
            if entries[slot, place] == number:
                share = mass[slot, place] / divisor
    return share
