"""Texts as numbers of words: against `str.split` and a dictionary."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

from lm.ngram.words import Words, hashed, number_of, number_texts

VOCABULARY = [
    "<unk>",
    "</s>",
    "the",
    "a",
    "über",
    "ÉTÉ",
    "a\u00a0b",
    "x" * 300,
    "\udcff\udcfe",
    "é",
]


def table(vocabulary: list[str]) -> Words:
    text = "".join(f"{word}\n" for word in vocabulary).encode(errors="surrogateescape")
    return hashed(np.frombuffer(text, np.uint8))


def expected(texts: list[str], eos: bool) -> tuple[list[int], list[int], list[int]]:
    index = {word: i for i, word in enumerate(VOCABULARY)}
    numbers, first, unknown = [], [0], []
    for text in texts:
        known = [index.get(word, 0) for word in text.split()]
        numbers += [*known, 1] if eos else known
        first.append(len(numbers))
        unknown.append(known.count(0))
    return numbers, first, unknown


@pytest.mark.parametrize("eos", [False, True])
def test_numbers_equal_a_dictionary(eos: bool) -> None:
    draw = random.Random(1)
    spaces = [chr(i) for i in range(sys.maxunicode + 1) if chr(i).isspace()]
    near_spaces = [chr(i) for i in (0, 8, 14, 27, 33, 127, 133, 0x200B, 0x3001)]
    pieces = [*VOCABULARY, "xx", "th", "thee", "ü", *near_spaces, "\ud800", "<unk>", "<s>", "<UNK>"]
    texts = ["", " ", "the", " the", "the ", "\n", "the\na"]
    for _ in range(500):
        parts = [draw.choice(pieces) for _ in range(draw.randrange(8))]
        texts.append("".join(part + draw.choice([*spaces, " ", " ", ""]) for part in parts))
    numbers, first, unknown = number_texts(table(VOCABULARY), texts, 0, 1 if eos else -1)
    assert (numbers.tolist(), first.tolist(), unknown.tolist()) == expected(texts, eos)


def test_no_texts() -> None:
    numbers, first, unknown = number_texts(table(VOCABULARY), [], 0, 1)
    assert (len(numbers), first.tolist(), len(unknown)) == (0, [0], 0)


def test_single_words() -> None:
    words = table(VOCABULARY)
    found = [number_of(words, word) for word in ("the", "über", "thé", "", "the a", " the")]
    assert found == [2, 4, -1, -1, -1, 2]


def test_a_large_vocabulary() -> None:
    vocabulary = [f"w{i}" for i in range(50_000)]
    numbers, _, unknown = number_texts(table(vocabulary), [" ".join(vocabulary), "w50000"], 7, -1)
    assert numbers.tolist() == [*range(50_000), 7]
    assert unknown.tolist() == [1, 1]
