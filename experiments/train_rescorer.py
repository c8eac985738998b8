"""Trains a causal language model on N-best lists, towards fewer word errors.

secondpass train-rescorer CONFIG.yaml [key.path=value …] [--resume | --restart]

The N-best lists are divided into three parts, with no speaker in two of them. The first part
trains the model. The second decides which step's model is kept, and tunes the weights. On the
third, the model before training and the model after training are compared, each with weights that
were tuned in the same way. Use the new model if the third part shows a significant gain.

A run that was interrupted continues from its newest checkpoint when the same command is given
again. With other settings or data, give another `output`, or --restart.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.comparison.column import Column
from experiments.comparison.config import load_config
from experiments.comparison.names import check_names
from experiments.comparison.split import Split
from experiments.train_lm import add_training, print_figures
from lm.errors import InputError
from lm.files import SCORES
from lm.ranges import FINITE, check_ranges
from lm.text.normalisers import DEFAULT, normaliser
from lm.training.settings import MWERTraining

LOG = logging.getLogger("secondpass")

SPEAKER = r"([^-_]+)[-_].*"
BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, kw_only=True)
class RescorerTraining(MWERTraining):
    """Settings of `secondpass train-rescorer`.

    Attributes:
        output: Folder of the finished model. While training runs, it holds `checkpoints`. The
            scores of the N-best lists are kept beside it, in a folder that ends in `.stages`.
        splits: N-best lists with references. Do not use lists on which you report results.
        columns: Language models by name, as in a comparison.
        system: Columns whose weighted sum chooses a hypothesis, among them `acoustic` and the
            column that is trained.
        train: Name of the column whose model is trained.
        speaker: Regular expression whose first group is the speaker. It must match the whole name
            of an utterance; an utterance whose name does not match is a speaker of its own.
        shares: Share of the N-best lists (by utterances) that trains, and share that tunes; the
            rest compares the models.
        normaliser: Normaliser that is applied to references and hypotheses before words are
            counted.
        cache: File in which scores are kept between runs; null if they are not kept.
    """

    output: str
    splits: Mapping[str, Split]
    columns: Mapping[str, Column]
    system: tuple[str, ...]
    train: str
    speaker: str = SPEAKER
    shares: tuple[float, float] = (0.6, 0.2)
    normaliser: str = DEFAULT
    cache: str | None = str(SCORES)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names("splits: the name", self.splits)
        check_names("columns: the name", self.columns)
        check_ranges(self, {"shares": FINITE})
        if self.train not in self.columns or self.train not in self.system:
            raise InputError(
                f"`train` is {self.train!r}; it must be one of `columns` "
                f"({', '.join(self.columns)}) and of `system` ({', '.join(self.system)})"
            )
        if min(self.shares) <= 0 or sum(self.shares) >= 1:
            raise InputError(
                f"`shares` are {self.shares}; give two numbers above 0 "
                "with a sum below 1; the models are compared on the rest"
            )
        if any(split.nbest is None for split in self.splits.values()):
            raise InputError("`splits` must be N-best lists; write them with `secondpass decode`")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_training(parser, RescorerTraining)


def run(arguments: argparse.Namespace) -> int:
    """Trains the model, and prints the word error rates before and after training."""
    settings = load_config(RescorerTraining, arguments.config, arguments.overrides)
    # pandas, torch and transformers take seconds to import.
    from experiments.comparison.counting import Counting
    from experiments.comparison.evaluation import ScoredSplit, evaluate
    from experiments.comparison.references import References
    from experiments.comparison.rescorer_lists import by_speaker, judged, load_lists
    from experiments.comparison.second_pass import Models, score
    from experiments.comparison.system import System, resolve
    from experiments.comparison.tuning import Decision, tune_weights
    from lm.cache import ScoreCache
    from lm.context import contexts
    from lm.training.minimum_wer import train_mwer
    from lm.training.resume import Run

    output = Path(settings.output)
    Run(output, arguments.resume)  # reports a wrong output folder before hours of scoring
    models = Models(ScoreCache.open(settings.cache) if settings.cache else None)
    stages = output.with_name(f"{output.name}.stages")
    table, texts = load_lists(settings.splits, settings.columns, settings.system, stages, models)
    counting = Counting(normaliser(settings.normaliser), seed=settings.seed)
    references = References(texts, counting)
    training, tuning, judging = (
        table[table["utt"].isin(utts)].reset_index(drop=True)
        for utts in by_speaker(
            table["utt"].unique(), settings.speaker, settings.shares, settings.seed
        )
    )
    weights = tune_weights(tuning, settings.system, references).weights
    column = settings.columns[settings.train]
    before = contexts(table, column.context) if column.context.previous else None
    lists, held_out = (
        judged(part, settings.train, column, weights, references, before)
        for part in (training, tuning)
    )
    print_figures(
        train_mwer(
            column.model, column.options, lists, held_out, output, settings, arguments.resume
        )
    )
    after = replace(column, model=settings.output)
    parts = {
        AFTER: {
            name: score(part, models, settings.train, after, f"{name} after", overwrite=True)
            for name, part in (("tuning", tuning), ("judging", judging))
        },
        BEFORE: {"tuning": tuning, "judging": judging},
    }
    again = tune_weights(parts[AFTER]["tuning"], settings.system, references)
    chosen = {BEFORE: Decision(weights), AFTER: Decision(again.weights)}
    tables = {name: parts[name]["judging"] for name in (BEFORE, AFTER)}
    plans = resolve({name: System(name, settings.system) for name in (BEFORE, AFTER)})
    systems = evaluate(ScoredSplit("judging", tables, references), plans, chosen).systems
    print(f"WER on {judging['utt'].nunique():,} utterances of speakers that were not used before:")
    rows: list[dict[Hashable, Any]] = systems.to_dict("records")
    for row in rows:
        print(f"  {row['system']}: {row['wer']:.2%}, weights {row['weights']}")
    print(verdict(rows[-1]["delta_wer"], rows[-1]["p_value"]))
    LOG.info(f"the model is in {settings.output}")
    return 0


def verdict(delta: float, p_value: float) -> str:
    """Whether the trained model should be used."""
    if delta < 0 and p_value < 0.05:
        return f"fewer errors by {-delta:.2%} absolute (p = {p_value:.3g}): use the new model"
    return (
        f"no significant gain ({delta:+.2%} absolute, p = {p_value:.3g}): keep the model before "
        "training"
    )


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["train-rescorer", *sys.argv[1:]]))
