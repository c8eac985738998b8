"""Configs: types, overrides, and errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from experiments.comparison.config import load_config, to_plain
from lm.errors import InputError


@dataclass(frozen=True)
class Decoder:
    beam_width: int = 16
    kind: Literal["greedy", "beam"] = "beam"


@dataclass(frozen=True)
class Experiment:
    name: str
    rate: float = 1.0
    flag: bool = False
    lm: str | None = None
    decoders: Mapping[str, Decoder] = field(default_factory=dict)
    prune: tuple[int, ...] = ()


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_values_and_both_kinds_of_override(tmp_path: Path) -> None:
    path = config(tmp_path, "name: a\nrate: 1e-3\ndecoders:\n  one: {beam_width: 4}\n")
    found = load_config(
        Experiment, path, ["decoders.one.kind=greedy", "--decoders.two.beam_width", "8", "--lm=x"]
    )
    assert found == Experiment(
        name="a",
        rate=0.001,
        lm="x",
        decoders={"one": Decoder(4, "greedy"), "two": Decoder(8)},
    )


def test_to_plain_is_read_back(tmp_path: Path) -> None:
    first = Experiment("a", decoders={"one": Decoder()}, prune=(0, 0, 1))
    import json

    path = config(tmp_path, json.dumps(to_plain(first)))
    assert load_config(Experiment, path) == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\ndecoders: {one: {beam_with: 4}}", "`decoders.one.beam_width`"),
        ("nmae: a", "`name`"),
        ("rate: 2", "`name` is missing"),
        ("name: a\nrate: fast", "`rate` is 'fast'"),
        ("name: a\nflag: 1", "`flag` is 1"),
        ("name: a\nprune: [0, x]", "`prune\\[1\\]` is 'x'"),
        ("name: a\ndecoders: {one: {kind: best}}", "greedy | beam"),
        ("name: 3", "`name` is 3"),
        ("- a", "mapping"),
        ("name: [", "not valid YAML"),
        ("name: ${SURELY_NOT_SET_ANYWHERE}", "SURELY_NOT_SET_ANYWHERE"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = config(tmp_path, text)
    with pytest.raises(InputError, match=message.replace("|", "\\|")) as error:
        load_config(Experiment, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_here_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_DATA", "/data")
    monkeypatch.chdir(tmp_path)
    path = config(tmp_path, "name: ${here}/x\nlm: ${SOME_DATA:-none}/${OTHER_DATA:-${here}/y}\n")
    found = load_config(Experiment, path)
    assert found.name == "./x"
    assert found.lm == "/data/./y"


def test_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        load_config(Experiment, "nowhere.yaml")
