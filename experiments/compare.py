"""Runs every stage of one experiment and prints the table of systems.

secondpass compare                          the bundled demo, no network
secondpass compare CONFIG.yaml              an experiment of yours
secondpass compare CONFIG.yaml systems.beam.lists=ngram --out results/other

Stages whose inputs and settings have not changed are read back from the results folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from asr.options import DecoderOptions
from asr.significance import RESAMPLES
from experiments.config import load_config, to_plain
from experiments.first_pass import Acoustic
from experiments.pipeline import Split, SplitData, load_split, write_errors
from experiments.results import write_results
from experiments.second_pass import Column, Models
from experiments.systems import System, evaluate, weights_of
from experiments.table import print_systems
from lm.cache import SCORES, ScoreCache
from lm.errors import InputError
from lm.text import normaliser

DEMO = Path(__file__).resolve().parent / "configs" / "demo.yaml"
N_BEST_COLUMNS = ("acoustic", "ngram", "words", "oov")


@dataclass(frozen=True)
class Comparison:
    """An experiment.

    Attributes:
        name: Of the run; results go to `results/NAME` unless --out says otherwise.
        splits: Evaluation sets by name.
        systems: Rows of the table by name.
        baseline: The system that the others are tested against; by default the first.
        dev: Names of the splits that weights are tuned on.
        acoustic: The acoustic stage, for splits of audio.
        first_passes: Decoders by name, for splits of audio.
        columns: Language models by name, whose scores systems may use.
        normaliser: Applied to references and hypotheses before words are counted.
        note: Printed below the table.
        seed: Of tuning and of the bootstrap.
        resamples: Of the bootstrap.
        cache: File of scores that are kept between runs, shared by all; null keeps none.
    """

    name: str
    splits: Mapping[str, Split]
    systems: Mapping[str, System]
    dev: tuple[str, ...] = ("dev",)
    acoustic: Acoustic | None = None
    first_passes: Mapping[str, DecoderOptions] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    normaliser: str = "librispeech"
    baseline: str | None = None
    note: str | None = None
    seed: int = 1
    resamples: int = RESAMPLES
    cache: str | None = str(SCORES)

    def __post_init__(self) -> None:
        if self.baseline is not None and self.baseline not in self.systems:
            raise InputError(
                f"baseline {self.baseline!r} is not one of the systems ({', '.join(self.systems)})"
            )
        for name in self.dev:
            if name not in self.splits and any(s.columns for s in self.systems.values()):
                raise InputError(
                    f"dev split {name!r} is not one of the splits ({', '.join(self.splits)})"
                )
        audio = any(split.manifest is not None for split in self.splits.values())
        for name, system in self.systems.items():
            if audio and system.lists not in self.first_passes:
                raise InputError(
                    f"system {name!r} picks from {system.lists!r}, which is no first pass "
                    f"({', '.join(self.first_passes)})"
                )
            for column in self.columns_of(system):
                if column not in self.columns and column not in N_BEST_COLUMNS:
                    raise InputError(
                        f"system {name!r} weighs {column!r}, which is no column "
                        f"({', '.join([*N_BEST_COLUMNS, *self.columns])})"
                    )

    def columns_of(self, system: System) -> tuple[str, ...]:
        """Every column that a system weighs."""
        return system.columns or tuple(system.weights or ())

    def needed(self) -> dict[str, list[str]]:
        """The LM columns that each first pass's lists need."""
        wanted: dict[str, list[str]] = {}
        for system in self.systems.values():
            columns = wanted.setdefault(system.lists, [])
            for column in self.columns_of(system):
                if column in self.columns and column not in columns:
                    columns.append(column)
        return wanted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="default: the demo")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", default=[])
    parser.add_argument("--out", metavar="DIR", help="results folder (default results/NAME)")
    parser.add_argument("--workers", type=int, default=None, help="of the decoder")


def run(arguments: argparse.Namespace) -> int:
    """Runs the comparison, prints the table, writes the results folder."""
    config, overrides = arguments.config, list(arguments.overrides)
    if config is not None and "=" in config:
        config, overrides = None, [config, *overrides]
    comparison = load_config(Comparison, config or DEMO, overrides)
    out = Path(arguments.out or Path("results") / comparison.name)
    return compare(comparison, out, arguments.workers)


