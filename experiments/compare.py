"""Runs every stage of one experiment and prints the table of systems.

secondpass compare                          the bundled demo, no network
secondpass compare CONFIG.yaml              an experiment of yours
secondpass compare CONFIG.yaml systems.beam.lists=ngram --out results/other
secondpass compare CONFIG.yaml 'first_passes.ngram.beam_width=[16, 64, 256]'
secondpass compare --from results/other     the same again: do the numbers agree?

Stages whose inputs and settings have not changed are read back from the results folder. A list in
the place of a single value is a sweep: every combination is run, and each runs only the stages
that its values change.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.comparison.experiment import Comparison
from experiments.comparison.pipeline import write_errors
from experiments.comparison.reproduction import agreement, config_of
from experiments.comparison.run import Outcome, run_comparison
from experiments.comparison.second_pass import Models
from experiments.comparison.sweep import load_points
from experiments.comparison.table import print_sweep, print_systems
from experiments.demo import bundled
from experiments.report import write_report
from experiments.results import SWEEP, load_results, write_results
from lm.cache import ScoreCache
from lm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="default: the demo")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", default=[])
    parser.add_argument("--out", metavar="DIR", help="results folder (default results/NAME)")
    parser.add_argument("--workers", type=int, default=None, help="of the decoder")
    parser.add_argument(
        "--from",
        dest="again",
        metavar="RESULTS",
        help="run what made these results again, from nothing, and compare (default --out: "
        "RESULTS-again)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the comparison, prints the table, writes the results folder."""
    config, overrides = arguments.config, list(arguments.overrides)
    if config is not None and "=" in config:
        config, overrides = None, [config, *overrides]
    if arguments.again:
        if config is not None or overrides:
            raise InputError("--from runs what is in the results; give no config and no overrides")
        return repeat(Path(arguments.again), arguments.out, arguments.workers)
    points = load_points(Comparison, config or bundled.CONFIG, overrides)
    out = Path(arguments.out or Path("results") / points[0].config.name)
    if len(points) == 1:
        return compare(points[0].config, out, arguments.workers)
    return sweep([(point.values, point.config) for point in points], out, arguments.workers)


def compare(comparison: Comparison, out: Path, workers: int | None = None) -> int:
    """Runs a comparison.

    Args:
        comparison: The experiment.
        out: Results folder; stages are kept in `out/stages`.
        workers: Threads or processes of the decoder; by default one for each processor.

    Returns:
        0, or 1 if utterances failed (they are listed in `out/errors.jsonl`).
    """
    found = run_comparison(comparison, out / "stages", models_of(comparison), workers)
    failed = write_outcome(found, out)
    write_report([out], out / "report.html")
    print_systems(found.systems, comparison.name, comparison.note)
    print(footer(comparison, found, failed, out))
    return 1 if failed else 0


def sweep(
    points: list[tuple[Mapping[str, Any], Comparison]], out: Path, workers: int | None = None
) -> int:
    """Runs a comparison at every point of a grid; the stages are shared.

    Args:
        points: The values that differ, by key, and the experiment with them.
        out: Results folder of all; each point's own is `out/points/NUMBER`.
        workers: As for `compare`.

    Returns:
        0, or 1 if utterances failed at any point.
    """
    started = time.perf_counter()
    models = models_of(points[0][1])
    parts: dict[str, list[pd.DataFrame]] = {"systems": [], "utterances": [], "hypotheses": []}
    failed = 0
    for number, (values, comparison) in enumerate(points):
        told = ", ".join(f"{key}={value}" for key, value in values.items())
        print(f"point {number + 1} of {len(points)}: {told}", file=sys.stderr)
        found = run_comparison(comparison, out / "stages", models, workers)
        failed += write_outcome(found, out / "points" / f"{number:03}")
        named = {f"{SWEEP}{key}": value for key, value in values.items()}
        for name, tables_of in parts.items():
            tables_of.append(getattr(found, name).assign(**named))
    first = points[0][1]
    tables = {name: pd.concat(tables_of, ignore_index=True) for name, tables_of in parts.items()}
    meta = {
        **found.meta,
        "sweep": {key: list(dict.fromkeys(v[key] for v, _ in points)) for key in points[0][0]},
        "seconds": time.perf_counter() - started,
    }
    write_results(out, tables, meta)
    write_report([out], out / "report.html")
    print_sweep(tables["systems"], first.name, first.note)
    print(f"{meta['seconds']:.1f} s in all; results in {out}, each point's in {out / 'points'}")
    return 1 if failed else 0


def repeat(results: Path, out: str | None, workers: int | None) -> int:
    """Runs what made a results folder again, from nothing.

    Returns:
        0 where all numbers agree, else 1.
    """
    old = load_results(results)
    if "sweep" in old.meta:
        raise InputError(
            f"{results}: a sweep; give one of its points, {results / 'points' / '000'}"
        )
    comparison = config_of(old)
    folder = Path(out or f"{str(results).rstrip('/')}-again")
    if (folder / "stages").exists():
        raise InputError(f"{folder}: holds stages of another run; give another --out")
    found = run_comparison(comparison, folder / "stages", Models(), workers)
    failed = write_outcome(found, folder)
    print_systems(found.systems, comparison.name, comparison.note)
    agrees, lines = agreement(old, load_results(folder))
    print("\n".join(lines))
    return 0 if agrees and not failed else 1


def models_of(comparison: Comparison) -> Models:
    """The models of a run, with the scores that are kept."""
    return Models(ScoreCache.open(comparison.cache) if comparison.cache else None)


def write_outcome(found: Outcome, out: Path) -> int:
    """Writes a results folder; returns the number of utterances that failed."""
    tables = {
        "systems": found.systems,
        "utterances": found.utterances,
        "hypotheses": found.hypotheses,
        "pieces": found.pieces,
    }
    write_results(out, tables, found.meta)
    return write_errors(out / "errors.jsonl", found.failures)


def footer(comparison: Comparison, found: Outcome, failed: int, out: Path) -> str:
    """What a reader must know beside the table."""
    meta = found.meta
    first = comparison.baseline or next(iter(comparison.systems))
    dev = " + ".join(comparison.dev)
    tuned = f"Weights tuned on {dev} only. " if dev else ""
    lines = [
        f"{tuned}Intervals: bootstrap over {comparison.intervals}. "
        f"Δ and p (matched pairs, Holm-adjusted) against {first}.",
    ]
    if found.systems["wer_low"].isna().any():
        lines.append(f"–: no interval can be given of fewer than two {comparison.intervals}.")
    checked = {n: t for n, t in meta["tuned"].items() if t["validated_errors"] is not None}
    if checked:
        told = [
            f"{name} {100 * t['errors'] / t['words']:.2f} / "
            f"{100 * t['validated_errors'] / t['words']:.2f}"
            for name, t in checked.items()
        ]
        any_ = next(iter(checked.values()))
        lines.append(
            f"Dev WER %, as tuned / cross-validated ({any_['folds']} folds by {any_['groups']}): "
            + ", ".join(told)
        )
    lines += [
        f"Failed utterances, left out of every system: {failed}"
        + (f" (see {out / 'errors.jsonl'})" if failed else ""),
        f"{meta['seconds']:.1f} s in all; results in {out}, to look at in {out / 'report.html'}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["compare", *sys.argv[1:]]))
