"""Estimates an n-gram language model with modified Kneser-Ney smoothing.

secondpass ngram TEXT… -o LM.arpa.gz --order 4 --prune 0 0 1

A line is a sentence; words are separated by white space; the text is taken as it is unless a
normaliser is named. Texts may be plain, .gz, .bz2 or .xz.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lm.arpa import write_arpa
from lm.counts import read_corpus, read_words
from lm.errors import InputError
from lm.estimate import estimate
from lm.text import NORMALISERS, normaliser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="text, one sentence a line")
    parser.add_argument(
        "-o", "--output", required=True, metavar="LM.arpa[.gz]", help="the model to write"
    )
    parser.add_argument("--order", type=int, required=True, help="length of the longest n-grams")
    parser.add_argument(
        "--prune",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="per order from 1 on, leave out n-grams that occur N times or fewer; the last N holds "
        "for the orders that follow (default: 0, keep all)",
    )
    parser.add_argument(
        "--normaliser",
        default="none",
        metavar="NAME",
        help=f"applied to every line: {', '.join(NORMALISERS)} (default: none)",
    )
    parser.add_argument(
        "--vocabulary", metavar="FILE", help="keep only words of this list that the text has"
    )
    parser.add_argument(
        "--discount-fallback",
        action="store_true",
        help="take the discounts 0.5, 1 and 1.5 where the counts of an order give none",
    )


def run(arguments: argparse.Namespace) -> int:
    """Estimates and writes the model; progress goes to stderr."""
    output = Path(arguments.output)
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}; make it first")
    normalise = None if arguments.normaliser == "none" else normaliser(arguments.normaliser)
    allowed = read_words(arguments.vocabulary) if arguments.vocabulary else None
    model = estimate(
        read_corpus(arguments.texts, normalise),
        arguments.order,
        arguments.prune,
        allowed,
        arguments.discount_fallback,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    write_arpa(model, output)
    print(f"wrote {output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["ngram", *sys.argv[1:]]))
