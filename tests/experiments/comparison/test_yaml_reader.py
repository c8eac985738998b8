"""YAML of configs: nothing is dropped or read as something else, and errors name the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.cli import main
from experiments.comparison.config import load_config
from experiments.comparison.experiment import Comparison
from experiments.comparison.sweep import load_points, resolved_yaml
from experiments.comparison.yaml_reader import parse_yaml
from lm.errors import InputError
from lm.training.settings import LMTraining
from tests.support.damage import refusals

CONFIG = """name: one
splits:
  dev: {nbest: dev.jsonl}
  on: {nbest: on.jsonl, limit: 5}
systems:
  first: {lists: any}
  off: &weighed {lists: any, weights: {acoustic: 1, lm: 0.5}}
  other: *weighed
dev: [dev]
baseline: off
seed: 3
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_config_is_read_as_it_is_written(tmp_path: Path) -> None:
    found = load_config(Comparison, write(tmp_path, "\ufeff" + CONFIG), ["splits.on.limit=7"])
    assert list(found.splits) == ["dev", "on"]
    assert list(found.systems) == ["first", "off", "other"]
    assert found.systems["off"] == found.systems["other"]
    assert (found.baseline, found.splits["on"].limit, found.seed) == ("off", 7, 3)
    again = write(tmp_path, resolved_yaml(Comparison, tmp_path / "config.yaml"))
    assert load_config(Comparison, again, ["splits.on.limit=7"]) == found


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (
            CONFIG + "systems: {last: {lists: any}}\n",
            12,
            "`systems` is given twice, first in line 5",
        ),
        (CONFIG.replace("limit: 5", "limit: 5, limit: 6"), 4, "`limit` is given twice"),
        (CONFIG.replace("lm: 0.5", "lm: 0.5, 'lm': 1"), 7, "`lm` is given twice"),
        (CONFIG.replace("  on:", "  on: {}\n  on:"), 5, "`on` is given twice, first in line 4"),
        ("name: a\nsplits:\n\tdev: {}\n", 3, "indent with spaces, not tabs"),
        ("name: a\nsplits: &s [*s]\n", 2, "inside what it stands for"),
        ("name: a\nsplits: {dev: {nbest: " + "[" * 40_000, 2, "50 deep"),
        ("name: a\nsplits: " + "{a: " * 40_000, 2, "50 deep"),
        ("name: a\n" + "- [" * 3, 2, "not valid YAML"),
        ("name: a\n? [a, b]\n: c\n", 2, "a key must be a name"),
        ('name: "a\\ud800"\n', 1, "half of a surrogate pair"),
        ("name: caf\xe9\n".encode("latin-1"), 1, "not UTF-8"),
        (CONFIG.encode("latin-1") + b"note: caf\xe9\n", 12, "not UTF-8"),
        (b"name: a\nnote: a\0b\n", 2, "not text"),
    ],
)
def test_errors_name_file_and_line(
    tmp_path: Path, text: str | bytes, line: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_points(Comparison, path)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert main(["compare", str(path), "--out", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_aliases_that_multiply_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
    with pytest.raises(InputError, match=r"line 5: there are more than 100,000 values"):
        parse_yaml("\n".join(lines), str(tmp_path / "config.yaml") + "")
    assert parse_yaml("\n".join(lines[:3]), "c")["a2"][9][9] == ["x"] * 10


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("Off", "Off"),
        ("true", True),
        ("False", False),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("10", 10),
        ("-3", -3),
        ("1_000", 1000),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-.5e3", -500.0),
        ("~", None),
        ("null", None),
        ("", None),
        ("''", ""),
        ("[1, on]", [1, "on"]),
        ("{on: 1, 2: x, null: y, 1.0: z}", {"on": 1, "2": "x", "null": "y", "1.0": "z"}),
        ("{<<: {a: 1, b: 2}, b: 3}", {"a": 1, "b": 3}),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = parse_yaml(text, "text")
    assert found == value
    assert type(found) is type(value)
    # What PyYAML writes is read back.
    assert parse_yaml(yaml.safe_dump(found), "text") == value


def test_bundled_configs_are_read_as_pyyaml_reads_them() -> None:
    configs = sorted((Path(__file__).parents[3] / "experiments" / "configs").glob("*.yaml"))
    assert len(configs) > 5
    for path in configs:
        text = path.read_text(encoding="utf-8")
        assert parse_yaml(text, str(path)) == yaml.safe_load(text)


def test_a_damaged_config_is_read_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path, CONFIG)
    messages = refusals(lambda file: load_points(Comparison, file), path)
    assert len(messages) > 100
    assert all(message.startswith(str(path)) for message in messages)


@pytest.mark.parametrize("override", ["seed=[", "seed={a: 1, a: 2}", "seed=" + "[" * 5000])
def test_overrides_are_read_in_the_same_way(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, CONFIG)
    with pytest.raises(InputError, match="seed="):
        load_config(Comparison, path, [override])
    assert load_config(Comparison, path, ["baseline=off", "systems.on.lists=any"]).systems["on"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{model_type: gpt2, tie_word_embeddings: no}", "tie_word_embeddings` is 'no', .* false"),
        ("{model_type: gpt2, inner: {scales: [1, On]}}", r"inner\.scales\[1\]` is 'On', .* true"),
    ],
)
def test_switches_of_settings_without_a_type_are_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    """As a text, `no` would be taken for true."""
    path = tmp_path / "config.yaml"
    path.write_text(f"output: o\ntexts: [t]\narchitecture: {text}\n")
    with pytest.raises(InputError, match=f"`architecture.{message}"):
        load_config(LMTraining, path)
    path.write_text("output: o\ntexts: [t]\narchitecture: {model_type: gpt2, x: false}\n")
    assert load_config(LMTraining, path).architecture["x"] is False
