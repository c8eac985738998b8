"""First-pass decoders side by side: speed, WER and N-best lists, on the same emissions in one run.

python -m experiments.bench.decode [--markdown FILE] [--only NAME…] [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.bench import report
from experiments.bench.decoders.interface import NARROW, WIDE, Peer, Search
from experiments.bench.decoders.peers import OURS, PEERS
from experiments.bench.decoders.synthetic_emissions import CHANNELS, Units, synthesise
from experiments.bench.decoders.tasks import DEMO, PROJECT, TASKS, Missing, Task, bundled
from experiments.bench.decoders.timing import Entry, build, race
from experiments.bench.first_call import first_calls
from experiments.comparison.progress import progress
from lm.errors import InputError

BEAMS = (16, 100, 512)
ALL_CORES_BEAM = 100
SCALING_FRAMES = (1, 2, 4, 8)
SCALING_BEAMS = (16, 32, 64, 128, 256, 512, 1024)
SECTIONS = (*TASKS, "scaling", "first-call")


def main(given: Sequence[str] | None = None) -> int:
    """Runs the command."""
    arguments = parse(given)
    tables = report.Tables(Console(width=None if Console().is_terminal else 140))
    tables.say(report.machine())
    for note in report.NOTES:
        tables.say(note)
    peers = present(arguments.decoders, tables)
    ratios: report.Ratios = {}
    names = ["bundled"] if arguments.quick else [n for n in TASKS if n in arguments.only]
    for name in names:
        try:
            task = {**TASKS, "bundled": bundled}[name](arguments.utterances, arguments.work)
        except Missing as missing:
            tables.say(f"{name}: skipped, {missing}.")
            continue
        run_task(task, peers, arguments, tables, ratios)
    if ratios:
        headings = ("vocabulary", "decoder", "beam", "median × ours", "least", "most", "sets")
        tables.add("Time divided by ours", headings, report.summary_rows(ratios))
    if OURS in (peer.name for peer in peers):
        if "scaling" in arguments.only:
            run_scaling(arguments, tables)
        if "first-call" in arguments.only:
            run_first_call(tables)
    if arguments.markdown:
        tables.write(arguments.markdown)
    return 0


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the tables to this file"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        metavar="SECTION",
        help=f"run only these sections: {', '.join(SECTIONS)}",
    )
    parser.add_argument(
        "--decoders",
        nargs="+",
        metavar="NAME",
        help="run only decoders whose names begin with one of these",
    )
    parser.add_argument("--beams", nargs="+", type=int, default=BEAMS)
    parser.add_argument(
        "--utterances",
        type=int,
        default=10,
        help="utterances that are made from text in each set; of recorded ones, four times as many "
        "(default: 10)",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often a search is timed, at most (default: 5)"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=PROJECT / "runs" / "bench",
        help="folder for emissions and models that are kept for the next run",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small run on bundled data only, to try it out"
    )
    arguments = parser.parse_args(given)
    if arguments.utterances < 1 or arguments.rounds < 1 or min(arguments.beams) < 1:
        raise InputError("--utterances, --rounds and --beams must be at least 1")
    arguments.only = arguments.only or (() if arguments.quick else SECTIONS)
    if arguments.quick:
        arguments.utterances, arguments.rounds, arguments.beams = 2, 1, (8,)
    return arguments


def present(names: Sequence[str] | None, tables: report.Tables) -> list[Peer]:
    """The decoders that were asked for and can run here; prints which cannot run."""
    asked = [p for p in PEERS if names is None or p.name.startswith(tuple(names))]
    if not asked:
        raise InputError(
            f"--decoders: no such decoder; choose from {', '.join(p.name for p in PEERS)}"
        )
    found = []
    for peer in asked:
        reason = peer.missing()
        if reason is None:
            found.append(peer)
        else:
            tables.say(f"{reason}.")
    return found


def run_task(
    task: Task,
    peers: Sequence[Peer],
    arguments: argparse.Namespace,
    tables: report.Tables,
    ratios: report.Ratios,
) -> None:
    """Loads the decoders and times them on each set of a task."""
    kind = task.units.vocabulary.kind
    fitting = [
        peer
        for peer in peers
        if kind in peer.kinds and not (peer.labels and task.fusion.label_lm is None)
    ]
    with progress(len(fitting), f"{task.name}: load", "decoder") as bar:
        loaded = []
        for peer in fitting:
            loaded.append((peer, peer.load(task.units, task.fusion)))
            bar.update(1)
    entries = [
        build(peer, searches, width, beam)
        for peer, searches in loaded
        for width in ((NARROW, WIDE) if peer.widens else (NARROW,))
        for beam in (arguments.beams if peer.widens else (0,))
    ]
    for name, sounds in task.sets.items():
        print(f"{task.name}, {name}: {len(entries)} searches", file=sys.stderr, flush=True)
        figures = race(entries, sounds, arguments.rounds, counted_on_all_cores)
        words = figures[0].wer.ref_words
        title = (
            f"{task.name}, {name}: {len(sounds.references)} utterances, {sounds.seconds:.0f} s, "
            f"{words} words, {len(task.units.vocabulary.labels)} labels; "
            f"alpha {task.fusion.alpha:g}, beta {task.fusion.beta:g}"
        )
        tables.add(title, report.HEADINGS, report.race_rows(entries, figures, sounds.seconds))
        report.collect(ratios, kind, entries, figures)


def counted_on_all_cores(entry: Entry) -> bool:
    """Whether an entry is also timed on all cores."""
    return entry.beam == ALL_CORES_BEAM


def run_scaling(arguments: argparse.Namespace, tables: report.Tables) -> None:
    """How our time grows with frames and with the beam, on noisy characters."""
    task = bundled(max(SCALING_FRAMES), arguments.work)
    ours = next(peer for peer in PEERS if peer.name == OURS)
    searches = ours.load(task.units, task.fusion)
    noisy = task.sets["noisy"].log_probs
    frames = {
        len(noisy[0]) * n: typical(searches(WIDE, 100), np.concatenate(noisy[:n]))
        for n in SCALING_FRAMES
    }
    headings = ("frames", "ms", "× frames", "× time")
    tables.add("Ours by frames, beam 100, wide", headings, report.scaling_rows(frames))
    beams = {beam: typical(searches(WIDE, beam), noisy[0]) for beam in SCALING_BEAMS}
    headings = ("beam", "ms", "× beam", "× time")
    tables.add("Ours by beam, 500 frames, wide", headings, report.scaling_rows(beams))


def typical(search: Search, log_probs: np.ndarray, times: int = 7) -> float:
    """Median seconds of a warm search."""
    search.run(log_probs)
    found = []
    for _ in range(times):
        start = time.perf_counter()
        search.run(log_probs)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def run_first_call(tables: report.Tables) -> None:
    """How long our decoder takes before it is warm."""
    units = Units.characters()
    heard = synthesise(
        units.spell("TURN THE LIGHTS OFF IN THE KITCHEN"),
        units.vocabulary,
        CHANNELS["characters"]["middle"],
        150,
        np.random.default_rng(0),
    )
    found = first_calls(str(DEMO / "lm.arpa.gz"), heard)
    headings = ("seconds", "import", "load", "first call", "second", "whole process")
    tables.add(
        "Ours, first call, 3 s of audio, the demo's n-gram model",
        headings,
        report.first_call_rows(found),
    )


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
