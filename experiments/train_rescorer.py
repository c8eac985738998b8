"""Trains a causal language model on N-best lists, towards fewer word errors.

secondpass train-rescorer CONFIG.yaml [key.path=value …] [--resume | --restart]

Three parts of the lists, no speaker in two of them: the first trains, the second tells when the
model is best and tunes the weights, the third judges: the model before and after, with weights
tuned alike. Use the new model where the third part shows a significant gain.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.comparison.config import load_config
from experiments.comparison.counting import Counting
from experiments.comparison.evaluation import evaluate
from experiments.comparison.pipeline import load_split
from experiments.comparison.references import References
from experiments.comparison.second_pass import Column, Models, score
from experiments.comparison.split import Split
from experiments.comparison.tuning import Decision, System, tune_weights
from experiments.train_lm import add_resume, print_figures
from lm.cache import ScoreCache
from lm.combine import total
from lm.context import contexts
from lm.errors import InputError
from lm.files import SCORES
from lm.scorer import Texts
from lm.text.normalisers import normaliser
from lm.training.minimum_wer import Judged, MWERTraining, train_mwer

SPEAKER = r"([^-_]+)[-_].*"
LISTS = "lists"
BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, kw_only=True)
class RescorerTraining(MWERTraining):
    """Settings of `secondpass train-rescorer`.

    Attributes:
        output: Folder of the finished checkpoint.
        splits: N-best lists with references; never those that are reported on.
        columns: Language models by name, as in a comparison.
        system: Columns that are weighed, `acoustic` and the trained one among them.
        train: Which column's model is trained.
        speaker: Regular expression whose first group, matched against the whole of an utterance's
            name, tells the speaker; names that do not match are speakers of their own.
        shares: Of the lists (in utterances): to train on, to tune on; the rest judges.
        normaliser: Applied to references and hypotheses before words are counted.
        cache: File of scores that are kept between runs; null keeps none.
    """

    output: str
    splits: Mapping[str, Split]
    columns: Mapping[str, Column]
    system: tuple[str, ...]
    train: str
    speaker: str = SPEAKER
    shares: tuple[float, float] = (0.6, 0.2)
    normaliser: str = "librispeech"
    cache: str | None = str(SCORES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train not in self.columns or self.train not in self.system:
            raise InputError(
                f"train-rescorer: `train` is {self.train!r}; it must be one of `columns` "
                f"({', '.join(self.columns)}) and in `system` ({', '.join(self.system)})"
            )
        if min(self.shares) <= 0 or sum(self.shares) >= 1:
            raise InputError(
                f"train-rescorer: `shares` are {self.shares}; give two above 0 that leave "
                "something to judge by"
            )
        if any(split.nbest is None for split in self.splits.values()):
            raise InputError(
                "train-rescorer: `splits` must be N-best lists; write them with `secondpass decode`"
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("config", metavar="CONFIG.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win")
    add_resume(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trains, judges, prints."""
    settings = load_config(RescorerTraining, arguments.config, arguments.overrides)
    cache = ScoreCache.open(settings.cache) if settings.cache else None
    models = Models(cache)
    table, texts = load_lists(settings, models)
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
        judged(part, settings, weights, references, before) for part in (training, tuning)
    )
    output = Path(settings.output)
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
    systems = evaluate(
        "judging",
        {name: System(name, settings.system) for name in (BEFORE, AFTER)},
        {name: parts[name]["judging"] for name in (BEFORE, AFTER)},
        references,
        chosen,
    ).systems
    print(f"WER on {judging['utt'].nunique():,} utterances of other speakers than before:")
    rows: list[dict[Hashable, Any]] = systems.to_dict("records")
    for row in rows:
        print(f"  {row['system']}: {row['wer']:.2%}, weights {row['weights']}")
    print(verdict(rows[-1]["delta_wer"], rows[-1]["p_value"]))
    print(f"wrote {settings.output}", file=sys.stderr)
    return 0


