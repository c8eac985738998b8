"""n-gram models for scoring: opened without reading, queried in machine code."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm.errors import InputError
from lm.files import cache_home
from lm.ngram.arpa import BOS, EOS, UNKNOWN, UNKNOWN_IN_CAPITALS
from lm.ngram.batch_query import score_words
from lm.ngram.query import NgramArrays
from lm.ngram.store import VERSION, Stored, compile_arpa, is_store, open_store, save, words_of
from lm.ngram.words import Words, hashed, number_of, number_texts

LOG = logging.getLogger("secondpass")
LN10 = math.log(10)


class NgramScore(NamedTuple):
    """One text under an n-gram model.

    Attributes:
        logprob: natural log of the text's probability, from `<s>` to `</s>` inclusive.
        words: number of words, without `<s>` and `</s>`.
        oov: number of words that the model does not know.
    """

    logprob: float
    words: int
    oov: int


@dataclass(frozen=True)
class NgramModel:
    """An n-gram model.

    A model without `<s>` begins in the empty context; one without `</s>` does not score the end;
    one without `<unk>` gives unknown words a log10 probability of -100.

    Attributes:
        path: its file.
        stored: its arrays.
        quantise: whether it was loaded with 8 bits for each value.
    """

    path: Path
    stored: Stored = field(repr=False, compare=False)
    quantise: bool = False

    @classmethod
    def load(cls, path: str | Path, quantise: bool = False) -> NgramModel:
        """Opens an ARPA file, plain or compressed, or a file in our own format.

        The arrays of an ARPA file are kept in the cache folder (see `lm.files.cache_home`) as long
        as the file does not change, so that only the first time takes long. If that folder cannot
        be written, they stay in memory.

        Args:
            path: The file; its content decides which kind it is.
            quantise: Whether to keep 8 bits of each value of an ARPA file.

        Raises:
            InputError: The file is missing, truncated or malformed.
        """
        path = Path(path)
        if not path.is_file():
            return cls(path, compile_arpa(path, quantise), quantise)
        if is_store(path):
            return cls(path, open_store(path), quantise)
        name = _digest(f"{path.resolve()} {quantise}")
        stat = path.stat()
        state = _digest(f"{stat.st_size} {stat.st_mtime_ns} {VERSION}")
        kept = cache_home() / "ngram" / f"{name}-{state}.ngram"
        if kept.is_file():
            try:
                return cls(path, open_store(kept), quantise)
            except InputError:
                kept.unlink(missing_ok=True)
        stored = compile_arpa(path, quantise)
        try:
            for outdated in kept.parent.glob(f"{name}-*.ngram"):
                outdated.unlink(missing_ok=True)
            save(stored, kept)
            return cls(path, open_store(kept), quantise)
        except (InputError, OSError):
            return cls(path, stored, quantise)

    @property
    def arrays(self) -> NgramArrays:
        """The n-grams."""
        return self.stored.arrays

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return self.stored.order

    @cached_property
    def vocabulary(self) -> Sequence[str]:
        """The words by number, with `<unk>`, and with `<s>` and `</s>` if the model has them."""
        return words_of(self.stored.text)

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of each word."""
        return {word: i for i, word in enumerate(self.vocabulary)}

    @cached_property
    def words(self) -> Words:
        """The vocabulary for whole texts, without a string for each word."""
        return hashed(self.stored.text)

    @cached_property
    def unknown(self) -> int:
        """The number of `<unk>`."""
        number = number_of(self.words, UNKNOWN)
        return number if number >= 0 else number_of(self.words, UNKNOWN_IN_CAPITALS)

    @cached_property
    def eos(self) -> int:
        """The number of `</s>`; -1 if there is none."""
        return number_of(self.words, EOS)

    @cached_property
    def bos(self) -> int:
        """The state in which sentences begin: the node of `<s>`; -1 if it is not a context.

        A model of more than words alone without `<s>` gets a warning.
        """
        node, inner = number_of(self.words, BOS), self.arrays.inner
        if node < 0 and self.order > 1:
            LOG.warning(
                f"{self.path}: the model has no {BOS}, so sentences begin without a context; if "
                f"the file writes it otherwise, such as {BOS.upper()}, correct it"
            )
        return node if node >= 0 and inner["link"][node] >= -1 else -1

    def __contains__(self, word: str) -> bool:
        return word in self.index

    def ids(self, words: Sequence[str]) -> np.ndarray:
        """(W,) int32, the words' numbers; that of `<unk>` for words that it does not know."""
        found = map(self.index.get, words, repeat(self.unknown))
        return np.fromiter(found, np.int32, len(words))

    def word_logprobs(
        self, texts: Sequence[str], eos: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Natural-log probabilities of all words of texts; each text begins after `<s>`.

        Args:
            texts: (T,) texts; words are separated by white space.
            eos: Whether `</s>` follows each text, if the model has it.

        Returns:
            (W,) float64 of the words, text after text; (T + 1,) int64 where each text begins.
        """
        logprobs, first, _ = self.scored(texts, eos)
        return logprobs, first

    def score_texts(self, texts: Sequence[str]) -> list[NgramScore]:
        """Scores texts, in their order."""
        logprobs, first, strange = self.scored(texts, True)
        lengths = np.diff(first)
        sums = np.bincount(np.repeat(np.arange(len(texts)), lengths), logprobs, len(texts))
        counts: np.ndarray = lengths - (self.eos >= 0)
        return list(map(NgramScore, sums.tolist(), counts.tolist(), strange.tolist()))

    def score(self, text: str) -> NgramScore:
        """Scores one text; words are separated by white space."""
        return self.score_texts([text])[0]

    def scored(self, texts: Sequence[str], eos: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same as `word_logprobs`, and (T,) int64, numbers of unknown words of each text."""
        end = self.eos if eos else -1
        numbers, first, strange = number_texts(self.words, texts, self.unknown, end)
        logprobs = np.empty(len(numbers))
        score_words(self.arrays, self.bos, numbers, first, logprobs)
        logprobs *= LN10
        return logprobs, first, strange

    def __reduce__(self) -> tuple[Any, tuple[Path, bool]]:
        """It is pickled as its path: another process opens the file again."""
        return NgramModel.load, (self.path, self.quantise)


def _digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:24]
