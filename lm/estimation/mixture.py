"""Linear mixtures of whole n-gram models, tuned on held-out text, as one back-off model.

The weights are found by expectation maximisation (Jelinek and Mercer 1980, "Interpolated estimation
of Markov source parameters from sparse data"). The mixture is one static model, as with SRILM's
`-mix-lm` (Stolcke 2002): every n-gram of any model gets its mixed probability, and the back-off
weights are computed again. For other n-grams, the back-off approximates the mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lm.errors import InputError
from lm.estimation.backoff_tables import (
    Tables,
    Values,
    normalised,
    numbered,
    to_arpa,
    unite,
    word_probabilities,
)
from lm.ngram.arpa import EOS, Arpa
from lm.ngram.model import NgramModel

CONVERGED = 1e-9  # change of a weight
MOST_STEPS = 10_000


@dataclass(frozen=True)
class Mixture:
    """Models mixed into one.

    Attributes:
        model: the static mixture.
        weights: (models,) weights with sum one.
        heldout: results on the held-out text, None without such a text.
    """

    model: Arpa
    weights: np.ndarray
    heldout: Heldout | None


@dataclass(frozen=True)
class Heldout:
    """Results of models on held-out text; `</s>` is counted as a word.

    Attributes:
        words: number of words that at least one model knows.
        unknown: number of words that no model knows; they are not included.
        missing: number of `words` that each model does not know.
        perplexities: perplexity of each model over the words that it knows.
        mixed: perplexity of the mixture, mixed word by word, over `words`.
    """

    words: int
    unknown: int
    missing: tuple[int, ...]
    perplexities: tuple[float, ...]
    mixed: float


def interpolate(
    models: Sequence[Arpa],
    weights: Sequence[float] | None = None,
    heldout: Sequence[str] | None = None,
) -> Mixture:
    """Mixes models.

    A word that one model does not know has probability 0 in it: its mixed probability comes from
    the others, and `<unk>` keeps the mixture of the models' own. In a history it is
    treated like any other word, so no n-gram of that model has it.

    Args:
        models: One or more.
        weights: One positive number per model, scaled to sum to one.
        heldout: Texts of one sentence each, on which the weights are chosen if none are given.

    Raises:
        InputError: There are neither weights nor held-out text, the weights are wrong, or no model
            knows a word of the held-out text.
    """
    if weights is None and heldout is None:
        raise InputError("there are no weights to mix with; give --heldout TEXT or --mix-weights")
    shares = None if weights is None else _checked(weights, len(models))
    tables, values = unite(models)
    summary = None
    if heldout is not None:
        probabilities, unknown = _probabilities(tables, values, heldout)
        if shares is None:
            shares = mixture_weights(probabilities)
        summary = Heldout(
            words=probabilities.shape[1],
            unknown=unknown,
            missing=tuple(np.count_nonzero(probabilities == 0, axis=1).tolist()),
            perplexities=tuple(perplexity(row[row > 0]) for row in probabilities),
            mixed=perplexity(shares @ probabilities),
        )
    assert shares is not None
    return Mixture(to_arpa(tables, _mixed(tables, values, shares)), shares, summary)


def mixture_weights(probabilities: np.ndarray) -> np.ndarray:
    """The weights that make a text most probable.

    The log-likelihood is concave in the weights, so EM finds the best weights.

    Args:
        probabilities: (models, W) of each word under each model; at least one is above 0.

    Returns:
        (models,) weights with sum one.
    """
    shares = np.full(len(probabilities), 1.0 / len(probabilities))
    for _ in range(MOST_STEPS):
        parts = shares[:, None] * probabilities
        updated = (parts / parts.sum(axis=0)).mean(axis=1)
        if np.abs(updated - shares).max() < CONVERGED:
            return updated
        shares = updated
    return shares


def perplexity(probabilities: np.ndarray) -> float:
    """Inverse geometric mean of word probabilities; infinite where there are none."""
    return float(np.exp(-np.log(probabilities).mean())) if len(probabilities) else np.inf


def heldout_perplexity(model: NgramModel, texts: Sequence[str]) -> tuple[int, int, float]:
    """Perplexity over the words that a model knows, `</s>` among them.

    Returns:
        The number of these words, the number of unknown words, the perplexity.
    """
    logprobs, _ = model.word_logprobs(texts)
    ends = [EOS] if model.eos >= 0 else []
    words = [word for text in texts for word in (*text.split(), *ends)]
    known = logprobs[np.array([word in model for word in words], bool)]
    return len(known), len(words) - len(known), perplexity(np.exp(known))


def _checked(weights: Sequence[float], models: int) -> np.ndarray:
    """(models,) the weights, scaled to sum to one."""
    given = " ".join(f"{weight:g}" for weight in weights)
    if len(weights) != models:
        raise InputError(
            f"--mix-weights {given}: {len(weights)} weights for {models} models; give one per model"
        )
    shares = np.array(weights, float)
    if not (np.isfinite(shares).all() and (shares > 0).all()):
        raise InputError(f"--mix-weights {given}: give numbers above 0")
    return shares / shares.sum()


def _probabilities(
    tables: Tables, values: Sequence[Sequence[Values]], texts: Sequence[str]
) -> tuple[np.ndarray, int]:
    """(models, W) probabilities of the words that any model knows, and how many no model knows."""
    if not any(text.split() for text in texts):
        raise InputError("the held-out text has no words; give text, one sentence per line")
    tokens, begins = numbered(tables, texts)
    unknown = int(np.count_nonzero((tokens < 0) & ~begins))
    words = sum(len(text.split()) for text in texts)
    if unknown == words:
        raise InputError(
            f"no model knows any of the held-out text's {words} words; "
            "spell it as the models do (upper or lower case)"
        )
    probabilities = word_probabilities(tables, values, tokens, begins)
    return probabilities[:, probabilities.max(axis=0) > 0], unknown


def _mixed(tables: Tables, values: Sequence[Sequence[Values]], shares: np.ndarray) -> list[Values]:
    """The numbers of the mixture."""
    probabilities = [
        sum(share * model[k].probability for share, model in zip(shares, values, strict=True))
        for k in range(len(tables.levels))
    ]
    everything = [np.ones(len(level), bool) for level in tables.levels]
    return normalised(tables, [np.asarray(p) for p in probabilities], everything)
