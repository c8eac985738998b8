"""Counts of all n-grams of a text, as arrays: the ground that `lm.estimate` stands on.

A k-gram is a row of its order's table. It points to the row of its first k-1 words (its context)
and to that of its last k-1 words (its suffix) in the table of the order below, so no n-gram is
ever spelled out, and sums over contexts or suffixes are one `np.bincount`.
"""

from __future__ import annotations

import lzma
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from lm.arpa import BOS, EOS, UNKNOWN
from lm.errors import InputError
from lm.text import open_text

SPECIAL = (UNKNOWN, BOS, EOS)
BOS_ID = SPECIAL.index(BOS)
LINES_PER_READ = 20_000
MOST_TOKENS = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        tokens: (T,) int32, every sentence from `<s>` to `</s>`, indices into `vocabulary`.
        vocabulary: `<unk>`, `<s>`, `</s>`, then the words in order of their first occurrence.
        sentences: number of sentences.
    """

    tokens: np.ndarray
    vocabulary: list[str]
    sentences: int

    @property
    def words(self) -> int:
        """Number of running words, without `<s>` and `</s>`."""
        return len(self.tokens) - 2 * self.sentences


@dataclass(frozen=True)
class Table:
    """All different k-grams of a text, unpruned; (N,) arrays of int32.

    Attributes:
        word: last word.
        context: row of the first k-1 words in the order below (zeros for unigrams).
        suffix: row of the last k-1 words in the order below (zeros for unigrams).
        raw: occurrences in the text.
        adjusted: for the highest order and for k-grams that begin with `<s>` the occurrences,
            for the others the number of different words seen before them (Kneser and Ney 1995);
            0 for `<s>` itself, which is never predicted.
    """

    word: np.ndarray
    context: np.ndarray
    suffix: np.ndarray
    raw: np.ndarray
    adjusted: np.ndarray

    def __len__(self) -> int:
        return len(self.word)


def read_corpus(
    paths: Sequence[str | Path], normalise: Callable[[str], str] | None = None
) -> Corpus:
    """Reads texts, one sentence a line, split into words at white space.

    An empty line is a sentence without words, as it is for KenLM's lmplz.

    Args:
        paths: Plain, .gz, .bz2 or .xz files of UTF-8 text.
        normalise: Applied to every line; None takes the text as it is.

    Raises:
        InputError: A file is missing or damaged, `<s>`, `</s>` or `<unk>` occurs as a word, or
            there is no word at all.
    """
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    for special in SPECIAL:
        numbers[special]
    number_of = numbers.__getitem__
    chunks, sentences = [], 0
    for path in paths:
        for first, lines in _blocks(path):
            if normalise is not None:
                lines = [normalise(line) for line in lines]
            words = f"{BOS} {f' {EOS} {BOS} '.join(lines)} {EOS}".split()
            chunk = np.fromiter(map(number_of, words), np.int32, len(words))
            if np.count_nonzero(chunk < len(SPECIAL)) != 2 * len(lines):
                _report_special(path, first, lines)
            chunks.append(chunk)
            sentences += len(lines)
    if len(numbers) == len(SPECIAL):
        raise InputError(f"no words in {', '.join(map(str, paths))}; give text, a sentence a line")
    tokens = np.concatenate(chunks)
    if len(tokens) > MOST_TOKENS:
        raise InputError(f"{len(tokens)} words are more than {MOST_TOKENS}; give less text")
    return Corpus(tokens, list(numbers), sentences)


def read_words(path: str | Path) -> set[str]:
    """Reads a word list, separated by any white space.

    Raises:
        InputError: The file is missing or damaged.
    """
    return {word for _, lines in _blocks(path) for line in lines for word in line.split()}


def count_ngrams(corpus: Corpus, order: int) -> list[Table]:
    """Counts the n-grams of all orders up to `order`.

    Returns:
        One table per order, unigrams first. Row r of the first is word r of the vocabulary.
    """
    tokens, types = corpus.tokens, len(corpus.vocabulary)
    starts = np.flatnonzero(tokens == BOS_ID)
    lengths = np.diff(starts, append=len(tokens))
    # How many words of its sentence, `<s>` among them, come before a position.
    depth = np.arange(len(tokens), dtype=np.int32) - np.repeat(starts, lengths).astype(np.int32)

    words = np.arange(types, dtype=np.int32)
    pointers = [(words, np.zeros_like(words), np.zeros_like(words))]
    raws = [np.bincount(tokens, minlength=types).astype(np.int32)]
    rows = tokens  # (T,) row of the (k-1)-gram that ends at each position
    for k in range(2, order + 1):
        ends = np.flatnonzero(depth >= k - 1)
        below = rows
        representatives, raws_k, rows = _distinct(tokens, ends, below, raws[-1], types)
        raws.append(raws_k)
        pointers.append(
            (tokens[representatives], below[representatives - 1], below[representatives])
        )
    adjusted = _adjust(pointers, raws)
    return [Table(*pointers[k], raw=raws[k], adjusted=adjusted[k]) for k in range(order)]


def _distinct(
    tokens: np.ndarray, ends: np.ndarray, below: np.ndarray, raw_below: np.ndarray, types: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups the k-grams that end at the positions `ends`.

    A k-gram whose context or suffix occurs once occurs once itself: only the others, which are
    few at high orders, need sorting.

    Returns:
        (N,) one position of each different k-gram, (N,) its occurrences, (T,) the row, 0 to N-1,
        of the k-gram that ends at each of `ends` (elsewhere undefined).
    """
    contexts = below[ends - 1]
    maybe_repeated = (raw_below[contexts] > 1) & (raw_below[below[ends]] > 1)
    once, ends = ends[~maybe_repeated], ends[maybe_repeated]
    keys = contexts[maybe_repeated].astype(np.uint64) * np.uint64(types)
    keys += tokens[ends].astype(np.uint64)
    by_key = np.argsort(keys)
    keys, ends = keys[by_key], ends[by_key]
    is_new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    first = np.flatnonzero(is_new)
    rows = np.empty(len(tokens), np.int32)
    rows[ends] = np.cumsum(is_new, dtype=np.int32) - 1
    rows[once] = len(first) + np.arange(len(once), dtype=np.int32)
    raw = np.ones(len(first) + len(once), np.int32)
    raw[: len(first)] = np.diff(first, append=len(keys))
    return np.concatenate([ends[first], once]), raw, rows


