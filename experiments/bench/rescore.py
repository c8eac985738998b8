"""Ways of rescoring side by side: speed, tokens, memory and exactness, on the same N-best lists.

python -m experiments.bench.rescore [--markdown FILE] [--lists NAME…] [--model FOLDER] [--quick]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.bench import report
from experiments.bench.decoders.tasks import DEMO, PROJECT, Missing, evenly
from experiments.bench.rescoring.lists import LISTS, Lists, random_gpt2
from experiments.bench.rescoring.merged_histories import HEADINGS as QUALITY_HEADINGS
from experiments.bench.rescoring.merged_histories import SOURCES, quality_rows
from experiments.bench.rescoring.ways import BATCH_TOKENS, WAYS, Measured
from experiments.comparison.progress import progress
from lm.errors import InputError

HEADINGS = (
    *("way", "scored", "hyp/s", "× padded", "tokens", "% of floor", "peak MB", "largest nats"),
)
NOTES = (
    "hyp/s: hypotheses a second, the tokenizer's work included, without loading; median of the "
    "rounds, each way in its own process. × padded: the speed divided by that of padded batches. "
    "Padded batches are written as is usual: sorted by length, padded on the right, about "
    f"{BATCH_TOKENS} tokens a batch, one softmax of all logits; `ours` is the same with the "
    "toolkit's own code. tokens: positions that the model reads, including padding.",
    "floor: the time that the tokens of the lists' unique prefixes take at the speed of a large "
    "matrix product in the same run and precision, 2 operations a parameter. % of floor: the floor "
    "as a share of the time. peak: most memory of the process while scoring (on a GPU: torch's "
    "memory there). largest nats: the largest difference from the same hypothesis scored alone. "
    "One at a time is measured on some of the hypotheses, evenly chosen.",
)


@dataclass(frozen=True)
class Round:
    """What one way took, over all rounds.

    Attributes:
        measured: The last round, with the median of all times.
        rows: Numbers of the hypotheses that were scored.
    """

    measured: Measured
    rows: np.ndarray

    @property
    def speed(self) -> float:
        """Hypotheses a second."""
        return len(self.rows) / self.measured.seconds


def main(given: Sequence[str] | None = None) -> int:
    """Runs the command."""
    arguments = parse(given)
    tables = report.Tables(Console(width=None if Console().is_terminal else 140))
    tables.say(report.machine(("torch", "transformers", "numpy")))
    for note in NOTES:
        tables.say(note)
    for name in arguments.lists:
        try:
            lists = LISTS[name](arguments.utterances, arguments.work)
        except Missing as missing:
            tables.say(f"{name}: skipped, {missing}.")
            continue
        model = arguments.model or str(random_gpt2(lists, arguments.work, arguments.quick))
        race(lists, model, arguments, tables)
    for name in arguments.quality:
        try:
            pair = SOURCES[name](arguments.quality_utterances, arguments.work)
        except Missing as missing:
            tables.say(f"{name}: WER skipped, {missing}.")
            continue
        title, rows = quality_rows(*pair, arguments.quality_model, arguments.options)
        tables.add(title, QUALITY_HEADINGS, rows)
    if arguments.markdown:
        tables.write(arguments.markdown)
    return 0


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the tables to this file"
    )
    parser.add_argument("--lists", nargs="*", choices=LISTS, metavar="NAME", help=", ".join(LISTS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    parser.add_argument(
        "--model",
        metavar="FOLDER",
        help="a causal LM (default: a random one of GPT-2 small's size)",
    )
    parser.add_argument(
        "--utterances", type=int, default=100, help="utterances of each set (default: 100)"
    )
    parser.add_argument(
        "--alone", type=int, default=200, help="hypotheses scored one at a time (default: 200)"
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often each way is timed (default: 1)"
    )
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own)")
    for name in ("device", "dtype"):
        parser.add_argument(f"--{name}", help=f"{name} of the model, as in `secondpass rescore`")
    parser.add_argument(
        "--quality", nargs="*", choices=SOURCES, metavar="NAME",
        help=f"N-best lists whose WER is compared: {', '.join(SOURCES)}",
    )  # fmt: skip
    parser.add_argument(
        "--quality-model",
        default=str(DEMO / "lm"),
        metavar="FOLDER",
        help="LM for the comparison of WER (default: the demo's)",
    )
    parser.add_argument(
        "--quality-utterances",
        type=int,
        default=0,
        help="utterances of dev and of test; 0 (default) takes all",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=PROJECT / "runs" / "bench",
        help="folder for lists and models that are kept for the next run",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small run on bundled data only, to try it out"
    )
    arguments = parser.parse_args(given)
    if min(arguments.utterances, arguments.alone, arguments.rounds) < 1:
        raise InputError("--utterances, --alone and --rounds must be at least 1")
    if arguments.quick:
        arguments.utterances, arguments.alone, arguments.quality_utterances = 2, 20, 4
    usual = ["bundled"] if arguments.quick else ["librispeech", "demo", "noisy"]
    arguments.lists = usual if arguments.lists is None else arguments.lists
    usual = ["bundled"] if arguments.quick else ["librispeech", "noisy"]
    arguments.quality = usual if arguments.quality is None else arguments.quality
    arguments.ways = arguments.ways or list(WAYS)
    arguments.options = {
        name: getattr(arguments, name) for name in ("device", "dtype") if getattr(arguments, name)
    }
    return arguments


def race(lists: Lists, model: str, arguments: argparse.Namespace, tables: report.Tables) -> None:
    """Runs all ways on the same lists, round by round, and adds their table."""
    table = lists.table.assign(text=lists.table["text"].str.lower())
    every = np.arange(len(table))
    some = np.array(evenly(every.tolist(), arguments.alone))
    found: dict[str, list[Measured]] = {way: [] for way in arguments.ways}
    with (
        tempfile.TemporaryDirectory() as folder,
        progress(arguments.rounds * len(found), lists.name, "way") as bar,
    ):
        work = Path(folder)
        table.to_parquet(work / "every.parquet")
        table.iloc[some].to_parquet(work / "some.parquet")
        for number in range(arguments.rounds):
            for way in arguments.ways:
                rows = "some" if way == "one" else "every"
                cache = work / f"scores-{number}.sqlite"
                found[way].append(run_way(way, work / f"{rows}.parquet", model, cache, arguments))
                bar.update(1)
    rounds = {
        way: Round(summed_up(measured), some if way == "one" else every)
        for way, measured in found.items()
    }
    title = f"{lists.name}: {len(lists.references)} utterances, {len(every):,} hypotheses"
    tables.add(f"{title}; {conditions(rounds, arguments)}", HEADINGS, race_rows(rounds, len(every)))


def run_way(
    way: str, lists: Path, model: str, cache: Path, arguments: argparse.Namespace
) -> Measured:
    """Runs one way in a new process."""
    output = lists.with_name("measured.npz")
    command = [sys.executable, "-m", "experiments.bench.rescoring.ways", way, "-o", str(output)]
    command += ["--lists", str(lists), "--model", model, "--cache", str(cache)]
    for name in ("device", "dtype", "threads"):
        if getattr(arguments, name):
            command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
    if done.returncode:
        raise InputError(f"{WAYS[way]}: {done.stderr.strip()[-500:]}")
    return Measured.read(output)


def summed_up(measured: Sequence[Measured]) -> Measured:
    """The rounds of one way: median time, highest peak and highest speed of the product."""
    return replace(
        measured[-1],
        seconds=statistics.median(one.seconds for one in measured),
        peak=max(one.peak for one in measured),
        speed=max(one.speed for one in measured),
    )


def conditions(rounds: Mapping[str, Round], arguments: argparse.Namespace) -> str:
    """The conditions of the measurement, for a title."""
    found = [done.measured for done in rounds.values()]
    parameters = max(one.parameters for one in found)
    return (
        f"{max(one.unique for one in found):,} tokens of unique prefixes; model of "
        f"{parameters / 1e6:.0f} M parameters, {arguments.dtype or 'default precision'}, "
        f"{arguments.device or 'default device'}, {max(one.threads for one in found)} threads, "
        f"matrix product {max(one.speed for one in found) / 1e9:,.0f} GFLOP/s"
    )


def race_rows(rounds: Mapping[str, Round], count: int) -> list[list[str]]:
    """Rows of the table, in the order of the ways.

    Args:
        rounds: Measurements of each way.
        count: Number of hypotheses in all lists.
    """
    found = [done.measured for done in rounds.values()]
    speed = max(one.speed for one in found)
    work = max(2 * one.unique * one.parameters for one in found)
    floor = work / speed if speed else 0.0
    alone = rounds.get("one")
    padded = rounds.get("padded")
    rows = []
    for way, done in rounds.items():
        share = count / len(done.rows)
        seconds, tokens = done.measured.seconds * share, done.measured.tokens * share
        rows.append(
            [
                WAYS[way],
                "all" if share == 1 else f"{len(done.rows):,} of {count:,}",
                f"{done.speed:,.1f}",
                times(done.speed / padded.speed) if padded else "",
                f"{tokens:,.0f}",
                f"{100 * floor / seconds:.0f}" if tokens and floor else "",
                f"{done.measured.peak / 1e6:,.0f}",
                "" if alone is None or way == "one" else f"{largest(alone, done):.1e}",
            ]
        )
    return rows


def times(ratio: float) -> str:
    """A ratio; with two decimals if it is below 100."""
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:,.0f}"


def largest(alone: Round, other: Round) -> float:
    """Largest difference in nats on the hypotheses that were scored one at a time."""
    scores = dict(zip(other.rows.tolist(), other.measured.logprob.tolist(), strict=True))
    pairs = zip(alone.rows.tolist(), alone.measured.logprob.tolist(), strict=True)
    return max(abs(scores[row] - logprob) for row, logprob in pairs)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
