"""The reference decoder: pyctcdecode's beam search with KenLM, its scores taken apart again."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyctcdecode import BeamSearchDecoderCTC
from pyctcdecode.alphabet import Alphabet
from pyctcdecode.language_model import LanguageModel

from asr.nbest import Hypothesis
from asr.vocabulary import Vocabulary
from lm.errors import InputError
from lm.ngram import NgramModel

if TYPE_CHECKING:
    from asr.decode import DecoderOptions

MARKS = {"<s>", "</s>", "<unk>"}


@dataclass(frozen=True)
class ReferenceDecoder:
    """pyctcdecode with raw scores.

    Attributes:
        search: pyctcdecode's decoder.
        options: Its settings.
        kept: Columns of the log-probs that stand for text or blank.
        model: The n-gram model, if there is one.
    """

    search: Any
    options: DecoderOptions
    kept: np.ndarray
    model: NgramModel | None

    @classmethod
    def build(cls, vocabulary: Vocabulary, options: DecoderOptions) -> ReferenceDecoder:
        """Loads the n-gram model and prepares the search.

        Raises:
            InputError: The n-gram model is missing or damaged, or none of its words can be
                spelled with the vocabulary.
        """
        unspoken = set(vocabulary.special) - {vocabulary.blank}
        kept = np.array([i for i in range(len(vocabulary.labels)) if i not in unspoken])
        labels = [_label(vocabulary, i) for i in kept]
        language_model = model = None
        if options.lm is not None:
            model = NgramModel.load(options.lm)
            words = [word for word in model.vocabulary if word not in MARKS]
            check_spelling(words, labels, options.lm)
            # The package warns of every alphabet that is not one of its examples.
            logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
            language_model = LanguageModel(
                model.kenlm,
                words,
                alpha=options.alpha,
                beta=options.beta,
                unk_score_offset=options.unknown,
            )
        # Built directly: the package's own guesses about labels go wrong for many vocabularies.
        alphabet = Alphabet(labels, is_bpe=vocabulary.word_delimiter is None)
        return cls(BeamSearchDecoderCTC(alphabet, language_model), options, kept, model)

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Distinct hypotheses, best first by the search's score recomputed from the raw ones.

        The acoustic score is the summed log-prob of all paths of the prefix that survived
        pruning. Hypotheses that differ in white space alone are one (the package scores a
        trailing space as a further, unknown word).

        Args:
            log_probs: (T, V) natural log.
        """
        columns = log_probs[:, self.kept]
        # The package normalises what is left without the special columns; every path passes
        # each frame once, so the same sum takes it out of all scores again.
        lost = np.logaddexp.reduce(columns.astype(np.float64), axis=1).sum()
        beams = self.search.decode_beams(
            columns,
            beam_width=self.options.beam_width,
            beam_prune_logp=self.options.beam_prune_logp,
            token_min_logp=self.options.token_min_logp,
        )
        acoustic: dict[str, float] = {}
        for text, *_, score, _ in beams:
            text = " ".join(text.split())
            acoustic[text] = float(np.logaddexp(acoustic.get(text, -math.inf), score + lost))
        found = [self._hypothesis(text, score) for text, score in acoustic.items()]
        return sorted(found, key=self._fused, reverse=True)[: self.options.nbest]

    def _hypothesis(self, text: str, acoustic: float) -> Hypothesis:
        if self.model is None:
            return Hypothesis(text, acoustic)
        scored = self.model.score(text)
        return Hypothesis(text, acoustic, scored.logprob, scored.oov)

    def _fused(self, hypothesis: Hypothesis) -> float:
        """The search's score."""
        if self.model is None:
            return hypothesis.acoustic
        options = self.options
        ngram = hypothesis.ngram + math.log(10) * options.unknown * hypothesis.oov
        words = len(hypothesis.text.split())
        return hypothesis.acoustic + options.alpha * ngram + options.beta * words


def _label(vocabulary: Vocabulary, index: int) -> str:
    """A label as pyctcdecode wants it: nothing for blank, a space between words."""
    if index == vocabulary.blank:
        return ""
    label = vocabulary.labels[index]
    return " " if label == vocabulary.word_delimiter else label


def check_spelling(words: list[str], labels: list[str], lm: str) -> None:
    """Checks that a language model's words can be spelled with a vocabulary.

    Raises:
        InputError: Not one of them can.
    """
    letters = set("".join(labels))
    if words and not any(set(word) <= letters for word in words):
        raise InputError(
            f"{lm}: none of its words ({', '.join(words[:3])}, …) can be spelled with the model's "
            f"labels ({' '.join(sorted(letters)[:12])} …); estimate it from text in the labels' "
            "case, such as with --normaliser librispeech"
        )
