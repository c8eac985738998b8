"""The benchmark of counting, tuning and testing runs, and stops where the loops differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.bench import evaluate
from lm.errors import InputError
from tests.support.result_folders import random_results


def test_every_step_agrees_with_its_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate.os, "sched_setaffinity", lambda *_: None)
    folder = random_results(tmp_path / "run", utterances=60)
    out = tmp_path / "table.md"
    command = [str(folder), "--system", "weighted", "--tune", "dev", "--split", "test"]
    assert evaluate.main([*command, "--rounds", "1", "--markdown", str(out)]) == 0
    steps = [line.split(" | ")[0] for line in out.read_text().splitlines()[4:]]
    assert len(steps) == 6 and "minimum Bayes risk" in steps[4]
    assert "dev: 60 lists" in capsys.readouterr().out
    with pytest.raises(InputError, match="no system 'first-pass' with weights"):
        evaluate.main([str(folder), "--system", "first-pass"])
    with pytest.raises(SystemExit, match="ours 1, the loop 2"):
        evaluate.agree("counts", 1, 2)
