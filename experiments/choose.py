"""Chooses a transcript for every utterance, with a confidence for each word.

secondpass choose NBEST.parquet --weights weights.json --method mbr -o CHOSEN.parquet \\
  --dev DEV.parquet --dev-refs REFS [--refs REFS]
secondpass choose A.parquet B.parquet --weights a.json b.json --method vote -o CHOSEN.parquet \\
  --dev A-dev.parquet B-dev.parquet --dev-refs REFS

`map` takes the hypothesis with the best weighted sum, `mbr` the one with the fewest expected word
errors; `vote` decides word by word, also over the N-best lists of several systems. What the last
two need, and how a word's posterior becomes its confidence, is tuned on dev; without dev,
posteriors are used unchanged. With --refs, the errors are counted beside those of each table's own
best hypothesis. `secondpass export` reads the result.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.evaluation.alignment import METHODS as ALIGNMENTS
from experiments.comparison.arguments import REFERENCES
from experiments.score import names_of
from lm.errors import InputError
from lm.files import output_file, whole_file
from lm.rerank.methods import METHODS, Method
from lm.text.normalisers import CHOICES, DEFAULT, normaliser

if TYPE_CHECKING:
    import pandas as pd

    from experiments.comparison.system import System, SystemPlan
    from experiments.comparison.tuning import Decision

LOG = logging.getLogger("secondpass")
CHOSEN = "chosen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", nargs="+", metavar="NBEST.parquet")
    parser.add_argument(
        "--weights",
        nargs="+",
        metavar="weights.json",
        help="what `secondpass tune` wrote: one file, or one for each table",
    )
    parser.add_argument(
        "--method", choices=METHODS, default="map", help="how to choose (default: %(default)s)"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="CHOSEN.parquet", help="the table to write"
    )
    parser.add_argument(
        "--dev", nargs="+", metavar="DEV.parquet", help="dev lists, a file for each table"
    )
    parser.add_argument("--dev-refs", metavar="REFS", help="references of the dev lists")
    parser.add_argument("--refs", help=f"to count errors; {REFERENCES}")
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


def run(arguments: argparse.Namespace) -> int:
    """Tunes, chooses, writes, and counts where there are references."""
    clean = normaliser(arguments.normaliser)
    inputs = [*arguments.nbest, *(arguments.weights or ()), *(arguments.dev or ())]
    output_file(arguments.output, [*inputs, arguments.dev_refs, arguments.refs])
    import numpy as np

    from asr.formats.references import read_references
    from asr.nbest import read_nbest
    from experiments.comparison.counting import Counting
    from experiments.comparison.evaluation import ScoredSplit, evaluate
    from experiments.comparison.references import References
    from experiments.comparison.system import resolve
    from experiments.comparison.table import print_systems
    from experiments.comparison.tuning import decide

    tables = {name: read_nbest(path) for name, path in names_of(arguments.nbest).items()}
    if CHOSEN in tables:
        raise InputError(f"a table is called {CHOSEN}, which is the name of the result; rename it")
    weights = weights_for(arguments.weights, list(tables))
    dev: dict[str, pd.DataFrame] = {}
    references: dict[str, str] = {}
    if (arguments.dev is None) != (arguments.dev_refs is None):
        raise InputError("--dev and --dev-refs need each other; give both or neither")
    if arguments.dev is not None:
        if len(arguments.dev) != len(tables):
            raise InputError(f"{len(arguments.dev)} --dev for {len(tables)} tables; give as many")
        lists = (read_nbest(path) for path in arguments.dev)
        dev = dict(zip(tables, lists, strict=True))
        references = read_references(arguments.dev_refs)
    counting = Counting(clean, arguments.alignment)
    systems = resolve(systems_of(weights, arguments.method))
    truth = References(read_references(arguments.refs), counting) if arguments.refs else None
    if truth is not None:  # before anything is written
        for table in tables.values():
            truth.of(table["utt"].unique())
    decisions = decide(systems, dev, References(references, counting))
    write_chosen(systems[CHOSEN], tables, decisions, arguments.output)
    if truth is not None:
        split = ScoredSplit("chosen", tables, truth)
        found = evaluate(split, systems, decisions).systems
        print_systems(found, ", ".join(Path(path).name for path in arguments.nbest))
        for row in found.to_dict("records"):
            if not np.isnan(row["nce"]):
                print(
                    f"{row['system']}: word confidences have normalised cross-entropy "
                    f"{row['nce']:.3f}, calibration error {row['ece']:.3f}"
                )
    return 0


def weights_for(paths: Sequence[str] | None, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Weights by table; acoustic alone where none are given."""
    from lm.combine import read_weights

    if paths is None:
        return {name: {"acoustic": 1.0} for name in names}
    if len(paths) not in (1, len(names)):
        raise InputError(f"{len(paths)} --weights for {len(names)} tables; give one, or as many")
    every = list(paths) * (len(names) if len(paths) == 1 else 1)
    return {name: read_weights(path) for name, path in zip(names, every, strict=True)}


def systems_of(weights: Mapping[str, Mapping[str, float]], method: Method) -> dict[str, System]:
    """The tables as systems by themselves, and what is chosen.

    Raises:
        InputError: `map` of several tables.
    """
    from experiments.comparison.system import System

    found = {name: System(name, weights=own) for name, own in weights.items()}
    if len(found) > 1:
        if method == "map":
            raise InputError(f"--method map of {len(found)} tables: use mbr or vote")
        return {**found, CHOSEN: System(systems=tuple(found), choose=method)}
    (name,) = found
    if method == "map":
        return {CHOSEN: found[name]}
    return {**found, CHOSEN: System(name, weights=weights[name], choose=method)}


def write_chosen(
    plan: SystemPlan,
    tables: Mapping[str, pd.DataFrame],
    decisions: Mapping[str, Decision],
    path: str,
) -> None:
    """Writes `utt, text, confidence` and, where they are known, the times of the words.

    `confidence` is empty where no hypothesis is possible.
    """
    import numpy as np
    import pandas as pd

    from asr.nbest import TIMES
    from experiments.comparison.picking import known_only, warn_of_impossible
    from experiments.comparison.tuning import pool_of
    from lm.rerank.decision import Trust, choose, confidences

    decision = decisions[CHOSEN]
    pool = pool_of(plan, tables, decisions)
    chosen = choose(pool, decision.choice)
    warn_of_impossible(CHOSEN, pool)
    trust = decision.trust or Trust(decision.choice.temperature)
    table = pd.DataFrame({"utt": pool.utts, "text": chosen.texts})
    sure = confidences(pool, chosen.texts, trust, decision.choice.shares)
    table["confidence"] = pd.Series(known_only(sure), dtype=object)
    sources = [tables[name] for name in tables]
    if all(set(TIMES) <= set(source.columns) for source in sources):
        for column in TIMES:
            times = [source[column].to_numpy() for source in sources]
            table[column] = pd.Series(
                [
                    times[pool.system[n]][pool.row[n]] if n >= 0 else np.zeros(0)
                    for n in chosen.positions
                ],
                dtype=object,
            )
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)
    inside = int((chosen.positions >= 0).sum())
    LOG.info(
        f"wrote {path}: {len(table):,} utterances, {decision.description or 'best weighted sum'}; "
        f"{len(table) - inside} transcripts are in no N-best list"
    )


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["choose", *sys.argv[1:]]))
