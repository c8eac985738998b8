"""Chooses weights on development data.

secondpass tune NBEST.parquet --refs REFS --columns acoustic,ngram,words -o weights.json
"""

from __future__ import annotations

import argparse
import sys

from asr.corpus import read_references
from asr.nbest import read_nbest
from experiments.comparison.counting import Counting
from experiments.comparison.references import References
from experiments.comparison.stages import fingerprint
from experiments.comparison.tuning import tune_weights
from lm.combine import write_weights
from lm.errors import InputError
from lm.text.normalisers import normaliser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", metavar="NBEST.parquet")
    parser.add_argument("--refs", required=True, help="manifest, or Kaldi-style text")
    parser.add_argument(
        "--columns", required=True, metavar="a,b,c", help="`acoustic` has weight 1 in any case"
    )
    parser.add_argument("-o", "--output", required=True, metavar="weights.json")
    parser.add_argument("--normaliser", default="librispeech", help="for counting words")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> int:
    """Tunes, writes the weights, prints what they give."""
    table = read_nbest(arguments.nbest)
    columns = tuple(name.strip() for name in arguments.columns.split(",") if name.strip())
    if not columns:
        raise InputError(
            f"--columns {arguments.columns!r} names no column; give acoustic,ngram,words"
        )
    counting = Counting(normaliser(arguments.normaliser), seed=arguments.seed)
    references = References(read_references(arguments.refs), counting)
    found = tune_weights(table, columns, references)
    write_weights(
        arguments.output,
        found.weights,
        tuned_on=str(arguments.nbest),
        tuned_on_hash=fingerprint(arguments.nbest),
        errors=found.errors,
        acoustic_alone=found.baseline,
        seed=arguments.seed,
    )
    for name, weight in found.weights.items():
        print(f"{name}: {weight:g}")
    print(
        f"{found.errors} word errors with these weights, {found.baseline} with acoustic alone; "
        f"wrote {arguments.output}",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["tune", *sys.argv[1:]]))
