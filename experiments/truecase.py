"""Learns upper and lower case from text, for the normaliser `truecase:MODEL`.

secondpass truecase novels.txt.xz -o case.tsv.gz
secondpass rescore lists.parquet --normaliser truecase:case.tsv.gz+stop …

The text must be in its original case, a sentence or a paragraph a line. The model is a list of the
words that are mostly not in lower case; it can be read and edited.
"""

from __future__ import annotations

import argparse
import logging
import sys

from lm.files import output_file

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="text, plain, .gz, .bz2 or .xz")
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help=".tsv or .tsv.gz")


def run(arguments: argparse.Namespace) -> int:
    """Writes the model."""
    from experiments.comparison.progress import progress
    from lm.text.prose import read_text
    from lm.text.truecase import count_forms, write_truecaser

    output = output_file(arguments.output, arguments.texts)
    with progress(None, "counting", "line") as bar:
        lines = (line for path in arguments.texts for line in read_text(path))
        counts = count_forms(lines, progress=bar.update)
    written = write_truecaser(counts, output)
    LOG.info(f"wrote {output}: {written:,} words with capitals")
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["truecase", *sys.argv[1:]]))
