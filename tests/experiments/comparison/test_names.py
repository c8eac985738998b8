"""Names in a config stay inside their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.cli import main
from experiments.comparison.experiment import Comparison
from experiments.comparison.names import check_names
from experiments.comparison.sweep import load_points
from lm.errors import InputError

CONFIG = """
name: {name}
splits:
  "{split}": {{nbest: dev.jsonl}}
systems:
  first: {{lists: "{lists}"}}
  second: {{lists: "{lists}", columns: ["{column}"]}}
  "{system}": {{lists: "{lists}"}}
columns:
  "{column}": {{model: lm.arpa}}
first_passes:
  "{lists}": {{}}
dev: ["{split}"]
"""
PATHS = ["../../x", "/tmp/x", "a/b", "..", ".x", " ", " a", "a\\\\b", "é" * 41]
GOOD = {"name": "a.b-c", "split": "dev 1", "lists": "beam", "column": "größe", "system": "A+B"}


@pytest.mark.parametrize("key", GOOD)
@pytest.mark.parametrize("name", PATHS)
def test_a_name_that_would_be_a_path_is_refused(
    tmp_path: Path, key: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "config.yaml"
    written = f'"{name}"' if key == "name" else name
    path.write_text(CONFIG.format(**GOOD | {key: written}), encoding="utf-8")
    with pytest.raises(InputError, match="it becomes a file's name"):
        load_points(Comparison, path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["compare", str(path)]) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_other_names_are_names(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(**GOOD), encoding="utf-8")
    (point,) = load_points(Comparison, path)
    assert point.config.name == "a.b-c"
    with pytest.raises(InputError, match=r"column 'a\\nb' has a character that cannot be printed"):
        check_names("column", ["a", "a\nb"])


def test_swept_names_are_checked_at_every_point(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(**GOOD), encoding="utf-8")
    with pytest.raises(InputError, match=r"name 'a/b' has a slash"):
        load_points(Comparison, path, ["name=[one, a/b]"])
