"""Texts as numbers and their n-gram counts: against counts by hand."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from lm.errors import InputError
from lm.estimation.counted_text import most_frequent, read_corpus
from lm.estimation.counts import Packing, count_ngrams
from lm.estimation.external_sort import Workspace
from lm.text.normalisers import Normaliser
from tests.support.arpas import write_lines


def test_counts_by_hand(tmp_path: Path) -> None:
    corpus = read_corpus([write_lines(tmp_path / "text.txt", ["a b a b", "b", ""])])
    assert corpus.vocabulary == ["<unk>", "<s>", "</s>", "a", "b"]
    assert corpus.tokens.array().tolist() == [1, 3, 4, 3, 4, 2, 1, 4, 2, 1, 2]
    assert (corpus.words, corpus.sentences) == (5, 3)
    assert corpus.counts.tolist() == [0, 3, 3, 2, 3]
    everything = np.ones(5, bool)
    packing = Packing.of(5)
    counted = count_ngrams(corpus, 3, [0, 0, 0], everything, Workspace())
    grams = []
    for k, of_order in enumerate(counted, 1):
        rows = np.concatenate(list(of_order.rows.blocks()))
        words = [[corpus.vocabulary[w] for w in gram] for gram in packing.unpack(rows, k).tolist()]
        numbers = rows[:, packing.columns(k) :].tolist()
        grams.append({" ".join(gram): tuple(n) for gram, n in zip(words, numbers, strict=True)})
    # Occurrences, adjusted count, rank by last word, then the word before it.
    # </s> is seen after <s> and b; a after <s> and b; b after <s> and a.
    assert grams[0] == {"</s>": (3, 2, 0), "a": (2, 2, 1), "b": (3, 2, 2)}
    assert grams[1] == {
        "<s> </s>": (1, 1, 0),
        "b </s>": (2, 2, 1),
        "<s> a": (1, 1, 2),
        "b a": (1, 1, 3),
        "<s> b": (1, 1, 4),
        "a b": (2, 2, 5),
    }
    assert grams[2] == {
        "<s> b </s>": (1, 1, 0),
        "a b </s>": (1, 1, 1),
        "a b a": (1, 1, 2),
        "<s> a b": (1, 1, 3),
        "b a b": (1, 1, 4),
    }
    assert [of_order.suffixes.array().tolist() for of_order in counted[1:]] == [
        [2, 2, 3, 3, 4, 4],
        [1, 1, 3, 5, 5],
    ]
    assert [of_order.counts_of_counts.tolist() for of_order in counted] == [
        [0, 0, 3, 0, 0, 0],
        [0, 4, 2, 0, 0, 0],
        [0, 5, 0, 0, 0, 0],
    ]


def test_text_formats_are_read_alike(tmp_path: Path) -> None:
    text = "one two\ntwo three\r\n\nsœur\u3000naïve\n".encode()
    openers = {"a.txt": bytes, "a.gz": gzip.compress, "a.xz": lzma.compress, "a.bz2": bz2.compress}
    for name, compress in openers.items():
        (tmp_path / name).write_bytes(compress(text))
        corpus = read_corpus([tmp_path / name])
        assert corpus.vocabulary[3:] == ["one", "two", "three", "sœur", "naïve"]
        assert (corpus.words, corpus.sentences) == (6, 4)
    both = read_corpus([tmp_path / "a.gz", tmp_path / "a.txt"])
    assert (both.words, both.sentences) == (12, 8)
    upper = read_corpus([tmp_path / "a.txt"], Normaliser("upper", str.upper))
    assert upper.vocabulary[3] == "ONE"


@pytest.mark.parametrize("word", ["<s>", "</s>", "<unk>"])
def test_reserved_words_are_named_with_their_line(tmp_path: Path, word: str) -> None:
    sentences = ["a b"] * 25_000
    sentences[23_456] = f"a {word} b"
    path = write_lines(tmp_path / "text.txt", sentences)
    with pytest.raises(InputError, match=rf"text\.txt:23457: .*{word}"):
        read_corpus([path])


def test_bad_texts_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.txt"):
        read_corpus([tmp_path / "gone.txt"])
    for content in ("", "\n \n"):
        (tmp_path / "empty.txt").write_text(content)
        with pytest.raises(InputError, match=r"no words in .*empty\.txt"):
            read_corpus([tmp_path / "empty.txt"])
    (tmp_path / "latin.txt").write_bytes("naïve\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.txt"):
        read_corpus([tmp_path / "latin.txt"])
    for name, compress in {"a.gz": gzip.compress, "a.xz": lzma.compress}.items():
        (tmp_path / name).write_bytes(compress(b"some words\n" * 100)[:-20])
        with pytest.raises(InputError, match=name):
            read_corpus([tmp_path / name])


@pytest.mark.parametrize("types", [5, 200, 70_000, 5_000_000])
@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_packing_keeps_words_and_their_order(types: int, order: int) -> None:
    rng = np.random.default_rng(types)
    words = rng.integers(0, types, (300, order), dtype=np.int32)
    words[0], words[1] = 0, types - 1
    packing = Packing.of(types)
    keys = packing.pack(words)
    assert keys.shape == (300, packing.columns(order))
    assert np.array_equal(packing.unpack(keys, order), words)
    for column, (low, high) in enumerate(packing.spans(order)):
        in_use = (1 << high) - (1 << low)
        assert not (keys[:, column] & np.uint64((1 << 64) - 1 - in_use)).any()
    assert sorted(map(tuple, words.tolist())) == [
        tuple(gram)
        for gram in packing.unpack(np.array(sorted(map(tuple, keys.tolist())), np.uint64), order)
    ]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([1], "1 weights for 2 texts"),
        ([1, 2, 3], "3 weights for 2 texts"),
        ([1, 0], "whole numbers, 1 or more"),
        ([1, 1.5], "--models"),
        ([1, float("nan")], "whole numbers"),
        ([1, float("inf")], "whole numbers"),
        ([1, -2], "whole numbers"),
    ],
)
def test_bad_weights_are_named(tmp_path: Path, weights: list[float], says: str) -> None:
    path = write_lines(tmp_path / "text.txt", ["a"])
    with pytest.raises(InputError, match=says):
        read_corpus([path, path], weights=weights)


def test_most_frequent_words(tmp_path: Path) -> None:
    corpus = read_corpus([write_lines(tmp_path / "text.txt", ["d c c b b b", "a d e"])])
    assert most_frequent(corpus, 1) == {"b"}
    assert most_frequent(corpus, 2) == {"b", "d"}  # d and c occur twice, d first
    assert most_frequent(corpus, 3) == {"b", "c", "d"}
    assert most_frequent(corpus, 99) == set("abcde")
    with pytest.raises(InputError, match="1 or more"):
        most_frequent(corpus, 0)
