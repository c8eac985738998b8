"""Texts as numbers: words are read from files and counted for `lm.estimation.counts`."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from lm.errors import InputError
from lm.estimation.external_sort import Tape, Workspace
from lm.ngram.arpa import BOS, EOS, UNKNOWN
from lm.text.loss import TextLoss
from lm.text.normalisers import Normaliser
from lm.text.prose import read_text

SPECIAL = (UNKNOWN, BOS, EOS)
BOS_ID = SPECIAL.index(BOS)
LINES_PER_READ = 20_000

# A function that is called during the work with the name of the step, the amount of work since the
# last call, and the total amount, 0 if that is not known.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        tokens: int32, every sentence from `<s>` to `</s>`, indices into `vocabulary`.
        vocabulary: `<unk>`, `<s>`, `</s>`, then the words in order of their first occurrence.
        counts: (V,) int64, how often each word occurs; a text of weight w is counted w times.
        parts: end of each text in `tokens`, and its weight.
    """

    tokens: Tape
    vocabulary: list[str]
    counts: np.ndarray
    parts: tuple[tuple[int, int], ...]

    @property
    def sentences(self) -> int:
        """Number of sentences, by weight."""
        return int(self.counts[BOS_ID])

    @property
    def words(self) -> int:
        """Number of running words, by weight, without `<s>` and `</s>`."""
        return int(self.counts.sum()) - 2 * self.sentences


def read_corpus(
    paths: Sequence[str | Path],
    normalise: Normaliser | None = None,
    weights: Sequence[float] | None = None,
    workspace: Workspace | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Reads texts, one sentence a line, split into words at white space.

    Letters are composed (NFC, Unicode Standard Annex #15), so that a word has one spelling. An
    empty line is a sentence without words, as it is for KenLM's lmplz.

    Args:
        paths: Plain, .gz, .bz2 or .xz files of UTF-8 text.
        normalise: Applied to every line; None takes the text as it is.
        weights: One whole number per text: the text counts as if it were given that many times.
            Other numbers would give fractional counts. For these, discounts are not defined,
            because they need the numbers of n-grams that occur exactly once, twice, ...
        workspace: Memory and disk for the words; 2 GiB by default.
        progress: See `Progress`.

    Raises:
        InputError: A file is missing or damaged, `<s>`, `</s>` or `<unk>` occurs as a word, there
            is no word at all, the normaliser removes most letters, or the weights are wrong.
    """
    checked = _weights(weights, len(paths))
    tokens = Tape(workspace or Workspace(), np.int32)
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    for special in SPECIAL:
        numbers[special]
    number_of = numbers.__getitem__
    counts = np.zeros(1 << 16, np.int64)
    parts = []
    for path, weight in zip(paths, checked, strict=True):
        for first, lines in _blocks(path, normalise):
            words = f"{BOS} {f' {EOS} {BOS} '.join(lines)} {EOS}".split()
            block = np.fromiter(map(number_of, words), np.int32, len(words))
            if np.count_nonzero(block < len(SPECIAL)) != 2 * len(lines):
                _report_special(path, first, lines)
            tokens.append(block)
            if len(numbers) > len(counts):
                counts = np.append(counts, np.zeros(2 * len(numbers), np.int64))
            counts += weight * np.bincount(block, minlength=len(counts))
            if progress:
                progress("reading", len(words), 0)
        parts.append((len(tokens), weight))
    if len(numbers) == len(SPECIAL):
        raise InputError(
            f"there are no words in {', '.join(map(str, paths))}; give text, one sentence per line"
        )
    return Corpus(tokens, list(numbers), counts[: len(numbers)], tuple(parts))


def read_words(path: str | Path) -> set[str]:
    """Reads a word list, separated by any white space.

    Raises:
        InputError: The file is missing or damaged.
    """
    return {word for _, lines in _blocks(path) for line in lines for word in line.split()}


def read_lines(path: str | Path, normalise: Normaliser | None = None) -> list[str]:
    """Reads a whole text, one sentence a line.

    Raises:
        InputError: The file is missing or damaged, or the normaliser removes most letters.
    """
    return [line for _, block in _blocks(path, normalise) for line in block]


def most_frequent(corpus: Corpus, size: int) -> set[str]:
    """The most frequent words of a text; among equally frequent words, those that occur first.

    Raises:
        InputError: `size` is below 1.
    """
    if size < 1:
        raise InputError(f"a vocabulary of {size} words has none; give 1 or more")
    by_count = np.argsort(-corpus.counts[len(SPECIAL) :], kind="stable")[:size]
    return {corpus.vocabulary[len(SPECIAL) + word] for word in by_count.tolist()}


def _weights(weights: Sequence[float] | None, texts: int) -> list[int]:
    """One whole number per text."""
    if weights is None:
        return [1] * texts
    given = " ".join(f"{weight:g}" for weight in weights)
    if len(weights) != texts:
        raise InputError(
            f"--weights {given}: {len(weights)} weights for {texts} texts; give one per text"
        )
    if not all(weight >= 1 and weight % 1 == 0 for weight in weights):
        raise InputError(
            f"--weights {given}: give whole numbers, 1 or more, as discounts need whole counts; "
            "for other proportions, estimate a model per text and mix them with --models"
        )
    return [int(weight) for weight in weights]


def _blocks(
    path: str | Path, normalise: Normaliser | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of the first line, lines), composed and normalised."""
    first = 1
    loss = None if normalise is None else TextLoss.of(normalise)
    lines = read_text(path)
    while block := list(islice(lines, LINES_PER_READ)):
        composed = [unicodedata.normalize("NFC", line) for line in block]
        if normalise is None or loss is None:
            yield first, composed
        else:
            cleaned = [normalise(line) for line in composed]
            for line, text in zip(composed, cleaned, strict=True):
                loss.add(line, text)
            yield first, cleaned
        first += len(block)
    if loss is not None:
        loss.check(str(path))


def _report_special(path: str | Path, first: int, lines: Sequence[str]) -> None:
    """Raises the error of a line with a reserved word."""
    for number, line in enumerate(lines, first):
        for word in SPECIAL:
            if word in line.split():
                raise InputError(
                    f"{path}:{number}: the text has the reserved word {word}; remove it: sentences "
                    "are bounded by lines, unknown words come from the model"
                )
