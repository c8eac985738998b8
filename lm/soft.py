"""Weights that minimise expected word errors: a smooth objective over whole lists.

Where the 1-best's errors are a step function, the errors expected under the softmax of the totals
have a gradient, and every hypothesis has a say (Smith & Eisner 2006, "Minimum risk annealing for
training log-linear models", ACL). The softmax's sharpness is learned with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from lm.combine import total, winners
from lm.lists import Lists, is_count
from lm.tune import Tuned

STEPS = 200
STARTS = (0.1, 0.5)  # weights of all log-probs
SHARPNESS = (0.3, 1.0)


def tune_soft(
    table: pd.DataFrame,
    errors: np.ndarray | pd.Series,
    columns: Sequence[str],
    scale: str = "acoustic",
) -> Tuned:
    """Weights with the fewest expected word errors, by L-BFGS from a few starts.

    Args:
        table: N-best table of N rows; -inf is legal in scores.
        errors: (N,) word errors of each row's hypothesis.
        columns: names of the columns to weight, with or without the scale column.
        scale: column whose weight is fixed to 1.

    Returns:
        The weights, and the errors of the 1-best under them, as `lm.tune.tune`. Weights of
        log-probs are never negative.

    Raises:
        InputError: the table is empty, or a column is missing or holds NaN.
    """
    errors = np.asarray(errors)
    names = [scale, *dict.fromkeys(name for name in columns if name != scale)]
    lists = Lists.of(table, errors, names).undecided()
    signed = torch.tensor([is_count(name) for name in names[1:]], dtype=torch.bool)
    best: tuple[float, np.ndarray] | None = None
    for start in STARTS:
        for sharpness in SHARPNESS:
            found = _descend(lists, signed, start, sharpness)
            best = found if best is None or found[0] < best[0] else best
    assert best is not None
    weights = dict(zip(names, [1.0, *(float(f"{w:.4g}") for w in best[1])], strict=True))
    after, before = (
        int(errors[winners(table, total(table, w))].sum()) for w in (weights, {scale: 1.0})
    )
    return Tuned(weights, after, before)


def _descend(
    lists: Lists, signed: torch.Tensor, start: float, sharpness: float
) -> tuple[float, np.ndarray]:
    """The fewest expected errors from one start, and the weights (K - 1,)."""
    scores = torch.from_numpy(lists.scores)
    dead = torch.from_numpy(~lists.exists | lists.impossible.any(axis=2))
    dead &= ~dead.all(dim=1, keepdim=True)  # a list that is all impossible has all alike
    counts = torch.from_numpy(lists.errors.astype(np.float64))
    # Squares are never negative, and exp is always above 0.
    raw = torch.where(signed, 0.0, start**0.5).double().requires_grad_()
    log_sharpness = torch.tensor(np.log(sharpness)).double().requires_grad_()

    def weights() -> torch.Tensor:
        return torch.where(signed, raw, raw**2)

    def objective() -> torch.Tensor:
        if not len(scores):
            return 0.0 * raw.sum()
        totals = log_sharpness.exp() * (scores[..., 0] + scores[..., 1:] @ weights())
        posterior = totals.masked_fill(dead, -torch.inf).softmax(dim=1)
        return (posterior * counts).sum() / len(counts)

    optimizer = torch.optim.LBFGS(
        [raw, log_sharpness], max_iter=STEPS, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(objective().detach()), weights().detach().numpy()
