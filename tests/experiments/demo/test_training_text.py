"""The demo's sentences, and that no training text of its models has them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rapidfuzz.distance import Levenshtein

import experiments.demo
from experiments.demo.assistant_text import WORDS, generate, main, read_grammar
from experiments.demo.overlap import NearCopy, near_copies, normalised_lines, shared_runs
from experiments.demo.synthesise import read_sentences
from lm.errors import InputError

SENTENCES = read_sentences(Path(experiments.demo.__path__[0]) / "sentences.tsv")
TEXTS = [sentence["text"] for sentence in SENTENCES]
KINDS = {"command", "request", "call", "prose"}
LINES, SEED = 200_000, 1  # of the text that the bundled models were trained on


@pytest.fixture(scope="module")
def assistant() -> list[str]:
    return list(generate(LINES, SEED, read_grammar()))


def split_of(name: str) -> list[str]:
    return [sentence["text"] for sentence in SENTENCES if sentence["split"] == name]


def test_sentences_are_many_and_spread_over_kinds_and_splits() -> None:
    assert len(SENTENCES) >= 300
    kinds = Counter(sentence["kind"] for sentence in SENTENCES)
    assert set(kinds) == KINDS
    assert max(kinds.values()) - min(kinds.values()) <= 5
    for kind in KINDS:
        dev = sum(s["split"] == "dev" for s in SENTENCES if s["kind"] == kind)
        assert 0.35 <= dev / kinds[kind] <= 0.45, kind


def test_sentences_are_plain_words_and_distinct() -> None:
    for text in TEXTS:
        assert re.fullmatch(r"[a-z][a-z']*(?: [a-z][a-z']*)*", text), text
        assert 5 <= len(text.split()) <= 22, text
    assert 9 <= sum(len(text.split()) for text in TEXTS) / len(TEXTS) <= 13
    assert len(set(TEXTS)) == len(TEXTS)


def test_no_test_sentence_resembles_a_dev_sentence() -> None:
    dev, test = split_of("dev"), split_of("test")
    assert not list(shared_runs(test, dev))
    assert not list(near_copies(test, dev))


def test_manifests_have_the_texts_of_the_sentences() -> None:
    for split in ("dev", "test"):
        manifest = Path(experiments.demo.__path__[0]) / f"{split}.jsonl"
        spoken = re.findall(r'"text": "([^"]*)"', manifest.read_text(encoding="utf-8"))
        assert sorted(text.lower() for text in spoken) == sorted(split_of(split))


@pytest.mark.slow
def test_assistant_text_is_plain_distinct_and_repeatable(assistant: list[str]) -> None:
    assert len(set(assistant)) == LINES
    for line in assistant:
        assert re.fullmatch(r"[a-z']+(?: [a-z']+)+", line), line
        assert len(line.split()) in WORDS, line
    assert list(generate(500, SEED, read_grammar())) == assistant[:500]
    assert list(generate(500, SEED + 1, read_grammar())) != assistant[:500]


@pytest.mark.slow
def test_assistant_text_has_no_sentence_of_the_demo(assistant: list[str]) -> None:
    assert not list(shared_runs(TEXTS, assistant))
    assert not list(near_copies(TEXTS, assistant))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [("librispeech-train-clean-100.txt.xz", 990_000), ("novels.txt.xz", 24_000_000)],
)
def test_shared_text_has_no_six_words_of_a_sentence(
    shared_data: Path, name: str, words: int
) -> None:
    seen = 0

    def counted() -> Iterator[str]:
        nonlocal seen
        for line in normalised_lines(shared_data / "text" / name):
            seen += line.count(" ") + 1
            yield line

    assert not list(shared_runs(TEXTS, counted()))
    assert seen >= words  # the whole text was read


def test_output_is_the_generated_lines(tmp_path: Path) -> None:
    output = tmp_path / "lines.txt"
    assert main(["--lines", "50", "--seed", "3", "-o", str(output)]) == 0
    assert output.read_text().splitlines() == list(generate(50, 3, read_grammar()))
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("line = a <b> c\n", "not defined: b"), ("line = a\nline = b\n", "defined twice")],
)
def test_faulty_grammar_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "grammar.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        read_grammar(path)


def test_grammar_that_makes_too_few_lines_is_refused() -> None:
    with pytest.raises(InputError, match="about 2 different lines, not 3"):
        list(generate(3, 1, {"line": ["one of two", "two of two", "short"]}))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 6, 7])
def test_shared_runs_are_those_of_a_brute_force_search(length: int) -> None:
    rng = random.Random(length)
    texts = [" ".join(rng.choices("abcd", k=rng.randrange(14))) for _ in range(400)]
    sentences, lines = texts[:20], texts[20:]
    expected = [
        (run, number)
        for number, line in enumerate(lines, start=1)
        for start in range(len(line.split()) - length + 1)
        if any(
            f" {run} " in f" {sentence} "
            for run in [" ".join(line.split()[start : start + length])]
            for sentence in sentences
        )
        for run in [" ".join(line.split()[start : start + length])]
    ]
    found = list(shared_runs(sentences, lines, length))
    assert [(run.words, run.line) for run in found] == expected
    assert expected and len(expected) < 20_000
    assert all(f" {run.words} " in f" {run.sentence} " for run in found)


def test_near_copies_are_those_of_a_brute_force_search() -> None:
    rng = random.Random(5)
    texts = [" ".join(rng.choices("abc", k=rng.randrange(4, 9))) for _ in range(600)]
    sentences, lines = texts[:30], texts[30:]
    expected = [
        line
        for line in lines
        if any(Levenshtein.distance(line.split(), other.split()) <= 1 for other in sentences)
    ]
    assert [copy.line for copy in near_copies(sentences, lines)] == expected
    assert 0 < len(expected) < len(lines)


def test_near_copies_allow_one_edit_of_any_kind_anywhere() -> None:
    sentence = "w x y z"
    changed = ["w x y z", "q x y z", "w q y z", "w x y q", "x y z", "w y z", "w x y", "w x q y z"]
    assert list(near_copies([sentence], changed)) == [NearCopy(sentence, line) for line in changed]
    assert not list(near_copies([sentence], ["q r y z", "w x", "x w y z", "w x y z q r", ""]))


def test_normalised_lines_keep_words_only(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("“Don’t!” cried 'Ann' -- it's two.\nTHE END\n", encoding="utf-8")
    assert [line.split() for line in normalised_lines(path)] == [
        ["don't", "cried", "ann", "it's", "two"],
        ["the", "end"],
    ]
    with pytest.raises(InputError, match="cannot read this text"):
        list(normalised_lines(tmp_path / "missing.xz"))
