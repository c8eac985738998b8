"""Counting, tuning and testing beside the obvious loops over jiwer and numpy, on one core.

python -m experiments.bench.evaluate results/librispeech-10best --system 4gram+books \\
  --tune dev_clean --split test_clean [--rounds 5] [--markdown FILE]

Each step is the one of `secondpass compare`, on the N-best lists and scores of a results folder.
The loops are what one would write first: jiwer for each hypothesis; a grid over the weights with
one product of numpy arrays for each point; one resample at a time; jiwer for each pair of a list.
Our time is the median of the rounds. A loop is run once. Where it would take minutes, it is run on
a part of the work and its time is multiplied; the table says so. The results of both are compared,
and the benchmark stops where they differ.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

import jiwer
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from asr.evaluation.alignment import align
from asr.evaluation.significance import RESAMPLES, bootstrap_interval, mapsswe
from asr.evaluation.wer import oracle, row_errors
from experiments.results import load_results
from lm.combine import total, winners
from lm.errors import InputError
from lm.files import write_text
from lm.rerank.decision import Choice, choose
from lm.rerank.mbr import Distances, least_risk
from lm.rerank.pool import Pool
from lm.rerank.score_arrays import ScoreArrays
from lm.rerank.tune import tune

T = TypeVar("T")
POINTS = 300  # points of the grid that are timed
STEPS = 100  # steps of the whole grid along each weight
HEADINGS = ("step", "ours, s", "loop, s", "× faster", "what the loop is")


def main(arguments: Sequence[str] | None = None) -> int:
    """Times every step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--system", required=True, help="system whose weights are tuned and used")
    parser.add_argument(
        "--tune", default="dev_clean", help="split on which weights are tuned (default: dev_clean)"
    )
    parser.add_argument(
        "--split", default="test_clean", help="split of the other steps (default: test_clean)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    results = load_results(given.results)
    weights = weights_of(results.systems, given.system)
    lists = {name: lists_of(results, name, given.system) for name in (given.tune, given.split)}
    rows = [
        errors_row(*lists[given.split], given.rounds),
        tuning_row(*lists[given.tune], weights, given.rounds),
        bootstrap_row(*lists[given.split], weights, given.rounds),
        mapsswe_row(*lists[given.split], weights, given.rounds),
        risk_row(*lists[given.split], weights, given.rounds),
        vote_row(*lists[given.split], weights, given.rounds),
    ]
    title = "; ".join(
        f"{name}: {table['utt'].nunique():,} lists, {len(table):,} hypotheses"
        for name, (table, _) in lists.items()
    )
    show(title, rows, given.markdown)
    return 0


def weights_of(systems: pd.DataFrame, name: str) -> dict[str, float]:
    """A system's weights.

    Raises:
        InputError: There is no such system, or it has none.
    """
    written = systems.loc[systems["system"] == name, "weights"]
    if written.empty or not isinstance(written.iloc[0], str):
        raise InputError(
            f"no system {name!r} with weights; the results have the systems "
            f"{', '.join(dict.fromkeys(systems['system']))}"
        )
    found: dict[str, float] = json.loads(written.iloc[0])
    return found


def lists_of(results, split: str, system: str) -> tuple[pd.DataFrame, dict[str, str]]:  # type: ignore[no-untyped-def]
    """The hypotheses of a split, and its references."""
    table = results.hypotheses[results.hypotheses["split"] == split].reset_index(drop=True)
    rows = results.utterances
    rows = rows[(rows["split"] == split) & (rows["system"] == system)]
    if table.empty:
        raise InputError(f"{results.folder}: no hypotheses of the split {split!r}; choose another")
    return table, dict(zip(rows["utt"], rows["ref"], strict=True))


def timed(function: Callable[[], T], rounds: int) -> tuple[float, T]:
    """Median seconds of a call, after one call that is not timed; and its result."""
    found = function()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        found = function()
        seconds.append(time.perf_counter() - start)
    return median(seconds), found


def once(function: Callable[[], T]) -> tuple[float, T]:
    """Seconds of one call, and its result."""
    start = time.perf_counter()
    found = function()
    return time.perf_counter() - start, found


def agree(name: str, ours: object, loop: object) -> None:
    """Stops the benchmark if the two differ."""
    if not np.allclose(np.asarray(ours, dtype=float), np.asarray(loop, dtype=float)):
        raise SystemExit(f"{name}: ours {ours}, the loop {loop}")


def errors_row(table: pd.DataFrame, references: dict[str, str], rounds: int) -> list[str]:
    """Errors of every hypothesis, and the oracle."""

    def ours() -> tuple[np.ndarray, int]:
        errors = row_errors(table, references)["errors"].to_numpy()
        return errors, int(errors[oracle(table, errors)].sum())

    def loop() -> tuple[np.ndarray, int]:
        errors = []
        for utt, text in zip(table["utt"], table["text"], strict=True):
            found = jiwer.process_words(references[utt], text)
            errors.append(found.substitutions + found.deletions + found.insertions)
        return np.array(errors), sum(
            min(errors[n] for n in rows) for rows in table.groupby("utt").indices.values()
        )

    fast, found = timed(ours, rounds)
    slow, expected = once(loop)
    agree("errors", found[0], expected[0])
    agree("oracle", found[1], expected[1])
    what = "jiwer.process_words for each hypothesis"
    return row("errors of every hypothesis, oracle", fast, slow, what)


def tuning_row(
    table: pd.DataFrame, references: dict[str, str], weights: dict[str, float], rounds: int
) -> list[str]:
    """Weights by exact line search, against a grid."""
    errors = row_errors(table, references)["errors"].to_numpy()
    names = [name for name in weights if name != "acoustic"]
    fast, found = timed(lambda: tune(table, errors, names, seed=1), rounds)
    lists = ScoreArrays.of(table, errors, ["acoustic", *names])
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (POINTS, len(names)))

    def loop() -> int:
        best = len(errors)
        for point in points:
            totals = lists.scores @ np.concatenate([[1.0], point])
            chosen = np.where(lists.exists, totals, -np.inf).argmax(axis=1)
            best = min(best, int(lists.errors[np.arange(len(chosen)), chosen].sum()))
        return best

    part, _ = once(loop)
    whole = STEPS ** len(names)
    what = f"grid of {STEPS} steps along each: {POINTS} points timed, of {whole:,}"
    assert found.errors <= found.baseline
    return row(f"{len(names)} weights", fast, part * whole / POINTS, what)


