"""Finds the demo's sentences, or parts of them, in training text."""

from __future__ import annotations

import lzma
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from lm.errors import InputError

# Bytes are mapped through one table, so that the novels are read in seconds, not in a minute.
_LETTERS = bytes.maketrans(ascii_uppercase.encode(), ascii_lowercase.encode())
_KEPT = ascii_lowercase.encode() + b"'"
_TABLE = bytes(byte if byte in _KEPT else ord(" ") for byte in _LETTERS)


class SharedRun(NamedTuple):
    """A run: words in a row that a sentence and a line have in common.

    Attributes:
        words: The words of the run.
        sentence: The sentence that has it.
        line: Number of the line, from 1.
    """

    words: str
    sentence: str
    line: int


class NearCopy(NamedTuple):
    """A line that differs from a sentence by at most one word changed, added or dropped.

    Attributes:
        sentence: The sentence.
        line: The line.
    """

    sentence: str
    line: str


def normalised_lines(path: Path) -> Iterator[str]:
    """Streams a text, plain or `.xz`, as lower-case words of a to z and apostrophes.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            for line in file:
                text = line.replace("’".encode(), b"'").translate(_TABLE)
                # an apostrophe at the start or end of a word is a quotation mark
                yield text.replace(b" '", b" ").replace(b"' ", b" ").decode("ascii").strip("' ")
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot read this text: {error}") from error


def shared_runs(
    sentences: Iterable[str], lines: Iterable[str], length: int = 6
) -> Iterator[SharedRun]:
    """Yields every run of `length` words that a line and a sentence have in common.

    Args:
        sentences: A few thousand sentences at most; they are held in memory.
        lines: Lines with the same normalisation; they are streamed.
        length: Number of words in a run, at least 1.
    """
    owners: dict[tuple[str, ...], str] = {}
    for sentence in sentences:
        for run in _grams(sentence.split(), length):
            owners.setdefault(run, sentence)
    # Of the grams of `part` words within a run, exactly one starts at a multiple of `step`. So only
    # those grams of a line are tested, and the whole line only if one of them is known.
    part = (length + 1) // 2
    step = length - part + 1
    parts = {gram for run in owners for gram in _grams(run, part)}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if parts.isdisjoint(zip(*(words[i::step] for i in range(part)), strict=False)):
            continue
        for run in _grams(words, length):
            if run in owners:
                yield SharedRun(" ".join(run), owners[run], number)


def near_copies(sentences: Iterable[str], lines: Iterable[str]) -> Iterator[NearCopy]:
    """Yields the lines at a word-level Levenshtein distance of 0 or 1 from a sentence.

    Args:
        sentences: Sentences of four words or more; they are held in memory.
        lines: Lines with the same normalisation; they are streamed.
    """
    # One edit cannot change both the first two and the last two of four or more words.
    starts: defaultdict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    ends: defaultdict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for sentence in sentences:
        words = sentence.split()
        starts[tuple(words[:2])].append(words)
        ends[tuple(words[-2:])].append(words)
    for line in lines:
        words = line.split()
        candidates = starts.get(tuple(words[:2]), []) + ends.get(tuple(words[-2:]), [])
        for candidate in candidates:
            if Levenshtein.distance(candidate, words, score_cutoff=1) <= 1:
                yield NearCopy(" ".join(candidate), line)
                break


def _grams(words: Iterable[str], length: int) -> Iterator[tuple[str, ...]]:
    kept = list(words)
    return zip(*(islice(kept, i, None) for i in range(length)), strict=False)
