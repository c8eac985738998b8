"""Chooses a transcript for every utterance, with a confidence for each word.

secondpass choose NBEST.parquet --weights weights.json --method mbr -o CHOSEN.parquet \\
  --dev DEV.parquet --dev-refs REFS [--refs REFS]
secondpass choose A.parquet B.parquet --weights a.json b.json --method vote -o CHOSEN.parquet \\
  --dev A-dev.parquet B-dev.parquet --dev-refs REFS

`map` takes the best weighted sum, `mbr` the hypothesis of least expected word errors, `vote`
decides word by word, over the lists of several systems too. What the last two need, and what a
word's posterior says about its being right, is tuned on dev; without dev, posteriors are taken as
they are. With --refs, the errors are counted beside those of the tables' own best. The result is
for `secondpass export`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from asr.corpus import read_references
from asr.nbest import TIMES, read_nbest
from experiments.comparison.counting import Counting
from experiments.comparison.evaluation import evaluate
from experiments.comparison.references import References
from experiments.comparison.table import print_systems
from experiments.comparison.tuning import Decision, System, decide, pool_of
from experiments.score import names_of
from lm.combine import read_weights
from lm.errors import InputError
from lm.rerank.decision import METHODS, Trust, choose, confidences
from lm.text.normalisers import normaliser

CHOSEN = "chosen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", nargs="+", metavar="NBEST.parquet")
    parser.add_argument(
        "--weights", nargs="+", metavar="weights.json", help="one, or one for each table"
    )
    parser.add_argument("--method", choices=METHODS, default="map")
    parser.add_argument("-o", "--output", required=True, metavar="CHOSEN.parquet")
    parser.add_argument("--dev", nargs="+", metavar="DEV.parquet", help="one for each table")
    parser.add_argument("--dev-refs", metavar="REFS", help="references of dev")
    parser.add_argument("--refs", help="references, to count errors")
    parser.add_argument("--normaliser", default="librispeech", help="for counting words")


def run(arguments: argparse.Namespace) -> int:
    """Tunes, chooses, writes, and counts where there are references."""
    tables = {name: read_nbest(path) for name, path in names_of(arguments.nbest).items()}
    if CHOSEN in tables:
        raise InputError(f"a table is called {CHOSEN}, as the result is; rename the file")
    weights = weights_for(arguments.weights, list(tables))
    dev: dict[str, pd.DataFrame] = {}
    references: dict[str, str] = {}
    if (arguments.dev is None) != (arguments.dev_refs is None):
        raise InputError("--dev and --dev-refs go together")
    if arguments.dev is not None:
        if len(arguments.dev) != len(tables):
            raise InputError(f"{len(arguments.dev)} --dev for {len(tables)} tables; give as many")
        lists = (read_nbest(path) for path in arguments.dev)
        dev = dict(zip(tables, lists, strict=True))
        references = read_references(arguments.dev_refs)
    counting = Counting(normaliser(arguments.normaliser))
    systems = systems_of(weights, arguments.method)
    decisions = decide(systems, dev, References(references, counting))
    write_chosen(systems, tables, decisions, arguments.output)
    if arguments.refs:
        wanted = {name: s for name, s in systems.items() if name == CHOSEN or s.lists}
        truth = References(read_references(arguments.refs), counting)
        found = evaluate("chosen", wanted, tables, truth, decisions).systems
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
    if paths is None:
        return {name: {"acoustic": 1.0} for name in names}
    if len(paths) not in (1, len(names)):
        raise InputError(f"{len(paths)} --weights for {len(names)} tables; give one, or as many")
    every = list(paths) * (len(names) if len(paths) == 1 else 1)
    return {name: read_weights(path) for name, path in zip(names, every, strict=True)}


def systems_of(weights: Mapping[str, Mapping[str, float]], method: str) -> dict[str, System]:
    """The tables as systems by themselves, and what is chosen.

    Raises:
        InputError: `map` of several tables.
    """
    found = {name: System(name, weights=own) for name, own in weights.items()}
    if len(found) > 1:
        if method == "map":
            raise InputError(f"--method map of {len(found)} tables: use mbr or vote")
        return {**found, CHOSEN: System(systems=tuple(found), choose=method)}  # type: ignore[arg-type]
    (name,) = found
    if method == "map":
        return {CHOSEN: found[name]}
    return {**found, CHOSEN: System(name, weights=weights[name], choose=method)}  # type: ignore[arg-type]


def write_chosen(
    systems: Mapping[str, System],
    tables: Mapping[str, pd.DataFrame],
    decisions: Mapping[str, Decision],
    path: str,
) -> None:
    """Writes `utt, text, confidence` and the words' times where they are known (Parquet)."""
    decision = decisions[CHOSEN]
    pool = pool_of(CHOSEN, systems, tables, decisions)
    chosen = choose(pool, decision.choice)
    trust = decision.trust or Trust(decision.choice.temperature)
    table = pd.DataFrame({"utt": pool.utts, "text": chosen.texts})
    table["confidence"] = pd.Series(
        confidences(pool, chosen.texts, trust, decision.choice.shares), dtype=object
    )
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
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    temporary = f"{path}.part"
    table.to_parquet(temporary, index=False)
    os.replace(temporary, path)
    inside = int((chosen.positions >= 0).sum())
    print(
        f"{path}: {len(table)} utterances, {decision.told or 'best weighted sum'}; "
        f"{len(table) - inside} transcripts stand in no list",
        file=sys.stderr,
    )


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["choose", *sys.argv[1:]]))
