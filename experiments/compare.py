"""Runs all stages of an experiment and prints a table of its systems.

secondpass compare                          the bundled demo, without network
secondpass compare CONFIG.yaml              a custom experiment
secondpass compare CONFIG.yaml systems.beam.lists=ngram --out results/other
secondpass compare CONFIG.yaml 'first_passes.ngram.beam_width=[16, 64, 256]'
secondpass compare CONFIG.yaml --dry-run    the stages that would run; nothing is run
secondpass compare --from results/other     the same run again: do the numbers agree?

Everything that can be checked is checked before the first stage. Stages whose inputs and settings
have not changed are read back from the results folder. A list where a single value is expected is a
sweep: every combination is run, and each runs only the stages that its values change. Messages,
warnings and versions are written to compare.log in the results folder.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from experiments.comparison.experiment import Comparison
    from experiments.comparison.plan import Plan
    from experiments.comparison.run import Outcome
    from experiments.comparison.second_pass import Models

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG.yaml", help="the experiment (default: the demo)"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key.path=value",
        default=[],
        help="settings that replace those of the config",
    )
    parser.add_argument("--out", metavar="DIR", help="results folder (default: results/NAME)")
    parser.add_argument(
        "--workers",
        type=int,
        default=None,
        metavar="N",
        help="threads or processes of the decoder (default: one for each processor)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--from",
        dest="again",
        metavar="RESULTS",
        help="run again, from nothing, what made these results, and compare the numbers "
        "(default of --out: RESULTS-again)",
    )
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="print which stages would run and which would be reused; run nothing",
    )
    instead.add_argument(
        "--print-config",
        action="store_true",
        help="print the config with all defaults and overrides as YAML; run nothing",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the comparison, prints the table, writes the results folder."""
    from experiments.comparison.experiment import Comparison
    from experiments.comparison.plan import Plan
    from experiments.comparison.sweep import load_points, resolved_yaml
    from experiments.demo import bundled

    config, overrides = arguments.config, list(arguments.overrides)
    if config is not None and "=" in config:
        config, overrides = None, [config, *overrides]
    if arguments.again:
        if config is not None or overrides:
            raise InputError("--from runs what is in the results; give no config and no overrides")
        return repeat(Path(arguments.again), arguments.out, arguments.workers)
    if arguments.print_config:
        print(resolved_yaml(Comparison, config or bundled.CONFIG, overrides), end="")
        return 0
    points = load_points(Comparison, config or bundled.CONFIG, overrides)
    out = Path(arguments.out or Path("results") / points[0].config.name)
    plans = [(point.values, Plan.of(point.config)) for point in points]
    if arguments.dry_run:
        return dry_run(plans, out)
    if len(plans) == 1:
        return compare(plans[0][1], out, arguments.workers)
    return sweep(plans, out, arguments.workers)


def dry_run(plans: list[tuple[Mapping[str, Any], Plan]], out: Path) -> int:
    """Prints the stages of every comparison; runs none and loads no model."""
    from experiments.comparison.checks import checked_inputs
    from experiments.comparison.dry_run import print_steps, steps_of
    from experiments.comparison.second_pass import Models

    models = Models()
    every = checked_inputs([plan for _, plan in plans], out)
    for (values, plan), inputs in zip(plans, every, strict=True):
        title = ", ".join([plan.comparison.name, *(f"{k}={v}" for k, v in values.items())])
        print_steps(steps_of(plan, inputs, out / "stages", models), title)
    return 0


def compare(plan: Plan, out: Path, workers: int | None = None) -> int:
    """Runs a comparison.

    Args:
        plan: the comparison.
        out: results folder; stages are kept in `out/stages`.
        workers: threads or processes of the decoder; by default one for each processor.

    Returns:
        0, or 1 if utterances failed (they are listed in `out/errors.jsonl`).
    """
    from experiments.comparison.checks import checked_inputs
    from experiments.comparison.log_file import log_file
    from experiments.comparison.run import run_comparison
    from experiments.comparison.table import print_systems
    from experiments.report import write_report
    from lm.files import output_folder

    (inputs,) = checked_inputs([plan], out)
    with log_file(output_folder(out)):
        models = models_of(plan.comparison)
        found = run_comparison(plan, inputs, out / "stages", models, workers)
        failed = write_outcome(found, out)
        write_report([out], out / "report.html")
    print_systems(found.systems, plan.comparison.name, plan.comparison.note)
    print(footer(plan, found, failed, out))
    return 1 if failed else 0


