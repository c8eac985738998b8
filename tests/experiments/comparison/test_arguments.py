"""Options and help that are derived from a dataclass."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from asr.options import DecoderOptions
from experiments.comparison.arguments import (
    add_fields,
    attribute_docs,
    from_arguments,
    keys_help,
)
from lm.errors import InputError


@dataclass(frozen=True)
class Inner:
    """Settings inside of others.

    Attributes:
        previous: Number of earlier texts
            that are read.
    """

    previous: int = 0


@dataclass(frozen=True, kw_only=True)
class Base:
    """What both kinds have.

    Attributes:
        width: Width in pixels, up to 100 %.
        size: Meaning in the base class.

    More text: this is no attribute.
    """

    width: int = 3
    size: float = 1.5


@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    """Settings of a test.

    Attributes:
        model: Model to read.
        size: Meaning in the class itself.
        history: `exact`, or a number.
        bits: Bits of a weight.
        eos: Whether the end is scored.
        texts: Files to read.
        hotwords: Bonus by phrase.
        inner: Settings that are nested.
        parts: Parts by name.
        device: Device to run on.
        separator: Characters between two texts.
    """

    model: str
    history: int | Literal["exact"] = "exact"
    bits: Literal[8, 4] | None = None
    eos: bool = True
    texts: tuple[str, ...] = ()
    hotwords: Mapping[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    parts: Mapping[str, Inner] = field(default_factory=dict)
    device: str | None = None
    separator: str = "\n"


def parse(*items: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_fields(parser, Settings, skip=["parts"])
    return from_arguments(Settings, parser.parse_args(["--model", "m", *items]))


def test_attributes_of_a_class_and_its_bases() -> None:
    docs = attribute_docs(Settings)
    assert docs["width"] == "Width in pixels, up to 100 %."
    assert docs["size"] == "Meaning in the class itself."
    assert docs["history"] == "`exact`, or a number."
    assert attribute_docs(Inner) == {"previous": "Number of earlier texts that are read."}
    assert "More text" not in docs and attribute_docs(int) == {}
    # Every field of the decoder's settings has a text.
    assert set(attribute_docs(DecoderOptions)) == set(DecoderOptions.__dataclass_fields__)


def test_without_options_the_fields_keep_their_defaults() -> None:
    assert parse() == Settings(model="m")


def test_options_of_every_type() -> None:
    given = parse(
        *("--width", "7", "--history", "3", "--bits", "4", "--no-eos", "--device", "cpu"),
        *("--texts", "a", "--texts", "b", "--hotwords", "new york=2.5", "--hotwords", "a=b=-1"),
        *("--previous", "2"),
    )
    assert given == Settings(
        model="m",
        width=7,
        history=3,
        bits=4,
        eos=False,
        device="cpu",
        texts=("a", "b"),
        hotwords={"new york": 2.5, "a=b": -1.0},
        inner=Inner(2),
    )
    assert parse("--history", "exact").history == "exact"


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["--history", "some"], "'some' is wrong; give integer or exact"),
        (["--bits", "3"], "invalid choice: 3"),
        (["--width", "x"], "invalid int value: 'x'"),
        (["--parts", "x"], "unrecognized arguments: --parts"),
    ],
)
def test_wrong_options(items: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*items)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("item", ["word", "word=", "word=heavy"])
def test_a_hotword_needs_a_weight(item: str) -> None:
    with pytest.raises(InputError, match=f"--hotwords '{item}': write PHRASE=WEIGHT"):
        parse("--hotwords", item)


def test_help_has_meanings_and_defaults() -> None:
    parser = argparse.ArgumentParser()
    group = parser.add_argument_group("what is read")
    add_fields(group, Settings, only=["width", "eos", "texts", "history", "model", "separator"])
    add_fields(parser, Settings, only=["device"], more={"device": {"metavar": "DEVICE"}})
    text = " ".join(parser.format_help().split())
    assert "Width in pixels, up to 100 %. Default: 3." in text
    assert "--eos, --no-eos Whether the end is scored. Default: true." in text
    assert "(default:" not in text
    assert "Files to read. May be given more than once." in text
    assert "`exact`, or a number. Default: exact." in text
    assert 'Characters between two texts. Default: "\\n".' in text
    assert "--device DEVICE Device to run on." in text
    assert "--bits" not in text
    with pytest.raises(SystemExit):
        parser.parse_args([])  # a field without a default is required


def test_keys_of_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = keys_help(Settings).splitlines()
    assert all(len(line) <= 40 for line in lines if line.startswith(" " * 6))
    for line, meaning in (
        ("  model  (text, required)", "Model to read."),
        ("  width  (integer, default: 3)", "Width in pixels, up to 100 %."),
        ("  size  (number, default: 1.5)", "Meaning in the class itself."),
        ("  bits  (8 or 4)", "Bits of a weight."),
        ("  texts  (list of text, default: [])", "Files to read."),
        ("  inner  (settings)", "Settings that are nested."),
    ):
        assert lines[lines.index(line) + 1] == f"      {meaning}"
    assert "  inner.previous  (integer, default: 0)" in lines
    assert "  parts.NAME.previous  (integer, default: 0)" in lines
    names = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert set(Settings.__dataclass_fields__) <= set(names)
