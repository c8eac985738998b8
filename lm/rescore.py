"""The second pass: one more column of log-probs in an N-best table.

A scorer is anything with `score(texts, progress)`. A new kind of model is one module that has such
a class, and one line in `load_scorer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from lm.errors import InputError
from lm.ngram import NgramModel
from lm.text import normaliser as normaliser_of

if TYPE_CHECKING:
    from lm.causal import CausalLM

# Told how many more texts have been scored.
Progress = Callable[[int], object]

# These say which hypothesis a row is and how long it is: no score can take their place.
NOT_SCORES = ("utt", "rank", "text", "words", "oov")
NGRAM_ENDINGS = (".arpa", ".arpa.gz", ".ngram")


@dataclass(frozen=True)
class Scores:
    """What a language model gives N texts.

    Attributes:
        logprob: (N,) float64, natural log of each text's probability; -inf is legal, NaN is not.
        tokens: (N,) int64, how many tokens were scored, the end of the sentence among them if it
            was scored.
    """

    logprob: np.ndarray
    tokens: np.ndarray


class TextError(InputError):
    """One text cannot be scored.

    Attributes:
        index: its place among the texts, from 0.
        reason: what is wrong with it and what to do, without its place.
    """

    def __init__(self, index: int, text: str, reason: str) -> None:
        start = " ".join(text.split()[:6])
        self.index = index
        self.reason = f"{shortened(start)!r}{' …' if start != text else ''} {reason}"
        super().__init__(f"text {index}: {self.reason}")


class Scorer(Protocol):
    """A model that scores whole texts."""

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts, in their order.

        Raises:
            TextError: A text cannot be scored.
        """


@dataclass(frozen=True)
class NgramScorer:
    """An n-gram model as a scorer; tokens are the words, and `</s>` where it is scored.

    Attributes:
        model: the n-gram model.
        eos: whether `</s>` is scored.
    """

    model: NgramModel
    eos: bool = True

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts, from `<s>` on; words are separated by white space."""
        logprobs, first = self.model.word_logprobs(texts, self.eos)
        text = np.repeat(np.arange(len(texts)), np.diff(first))
        if progress is not None:
            progress(len(texts))
        return Scores(np.bincount(text, logprobs, len(texts)), np.diff(first))


@dataclass(frozen=True)
class CausalScorer:
    """A causal language model as a scorer.

    Attributes:
        model: the loaded model.
        eos: whether the end of the sentence is scored.
        batch_tokens: tokens of one batch, padding counted in.
    """

    model: CausalLM
    eos: bool = True
    batch_tokens: int = 4096

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts, see `CausalLM.score`."""
        return self.model.score(texts, self.eos, self.batch_tokens, progress)


def load_scorer(
    model: str | Path,
    eos: bool = True,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int = 4096,
) -> Scorer:
    """Loads a language model of any kind that can rescore.

    Args:
        model: An n-gram model (ARPA, plain or gzipped, or our own format), or a causal language
            model (hub name or folder).
        eos: Whether the end of the sentence is scored.
        device: As `CausalLM.load`; an n-gram model has none.
        dtype: As `CausalLM.load`; an n-gram model has none.
        batch_tokens: Tokens of one batch of a causal model, padding counted in.

    Raises:
        InputError: The model cannot be loaded.
    """
    # A checkpoint is a folder, so a file of any name can only be an n-gram model.
    if str(model).endswith(NGRAM_ENDINGS) or Path(model).is_file():
        return NgramScorer(NgramModel.load(model), eos)
    from lm.causal import CausalLM  # torch and transformers take seconds to import

    return CausalScorer(CausalLM.load(str(model), device, dtype), eos, batch_tokens)


def rescore(
    table: pd.DataFrame,
    scorer: Scorer,
    name: str,
    normaliser: str = "none",
    progress: Progress | None = None,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Adds one language model's scores to an N-best table.

    Every different text is scored once.

    Args:
        table: N-best table with a column `text`; it stays as it is.
        scorer: The language model.
        name: The new column's name.
        normaliser: From the hypotheses' spelling to the model's, by name (see `lm.text`).
        progress: Told how many more rows are done; adds up to the number of rows.
        overwrite: Whether a score column of that name may be replaced.

    Returns:
        A copy with the columns `name` (natural log, unweighted) and `name.tokens`.

    Raises:
        InputError: The name is not free or not valid, there is no such normaliser, or a text
            cannot be scored; the utterance is named.
    """
    check_name(table, name, overwrite)
    normalise = normaliser_of(normaliser)
    codes, texts = pd.factorize(table["text"].map(normalise))
    if progress is not None:
        progress(len(table) - len(texts))
    try:
        scores = scorer.score(list(texts), progress)
    except TextError as error:
        raise InputError(f"{_place(table, codes, error.index)}: {error.reason}") from error
    wrong = np.flatnonzero(np.isnan(scores.logprob) | np.isposinf(scores.logprob))
    if len(wrong):
        raise InputError(
            f"{_place(table, codes, wrong[0])}: the model gives {scores.logprob[wrong[0]]}, "
            "which is no log-prob: use another model"
        )
    return table.assign(**{name: scores.logprob[codes], f"{name}.tokens": scores.tokens[codes]})


def check_name(table: pd.DataFrame, name: str, overwrite: bool = False) -> None:
    """Whether an N-best table can take a score column of that name.

    Raises:
        InputError: It cannot.
    """
    if not name.strip() or "." in name or "," in name:
        raise InputError(
            f"column name {name!r}: use a name without '.' (as in NAME.tokens) and ',' "
            "(which separates names)"
        )
    if name in NOT_SCORES:
        raise InputError(f"column '{name}' is no score and cannot be replaced: use another name")
    if name in table.columns and not overwrite:
        raise InputError(
            f"column '{name}' exists in the N-best table: use another name, or overwrite it"
        )


def shortened(text: str, longest: int = 60) -> str:
    """The text's beginning, for messages."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _place(table: pd.DataFrame, codes: np.ndarray, index: int) -> str:
    """The first row that has the text of that index."""
    row = table.iloc[int(np.flatnonzero(codes == index)[0])]
    return f"utterance {row['utt']}, rank {row['rank']}"
