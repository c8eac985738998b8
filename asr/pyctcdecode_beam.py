"""pyctcdecode's beam search with KenLM, whose scores are separated again.

pyctcdecode 0.5.0 is used unchanged except for three errors, which matter for N-best lists:
- Text that ends with a space or has no words is scored as if another, unknown word followed.
- After a piece that is only `▁`, the next piece starts a word in every beam.
- Language models stay in a dictionary of the class as long as the process runs.
"""

from __future__ import annotations

import logging
import math
import re
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
from asr.log_probs import check_log_probs
from asr.options import DecoderOptions
from asr.vocabulary import WORD_START, Vocabulary, check_spelling, spellings
from lm.errors import InputError
from lm.ngram.arpa import MARKS, open_arpa
from lm.ngram.model import NgramModel
from lm.ngram.store import is_store
from lm.text.unpacked import BYTE_ORDER_MARK

# An invisible character after the `▁` of a piece that is nothing else, because the search never
# joins the next label to one that ends with `▁`.
JOINER = "\u2060"
# The header of a model that KenLM reads.
KENLM_HEADER = re.compile(rb"\s*\\data\\\s*?\n(ngram [^\n]*\n)+\s*?\n")
HEADER_BYTES = 1 << 12


class WordModel(LanguageModel):
    """pyctcdecode's n-gram model; an empty word is not scored."""

    def score(self, prev_state: Any, word: str, is_last_word: bool = False) -> tuple[float, Any]:
        """Weighted natural-log score of a word and, after the last word, of the sentence end."""
        word = word.replace(JOINER, "")
        if word:
            found: tuple[float, Any] = super().score(prev_state, word, is_last_word)
            return found
        end = self._get_raw_end_score(prev_state) if is_last_word else 0.0
        return self.alpha * math.log(10) * end, prev_state

    def score_partial_token(self, partial_token: str) -> float:
        """Penalty of a prefix that no known word has."""
        penalty: float = super().score_partial_token(partial_token.replace(JOINER, ""))
        return penalty


class Search(BeamSearchDecoderCTC):
    """pyctcdecode's search with a language model of its own."""

    def __init__(self, alphabet: Alphabet, language_model: WordModel | None) -> None:
        super().__init__(alphabet)
        self.cleanup()
        self.own_model = language_model

    @property
    def _language_model(self) -> WordModel | None:
        return self.own_model


@dataclass(frozen=True)
class PyctcdecodeBeam:
    """pyctcdecode with raw scores.

    Attributes:
        search: pyctcdecode's decoder.
        options: Settings.
        kept: Columns of the log-probs that stand for text or the blank.
        model: n-gram model; None where there is none.
    """

    search: Any
    options: DecoderOptions
    kept: np.ndarray
    model: NgramModel | None

    @classmethod
    def build(cls, vocabulary: Vocabulary, options: DecoderOptions) -> PyctcdecodeBeam:
        """Loads the n-gram model and prepares the search.

        Raises:
            InputError: The n-gram model is missing or damaged, less than a tenth of its words can
                be spelled with the vocabulary, or some labels are bytes.
        """
        if vocabulary.has_bytes:
            raise InputError(
                "some labels are bytes (such as <0xC3>), which pyctcdecode cannot put together; "
                "use decoder `beam` or `greedy`"
            )
        spellings(vocabulary)  # the package takes a label that writes nothing for the blank
        unspoken = set(vocabulary.special) - {vocabulary.blank}
        kept = np.array([i for i in range(len(vocabulary.labels)) if i not in unspoken])
        labels = [_label(vocabulary, i) for i in kept]
        language_model = model = None
        if options.lm is not None:
            model = NgramModel.load(options.lm)
            words = [word for word in model.vocabulary if word not in MARKS]
            check_spelling(words, set("".join(labels)), options.lm)
            # The package warns about language models of fewer than 1,000 words, such as AN4's.
            logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
            language_model = WordModel(
                load_kenlm(model),
                words,
                alpha=options.alpha,
                beta=options.beta,
                unk_score_offset=options.unknown,
            )
        # Built directly: the package's guesses about labels are wrong for many vocabularies.
        alphabet = Alphabet(labels, is_bpe=vocabulary.word_delimiter is None)
        return cls(Search(alphabet, language_model), options, kept, model)

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Distinct hypotheses, best first by the search's score, computed from the raw scores.

        The acoustic score is the log of the summed probability of all paths of the text that were
        not pruned (Graves et al. 2006, equation 3). Hypotheses that differ in white space only are
        one hypothesis.

        Args:
            log_probs: (T, V) natural log.

        Raises:
            InputError: In some frame only special labels are possible, or as `check_log_probs`.
        """
        log_probs = check_log_probs(log_probs, "the log-probs")
        columns = log_probs[:, self.kept].astype(np.float64)
        # The package normalises what remains without the special columns. Every path goes through
        # each frame once, so the same sum removes the normalisation from all scores.
        frames = np.logaddexp.reduce(columns, axis=1)
        if not np.isfinite(frames).all():
            frame = int(np.flatnonzero(~np.isfinite(frames))[0])
            raise InputError(
                f"in frame {frame} only special labels have a probability; the acoustic model does "
                "not work for this input"
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
        """The search's score, with the penalty `unknown` for each unknown word."""
        if self.model is None:
            return hypothesis.acoustic
        options = self.options
        ngram = hypothesis.ngram + math.log(10) * options.unknown * hypothesis.oov
        words = len(hypothesis.text.split())
        return hypothesis.acoustic + options.alpha * ngram + options.beta * words


def _label(vocabulary: Vocabulary, index: int) -> str:
    """A label as pyctcdecode expects it: empty for the blank, a space between words."""
    if index == vocabulary.blank:
        return ""
    label = vocabulary.labels[index]
    if label == WORD_START:
        return WORD_START + JOINER
    return " " if label == vocabulary.word_delimiter else label


def load_kenlm(model: NgramModel) -> Any:
    """The same model in KenLM.

    Raises:
        InputError: It is not an ARPA file, or KenLM cannot load it.
    """
    path = model.path
    if model.order < 2:
        raise InputError(
            f"{path}: the model has unigrams only, and KenLM cannot load it; use decoder `beam`, "
            "or estimate a model with --order 2 or more"
        )
    if is_store(path):
        raise InputError(f"{path}: KenLM reads ARPA files only; use one, or use decoder `beam`")
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
    """The file, or a temporary copy as the KenLM that pip installs needs it.

    It reads no compressed files, no text before `\\data\\`, and no header without a blank line at
    its end.
    """
    with open(path, "rb") as file:
        if KENLM_HEADER.match(file.read(HEADER_BYTES)):
            yield path
            return
    with tempfile.TemporaryDirectory(prefix="secondpass-") as folder:
        copy = Path(folder) / "plain.arpa"
        with open_arpa(path) as found, open(copy, "wb") as file:
            for line in found:
                if line.removeprefix(BYTE_ORDER_MARK).strip() == b"\\data\\":
                    break
            file.write(b"\\data\\\n")
            for line in found:
                if line.startswith(b"\\"):
                    file.write(b"\n" + line)
                    break
                file.write(line if line.strip() else b"")
            shutil.copyfileobj(found, file, 1 << 20)
        yield copy
