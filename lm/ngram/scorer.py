"""An n-gram model as a model of the second pass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lm.ngram.model import NgramModel
from lm.ngram.words import number_of
from lm.scorer import Progress, ScorerOptions, Scores, Texts

LOG = logging.getLogger("secondpass")
MOST = 0.5  # share of unknown words above which a model is not for these texts


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
        logprobs, first, strange = self.model.scored(texts, self.eos)
        words = sum(len(text.split()) for text in texts)
        if strange.sum() > MOST * words:
            known = self.model.words
            all_words = (word for text in texts for word in text.split())
            example = next((w for w in all_words if number_of(known, w) < 0), "")
            LOG.warning(
                f"{strange.sum():,} of {words:,} words are unknown to the n-gram model, such as "
                f"{example!r}: does it write words in another case or spelling? A normaliser can "
                "change it"
            )
        text = np.repeat(np.arange(len(texts)), np.diff(first))
        if progress is not None:
            progress(len(texts))
        return Scores(np.bincount(text, logprobs, len(texts)), np.diff(first))

    def with_options(self, options: ScorerOptions) -> NgramScorer:
        """The same model; of the settings, only `eos` matters to it."""
        return replace(self, eos=options.eos)
