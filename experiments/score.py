"""Word error rates of N-best tables: their 1-bests and their oracles.

secondpass score NBEST.parquet --refs REFS [--weights weights.json] [--out DIR]
secondpass score ours.parquet theirs.parquet --refs REFS [--intersect]

Without weights the 1-best is rank 1, and the system is called `first-pass`. With weights,
`first-pass` is the baseline and `weighted` is the system that is compared with it. Several tables
are several systems, named after their files; the first is the baseline.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.evaluation.alignment import METHODS
from asr.evaluation.significance import TESTS
from experiments.comparison.arguments import REFERENCES
from lm.errors import InputError
from lm.files import output_folder
from lm.text.normalisers import CHOICES, DEFAULT, normaliser

if TYPE_CHECKING:
    import pandas as pd

    from experiments.comparison.system import System

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", nargs="+", metavar="NBEST.parquet")
    parser.add_argument("--refs", required=True, help=REFERENCES)
    parser.add_argument("--weights", metavar="weights.json", help="what `secondpass tune` wrote")
    parser.add_argument("--out", metavar="DIR", help="write a results folder here")
    parser.add_argument(
        "--normaliser",
        default=DEFAULT,
        metavar="NAME",
        help=f"applied before words are counted: {CHOICES} (default: %(default)s)",
    )
    parser.add_argument(
        "--alignment",
        choices=METHODS,
        default="jiwer",
        help="align words as jiwer does, or as NIST sclite does (default: %(default)s)",
    )
    parser.add_argument(
        "--significance",
        choices=TESTS,
        default="mapsswe",
        help="p-values of the matched-pairs test: by the normal distribution, or by the exact "
        "permutation test (default: %(default)s)",
    )
    parser.add_argument(
        "--intersect", action="store_true", help="compare on the utterances that all tables have"
    )
    parser.add_argument(
        "--split", default="test", help="name of the split in the results (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Counts errors, prints the table."""
    import pandas as pd

    from asr.formats.references import read_references
    from experiments.comparison.config import to_plain
    from experiments.comparison.counting import Counting, same_utterances
    from experiments.comparison.evaluation import ScoredSplit, evaluate
    from experiments.comparison.references import References, hypotheses_of
    from experiments.comparison.stages import fingerprint
    from experiments.comparison.system import resolve
    from experiments.comparison.table import print_systems
    from experiments.comparison.tuning import Decision
    from experiments.results import write_results

    if arguments.out:
        output_folder(arguments.out)
    systems, tables = systems_of(arguments.nbest, arguments.weights)
    counting = Counting(
        normaliser(arguments.normaliser),
        arguments.alignment,
        significance=arguments.significance,
    )
    references = References(read_references(arguments.refs), counting)
    decisions = {name: Decision(system.weights) for name, system in systems.items()}
    held = set.union(*(set(table["utt"]) for table in tables.values()))
    tables = same_utterances(tables, arguments.split, arguments.intersect)
    split = ScoredSplit(arguments.split, tables, references)
    found = evaluate(split, resolve(systems), decisions)
    compared = set(next(iter(tables.values()))["utt"])
    print_systems(found.systems, ", ".join(Path(path).name for path in arguments.nbest))
    if arguments.intersect:
        print(f"Utterances that some table lacks, not counted: {len(held - compared)}")
    print(f"References without hypotheses, not counted: {len(set(references.texts) - held)}")
    if len(compared) == 1:
        print("One utterance only: no interval can be given.")
    if arguments.out:
        inputs = {str(p): fingerprint(p) for p in (*arguments.nbest, arguments.refs)}
        config = {
            "systems": to_plain(systems),
            "normaliser": arguments.normaliser,
            "alignment": arguments.alignment,
            "significance": arguments.significance,
        }
        lists = [
            hypotheses_of(arguments.split, name, table, references)
            for name, table in tables.items()
        ]
        results = {
            "systems": found.systems,
            "utterances": found.utterances,
            "hypotheses": pd.concat(lists, ignore_index=True),
        }
        write_results(Path(arguments.out), results, {"config": config, "inputs": inputs})
        LOG.info(f"wrote {arguments.out}")
    return 0


def names_of(paths: Sequence[str]) -> dict[str, str]:
    """Files by name: without folder and ending where that is unique, else with the folder.

    Raises:
        InputError: The names are not unique with the folder either.
    """
    names = [Path(path).stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{Path(path).parent.name}/{Path(path).stem}" for path in paths]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two tables are named {twice}; rename one, or give it once")
    return dict(zip(names, map(str, paths), strict=True))


def systems_of(
    paths: list[str], weights: str | None
) -> tuple[dict[str, System], dict[str, pd.DataFrame]]:
    """One system for each table (two where there are weights), and the tables by their names.

    Raises:
        InputError: A table is empty, one is given twice, or weights are given for several.
    """
    from asr.nbest import read_nbest
    from experiments.comparison.system import System
    from lm.combine import read_weights

    tables = {}
    for name, path in names_of(paths).items():
        tables[name] = read_nbest(path)
        if tables[name].empty:
            raise InputError(f"{path}: there are no hypotheses to score; decode or import again")
    if len(tables) > 1:
        if weights is not None:
            raise InputError(
                "--weights needs a single table; of several tables, only rank 1 is compared"
            )
        return {name: System(name) for name in tables}, tables
    systems = {"first-pass": System("lists")}
    if weights is not None:
        systems["weighted"] = System("lists", weights=read_weights(weights))
    return systems, {"lists": next(iter(tables.values()))}


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["score", *sys.argv[1:]]))
