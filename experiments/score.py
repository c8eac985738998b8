"""Word error rates of an N-best table: its 1-best and its oracle.

secondpass score NBEST.parquet --refs REFS [--weights weights.json] [--out DIR]

Without weights the 1-best is rank 1, and the system is called `first-pass`; with weights,
`first-pass` stays as the baseline and `weighted` stands beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from asr.corpus import read_references
from asr.nbest import read_nbest
from experiments.comparison import hypotheses_of
from experiments.results import write_results
from experiments.stages import fingerprint
from experiments.systems import System, evaluate
from experiments.table import print_systems
from lm.combine import read_weights
from lm.errors import InputError
from lm.text import normaliser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", metavar="NBEST.parquet")
    parser.add_argument("--refs", required=True, help="manifest, or Kaldi-style text")
    parser.add_argument("--weights", metavar="weights.json", help="as `secondpass tune` writes")
    parser.add_argument("--out", metavar="DIR", help="write a results folder")
    parser.add_argument("--normaliser", default="librispeech", help="for counting words")
    parser.add_argument("--split", default="test", help="name of the split in the results")


def run(arguments: argparse.Namespace) -> int:
    """Counts errors, prints the table."""
    table = read_nbest(arguments.nbest)
    references = read_references(arguments.refs)
    if table.empty:
        raise InputError(f"{arguments.nbest}: no hypotheses to score")
    systems = {"first-pass": System("lists")}
    weights: dict[str, dict[str, float] | None] = {"first-pass": None}
    if arguments.weights:
        weights["weighted"] = read_weights(arguments.weights)
        systems["weighted"] = System("lists", weights=weights["weighted"])
    clean = normaliser(arguments.normaliser)
    found = evaluate(
        arguments.split,
        systems,
        {"lists": table},
        references,
        weights,
        clean,
        seconds={},
    )
    unheard = sorted(set(references) - set(table["utt"]))
    print_systems(found.systems, Path(arguments.nbest).name)
    print(f"References without hypotheses, not counted: {len(unheard)}")
    if arguments.out:
        inputs = {str(p): fingerprint(p) for p in (arguments.nbest, arguments.refs)}
        meta = {"config": {"weights": weights, "normaliser": arguments.normaliser}}
        tables = {
            "systems": found.systems,
            "utterances": found.utterances,
            "hypotheses": hypotheses_of(arguments.split, "lists", table, references, clean),
        }
        write_results(Path(arguments.out), tables, meta | {"inputs": inputs})
        print(f"wrote {arguments.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["score", *sys.argv[1:]]))
