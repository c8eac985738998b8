"""What merging histories changes: WER, best hypotheses, tokens, speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asr.evaluation.wer import ErrorRate
from experiments.bench.decoders.tasks import TASKS, bundled
from experiments.bench.rescoring.lists import Lists, decoded, librispeech
from experiments.bench.rescoring.ways import BATCH_TOKENS, MERGED, Counted
from experiments.comparison.counting import Counting
from experiments.comparison.picking import pick
from experiments.comparison.references import References
from experiments.comparison.system import System, resolve
from experiments.comparison.tuning import Decision, tune_weights
from lm.neural.causal import CausalLM, CausalScorer
from lm.rescore import rescore
from lm.scorer import ScorerOptions
from lm.text.normalisers import normaliser

HEADINGS = ("history", "WER %", "Δ WER", "top-1 changed %", "tokens", "hyp/s", "× exact")
NAME = "llm"


def halves(lists: Lists) -> tuple[Lists, Lists]:
    """Every second list for tuning, and the other lists for reporting."""
    utterances = list(lists.references)
    return lists.chosen(utterances[::2]), lists.chosen(utterances[1::2])


# Lists to tune on and lists to report. The number of utterances is that of each; 0 takes all.
SOURCES: dict[str, Callable[[int, Path], tuple[Lists, Lists]]] = {
    "librispeech": lambda most, work: (
        librispeech("dev_clean").sample(most),
        librispeech("test_clean").sample(most),
    ),
    "noisy": lambda most, work: halves(
        decoded("noisy", TASKS["characters"](2 * (most or 200), work), "noisy", work)
    ),
    "bundled": lambda most, work: halves(
        decoded("bundled", bundled(2 * (most or 8), work), "noisy", work)
    ),
}


def quality_rows(
    dev: Lists, test: Lists, model: str, settings: Mapping[str, Any]
) -> tuple[str, list[list[str]]]:
    """Title and rows of a table: exact scores and merged histories, on the same lists.

    The weights are tuned once, on dev with exact scores, so only the scores differ.

    Args:
        dev: N-best lists to tune on.
        test: N-best lists to report.
        model: Folder of a language model for lower-case text.
        settings: `device` and `dtype` of `ScorerOptions`, where given.
    """
    options = ScorerOptions(batch_tokens=BATCH_TOKENS, **settings)
    lm = CausalLM.load(model, options)
    counted = Counted()
    counted.watch(lm.model)
    counting = Counting(normaliser("librispeech"), seed=1)
    exact = rescore(dev.table, CausalScorer(lm, options), NAME, "lower")
    columns = ("acoustic", *own_columns(dev.table), NAME, "words")
    tuned = tune_weights(exact, columns, References(dev.references, counting))
    references = References(test.references, counting)
    plans = resolve({NAME: System("lists", columns)})
    decisions = {NAME: Decision(tuned.weights)}
    rows: list[list[str]] = []
    first: tuple[float, pd.Series, float] | None = None
    for history in ("exact", *MERGED):
        scorer = CausalScorer(lm, ScorerOptions(**(vars(options) | {"history": history})))
        counted.tokens, start = 0, time.perf_counter()
        scored = rescore(test.table, scorer, NAME, "lower")
        speed = len(scored) / (time.perf_counter() - start)
        picked = pick(plans[NAME], {"lists": scored}, references, decisions)
        wer = ErrorRate.total(picked.counts).rate
        best = picked.rows["text"]
        first = first or (wer, best, speed)
        rows.append(
            [
                str(history),
                f"{100 * wer:.2f}",
                f"{100 * (wer - first[0]):+.3f}",
                f"{100 * np.mean(best.to_numpy() != first[1].to_numpy()):.2f}",
                f"{counted.tokens:,}",
                f"{speed:.0f}",
                f"{speed / first[2]:.2f}",
            ]
        )
    weights = ", ".join(f"{name} {value:g}" for name, value in tuned.weights.items())
    title = (
        f"Merged histories, {test.name}: {len(test.references)} utterances, "
        f"{len(test.table):,} hypotheses, {Path(model).parent.name}/{Path(model).name}; weights of "
        f"{len(dev.references)} dev utterances with exact scores: {weights}"
    )
    return title, rows


def own_columns(table: pd.DataFrame) -> list[str]:
    """The column of the first pass's language model, if it had one."""
    return ["ngram"] if table["ngram"].any() else []