def bootstrap_row(
    table: pd.DataFrame, references: dict[str, str], weights: dict[str, float], rounds: int
) -> list[str]:
    """A bootstrap interval."""
    chosen = table.iloc[winners(table, total(table, weights))]
    errors = row_errors(chosen, references)["errors"].to_numpy()
    words = np.array([len(references[utt].split()) for utt in chosen["utt"]])
    fast, found = timed(lambda: bootstrap_interval(errors, words), rounds)

    def loop() -> np.ndarray:
        rng = np.random.default_rng(0)
        rates = []
        for _ in range(RESAMPLES):
            drawn = rng.integers(0, len(words), len(words))
            rates.append(errors[drawn].sum() / words[drawn].sum())
        return np.quantile(rates, [0.025, 0.975])

    slow, expected = once(loop)
    assert found is not None
    if np.abs(np.array(found) - expected).max() > 0.02 * expected.mean():
        raise SystemExit(f"bootstrap: ours {found}, the loop {expected}")
    return row(f"{RESAMPLES:,} resamples of the rate", fast, slow, "a resample at a time, numpy")


def mapsswe_row(
    table: pd.DataFrame, references: dict[str, str], weights: dict[str, float], rounds: int
) -> list[str]:
    """Alignments of two systems and the matched-pairs test."""
    best = table.iloc[winners(table, total(table, weights))]
    first = table[table["rank"] == 1]
    truth = [references[utt] for utt in best["utt"]]
    texts = [rows["text"].tolist() for rows in (best, first)]
    fast, _ = timed(lambda: mapsswe(align(truth, texts[0]), align(truth, texts[1])), rounds)
    return row("alignments and matched pairs of two systems", fast, None, "")


def risk_row(
    table: pd.DataFrame, references: dict[str, str], weights: dict[str, float], rounds: int
) -> list[str]:
    """Minimum Bayes risk, from texts to choices."""
    totals = total(table, weights)

    def ours() -> list[str]:
        pool = Pool.of([table], [totals])
        return [pool.texts[n] for n in least_risk(pool, Distances.of(pool), pool.posterior())]

    def loop() -> list[str]:
        chosen = []
        for _, rows in table.assign(total=totals).groupby("utt", sort=False):
            scores = np.exp(rows["total"].to_numpy() - rows["total"].max())
            posterior = scores / scores.sum()
            texts = rows["text"].tolist()
            risk = [
                sum(p * distance(t, text) for p, t in zip(posterior, texts, strict=True))
                for text in texts
            ]
            chosen.append(texts[int(np.argmin(np.round(risk, 9)))])
        return chosen

    fast, found = timed(ours, rounds)
    slow, expected = once(loop)
    same = np.mean([a == b for a, b in zip(found, expected, strict=True)])
    if same < 0.999:  # for equal risks ours takes the larger posterior, the loop the smaller rank
        raise SystemExit(f"minimum Bayes risk: {1 - same:.2%} of the choices differ")
    return row("minimum Bayes risk", fast, slow, "jiwer.process_words for each pair of a list")


def distance(truth: str, text: str) -> int:
    """Word errors by jiwer, also of two empty texts."""
    found = jiwer.process_words(truth, text)
    return found.substitutions + found.deletions + found.insertions


def vote_row(
    table: pd.DataFrame, references: dict[str, str], weights: dict[str, float], rounds: int
) -> list[str]:
    """A vote over confusion networks, from texts to choices."""
    totals = total(table, weights)
    fast, _ = timed(lambda: choose(Pool.of([table], [totals]), Choice("vote")), rounds)
    return row("vote over confusion networks", fast, None, "")


def row(name: str, fast: float, slow: float | None, what: str) -> list[str]:
    """One line of the table."""
    if slow is None:
        return [name, f"{fast:.3f}", "", "", what]
    ratio = slow / fast
    return [name, f"{fast:.3f}", f"{slow:,.2f}", f"{ratio:,.{0 if ratio >= 10 else 1}f}", what]


def show(title: str, rows: list[list[str]], path: Path | None) -> None:
    """Prints the table, and writes it as Markdown if a path is given."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if 0 < number < 4 else "left")
    for cells in rows:
        table.add_row(*cells)
    Console(width=140).print(table)
    if path is not None:
        ruler = ["---", "--:", "--:", "--:", "---"]
        lines = ["| " + " | ".join(cells) + " |" for cells in (HEADINGS, ruler, *rows)]
        write_text(path, "\n".join([title, "", *lines, ""]))


if __name__ == "__main__":
    raise SystemExit(main())
