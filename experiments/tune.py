"""Chooses weights on development data.

secondpass tune NBEST.parquet --refs REFS --columns acoustic,ngram,words -o weights.json
"""

from __future__ import annotations

import argparse
import logging
import sys

from asr.evaluation.alignment import METHODS as ALIGNMENTS
from experiments.comparison.arguments import REFERENCES
from lm.errors import InputError
from lm.files import output_file
from lm.ranges import SEED
from lm.text.normalisers import CHOICES, DEFAULT, normaliser

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", metavar="NBEST.parquet")
    parser.add_argument("--refs", required=True, help=REFERENCES)
    parser.add_argument(
        "--columns",
        required=True,
        metavar="a,b,c",
        help="columns to weight; `acoustic` always has weight 1",
    )
    parser.add_argument("-o", "--output", required=True, metavar="weights.json")
    parser.add_argument(
        "--normaliser",
        default=DEFAULT,
        metavar="NAME",
        help=f"applied before words are counted: {CHOICES} (default: %(default)s)",
    )
    parser.add_argument(
        "--alignment",
        choices=ALIGNMENTS,
        default="jiwer",
        help="align words as jiwer does, or as NIST sclite does (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="random seed for the starting points of the search (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Tunes, writes the weights, prints what they give."""
    clean, output = (
        normaliser(arguments.normaliser),
        output_file(arguments.output, [arguments.nbest, arguments.refs]),
    )
    columns = tuple(name.strip() for name in arguments.columns.split(",") if name.strip())
    if not columns:
        raise InputError(
            f"--columns {arguments.columns!r} names no column; give acoustic,ngram,words"
        )
    if arguments.seed not in SEED:
        raise InputError(f"--seed is {arguments.seed}; give {SEED}")
    from asr.formats.references import read_references
    from asr.nbest import read_nbest
    from experiments.comparison.counting import Counting
    from experiments.comparison.references import References
    from experiments.comparison.stages import fingerprint
    from experiments.comparison.tuning import tune_weights
    from lm.combine import write_weights

    table = read_nbest(arguments.nbest)
    counting = Counting(clean, arguments.alignment, seed=arguments.seed)
    references = References(read_references(arguments.refs), counting)
    found = tune_weights(table, columns, references)
    write_weights(
        output,
        found.weights,
        tuned_on=str(arguments.nbest),
        tuned_on_hash=fingerprint(arguments.nbest),
        errors=found.errors,
        acoustic_alone=found.baseline,
        seed=arguments.seed,
    )
    for name, weight in found.weights.items():
        print(f"{name}: {weight:g}")
    LOG.info(
        f"wrote {output}: {found.errors} word errors with these weights, {found.baseline} with "
        "acoustic alone"
    )
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["tune", *sys.argv[1:]]))
