"""n-gram models for scoring: opened in an instant, queried in machine code."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from lm.arpa import BOS, EOS, UNKNOWN
from lm.arpa_reader import read_arpa
from lm.errors import InputError
from lm.jit import cache_home
from lm.query import NgramArrays, score_words
from lm.store import VERSION, Stored, compile_model, is_store, open_store, save, words_of

LN10 = math.log(10)


@dataclass(frozen=True)
class NgramScore:
    """One text under an n-gram model.

    Attributes:
        logprob: natural log of the text's probability, from `<s>` to `</s>` inclusive.
        words: number of words, without `<s>` and `</s>`.
        oov: how many of them the model does not know.
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
        quantise: whether it was asked for with 8 bits for each value.
    """

    path: Path
    stored: Stored = field(repr=False, compare=False)
    quantise: bool = False

    @classmethod
    def load(cls, path: str | Path, quantise: bool = False) -> NgramModel:
        """Opens an ARPA file, plain or gzipped, or a file in our own format.

        The arrays of an ARPA file are kept in the cache folder (see `lm.jit.cache_home`), so that
        only the first time takes long. Where that folder cannot be written they stay in memory.

        Args:
            path: The file; what it is is told by its content.
            quantise: Whether to keep 8 bits of each value of an ARPA file.

        Raises:
            InputError: The file is missing, truncated or malformed.
        """
        path = Path(path)
        if path.is_file() and is_store(path):
            return cls(path, open_store(path), quantise)
        if not path.is_file():
            return cls(path, compile_model(read_arpa(path), str(path), quantise), quantise)
        stat = path.stat()
        identity = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {VERSION} {quantise}"
        digest = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:24]
        kept = cache_home() / "ngram" / f"{digest}.ngram"
        if kept.is_file():
            try:
                return cls(path, open_store(kept), quantise)
            except InputError:
                kept.unlink(missing_ok=True)
        stored = compile_model(read_arpa(path), str(path), quantise)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            save(stored, kept)
        except (InputError, OSError):
            return cls(path, stored, quantise)
        return cls(path, open_store(kept), quantise)

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
        """The words by number, `<unk>` among them, `<s>` and `</s>` where the model has them."""
        return words_of(self.stored.text)

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of each word."""
        return {word: i for i, word in enumerate(self.vocabulary)}

    @property
    def unknown(self) -> int:
        """The number of `<unk>`."""
        return self.index[UNKNOWN]

    @property
    def eos(self) -> int:
        """The number of `</s>`; -1 where there is none."""
        return self.index.get(EOS, -1)

    @property
    def bos(self) -> int:
        """The state in which sentences begin: the node of `<s>`; -1 where it is no context."""
        node, inner = self.index.get(BOS, -1), self.arrays.inner
        return node if 0 <= node < len(inner) - 1 and inner["link"][node] >= -1 else -1

    def __contains__(self, word: str) -> bool:
        return word in self.index

    def ids(self, words: Sequence[str]) -> np.ndarray:
        """(W,) int32, the words' numbers; that of `<unk>` for words that it does not know."""
        found = map(self.index.get, words, repeat(self.unknown))
        return np.fromiter(found, np.int32, len(words))

    def word_logprobs(
        self, texts: Sequence[str], eos: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Natural-log probabilities of all words of texts, each text from `<s>` on.

        Args:
            texts: Words are separated by white space.
            eos: Whether `</s>` follows each text, where the model has it.

        Returns:
            (W,) of the words, text after text; (T + 1,) where each text begins.
        """
        split = [text.split() for text in texts]
        ends = [EOS] if eos and self.eos >= 0 else []
        first = np.cumsum([0, *(len(words) + len(ends) for words in split)], dtype=np.int64)
        numbers = self.ids(list(chain.from_iterable(words + ends for words in split)))
        log10 = np.empty(len(numbers))
        score_words(self.arrays, self.bos, numbers, first, log10)
        return log10 * LN10, first

    def score_texts(self, texts: Sequence[str]) -> list[NgramScore]:
        """Scores texts, in their order."""
        logprobs, first = self.word_logprobs(texts)
        running = np.concatenate([[0.0], np.cumsum(logprobs)])
        sums = running[first[1:]] - running[first[:-1]]
        counts = [text.split() for text in texts]
        return [
            NgramScore(logprob, len(words), sum(word not in self.index for word in words))
            for logprob, words in zip(sums.tolist(), counts, strict=True)
        ]

    def score(self, text: str) -> NgramScore:
        """Scores one text; words are separated by white space."""
        return self.score_texts([text])[0]

    def __reduce__(self) -> tuple[Any, tuple[Path, bool]]:
        """Pickles as its path: another process opens the file again."""
        return NgramModel.load, (self.path, self.quantise)
