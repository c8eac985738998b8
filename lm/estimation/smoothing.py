"""Discounting and interpolation of one order's n-grams: the formulas of Kneser-Ney smoothing.

Chen and Goodman (1998); see `lm.estimation.kneser_ney` for the conventions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lm.errors import InputError
from lm.estimation.counts import NOT_KEPT, Packing
from lm.estimation.external_sort import Sorter, Tape, Workspace
from lm.jit import kernel

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
LOWEST = 1e-99  # for a probability of 0, which discounts of 0 can give; its log10 is -99


def discounts_of(
    counts_of_counts: np.ndarray,
    order: int,
    fallback: bool = False,
    report: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Discounts for the counts 0, 1, 2, and 3 or more: (4,), the first 0.

    Chen and Goodman's equation 26: with n_j n-grams of adjusted count j and Y = n_1/(n_1 + 2 n_2),
    D_j = j - (j + 1) Y n_{j+1}/n_j.

    For one n-gram of each lower order, the last in suffix order, lmplz uses the occurrences instead
    of the adjusted count. This matters only if the n-gram is repeated in a small text: in a text
    of 6,000 sentences, each given twice, log10 probabilities differ by up to 2e-4.

    Args:
        counts_of_counts: (5 or more,) n_j, from n_0.
        order: Length of the n-grams.
        fallback: Whether fixed discounts are returned if the counts give none.
        report: Called with a message when these are used.

    Raises:
        InputError: An n_j is 0 or a discount is negative, and `fallback` is off.
    """
    n = counts_of_counts.astype(float)
    problem = ""
    discounts = np.zeros(4)
    for j in (1, 2, 3):
        if not n[j]:
            problem = f"no {order}-gram has adjusted count {j}"
            break
        discounts[j] = j - (j + 1) * n[1] / (n[1] + 2 * n[2]) * n[j + 1] / n[j]
        if discounts[j] < 0:
            problem = f"the {order}-grams' discount for count {j} would be {discounts[j]:.3f}"
            break
    if not problem:
        return discounts
    if not fallback:
        raise InputError(
            f"no Kneser-Ney discounts for {order}-grams: {problem} (the text is too small, "
            "repeated or not natural); give more text, a lower --order, or --discount-fallback"
        )
    if report:
        report(f"{problem}: fallback discounts for {order}-grams")
    return np.array([0.0, *FALLBACK_DISCOUNTS])


def log10(probability: np.ndarray) -> np.ndarray:
    """float32 log10; rounding must not lift a probability above 1."""
    return np.minimum(np.log10(np.maximum(probability, LOWEST)), 0.0).astype(np.float32)


class _Context(NamedTuple):
    """State of the context that is being read.

    Attributes:
        total: (1,) sum of the adjusted counts of its n-grams.
        kept_total: (1,) the same sum over the kept n-grams.
        kept: (4,) number of kept n-grams of adjusted count 1, 2, and 3 or more; 0 at first.
        size: (1,) number of kept n-grams, which wait for the total.
        pending: (any, C + 3) rows of these n-grams.
        emitted: (1,) number of kept n-grams of all contexts so far.
    """

    total: np.ndarray
    kept_total: np.ndarray
    kept: np.ndarray
    size: np.ndarray
    pending: np.ndarray
    emitted: np.ndarray


class _Discounted(NamedTuple):
    """Output of the pass for contexts and for kept n-grams; it is large enough for all of them.

    Attributes:
        weights: back-off weights of the contexts.
        grams: (capacity, C + 1) packed words and occurrences.
        ranks: (capacity, 2) ranks in suffix order and in context order.
        values: (capacity, 2) discounted probability, back-off weight of the context.
    """

    weights: np.ndarray
    grams: np.ndarray
    ranks: np.ndarray
    values: np.ndarray


def discount(
    rows: Sorter,
    contexts: Tape,
    order: int,
    highest: bool,
    discounts: np.ndarray,
    packing: Packing,
    workspace: Workspace,
) -> tuple[Tape, Tape, Sorter]:
    """Reads the n-grams of one order in context order and discounts their counts.

    Args:
        rows: See `Counts`.
        contexts: Packed words and occurrences of the kept n-grams of the order below.
        order: Length of the n-grams.
        highest: Whether this is the order of the model.
        discounts: (4,) see `discounts_of`.
        packing: How words are packed.
        workspace: Memory and disk to sort in.

    Returns:
        float32 log10 of the contexts' back-off weights; packed words and occurrences of the kept
        n-grams; a sorter by their rank in suffix order, with the columns: this rank, the rank in
        context order, the discounted probability and the context's back-off weight, both float64.
    """
    columns = packing.columns(order)
    backoffs = Tape(workspace, np.float32)
    grams = Tape(workspace, np.uint64, columns + 1)
    discounted = Sorter(workspace, 4, [(0, 40)])
    counter = np.zeros(1, np.int64)
    state = _Context(
        total=counter.copy(),
        kept_total=counter.copy(),
        kept=np.zeros(4, np.int64),
        size=counter.copy(),
        pending=np.empty((1024, columns + 3), np.uint64),
        emitted=counter.copy(),
    )
    blocks = rows.blocks()
    block, at = next(blocks, None), 0
    for context_block in contexts.blocks():
        left = context_block
        while len(left):
            given = np.empty((0, columns + 3), np.uint64) if block is None else block[at:]
            capacity = len(given) + int(state.size[0])
            if len(state.pending) < capacity:
                state = state._replace(pending=_grown(state.pending, 2 * capacity))
            out = _Discounted(
                weights=np.empty(len(left)),
                grams=np.empty((capacity, columns + 1), np.uint64),
                ranks=np.empty((capacity, 2), np.uint64),
                values=np.empty((capacity, 2)),
            )
            read, finished, written = _read_context_order(
                given, left, block is None, highest, discounts, packing, order, state, out
            )
            left = left[finished:]
            backoffs.append(log10(out.weights[:finished]))
            grams.append(out.grams[:written])
            bits = out.values[:written].view(np.uint64)
            discounted.append(np.hstack([out.ranks[:written], bits]))
            at += read
            if block is not None and at == len(block):
                block, at = next(blocks, None), 0
    return backoffs, grams, discounted