def sweep(
    plans: list[tuple[Mapping[str, Any], Plan]], out: Path, workers: int | None = None
) -> int:
    """Runs a comparison at every point of a grid; the stages are shared.

    Args:
        plans: the values that differ, by key, and the comparison with them.
        out: results folder of all; each point's own is `out/points/NUMBER`.
        workers: as for `compare`.

    Returns:
        0, or 1 if utterances failed at any point.
    """
    import pandas as pd

    from experiments.comparison.checks import checked_inputs
    from experiments.comparison.log_file import log_file
    from experiments.comparison.run import run_comparison
    from experiments.comparison.table import print_sweep
    from experiments.report import write_report
    from experiments.results import TABLES, write_results
    from lm.files import output_folder

    started = time.perf_counter()
    every = checked_inputs([plan for _, plan in plans], out)
    first = plans[0][1].comparison
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    failed = 0
    with log_file(output_folder(out)):
        models = models_of(first)
        for number, ((values, plan), inputs) in enumerate(zip(plans, every, strict=True)):
            named = ", ".join(f"{key}={value}" for key, value in values.items())
            LOG.info(f"point {number + 1} of {len(plans)}: {named}")
            found = run_comparison(plan, inputs, out / "stages", models, workers)
            failed += write_outcome(found, out / "points" / f"{number:03}")
            for name, tables_of in parts.items():
                tables_of.append(at_point(getattr(found, name), values))
        tables = {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}
        meta = {
            **found.meta,
            "sweep": {key: list(dict.fromkeys(v[key] for v, _ in plans)) for key in plans[0][0]},
            "seconds": time.perf_counter() - started,
        }
        write_results(out, tables, meta)
        write_report([out], out / "report.html")
    print_sweep(tables["systems"], first.name, first.note)
    print(f"{meta['seconds']:.1f} s in all; results in {out}, each point's in {out / 'points'}")
    return 1 if failed else 0


def at_point(table: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """A table of one point of a sweep with the values of the point as columns."""
    from experiments.results import SWEEP

    return table.assign(**{f"{SWEEP}{key}": value for key, value in values.items()})


def repeat(results: Path, out: str | None, workers: int | None) -> int:
    """Runs again, from nothing, what made a results folder.

    Returns:
        0 where all numbers agree, else 1.
    """
    from experiments.comparison.checks import checked_inputs
    from experiments.comparison.log_file import log_file
    from experiments.comparison.plan import Plan
    from experiments.comparison.reproduction import agreement, config_of
    from experiments.comparison.run import run_comparison
    from experiments.comparison.second_pass import Models
    from experiments.comparison.table import print_systems
    from experiments.results import load_results
    from lm.files import output_folder

    old = load_results(results)
    if "sweep" in old.meta:
        raise InputError(
            f"{results}: this is a sweep; give one of its points, {results / 'points' / '000'}"
        )
    plan = Plan.of(config_of(old))
    folder = Path(out or f"{str(results).rstrip('/')}-again")
    if (folder / "stages").exists():
        raise InputError(f"{folder}: it holds stages of another run; give another --out")
    (inputs,) = checked_inputs([plan], folder)
    with log_file(output_folder(folder)):
        found = run_comparison(plan, inputs, folder / "stages", Models(), workers)
        failed = write_outcome(found, folder)
    print_systems(found.systems, plan.comparison.name, plan.comparison.note)
    agrees, lines = agreement(old, load_results(folder))
    print("\n".join(lines))
    return 0 if agrees and not failed else 1


def models_of(comparison: Comparison) -> Models:
    """The models of a run, with the scores that are kept."""
    from experiments.comparison.second_pass import Models
    from lm.cache_file import ScoreCache

    return Models(ScoreCache.open(comparison.cache) if comparison.cache else None)


def write_outcome(found: Outcome, out: Path) -> int:
    """Writes a results folder; returns the number of utterances that failed."""
    from experiments.comparison.pipeline import write_errors
    from experiments.results import TABLES, write_results

    write_results(out, {name: getattr(found, name) for name in TABLES}, found.meta)
    return write_errors(out / "errors.jsonl", found.failures)


def footer(plan: Plan, found: Outcome, failed: int, out: Path) -> str:
    """What a reader must know beside the table."""
    from asr.evaluation.wer import rate
    from experiments.comparison.table import percent

    meta, comparison = found.meta, plan.comparison
    dev = " + ".join(comparison.dev)
    tuned = f"Weights are tuned on {dev} only. " if dev else ""
    lines = [
        f"{tuned}Intervals are 95 % bootstrap intervals over {comparison.intervals}. "
        f"Δ and p (matched pairs, Holm-adjusted) compare with {plan.baseline}.",
    ]
    if found.systems["wer_low"].isna().any():
        lines.append(f"–: no interval can be given of fewer than two {comparison.intervals}.")
    checked = {n: t for n, t in meta["tuned"].items() if t["validated_errors"] is not None}
    if checked:
        rates = [
            f"{name} {percent(rate(t['errors'], t['words']))} / "
            f"{percent(rate(t['validated_errors'], t['words']))}"
            for name, t in checked.items()
        ]
        facts = next(iter(checked.values()))
        lines.append(
            f"Dev WER %, as tuned / cross-validated ({facts['folds']} folds by {facts['groups']}): "
            + ", ".join(rates)
        )
    lines += [
        f"Failed utterances, left out of every system: {failed}"
        + (f" (see {out / 'errors.jsonl'})" if failed else ""),
        f"{meta['seconds']:.1f} s in all. Results are in {out}; open {out / 'report.html'} to see "
        "them.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["compare", *sys.argv[1:]]))
