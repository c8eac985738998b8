"""One HTML file of results folders: tables, curves, errors by tag, and an N-best explorer.

secondpass report results/demo                        results/demo/report.html
secondpass report results/a results/b -o both.html    several runs side by side
secondpass report results/demo --anonymous            without texts and audio

The file needs no network and nothing beside it. Audio is not embedded: where utterances.parquet
names audio files that are at hand, the page links to them by relative path.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.report_page.page import html_page
from experiments.report_page.payload import explorers, summary
from experiments.report_page.run import read_runs
from lm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("folders", nargs="+", metavar="RESULTS", help="results folders")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.html",
        help="default: report.html in the results folder; here, if there are several",
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="leave out all texts and audio; utterance ids, tags and settings stay",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the report."""
    folders = [Path(folder) for folder in arguments.folders]
    output = arguments.output or (folders[0] if len(folders) == 1 else Path()) / "report.html"
    path = write_report(folders, output, arguments.anonymous)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


def write_report(
    folders: Sequence[str | Path], output: str | Path, anonymous: bool = False
) -> Path:
    """Writes the report of results folders as one HTML file.

    Args:
        folders: Results folders, at least one; the file shows them side by side.
        output: The file; it appears under its name when it is whole.
        anonymous: Leaves out all texts and audio.

    Returns:
        The file.

    Raises:
        InputError: A folder holds no results, or the file cannot be written.
    """
    output = Path(output)
    runs = read_runs([Path(folder) for folder in folders])
    data = {"anonymous": anonymous, "runs": [summary(run, anonymous) for run in runs]}
    details = [explorers(run, output.parent, anonymous) for run in runs]
    text = html_page(", ".join(run.name for run in runs), data, details)
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(output)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise InputError(f"{output}: cannot be written ({error.strerror or error})") from error
    return output


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["report", *sys.argv[1:]]))
