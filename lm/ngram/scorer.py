"""An n-gram model as a model of the second pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lm.ngram.model import NgramModel
from lm.scorer import Progress, ScorerOptions, Scores, Texts


@dataclass(frozen=True)
class NgramScorer:
    """An n-gram model as a scorer; tokens are the words, and `</s>` where it is scored.

    Attributes:
        model: the n-gram model.
        eos: whether `</s>` is scored.
    """

    model: NgramModel
    eos: bool = True

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts after `<s>`; words are separated by white space."""
        texts = Texts.of(batch).texts
        logprobs, first = self.model.word_logprobs(texts, self.eos)
        text = np.repeat(np.arange(len(texts)), np.diff(first))
        if progress is not None:
            progress(len(texts))
        return Scores(np.bincount(text, logprobs, len(texts)), np.diff(first))

    def with_options(self, options: ScorerOptions) -> NgramScorer:
        """The same model; of the settings, only `eos` matters to it."""
        return replace(self, eos=options.eos)
