"""Stages: what is read once, what makes a stage stale, and what a stage records."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.comparison.signature import makers
from experiments.comparison.stages import STAMP, Fingerprints, Recipe, fingerprint, run_stage


class CountingFingerprints(Fingerprints):
    """Counts how often a content is read."""

    reads = 0

    def read(self, path: str | Path) -> str:
        self.reads += 1
        return super().read(path)


def test_a_content_is_read_once_until_it_changes(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "checkpoints").mkdir(parents=True)
    (model / "weights").write_text("one")
    known = CountingFingerprints()
    first = known.of(model)
    assert first == fingerprint(model) == known.of(model)
    (model / "checkpoints" / "left").write_text("by training")
    assert known.of(model) == first and known.reads == 1
    (model / "weights").write_text("two")
    os.utime(model / "weights", ns=(1, 1))
    assert known.of(model) == fingerprint(model) != first and known.reads == 2
    assert known.of("gpt2") == "name:gpt2"


def make(folder: Path) -> Mapping[str, Any]:
    (folder / "file").write_text("content")
    return {"fact": 1}


def test_a_stage_is_stale_by_inputs_and_form_but_not_by_version(tmp_path: Path) -> None:
    first = run_stage(tmp_path, Recipe("emit-dev", {"x": 1}), make)
    assert not first.reused and first.made["versions"]["numpy"]
    again = run_stage(tmp_path, Recipe("emit-dev", {"x": 1}), make)
    assert again.reused and again.made == first.made and again.seconds == first.seconds
    for other in (Recipe("emit-dev", {"x": 2}), Recipe("emit-dev", {"x": 1}, form=2)):
        assert other.finished(tmp_path) is None
        assert other.last_seconds(tmp_path) == first.seconds
    assert Recipe("emit", {"x": 1}).last_seconds(tmp_path) is None  # a stage of another name


def test_stages_of_older_versions_are_read(tmp_path: Path) -> None:
    stage = run_stage(tmp_path, Recipe("emit-dev", {"x": 1}), make)
    stamp = json.loads((stage.folder / STAMP).read_text())
    del stamp["made"]
    (stage.folder / STAMP).write_text(json.dumps(stamp))
    found = Recipe("emit-dev", {"x": 1}).finished(tmp_path)
    assert found is not None and found.facts == {"fact": 1} and found.made == {}


def test_a_signature_says_which_stages_differ() -> None:
    old = {"versions": {"secondpass": "1", "torch": "2.9"}, "commit": "abc"}
    new = {"versions": {"secondpass": "1", "torch": "2.10"}, "commit": "def"}
    same = {("dev", "emit"): new, ("test", "emit"): new, ("", "counts"): new}
    assert makers(same) == ["secondpass 1 (def)", "torch 2.10"]
    assert makers({**same, ("dev", "emit"): old, ("test", "emit"): old}) == [
        "secondpass 1 (abc) [emit] and secondpass 1 (def) [counts]",
        "torch 2.9 [emit] and torch 2.10 [counts]",
    ]
    assert makers({**same, ("dev", "emit"): {}})[0] == (
        "secondpass unknown [dev emit] and secondpass 1 (def) [test emit, counts]"
    )