def _adjust(
    pointers: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], raws: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Kneser and Ney's adjusted counts (see `Table.adjusted`) of every order."""
    adjusted = []
    begins = pointers[0][0] == BOS_ID
    for k, raw in enumerate(raws):
        if k:
            begins = begins[pointers[k][1]]
        if k + 1 < len(raws):
            left_words = np.bincount(pointers[k + 1][2], minlength=len(raw))
            adjusted.append(np.where(begins, raw, left_words).astype(np.int32))
        else:
            adjusted.append(raw.copy())
    adjusted[0][BOS_ID] = 0
    return adjusted


def _blocks(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of the first line, lines)."""
    first = 1
    try:
        with open_text(path) as file:
            while lines := list(islice(file, LINES_PER_READ)):
                yield first, lines
                first += len(lines)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            f"{path}: cannot be read after line {first - 1}: {error}; give UTF-8 text, plain, "
            "or whole .gz, .bz2 or .xz files"
        ) from error


def _report_special(path: str | Path, first: int, lines: Sequence[str]) -> None:
    """Names the line that has a reserved word."""
    for number, line in enumerate(lines, first):
        for word in SPECIAL:
            if word in line.split():
                raise InputError(
                    f"{path}:{number}: the text has the reserved word {word}; remove it: sentences "
                    "are bounded by lines, unknown words come from the model"
                )
