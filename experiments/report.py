"""Results folders as one HTML page, or their table as Markdown, LaTeX or CSV.

secondpass report results/demo                        results/demo/report.html
secondpass report results/a results/b -o both.html    several runs side by side
secondpass report results/demo --anonymous            without texts and audio
secondpass report results/demo --format markdown      the table of systems, printed

The page has tables, curves, errors by tag and an explorer of the N-best lists. It needs no network
and no other file. Audio is not embedded: where utterances.parquet names audio files that exist, the
page links to them by relative path.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lm.errors import InputError
from lm.files import output_file, write_text

FORMATS = ("html", "markdown", "latex", "csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("folders", nargs="+", metavar="RESULTS", help="results folders")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the file to write (default of a page: report.html in the results folder, or in the "
        "current folder if there are several; default of a table: it is printed)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="html",
        help="a page, or the table of systems with intervals (default: %(default)s)",
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="leave all texts and audio out of the page; utterance ids, tags and settings stay",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the page, or prints the table."""
    folders = [Path(folder) for folder in arguments.folders]
    if arguments.format != "html":
        text = tables_text(folders, arguments.format)
        if arguments.output is None:
            print(text, end="")
        else:
            write_text(output_file(arguments.output), text)
        return 0
    output = arguments.output or (folders[0] if len(folders) == 1 else Path()) / "report.html"
    path = write_report(folders, output, arguments.anonymous)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


def tables_text(folders: Sequence[Path], form: str) -> str:
    """The tables of systems of results folders as Markdown, LaTeX or CSV.

    Raises:
        InputError: A folder holds no results.
    """
    from experiments.comparison.table import WRITERS
    from experiments.report_page.run import read_runs

    runs = read_runs(list(folders))
    return WRITERS[form]({run.name: run.systems for run in runs})


def write_report(
    folders: Sequence[str | Path], output: str | Path, anonymous: bool = False
) -> Path:
    """Writes the report of results folders as one HTML file.

    Args:
        folders: results folders, at least one; the page shows them side by side.
        output: the file; it appears under its name when it is complete.
        anonymous: leaves out all texts and audio.

    Returns:
        The file.

    Raises:
        InputError: A folder holds no results, or the file cannot be written.
    """
    from experiments.report_page.page import html_page
    from experiments.report_page.payload import explorers, summary
    from experiments.report_page.run import read_runs

    output = output_file(output)
    runs = read_runs([Path(folder) for folder in folders])
    data = {"anonymous": anonymous, "runs": [summary(run, anonymous) for run in runs]}
    details = [explorers(run, output.parent, anonymous) for run in runs]
    try:
        write_text(output, html_page(", ".join(run.name for run in runs), data, details))
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or error})") from error
    return output


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["report", *sys.argv[1:]]))
