"""The command line: help, names, what is printed, and what other programs see of it."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import COMMANDS, main
from experiments.comparison.config import load_config
from experiments.comparison.experiment import Comparison
from experiments.demo import bundled
from tests.support.data import PROJECT

HELP_OF_ALL = """
import contextlib, io, sys
from experiments.cli import COMMANDS, main
for name in COMMANDS:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        main([name, "--help"])
    assert f"usage: secondpass {name}" in out.getvalue(), name
heavy = {"torch", "transformers", "numba", "pandas", "pyarrow"} & sys.modules.keys()
print(*sorted(heavy))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, *command], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def test_no_help_imports_what_takes_seconds() -> None:
    done = run("-c", HELP_OF_ALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, text in COMMANDS.items():
        assert f"  {name} " in shown and text in shown
    files = {path.stem for path in (PROJECT / "experiments").glob("*.py")}
    assert {name.replace("-", "_") for name in COMMANDS} <= files


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"secondpass {importlib.metadata.version('secondpass')}\n"


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["comapre"], "'compare'"),
        (["import_nbest", "x"], "'import-nbest'"),
        (["compare", "--dry-rum"], "'--dry-run'"),
        (["configs", "demoo"], "'demo'"),
    ],
)
def test_a_mistyped_name_gets_the_nearest_one(
    capsys: pytest.CaptureFixture[str], argv: list[str], meant: str
) -> None:
    assert main(argv) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_a_mistyped_option_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["prepare-text", "a.txt", "-o", "b.txt", "--normalizer", "lower"])
    assert stopped.value.code == 2
    assert "did you mean '--normaliser'?" in capsys.readouterr().err


@pytest.mark.parametrize("place", [0, 1, 6])
def test_quiet_and_verbose_may_stand_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("One word.\n")
    command = ["prepare-text", str(text), "-o", str(tmp_path / "lines.txt"), "--seed", "2"]
    assert main(command) == 0
    assert "1 lines" in capsys.readouterr().err
    assert main([*command[:place], "-q", *command[place:]]) == 0
    assert capsys.readouterr().err == ""
    assert main([*command[:place], "--verbose", *command[place:]]) == 0
    assert "1 lines" in capsys.readouterr().err


def test_a_reader_that_ends_early_is_no_error() -> None:
    command = f"{sys.executable} -m experiments configs demo | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.startswith("# The bundled demo") and "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["new/folder/out", "folder", "file/out"])
def test_the_place_of_the_output_is_made_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "text.txt").write_text("One word.\n")
    output = tmp_path / place
    status = main(["prepare-text", str(tmp_path / "text.txt"), "-o", str(output)])
    if place == "new/folder/out":
        assert status == 0 and output.read_text() == "one word\n"
    else:
        assert status == 2 and f"{output}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "import-nbest FILE --format csv",
        "import-nbest FILE --format text",
        "prepare-text FILE",
        "ngram FILE --order 1",
        "ngram --models FILE",
        "ngram other.txt --order 1 --heldout FILE",
        "truecase FILE",
        "tune FILE --refs other.txt --columns acoustic",
        "tune other.txt --refs FILE --columns acoustic",
        "choose FILE",
        "choose other.txt --refs FILE",
        "export FILE --format text",
        "decode other --lm FILE",
    ],
)
def test_an_input_is_never_replaced_by_the_output(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """Under its own name or another one."""
    monkeypatch.chdir(tmp_path)
    Path("input").write_text("utt,text,score\na,one Word,-1\n")
    Path("link").symlink_to("input")
    for output in ("input", "./input", "link"):
        assert main([*command.replace("FILE", "input").split(), "-o", output]) == 2
        assert "the command reads this file; give another name for -o" in capsys.readouterr().err
        assert Path("input").read_text() == "utt,text,score\na,one Word,-1\n"


def test_a_copied_config_is_the_bundled_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIBRISPEECH", "corpus")
    monkeypatch.setenv("ARPA", "lm.arpa")
    for name in ("demo", "an4", "librispeech", "librispeech-10best"):
        path = tmp_path / "mine" / f"{name}.yaml"
        assert main(["configs", name, "-o", str(path)]) == 0
        copied = load_config(Comparison, path)
        original = load_config(Comparison, bundled.CONFIG.with_name(f"{name}.yaml"))
        assert {k: resolved(v) for k, v in vars(copied).items()} == {
            k: resolved(v) for k, v in vars(original).items()
        }
        assert main(["configs", name, "-o", str(path)]) == 2  # it may have been changed
    assert "exists already" in capsys.readouterr().err
    assert main(["configs"]) == 0
    assert "demo  " in capsys.readouterr().out
    assert main(["configs", "demo"]) == 0
    assert capsys.readouterr().out == bundled.CONFIG.read_text(encoding="utf-8")


def resolved(value: object) -> str:
    """A setting as text, with paths that lead to the same file spelled the same."""
    words = repr(value).split("'")
    return "'".join(
        str(Path(word).resolve()) if "/" in word and Path(word).exists() else word for word in words
    )


@pytest.mark.parametrize("moment", ["import", "run"])
def test_ctrl_c_ends_with_one_line_also_during_imports(tmp_path: Path, moment: str) -> None:
    """The interrupt comes while the command's module is imported, or while it runs."""
    code = f"""
import builtins, sys
from experiments import cli
imported = builtins.__import__
def interrupted(name, *rest):
    if name == {"experiments.results" if moment == "run" else "importlib.util"!r}:
        raise KeyboardInterrupt
    return imported(name, *rest)
builtins.__import__ = interrupted
sys.exit(cli.main(["doctor"]))
"""
    done = run("-c", code)
    assert done.returncode == 130
    assert done.stderr == "secondpass doctor: interrupted\n"