def load_lists(
    settings: RescorerTraining, models: Models
) -> tuple[pd.DataFrame, Mapping[str, str]]:
    """All lists with every column that is weighed, and their references.

    Raises:
        InputError: Two splits have an utterance of the same name.
    """
    wanted = [name for name in settings.system if name in settings.columns]
    tables: list[pd.DataFrame] = []
    references: dict[str, str] = {}
    for name, split in settings.splits.items():
        stages = Path(settings.output) / "stages"
        loaded = load_split(
            name, split, None, {}, settings.columns, {LISTS: wanted}, stages, None, models
        )
        if twice := references.keys() & loaded.references.keys():
            raise InputError(
                f"{name}: {len(twice)} utterances have names that another split has too "
                f"({min(twice)}); one list would be trained with the other's reference: rename them"
            )
        tables.append(loaded.tables[LISTS])
        references |= dict(loaded.references)
    return pd.concat(tables, ignore_index=True), references


def by_speaker(
    utts: np.ndarray, speaker: str, shares: tuple[float, float], seed: int
) -> list[list[str]]:
    """Utterances in three parts, no speaker in two of them.

    Args:
        utts: Names of utterances.
        speaker: See `RescorerTraining`.
        shares: Of the first two parts, in utterances; speakers are whole, so about.
        seed: Of the order of the speakers.

    Raises:
        InputError: There are too few speakers for three parts.
    """
    pattern = re.compile(speaker)
    spoken: dict[str, list[str]] = {}
    for utt in utts:
        match = pattern.fullmatch(utt)
        spoken.setdefault(match[1] if match else utt, []).append(utt)
    names = sorted(spoken)
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.array([len(spoken[names[i]]) for i in order])
    # The middle of a speaker's utterances tells which part the speaker belongs to.
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    part_of = np.searchsorted(np.cumsum(shares), middle)
    parts = [
        [
            utt
            for i, part in zip(order, part_of, strict=True)
            if part == n
            for utt in spoken[names[i]]
        ]
        for n in range(3)
    ]
    if not all(parts):
        raise InputError(
            f"{len(names)} speakers are too few for three parts; check `speaker` ({speaker!r}), "
            "change `shares`, or give more lists"
        )
    return parts


def judged(
    table: pd.DataFrame,
    settings: RescorerTraining,
    weights: Mapping[str, float],
    references: References,
    before: Mapping[str, tuple[str, ...]] | None,
) -> Judged:
    """Lists as they are trained on: texts as the model reads them, errors, the other columns."""
    spell = normaliser(settings.columns[settings.train].normaliser)
    errors = references.counts(table)["errors"]
    utts = table["utt"].unique()
    owner = pd.factorize(table["utt"])[0]
    order = np.lexsort((table["rank"].to_numpy(), owner))
    texts = [
        spell(text)
        for text in [*table["text"].to_numpy()[order], *(references.texts[utt] for utt in utts)]
    ]
    said = None
    if before is not None:
        by_list = [tuple(spell(text) for text in before.get(utt, ())) for utt in utts]
        said = [*(by_list[i] for i in owner[order]), *by_list]
    numbers = np.append(owner[order], np.arange(len(utts)))
    prompt = settings.columns[settings.train].context.prompt
    others = {name: weight for name, weight in weights.items() if name != settings.train}
    return Judged(
        Texts(texts, said, numbers, () if prompt is None else (prompt,)),
        errors.to_numpy()[order],
        total(table, others)[order],
        weights[settings.train],
        list(utts),
    )


def verdict(delta: float, p_value: float) -> str:
    """Whether the trained model should be used."""
    if delta < 0 and p_value < 0.05:
        return f"fewer errors by {-delta:.2%} absolute (p = {p_value:.3g}): use it"
    return f"no significant gain ({delta:+.2%} absolute, p = {p_value:.3g}): stay with the old one"


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["train-rescorer", *sys.argv[1:]]))
