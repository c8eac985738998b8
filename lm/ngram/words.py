"""The words of an n-gram model by their bytes, and texts as numbers of words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lm.jit import inlined, inner_kernel

# Fowler, Noll and Vo's hash, 64 bits, variant 1a.
FNV_OFFSET = np.uint64(14695981039346656037)
FNV_PRIME = np.uint64(1099511628211)
LINE_FEED = 10
# Halves of surrogate pairs, except those that `surrogateescape` uses for bytes.
HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class Words(NamedTuple):
    """V words in a hash table of H places, H a power of two.

    Attributes:
        text: uint8, the words, each with a line feed after it.
        first: (V + 1,) int64, where each word begins.
        key: (H,) uint64, the hash of the word at each place.
        number: (H,) int32, the number of the word at each place, -1 if there is none.
    """

    text: np.ndarray
    first: np.ndarray
    key: np.ndarray
    number: np.ndarray


def text_of(word: bytes) -> str:
    """A word of a model. KenLM compares bytes, so bytes that are not UTF-8 must be preserved."""
    return word.decode(errors="surrogateescape")


def bytes_of(text: str) -> bytes:
    """The inverse of `text_of`; in other texts, halves of characters become U+FFFD."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return HALVES.sub("\ufffd", text).encode(errors="surrogateescape")


def hashed(text: np.ndarray) -> Words:
    """The words of a text that has a line feed after each."""
    first = np.concatenate([[0], np.flatnonzero(text == LINE_FEED) + 1]).astype(np.int64)
    places = 1 << (2 * len(first)).bit_length()
    words = Words(text, first, np.zeros(places, np.uint64), np.full(places, -1, np.int32))
    _fill(words)
    return words


def number_texts(
    words: Words, texts: Sequence[str], unknown: int, eos: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of the words of texts; words are separated by white space.

    Args:
        words: The vocabulary.
        texts: (T,) any texts.
        unknown: Number for unknown words.
        eos: Number that follows each text; nothing follows if it is negative.

    Returns:
        (W,) int32 of the words, text after text; (T + 1,) int64 where each text begins; (T,) int64
        how many words of each are `unknown`.
    """
    # Python knows more white space than ASCII has; the kernel knows only ASCII's.
    encoded = [bytes_of(t) if t.isascii() else bytes_of(" ".join(t.split())) for t in texts]
    begins = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=begins[1:])
    content = np.frombuffer(b"".join(encoded), np.uint8)
    numbers = np.empty((len(content) + len(encoded)) // 2 + len(encoded) + 1, np.int32)
    first, strange = np.zeros_like(begins), np.zeros(len(encoded), np.int64)
    count = _number(words, content, begins, unknown, eos, numbers, first, strange)
    return numbers[:count], first, strange


def number_of(words: Words, word: str) -> int:
    """The number of a word, -1 if the model does not have it."""
    if len(word.split()) != 1:
        return -1
    numbers, _, _ = number_texts(words, [word], -1, -1)
    return int(numbers[0])


@inlined
def hash_on(value: np.uint64, byte: int) -> np.uint64:
    """The hash of a word that is one byte longer."""
    return (value ^ np.uint64(byte)) * FNV_PRIME


@inlined
def find_word(words: Words, block: np.ndarray, begin: int, end: int, value: np.uint64) -> int:
    """The number of the word block[begin:end], whose hash is `value`; -1 if there is none."""
    mask = np.uint64(len(words.key) - 1)
    place = (value ^ (value >> np.uint64(32))) & mask
    while words.number[place] >= 0:
        number = words.number[place]
        first = words.first[number]
        if words.key[place] == value and words.first[number + 1] - first == end - begin + 1:
            i = 0
            while i < end - begin and words.text[first + i] == block[begin + i]:
                i += 1
            if i == end - begin:
                return number
        place = (place + np.uint64(1)) & mask
    return -1


@inner_kernel
def _fill(words: Words) -> None:
    """Fills the hash table."""
    mask = np.uint64(len(words.key) - 1)
    for number in range(len(words.first) - 1):
        value = FNV_OFFSET
        for i in range(words.first[number], words.first[number + 1] - 1):
            value = hash_on(value, words.text[i])
        place = (value ^ (value >> np.uint64(32))) & mask
        while words.number[place] >= 0:
            place = (place + np.uint64(1)) & mask
        words.key[place] = value
        words.number[place] = number


@inner_kernel
def _number(
    words: Words,
    content: np.ndarray,
    begins: np.ndarray,
    unknown: int,
    eos: int,
    numbers: np.ndarray,
    first: np.ndarray,
    strange: np.ndarray,
) -> int:
    """Fills the last three arrays, see `number_texts`; returns the number of words."""
    count = 0
    for text in range(len(begins) - 1):
        at, end = begins[text], begins[text + 1]
        while at < end:
            # As Python's `str.split` sees ASCII.
            byte = content[at]
            if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31:
                at += 1
                continue
            begin = at
            value = FNV_OFFSET
            while not (byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31):
                value = hash_on(value, byte)
                at += 1
                if at == end:
                    break
                byte = content[at]
            number = find_word(words, content, begin, at, value)
            if number < 0:
                number = unknown
            strange[text] += number == unknown
            numbers[count] = number
            count += 1
        if eos >= 0:
            numbers[count] = eos
            count += 1
        first[text + 1] = count
    return count