def compare(comparison: Comparison, out: Path, workers: int | None = None) -> int:
    """Runs a comparison.

    Args:
        comparison: The experiment.
        out: Results folder; stages are kept in `out/stages`.
        workers: Threads or processes of the decoder; by default one for each processor.

    Returns:
        0, or 1 if utterances failed (they are listed in `out/errors.jsonl`).
    """
    started = time.perf_counter()
    needed = comparison.needed()
    first_passes = {n: o for n, o in comparison.first_passes.items() if n in needed}
    models = Models(ScoreCache.open(comparison.cache) if comparison.cache else None)
    data = {
        name: load_split(
            name,
            split,
            comparison.acoustic,
            first_passes,
            comparison.columns,
            needed,
            out / "stages",
            workers,
            models,
        )
        for name, split in comparison.splits.items()
    }
    kept = {name: without_failures(split) for name, split in data.items()}
    clean = normaliser(comparison.normaliser)
    dev = [name for name in comparison.dev if name in data]
    tuned = weights_of(
        comparison.systems,
        {lists: [kept[name][lists] for name in dev] for lists in needed},
        {utt: text for name in dev for utt, text in data[name].references.items()},
        clean,
        comparison.seed,
    )
    weights = {
        name: (found.weights if found else comparison.systems[name].weights)
        for name, found in tuned.items()
    }
    evaluations = [
        evaluate(
            name,
            comparison.systems,
            kept[name],
            split.references,
            weights,
            clean,
            system_seconds(comparison, split),
            split.audio_seconds,
            comparison.seed,
            comparison.resamples,
            split.tags,
            comparison.baseline,
        )
        for name, split in data.items()
    ]
    systems = pd.concat([e.systems for e in evaluations], ignore_index=True)
    utterances = pd.concat([e.utterances for e in evaluations], ignore_index=True)
    meta = {
        "config": to_plain(comparison),
        "inputs": {k: v for split in data.values() for k, v in split.hashes.items()},
        "stage_seconds": {name: dict(split.seconds) for name, split in data.items()},
        "tuned": {name: to_plain(found) for name, found in tuned.items() if found},
        "failed": {name: len(split.failures) for name, split in data.items()},
        "seconds": time.perf_counter() - started,
    }
    write_results(out, systems, utterances, meta)
    failed = write_errors(out / "errors.jsonl", {n: s.failures for n, s in data.items()})
    print_systems(systems, comparison.name, comparison.note)
    print(footer(comparison, failed, out, meta["seconds"]))
    return 1 if failed else 0


def without_failures(split: SplitData) -> dict[str, pd.DataFrame]:
    """The split's tables without the utterances that failed in any stage.

    Raises:
        InputError: Nothing is left.
    """
    kept = {
        name: table[~table["utt"].isin(split.failures.keys())].reset_index(drop=True)
        for name, table in split.tables.items()
    }
    if any(table.empty for table in kept.values()):
        first = next(iter(split.failures.items()), ("", "no hypotheses"))
        raise InputError(f"every utterance failed; the first, {first[0]}: {first[1]}")
    return kept


def system_seconds(comparison: Comparison, split: SplitData) -> dict[str, float]:
    """Wall time of the stages that each system needs on a split."""
    seconds = {}
    for name, system in comparison.systems.items():
        stages = ["emit", f"decode.{system.lists}"]
        stages += [f"rescore.{system.lists}.{c}" for c in comparison.columns_of(system)]
        seconds[name] = sum(split.seconds.get(stage, 0.0) for stage in stages)
    return seconds


def footer(comparison: Comparison, failed: int, out: Path, seconds: float) -> str:
    """What a reader must know beside the table."""
    first = comparison.baseline or next(iter(comparison.systems))
    dev = " + ".join(comparison.dev)
    lines = [
        f"Weights tuned on {dev} only. Intervals: bootstrap over utterances. Δ and p (matched "
        f"pairs, Holm-adjusted) against {first}.",
        f"Failed utterances, left out of every system: {failed}"
        + (f" (see {out / 'errors.jsonl'})" if failed else ""),
        f"{seconds:.1f} s in all; results in {out}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["compare", *sys.argv[1:]]))