def _grown(array: np.ndarray, rows: int) -> np.ndarray:
    """A copy with more rows."""
    grown = np.empty((rows, array.shape[1]), array.dtype)
    grown[: len(array)] = array
    return grown


@kernel
def _read_context_order(
    rows: np.ndarray,
    contexts: np.ndarray,
    is_last: bool,
    highest: bool,
    discounts: np.ndarray,
    packing: Packing,
    order: int,
    state: _Context,
    out: _Discounted,
) -> tuple[int, int, int]:
    """Reads n-grams and contexts together until one of them ends.

    Returns:
        The numbers of n-grams read, of contexts finished, and of n-grams written.
    """
    columns, context_columns = rows.shape[1] - 3, contexts.shape[1] - 1
    # The place of the last word in the key; everything before it is the context.
    last_column, last_field = (order - 1) // packing.fields, (order - 1) % packing.fields
    width = np.uint64((packing.fields - last_field) * packing.bits)
    at, finished, written = 0, 0, 0
    while finished < len(contexts):
        context = contexts[finished]
        while at < len(rows):
            above, below = False, False  # the n-gram's context, compared with this context
            for column in range(context_columns):
                key = rows[at, column]
                if column == last_column:
                    key = (key >> width) << width
                if key != context[column]:
                    above = key > context[column]
                    below = not above
                    break
            if above:
                break
            if not below:
                count = np.int64(rows[at, columns + 1])
                state.total[0] += count
                if rows[at, columns + 2] != NOT_KEPT:
                    state.kept_total[0] += count
                    state.kept[np.minimum(count, 3)] += 1
                    state.pending[state.size[0]] = rows[at]
                    state.size[0] += 1
            at += 1
        if at == len(rows) and not is_last:
            break
        # For the highest order, only kept n-grams are here, but their counts are occurrences.
        total = np.int64(context[context_columns]) if highest else state.total[0]
        weight = 1.0
        if total > 0:
            taken = float(total - state.kept_total[0])
            for j in range(1, 4):
                taken += float(discounts[j] * state.kept[j])
            weight = float(taken / total)
        for i in range(state.size[0]):
            row = state.pending[i]
            count = np.int64(row[columns + 1])
            out.grams[written] = row[: columns + 1]
            out.ranks[written, 0] = row[columns + 2]
            out.ranks[written, 1] = np.uint64(state.emitted[0])
            out.values[written, 0] = (count - discounts[np.minimum(count, 3)]) / total
            out.values[written, 1] = weight
            state.emitted[0] += 1
            written += 1
        out.weights[finished] = weight
        finished += 1
        state.total[0] = 0
        state.kept_total[0] = 0
        state.kept[:] = 0
        state.size[0] = 0
    return at, finished, written


def interpolate(
    discounted: Sorter, suffixes: Tape, lower: Tape, workspace: Workspace
) -> tuple[Tape, Tape]:
    """Reads the kept n-grams of one order in suffix order and interpolates with lower orders.

    Args:
        discounted: See `discount`.
        suffixes: See `Counts`.
        lower: Probabilities of the order below in suffix order.
        workspace: Memory and disk to sort in.

    Returns:
        float64 probabilities in suffix order, and float32 log10 of them in context order.
    """
    probabilities = Tape(workspace, np.float64)
    by_context = Sorter(workspace, 2, [(0, 40)])
    start = 0
    for block in discounted.blocks():
        suffix = suffixes.read(start, start + len(block))
        start += len(block)
        below = lower.read(int(suffix[0]), int(suffix[-1]) + 1)[suffix - suffix[0]]
        values = np.ascontiguousarray(block[:, 2:]).view(np.float64)
        probability = values[:, 0] + values[:, 1] * below
        probabilities.append(probability)
        logprob = log10(probability).view(np.uint32).astype(np.uint64)
        by_context.append(np.stack([block[:, 1], logprob], axis=1))
    logprobs = Tape(workspace, np.float32)
    for block in by_context.blocks():
        logprobs.append(block[:, 1].astype(np.uint32).view(np.float32))
    return probabilities, logprobs
