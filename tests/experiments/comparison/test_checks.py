"""What is wrong is said before the first stage, all at once; a dry run runs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asr.nbest import write_nbest
from experiments.cli import main
from experiments.comparison.checks import checkpoint_problems, is_path, model_problems
from experiments.comparison.config import load_config
from experiments.comparison.experiment import Comparison
from experiments.demo.bundled import CONFIG as DEMO
from tests.asr.formats.test_transcripts import truth_and_lists
from tests.support.arpas import two_words
from tests.support.data import PROJECT


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """N-best lists of two splits, and an n-gram model that rescores them."""
    splits = {}
    for seed, split in enumerate(("dev", "test")):
        references, table = truth_and_lists(seed, 20)
        write_nbest(table, tmp_path / f"{split}.parquet")
        lines = (f"{utt} {text}\n" for utt, text in references.items())
        (tmp_path / f"{split}.txt").write_text("".join(lines))
        splits[split] = {
            "nbest": str(tmp_path / f"{split}.parquet"),
            "format": "parquet",
            "references": str(tmp_path / f"{split}.txt"),
        }
    content = {
        "name": "checked",
        "splits": splits,
        "columns": {"two": {"model": str(two_words(tmp_path / "two.arpa"))}},
        "systems": {
            "first": {"lists": "imported"},
            "two": {"lists": "imported", "columns": ["acoustic", "two", "words"]},
        },
        "normaliser": "none",
        "resamples": 50,
        "cache": None,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_one_error_lists_all_that_is_wrong(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "out")
    wrong = [
        "columns.two.model=./nowhere",
        "columns.two.normaliser=lowr",
        "splits.test.nbest=missing.parquet",
        "normaliser=wisper",
        "systems.two.columns=[acoustic, two, theirs]",
    ]
    assert main(["compare", str(config), "--out", out, *wrong]) == 2
    error = capsys.readouterr().err
    for part in (
        "5 things are wrong, and nothing was run",
        "file is a file",
        "columns.two.model: nowhere: there is no such folder",
        "columns.two.normaliser: 'lowr'",
        "missing.parquet",
        "did you mean 'whisper'?",
    ):
        assert part in error
    # With the normaliser right, the column is seen to be missing too.
    assert main(["compare", str(config), wrong[-1]]) == 2
    assert "split dev: 'theirs' names no score column" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_models_are_checked_by_their_files(tmp_path: Path) -> None:
    def said(model: str | Path) -> str:
        return "; ".join(model_problems(str(model), "m"))

    (tmp_path / "text.arpa").write_text("once upon a time\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "own.py").write_text("class Mine:\n    pass\n")
    (tmp_path / "bad.py").write_text("class Mine\n")
    for model, part in (
        (tmp_path / "text.arpa", "not an ARPA model"),
        (tmp_path / "none.arpa", "no such file"),
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path / "empty", "config.json is missing"),
        (tmp_path / "half", "no weights"),
        (tmp_path / "broken", "cannot be read"),
        (f"{tmp_path / 'own.py'}:Yours", "no class 'Yours'"),
        (f"{tmp_path / 'bad.py'}:Mine", "bad.py:1: this is not valid Python"),
        (f"{tmp_path / 'gone.py'}:Mine", "No such file"),
        ("what is this?", "no name on the hub"),
    ):
        assert part in said(model), model
    right = (two_words(tmp_path / "two.arpa"), f"{tmp_path / 'own.py'}:Mine", DEMO.parent.parent)
    assert [said(right[0]), said(right[1])] == ["", ""]
    assert said(right[2] / "demo" / "lm") == said(right[2] / "demo" / "lm.arpa.gz") == ""


def test_hub_names_are_looked_up_in_the_local_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (said,) = checkpoint_problems("someone/that-is-nowhere", "acoustic.model")
    assert "local hub cache" in said and "HF_HUB_OFFLINE" in said
    assert [is_path(name) for name in ("gpt2", "facebook/wav2vec2", "a/b/c", "./a", "/a")] == [
        *(False, False, True, True, True),
    ]
    (tmp_path / "runs").mkdir()
    assert is_path("runs/lm")


def test_a_dry_run_says_what_would_run_and_makes_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["compare", str(config), "--out", str(out)]
    assert main([*command, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "0 stages are reused, 2 run" in printed and "rescore.imported.two" in printed
    assert not out.exists()
    assert main(command) == 0
    capsys.readouterr()
    before = sorted(out.rglob("*"))
    assert main([*command, "--dry-run"]) == 0
    assert "2 stages are reused, 0 run" in capsys.readouterr().out
    assert main([*command, "--dry-run", "columns.two.eos=[true, false]"]) == 0
    printed = capsys.readouterr().out
    assert "2 stages are reused, 0 run" in printed and "0 stages are reused, 2 run" in printed
    assert sorted(out.rglob("*")) == before
    log = (out / "compare.log").read_text()
    for part in ("numpy ", "stage rescore-dev-imported-two: finished in ", "ends"):
        assert part in log


def test_the_resolved_config_gives_the_same_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--print-config", "first_passes.beam.beam_width=[4, 8]"]) == 0
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(capsys.readouterr().out)
    assert yaml.safe_load(resolved.read_text())["first_passes"]["beam"]["beam_width"] == [4, 8]
    back = ["first_passes.beam.beam_width=32"]
    assert load_config(Comparison, resolved, back) == load_config(Comparison, DEMO, back)


def test_neither_help_nor_a_dry_run_imports_torch(tmp_path: Path) -> None:
    script = (
        "import sys, json; from experiments.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps([m for m in ('torch', 'transformers') if m in sys.modules]))"
    )
    for arguments in (["--help"], ["--dry-run", "--out", str(tmp_path / "o")], ["--print-config"]):
        found = subprocess.run(
            [sys.executable, "-c", script, "compare", *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=PROJECT,
        )
        assert json.loads(found.stdout.splitlines()[-1]) == [], arguments
