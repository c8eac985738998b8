"""sclite's alignment of two lattices, the one of a reference with alternatives and a hypothesis's.

Costs are single-precision numbers that are added in sclite's order, because their rounding decides
between alignments whose costs are otherwise equal.
"""

from __future__ import annotations

import numpy as np

from asr.evaluation.edits import DELETION, HIT, INSERTION, SKIPPED, SUBSTITUTION
from asr.evaluation.lattice import NULL_ARC, OPTIONAL_ARC, Lattice
from lm.jit import kernel

KEPT_CELLS = 1 << 22  # costs up to which all are kept
FARTHEST = np.float32(1e9)
# sclite's costs: of a missing or inserted word, of an optional one, of `@`, of two different words,
# and of `@` in both.
MISSING, OPTIONAL, NULL = np.float32(3.0), np.float32(2.0), np.float32(0.001)
DIFFERENT, BOTH_NULL = np.float32(4.0), np.float32(1.0)


def lattice_path(
    reference: Lattice, hypothesis: Lattice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kind of every place of the alignment, and the arcs that are aligned there.

    Places of `@` are left out.

    Returns:
        int8 (P,) kinds; int32 (P,) arcs of the reference, -1 at an insertion; int32 (P,) arcs of
        the hypothesis, -1 at a deletion and where an optional word is missing.
    """
    size, width = len(reference.words), len(hypothesis.words)
    step = size
    if size * width > KEPT_CELLS:
        step = int(np.ceil(np.sqrt(size)))
    # Blocks begin where a place begins: all paths go through these points.
    firsts = np.flatnonzero(np.diff(reference.places, prepend=-2))[1:]
    blocks, last = [], -step
    for first in firsts.tolist():
        if first - last >= step:
            blocks.append(first)
            last = first
    found: tuple[np.ndarray, np.ndarray, np.ndarray] = _path(
        *(reference.words, reference.kinds, reference.starts, reference.before, reference.finals),
        *(hypothesis.words, hypothesis.kinds, hypothesis.starts, hypothesis.before),
        hypothesis.finals,
        np.array([*blocks, size], dtype=np.int64),
    )
    return found


@kernel
def _path(
    words: np.ndarray,
    kinds: np.ndarray,
    starts: np.ndarray,
    before: np.ndarray,
    finals: np.ndarray,
    hyp_words: np.ndarray,
    hyp_kinds: np.ndarray,
    hyp_starts: np.ndarray,
    hyp_before: np.ndarray,
    hyp_finals: np.ndarray,
    blocks: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `lattice_path`; `blocks` has the first arc of every block of arcs and their number."""
    size, width = len(words), len(hyp_words)
    count = len(blocks) - 1
    most = 1
    longest = 0
    borders = np.zeros(count + 1, dtype=np.int64)  # where each block's kept costs begin
    for block in range(count):
        first = blocks[block]
        entries = starts[first + 1] - starts[first]
        borders[block + 1] = borders[block] + entries
        most = max(most, entries)
        longest = max(longest, blocks[block + 1] - first)
    kept = np.empty((borders[count], width), dtype=np.float32)
    # The costs of a block: those of the arcs before it, then its own.
    rows = np.empty((most + longest, width), dtype=np.float32)
    local = np.zeros(size, dtype=np.int64)
    rows[0, 0] = 0.0
    for b in range(1, width):
        least = FARTHEST
        for n in range(hyp_starts[b], hyp_starts[b + 1]):
            least = min(least, rows[0, hyp_before[n]])
        rows[0, b] = least + _alone(hyp_kinds[b])
    for block in range(count):
        first, after = blocks[block], blocks[block + 1]
        entries = starts[first + 1] - starts[first]
        for n in range(entries):
            kept[borders[block] + n] = rows[local[before[starts[first] + n]]]
        for n in range(entries):
            rows[n] = kept[borders[block] + n]
            local[before[starts[first] + n]] = n
        _fill(
            rows, local, first, after, entries, width,
            words, kinds, starts, before, hyp_words, hyp_kinds, hyp_starts, hyp_before,
        )  # fmt: skip
    least = FARTHEST
    a = b = 0
    for final in finals:
        for hyp_final in hyp_finals:
            if rows[local[final], hyp_final] < least:
                least = rows[local[final], hyp_final]
                a, b = final, hyp_final
    path = np.empty(size + width, dtype=np.int8)
    ours = np.full(size + width, -1, dtype=np.int32)
    theirs = np.full(size + width, -1, dtype=np.int32)
    place = size + width
    for block in range(count - 1, -1, -1):
        first, after = blocks[block], blocks[block + 1]
        if block + 1 < count:
            entries = starts[first + 1] - starts[first]
            for n in range(entries):
                rows[n] = kept[borders[block] + n]
                local[before[starts[first] + n]] = n
            _fill(
                rows, local, first, after, entries, b + 1,
                words, kinds, starts, before, hyp_words, hyp_kinds, hyp_starts, hyp_before,
            )  # fmt: skip
        while a >= first:
            _, next_a, next_b = _best(
                rows, local, a, b,
                words, kinds, starts, before, hyp_words, hyp_kinds, hyp_starts, hyp_before,
            )  # fmt: skip
            kind = -1
            if next_a == a:
                kind = INSERTION if hyp_kinds[b] != NULL_ARC else -1
            elif next_b == b:
                kind = SKIPPED if kinds[a] == OPTIONAL_ARC else DELETION
                kind = -1 if kinds[a] == NULL_ARC else kind
            elif kinds[a] != NULL_ARC or hyp_kinds[b] != NULL_ARC:
                kind = HIT if words[a] == hyp_words[b] else SUBSTITUTION
            if kind >= 0:
                place -= 1
                path[place] = kind
                if next_a != a:
                    ours[place] = a
                if next_b != b:
                    theirs[place] = b
            a, b = next_a, next_b
    # Before the first word of the reference: `rows` has the costs of its beginning again.
    if count == 0:
        local[0] = 0
    while b > 0:
        if hyp_kinds[b] != NULL_ARC:
            place -= 1
            path[place] = INSERTION
            theirs[place] = b
        least = FARTHEST
        following = 0
        for n in range(hyp_starts[b], hyp_starts[b + 1]):
            if rows[local[0], hyp_before[n]] < least:
                least = rows[local[0], hyp_before[n]]
                following = hyp_before[n]
        b = following
    return path[place:].copy(), ours[place:].copy(), theirs[place:].copy()


@kernel
def _fill(
    rows: np.ndarray,
    local: np.ndarray,
    first: int,
    after: int,
    entries: int,
    width: int,
    words: np.ndarray,
    kinds: np.ndarray,
    starts: np.ndarray,
    before: np.ndarray,
    hyp_words: np.ndarray,
    hyp_kinds: np.ndarray,
    hyp_starts: np.ndarray,
    hyp_before: np.ndarray,
) -> None:
    """Writes the costs of a block's arcs below those of the `entries` arcs before it.

    The costs are those of `_best`; where they come from is asked for the path's cells only.
    """
    least = np.empty(width, dtype=np.float32)
    for a in range(first, after):
        local[a] = entries + a - first
        row = rows[local[a]]
        least[:] = rows[local[before[starts[a]]], :width]
        for n in range(starts[a] + 1, starts[a + 1]):
            other = rows[local[before[n]]]
            for b in range(width):
                least[b] = min(least[b], other[b])
        alone, null, word = _alone(kinds[a]), kinds[a] == NULL_ARC, words[a]
        row[0] = least[0] + alone
        for b in range(1, width):
            previous = hyp_before[hyp_starts[b]]
            pair, more = least[previous], row[previous]
            for n in range(hyp_starts[b] + 1, hyp_starts[b + 1]):
                pair = min(pair, least[hyp_before[n]])
                more = min(more, row[hyp_before[n]])
            if null and hyp_kinds[b] == NULL_ARC:
                pair = pair + BOTH_NULL
            elif word != hyp_words[b]:
                pair = pair + DIFFERENT
            row[b] = min(pair, least[b] + alone, more + _alone(hyp_kinds[b]))


@kernel
def _best(
    rows: np.ndarray,
    local: np.ndarray,
    a: int,
    b: int,
    words: np.ndarray,
    kinds: np.ndarray,
    starts: np.ndarray,
    before: np.ndarray,
    hyp_words: np.ndarray,
    hyp_kinds: np.ndarray,
    hyp_starts: np.ndarray,
    hyp_before: np.ndarray,
) -> tuple[np.float32, int, int]:
    """The least cost up to two arcs, and the arcs before the last place: sclite's choice."""
    missing, missing_a = FARTHEST, -1
    for n in range(starts[a], starts[a + 1]):
        cost = rows[local[before[n]], b]
        if cost < missing:
            missing, missing_a = cost, before[n]
    missing = missing + _alone(kinds[a])
    if b == 0:
        return missing, missing_a, 0
    more, more_b = FARTHEST, -1
    for n in range(hyp_starts[b], hyp_starts[b + 1]):
        cost = rows[local[a], hyp_before[n]]
        if cost < more:
            more, more_b = cost, hyp_before[n]
    more = more + _alone(hyp_kinds[b])
    pair, pair_a, pair_b = FARTHEST, -1, -1
    for n in range(starts[a], starts[a + 1]):
        for m in range(hyp_starts[b], hyp_starts[b + 1]):
            cost = rows[local[before[n]], hyp_before[m]]
            if cost < pair:
                pair, pair_a, pair_b = cost, before[n], hyp_before[m]
    if kinds[a] == NULL_ARC and hyp_kinds[b] == NULL_ARC:
        pair = pair + BOTH_NULL
    elif words[a] != hyp_words[b]:
        pair = pair + DIFFERENT
    if pair <= missing and pair <= more:
        return pair, pair_a, pair_b
    if missing < more:
        return missing, missing_a, b
    return more, a, more_b


@kernel
def _alone(kind: int) -> np.float32:
    """The cost of a word that is aligned with none."""
    if kind == NULL_ARC:
        return NULL
    return OPTIONAL if kind == OPTIONAL_ARC else MISSING
