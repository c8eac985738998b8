"""Linear mixtures of whole n-gram models, tuned on held-out text, as one back-off model.

Weights by expectation maximisation (Jelinek and Mercer 1980, "Interpolated estimation of Markov
source parameters from sparse data"); the mixture is made static as SRILM's `-mix-lm` does
(Stolcke 2002): every n-gram of any model gets its mixed probability, and the back-off weights are
computed anew. For other n-grams the back-off is an approximation of the mixture.
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
        weights: (models,) that sum to one.
        heldout: what the held-out text says, None without one.
    """

    model: Arpa
    weights: np.ndarray
    heldout: Heldout | None


@dataclass(frozen=True)
class Heldout:
    """What models say of held-out text, `</s>` counted as a word.

    Attributes:
        words: how many words any model knows.
        unknown: how many no model knows; they are left out.
        missing: how many of `words` each model does not know.
        perplexities: of each model, over the words that it knows.
        mixed: of the mixture, word by word, over `words`.
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
    the others, and `<unk>` keeps the mixture of the models' own. In a history it is looked up
    like any other word, and so is in no n-gram of that model.

    Args:
        models: One or more.
        weights: One positive number per model, scaled to sum to one.
        heldout: Texts, one sentence each, to choose the weights on if none are given.

    Raises:
        InputError: Neither or wrong weights, or no model knows a word of the held-out text.
    """
    if weights is None and heldout is None:
        raise InputError("no weights to mix with; give --heldout TEXT or --mix-weights")
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

    The log-likelihood is concave in the weights, so that EM finds the best there are.

    Args:
        probabilities: (models, W) of each word under each model, some model's above 0.

    Returns:
        (models,) that sum to one.
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
        How many these are, how many words are unknown, the perplexity.
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
    """(models, W) probabilities of the words that a model knows, and how many none does."""
    if not any(text.split() for text in texts):
        raise InputError("the held-out text has no words; give text, a sentence a line")
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
