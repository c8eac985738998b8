"""Words of language models that the labels of an acoustic model cannot spell."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from asr.beam import BeamDecoder
from asr.options import DecoderOptions
from asr.pyctcdecode_beam import PyctcdecodeBeam
from asr.vocabulary import Vocabulary, check_spelling
from experiments.cli import main
from lm.errors import InputError

LETTERS = set("abcdefghijklmnopqrstuvwxyz'é")
NEVER = "cannot be spelled with the acoustic model's labels, such as"


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="secondpass")


def test_words_that_fit_are_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    check_spelling(["don't", "café", "a"], LETTERS, "lm.arpa")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("don’t", "have another apostrophe than the labels"),
        ("cafe\u0301", "have accents as separate characters"),
        ("CAT", "are in upper case"),
    ],
)
def test_a_warning_says_why_words_cannot_be_spelled(
    word: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    check_spelling(["the", "cat", word, "sat", "42"], LETTERS, "lm.arpa")
    (message,) = caplog.messages
    assert message.startswith(f"lm.arpa: 2 of 5 words {NEVER} {word}, 42; the search never finds")
    assert f"1 of them {reason}: estimate the model again" in message


def test_a_model_of_other_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"0 of its 2 words \(THE, CAT, …\) can be spelled"):
        check_spelling(["THE", "CAT"], LETTERS, "lm.arpa")


@pytest.mark.parametrize("decoder", [BeamDecoder, PyctcdecodeBeam])
def test_both_decoders_name_the_words(
    decoder: type[BeamDecoder | PyctcdecodeBeam], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A text with typographic apostrophes, its model, and labels with the plain one."""
    if decoder is PyctcdecodeBeam:
        pytest.importorskip("pyctcdecode")
        pytest.importorskip("kenlm")
    text, arpa = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("i don’t know\nwe can’t say\nit is what they said\n", encoding="utf-8")
    command = ["ngram", str(text), "-o", str(arpa), "--order", "2", "--discount-fallback"]
    assert main(command) == 0
    labels = ["<pad>", "|", *sorted(LETTERS)]
    options = DecoderOptions(decoder="beam", lm=str(arpa), beam_width=8)
    decoder.build(Vocabulary.from_labels(labels, blank=0), options)
    assert any(f"2 of 11 words {NEVER} don’t, can’t;" in m for m in caplog.messages)
    assert any("2 of them have another apostrophe" in m for m in caplog.messages)
    caplog.clear()
    assert main([*command, "--normaliser", "unicode"]) == 0
    decoder.build(Vocabulary.from_labels(labels, blank=0), options)
    assert not [m for m in caplog.messages if NEVER in m]


def test_a_label_model_that_lacks_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text, arpa = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("a | b a\nb | a a\n", encoding="utf-8")
    command = ["ngram", str(text), "-o", str(arpa), "--order", "2", "--discount-fallback"]
    assert main(command) == 0
    options = DecoderOptions(decoder="beam", lm=str(arpa), lm_unit="label")
    BeamDecoder.build(Vocabulary.from_labels(["<pad>", "|", "a", "b", "c"], blank=0), options)
    lacking = "1 of the 4 labels are unknown to the model, such as c"
    assert any(lacking in message for message in caplog.messages)
