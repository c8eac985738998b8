"""Truecasing and the normalisers that give a language model its own spelling."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.cli import main
from lm.errors import InputError
from lm.text.normalisers import normaliser
from lm.text.prose import open_text
from lm.text.truecase import HEADER, Truecaser, count_forms, write_truecaser

PRINTED = """\
The train to Boston left. When I saw Will, he said: I will go to Boston, I will.
CHAPTER II. THE TRAIN
They called the Boston man Will; McGregor’s dog will follow. Will it? It will.
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "case.tsv"
    write_truecaser(count_forms(PRINTED.splitlines()), path)
    return path


def test_forms_are_counted_inside_sentences() -> None:
    counts = count_forms(PRINTED.splitlines())
    assert counts["Boston"] == 3 and counts["McGregor's"] == 1 and counts["I"] == 3
    assert counts["Will"] == 2 and counts["will"] == 4  # "Will it?" starts a sentence
    assert "They" not in counts and "TRAIN" not in counts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'LL TAKE THE TRAIN TO BOSTON", "I'll take the train to Boston"),
        ("will he go with mcgregor's dog", "Will he go with McGregor's dog"),
        ("boston's will", "Boston's will"),
        ("one day, i said", "One day, I said"),
        ("42 boston", "42 Boston"),
        ("", ""),
    ],
)
def test_words_get_their_most_frequent_form(model: Path, text: str, expected: str) -> None:
    assert normaliser(f"truecase:{model}")(text) == expected


def test_ties_and_equal_files(tmp_path: Path) -> None:
    lines = ["x Day day", "x Ox OX", "x Night"]
    for name, order in (("a.tsv.gz", lines), ("b.tsv.gz", lines[::-1])):
        assert write_truecaser(count_forms(order), tmp_path / name) == 2
    # Lower case wins a tie, else the alphabet.
    assert Truecaser.load(tmp_path / "a.tsv.gz").forms == {"ox": "OX", "night": "Night"}
    with gzip.open(tmp_path / "a.tsv.gz", "rt") as text:
        assert text.read() == f"{HEADER}\nNight\t1\t1\nOX\t1\t2\n"
    assert (tmp_path / "a.tsv.gz").read_bytes() == (tmp_path / "b.tsv.gz").read_bytes()


def test_memory_is_bounded() -> None:
    lines = [f"x Often word{i}" for i in range(1000)]
    counts = count_forms(lines, most=100)
    assert len(counts) <= 101
    assert counts["Often"] == 1000


@given(st.text(st.sampled_from("abAB iI'., \n-1é")))
def test_only_case_changes(text: str) -> None:
    model = Truecaser({"b": "B", "i": "I", "ab": "aB"})
    assert model(text).lower() == text.lower()
    assert model(model(text)) == model(text)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sentence", "WHAT I SAID I'D DO IN IDAHO", "What I said I'd do in idaho"),
        ("sentence+stop", "WHAT I SAID", "What I said."),
        ("none+stop", "is it?", "is it?"),
        ("none+stop", "done.", "done."),
        ("lower+stop", "...", ""),
    ],
)
def test_sentence_case_and_full_stop(name: str, text: str, expected: str) -> None:
    assert normaliser(name)(text) == expected


def test_command_learns_from_novels(shared_data: Path, tmp_path: Path) -> None:
    novels = tmp_path / "novels.txt"
    with open_text(shared_data / "text" / "novels.txt.xz") as lines:
        novels.write_text("".join(line for line, _ in zip(lines, range(20_000), strict=False)))
    output = tmp_path / "case.tsv.gz"
    assert main(["truecase", str(novels), "-o", str(output)]) == 0
    case = normaliser(f"truecase:{output}+stop")
    assert case("I WENT TO LONDON ON MONDAY") == "I went to London on Monday."
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"Boston 3 4\n", "not a truecasing model"),
        (f"{HEADER}\nBoston\t3\t3\nParis\n".encode(), "line 3"),
        (f"{HEADER}\n\xff".encode("latin-1"), "line 2: not UTF-8"),
    ],
)
def test_wrong_models(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "case.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"case\.tsv.*{message}"):
        normaliser(f"truecase:{path}+stop")


def test_wrong_names_and_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"did you mean 'sentence'.*truecase:FILE"):
        normaliser("sentense+stop")
    with pytest.raises(InputError, match="'truecase' names no normaliser"):
        normaliser("truecase")
    lower = tmp_path / "lower.txt"
    lower.write_text("nothing here is printed\n")
    assert main(["truecase", str(lower), "-o", str(tmp_path / "m.tsv")]) == 2
    assert "truecasing is learned from text" in capsys.readouterr().err
    assert not (tmp_path / "m.tsv").exists()
    assert main(["truecase", str(lower), "-o", str(lower / "m.tsv")]) == 2
    assert "cannot be written" in capsys.readouterr().err
