"""The reference decoder: pyctcdecode's beam search with KenLM, its scores taken apart again.

pyctcdecode 0.5.0 is used as it is but for three faults, which matter for N-best lists:
- Text that ends with a space or has no words is scored as if one more, unknown word followed.
- After a piece that is a bare `▁`, the next piece starts a word in whatever beam it comes.
- Language models are kept for ever in a dictionary of the class.
"""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kenlm
import numpy as np
from pyctcdecode import BeamSearchDecoderCTC
from pyctcdecode.alphabet import Alphabet
from pyctcdecode.language_model import LanguageModel

from asr.hypothesis import Hypothesis
from asr.options import DecoderOptions
from asr.vocabulary import WORD_START, Vocabulary, check_spelling
from lm.errors import InputError
from lm.ngram.arpa import GZIP_MAGIC, MARKS, open_arpa
from lm.ngram.model import NgramModel
from lm.ngram.store import is_store

# Follows the `▁` of a piece that is nothing else, invisibly: the search takes a label that ends
# with `▁` for one that the next label must not be joined to.
JOINER = "\u2060"


class WordModel(LanguageModel):
    """pyctcdecode's n-gram model, without a word where there is none."""

    def score(self, prev_state: Any, word: str, is_last_word: bool = False) -> tuple[float, Any]:
        """Weighted score of a word and, if it is the last, of the sentence end; natural log."""
        word = word.replace(JOINER, "")
        if word:
            found: tuple[float, Any] = super().score(prev_state, word, is_last_word)
            return found
        end = self._get_raw_end_score(prev_state) if is_last_word else 0.0
        return self.alpha * math.log(10) * end, prev_state

    def score_partial_token(self, partial_token: str) -> float:
        """Penalty of letters that no known word starts with."""
        penalty: float = super().score_partial_token(partial_token.replace(JOINER, ""))
        return penalty


class Search(BeamSearchDecoderCTC):
    """pyctcdecode's search, which holds its language model itself."""

    def __init__(self, alphabet: Alphabet, language_model: WordModel | None) -> None:
        super().__init__(alphabet)
        self.cleanup()
        self.own_model = language_model

    @property
    def _language_model(self) -> WordModel | None:
        return self.own_model


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
            InputError: The n-gram model is missing or damaged, or hardly any of its words
                can be spelled with the vocabulary.
        """
        unspoken = set(vocabulary.special) - {vocabulary.blank}
        kept = np.array([i for i in range(len(vocabulary.labels)) if i not in unspoken])
        labels = [_label(vocabulary, i) for i in kept]
        language_model = model = None
        if options.lm is not None:
            model = NgramModel.load(options.lm)
            words = [word for word in model.vocabulary if word not in MARKS]
            check_spelling(words, set("".join(labels)), options.lm)
            # The package warns of each language model of fewer than 1,000 words, which AN4's has.
            logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
            language_model = WordModel(
                load_kenlm(model),
                words,
                alpha=options.alpha,
                beta=options.beta,
                unk_score_offset=options.unknown,
            )
        # Built directly: the package's own guesses about labels go wrong for many vocabularies.
        alphabet = Alphabet(labels, is_bpe=vocabulary.word_delimiter is None)
        return cls(Search(alphabet, language_model), options, kept, model)

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Distinct hypotheses, best first by the search's score recomputed from the raw ones.

        The acoustic score is the summed log-prob of all of the text's paths (Graves et al. 2006,
        equation 3) that survived pruning. Hypotheses that differ in white space alone are one.

        Args:
            log_probs: (T, V) natural log.

        Raises:
            InputError: In some frame no label but special ones is possible.
        """
        columns = log_probs[:, self.kept].astype(np.float64)
        # The package normalises what is left without the special columns; every path passes
        # each frame once, so the same sum takes it out of all scores again.
        frames = np.logaddexp.reduce(columns, axis=1)
        if not np.isfinite(frames).all():
            frame = int(np.flatnonzero(~np.isfinite(frames))[0])
            raise InputError(
                f"in frame {frame} no label has a probability, but for special ones; the acoustic "
                "model is broken for this input"
            )
        lost = frames.sum()
        beams = self.search.decode_beams(
            columns,
            beam_width=self.options.beam_width,
            beam_prune_logp=self.options.beam_prune_logp,
            token_min_logp=self.options.token_min_logp,
        )
        acoustic: dict[str, float] = {}
        for text, *_, score, _ in beams:
            text = " ".join(text.replace(JOINER, "").split())
            acoustic[text] = float(np.logaddexp(acoustic.get(text, -math.inf), score + lost))
        found = [self._hypothesis(text, score) for text, score in acoustic.items()]
        return sorted(found, key=self._fused, reverse=True)[: self.options.nbest]

    def _hypothesis(self, text: str, acoustic: float) -> Hypothesis:
        if self.model is None:
            return Hypothesis(text, acoustic)
        scored = self.model.score(text)
        return Hypothesis(text, acoustic, scored.logprob, scored.oov)

    def _fused(self, hypothesis: Hypothesis) -> float:
        """The search's score, with the penalty that `unknown` is for each unknown word."""
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
    if label == WORD_START:
        return WORD_START + JOINER
    return " " if label == vocabulary.word_delimiter else label


def load_kenlm(model: NgramModel) -> Any:
    """The same model in KenLM.

    Raises:
        InputError: It is no ARPA file, or one that KenLM cannot load.
    """
    path = model.path
    if model.order < 2:
        raise InputError(
            f"{path}: has unigrams only, which KenLM cannot load; use decoder `beam`, or estimate "
            "a model with --order 2 or more"
        )
    if is_store(path):
        raise InputError(f"{path}: KenLM reads ARPA files only; give one, or use decoder `beam`")
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    with _plain(path) as plain:
        try:
            return kenlm.Model(str(plain), config)
        except OSError as error:
            reason = str(error).replace(str(plain), str(path)).replace("\n", " ")
            raise InputError(f"{path}: KenLM cannot load it: {reason}") from error


@contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary plain copy of a gzipped one: pip's KenLM reads no gzip."""
    with open(path, "rb") as file:
        gzipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    if not gzipped:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="secondpass-") as folder:
        copy = Path(folder) / "plain.arpa"
        with open_arpa(path) as packed, open(copy, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        yield copy
