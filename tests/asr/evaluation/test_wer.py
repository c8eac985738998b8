"""Error counts against jiwer, a brute-force edit distance, and LibriSpeech's known rates."""

from __future__ import annotations

import itertools
import json
import lzma
import math
import random
from functools import cache
from pathlib import Path

import jiwer
import numpy as np
import pandas as pd
import pytest

from asr.evaluation.alignment import align
from asr.evaluation.wer import ErrorRate, char_errors, oracle, row_errors, word_errors
from lm.errors import InputError


def edit_distance(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> int:
    """Levenshtein's distance by its recursive definition."""

    @cache
    def distance(r: int, h: int) -> int:
        if r == 0 or h == 0:
            return r + h
        same = reference[r - 1] == hypothesis[h - 1]
        return min(
            distance(r - 1, h) + 1, distance(r, h - 1) + 1, distance(r - 1, h - 1) + (not same)
        )

    return distance(len(reference), len(hypothesis))


def nbest(rows: list[tuple[str, int, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["utt", "rank", "text"])


def librispeech(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    rows, references = [], {}
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            utterance = json.loads(line)
            references[utterance["utt"]] = utterance["ref"]
            rows += [
                (utterance["utt"], rank, hypothesis["text"])
                for rank, hypothesis in enumerate(utterance["hyps"], start=1)
            ]
    return nbest(rows), references


def test_error_rate_is_of_the_corpus_not_a_mean_of_rates() -> None:
    short, long = ErrorRate(hits=0, substitutions=1), ErrorRate(hits=99, deletions=1)
    both = short + long
    assert (both.errors, both.ref_words) == (2, 101)
    assert both.rate == 2 / 101
    assert sum([short, long], ErrorRate()) == both
    with pytest.raises(TypeError):
        both / 2
    with pytest.raises(TypeError):
        float(both)
    with pytest.raises(ValueError, match="negative"):
        ErrorRate(hits=-1)


def test_rate_without_reference_words() -> None:
    assert ErrorRate().rate == 0.0
    assert ErrorRate(insertions=1).rate == math.inf
    assert (ErrorRate(insertions=1) + ErrorRate(hits=4)).rate == 0.25


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", ErrorRate()),
        ("", "a b c", ErrorRate(insertions=3)),
        ("  ", "a", ErrorRate(insertions=1)),
        ("a b", "", ErrorRate(deletions=2)),
        ("put the light on now please", "put light on now please please", ErrorRate(5, 0, 1, 1)),
        ("turn  the\tlight", " turn the light ", ErrorRate(hits=3)),
        ("a b c d", "x b c", ErrorRate(2, 1, 1, 0)),
    ],
)
def test_word_errors(reference: str, hypothesis: str, expected: ErrorRate) -> None:
    assert word_errors(reference, hypothesis) == expected


def test_char_errors_count_the_space() -> None:
    assert char_errors("ice cream", "icecream") == ErrorRate(hits=8, deletions=1)
    assert char_errors("", "ab") == ErrorRate(insertions=2)
    assert char_errors("ab", "") == ErrorRate(deletions=2)


def test_all_short_pairs_have_the_least_number_of_errors() -> None:
    sentences = [words for length in range(4) for words in itertools.product("abc", repeat=length)]
    pairs = list(itertools.product(sentences, repeat=2))
    names = [str(number) for number in range(len(pairs))]
    table = nbest([(n, 1, " ".join(h)) for n, (_, h) in zip(names, pairs, strict=True)])
    references = {n: " ".join(r) for n, (r, _) in zip(names, pairs, strict=True)}
    counts = row_errors(table, references)
    assert counts["errors"].tolist() == [edit_distance(r, h) for r, h in pairs]
    ref_words = counts["hits"] + counts["substitutions"] + counts["deletions"]
    hyp_words = counts["hits"] + counts["substitutions"] + counts["insertions"]
    assert ref_words.tolist() == [len(r) for r, _ in pairs]
    assert hyp_words.tolist() == [len(h) for _, h in pairs]


def test_rows_alignments_and_single_pairs_agree_with_jiwer() -> None:
    rng = random.Random(3)
    references = {
        f"u{n}": " ".join(rng.choices("abcdef", k=rng.randint(1, 12))) for n in range(200)
    }
    rows = [
        (utt, rank, " ".join(w for w in text.split() + ["a"] * rank if rng.random() > 0.2))
        for utt, text in references.items()
        for rank in (1, 2, 3)
    ]
    table = nbest([*rows, *rows[:5]])  # the same hypothesis again gets the same counts
    table.index = pd.Index(range(1000, 1000 + len(table)))
    counts = row_errors(table, references)
    assert counts.index.equals(table.index)
    expected = jiwer.process_words([references[utt] for utt in table["utt"]], list(table["text"]))
    total = ErrorRate.total(counts)
    assert total == ErrorRate(
        expected.hits, expected.substitutions, expected.deletions, expected.insertions
    )
    aligned = align([references[utt] for utt in table["utt"]], list(table["text"]))
    for position, (utt, text) in enumerate(zip(table["utt"], table["text"], strict=True)):
        single = word_errors(references[utt], text)
        assert ErrorRate.total(counts.iloc[[position]]) == single
        assert aligned[position].wrong.sum() == single.substitutions + single.deletions
        assert aligned[position].inserted.sum() == single.insertions


def test_alignment_places_errors() -> None:
    middle, empty = align(["a b c d", ""], ["a x y c", "q r"])
    assert middle.wrong.tolist() == [False, True, False, True]
    assert middle.inserted.sum() == 1 and middle.inserted[1:3].sum() == 1
    assert empty.wrong.tolist() == [] and empty.inserted.tolist() == [2]
    (end,) = align(["a b"], ["z a b z z"])
    assert end.inserted.tolist() == [1, 0, 2]
    assert align([], []) == []
    with pytest.raises(ValueError, match="1 references but 2"):
        align(["a"], ["a", "b"])


def test_oracle_takes_fewest_errors_then_best_rank() -> None:
    table = nbest([("b", 2, ""), ("b", 1, ""), ("a", 1, ""), ("a", 3, ""), ("a", 2, "")])
    errors = np.array([0, 0, 2, 1, 1])
    assert oracle(table, errors).tolist() == [1, 4]
    assert oracle(table.iloc[:0], errors[:0]).tolist() == []


def test_missing_references_are_named() -> None:
    table = nbest([(name, 1, "x") for name in "abcdefg"])
    with pytest.raises(InputError, match=r"6 of .*: b, c, d, e, f, …"):
        row_errors(table, {"a": "x", "unused": "y"})


def test_librispeech_first_best_and_oracle(shared_data: Path) -> None:
    table, references = librispeech(shared_data / "librispeech-10best" / "test_clean.jsonl.xz")
    counts = row_errors(table, references)
    first = ErrorRate.total(counts[table["rank"] == 1])
    best = ErrorRate.total(counts.iloc[oracle(table, counts["errors"])])
    assert (first.substitutions, first.deletions, first.insertions) == (2720, 213, 443)
    assert round(100 * first.rate, 2) == 6.42
    assert round(100 * best.rate, 2) == 4.17
    assert first.ref_words == best.ref_words == sum(len(r.split()) for r in references.values())
