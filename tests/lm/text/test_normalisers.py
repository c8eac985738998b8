"""Normalisers and sentence splitting."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from lm.errors import InputError
from lm.text.normalisers import normaliser
from lm.text.prose import open_text, sentences

PROSE = """"Well," said Mr. Darcy, "I've paid £1,200.50 for the colour of it--twenty-one times!" """


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He’d gone—so they said—to the café.", "HE'D GONE SO THEY SAID TO THE CAFE"),
        ("'Tis the boys' house, ‘and ours’.", "TIS THE BOYS HOUSE AND OURS"),
        ("Æsop's œuvre, Strauß, Łódź, naïve, ﬁn", "AESOP'S OEUVRE STRAUSS LODZ NAIVE FIN"),
        ("Mr Hale, MRS. Hay & St. John", "MISTER HALE MISSUS HAY SAINT JOHN"),
        ("main st. is not Main St. but a STAMP", "MAIN ST IS NOT MAIN ST BUT A STAMP"),
        ("in 1850 he don`t\t know\u00ad ing \n", "IN HE DON'T KNOW ING"),
        ("co\u00adoperate wi\u200bth \ufeffme", "COOPERATE WITH ME"),
        ("... -- ' 42", ""),
        ("", ""),
    ],
)
def test_librispeech_style(text: str, expected: str) -> None:
    assert normaliser("librispeech")(text) == expected
    assert normaliser("lower")(text) == expected.lower()


@given(st.text())
def test_librispeech_style_of_any_text(text: str) -> None:
    once = normaliser("librispeech")(text)
    assert re.fullmatch(r"([A-Z]([A-Z']*[A-Z])?( (?=[A-Z]))?)*", once)
    assert normaliser("librispeech")(once) == once


def test_librispeech_style_leaves_librispeech_as_it_is(shared_data: Path) -> None:
    changed = []
    with open_text(shared_data / "text" / "librispeech-train-clean-100.txt.xz") as lines:
        for line in lines:
            if normaliser("librispeech")(line) != line.rstrip("\n"):
                changed.append(line)
    # In 14 of the 28,539 transcripts a word has an apostrophe at its edge.
    assert len(changed) == 14
    assert all(re.search(r"(^|\s)'|'(\s|$)", line) for line in changed)


def test_none_is_the_text_as_it_is() -> None:
    assert normaliser("none")(PROSE) == PROSE


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "colour me grey, we won't analyse it",
        "it costs five dollars and ten cents, uh, mm, ninety-nine per cent",
        "The Doctor's programme (laughs) [noise] is at two thirty",
        "",
    ],
)
def test_whisper_agrees_with_transformers(text: str) -> None:
    spellings = files("whisper_normalizer") / "normalizers" / "english.json"
    other = EnglishTextNormalizer(json.loads(spellings.read_text(encoding="utf-8")))
    assert normaliser("whisper")(text) == other(text).strip()


def test_whisper_spells_as_published() -> None:
    assert normaliser("whisper")("Mr. Colour's twenty-one favourites, don't!") == (
        "mister color is 21 favorites do not"
    )


@pytest.mark.parametrize(
    ("name", "nearest"), [("libri-speech", "librispeech"), ("Whisper", "whisper"), ("low", "lower")]
)
def test_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' names no normaliser: did you mean '{nearest}'"):
        normaliser(name)
    with pytest.raises(
        InputError, match="librispeech, lower, none, sentence, unicode, whisper, truecase:FILE"
    ):
        normaliser("xyzzy")


@pytest.mark.parametrize(
    "parts",
    [
        ["He went.", "She stayed.", "Who knows?", "Nobody!"],
        ['"Mr. and Mrs. J. R. Smith of St. Ives came."', '"Did they?"', "(They did.)", "So did I."],
        ["So did I.", "Then we left."],
        ['"What?" he said.', "“Why!”", "‘No.’", "Él vino."],
        ["He stopped...", "Then it came at 5.30 p.m. to No. 7, i.e. here."],
        ["Really?!", "Yes."],
        ["no capital. here it goes on"],
    ],
)
def test_sentences(parts: list[str]) -> None:
    assert list(sentences(["  ".join(parts) + "\n"])) == parts


def test_sentences_end_with_their_line_and_lose_nothing() -> None:
    lines = ["A first. A second", "", "  \n", "a third. \n"]
    assert list(sentences(lines)) == ["A first.", "A second", "a third."]


@given(st.text(alphabet="abAB.!?\"' I", max_size=60))
def test_sentences_keep_every_word(text: str) -> None:
    assert " ".join(sentences([text])).split() == text.split()


def test_open_text_reads_packed_files(tmp_path: Path) -> None:
    content = "naïve\nsecond\n"
    packers = {"a.txt": bytes, "a.gz": gzip.compress, "a.bz2": bz2.compress, "a.xz": lzma.compress}
    for name, pack in packers.items():
        (tmp_path / name).write_bytes(pack(content.encode()))
        with open_text(tmp_path / name) as lines:
            assert "".join(lines) == content
    with pytest.raises(InputError, match=r"missing\.gz: cannot be read"):
        open_text(tmp_path / "missing.gz")
