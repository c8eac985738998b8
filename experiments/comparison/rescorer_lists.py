"""N-best lists for the training of a rescorer: loaded, divided by speaker, with known errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.comparison.column import Column
from experiments.comparison.inputs import read_split
from experiments.comparison.pipeline import load_split
from experiments.comparison.plan import ListsPlan
from experiments.comparison.references import References
from experiments.comparison.second_pass import Models
from experiments.comparison.split import Split
from lm.combine import total
from lm.errors import InputError
from lm.scorer import Texts
from lm.text.loss import normalised
from lm.text.normalisers import normaliser
from lm.training.nbest_batches import Judged

LISTS = "lists"  # the name of the one first pass


def load_lists(
    splits: Mapping[str, Split],
    columns: Mapping[str, Column],
    system: Sequence[str],
    stages: Path,
    models: Models,
) -> tuple[pd.DataFrame, Mapping[str, str]]:
    """All N-best lists with every column that is weighted, and their references.

    Args:
        splits: N-best lists by name.
        columns: Language models by name.
        system: Columns that are weighted.
        stages: Folder in which the columns are kept between runs.
        models: Models of the columns.

    Raises:
        InputError: Two splits have an utterance of the same name.
    """
    scored = {name: columns[name] for name in system if name in columns}
    plans = {LISTS: ListsPlan(models=scored)}
    tables: list[pd.DataFrame] = []
    references: dict[str, str] = {}
    for name, split in splits.items():
        loaded = load_split(read_split(name, split), plans, stages, models)
        if twice := references.keys() & loaded.references.keys():
            raise InputError(
                f"{name}: {len(twice)} utterances have names that another split has too "
                f"({min(twice)}). A list would be trained with the other's reference; rename the "
                "utterances"
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
        speaker: Regular expression whose first group is the speaker in an utterance's name.
        shares: Shares of the first two parts, in utterances; they are approximate, because a
            speaker's utterances stay together.
        seed: Random seed for the order of the speakers.

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
    # The middle of a speaker's utterances decides to which part the speaker belongs.
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
            "change `shares`, or give more N-best lists"
        )
    return parts


def judged(
    table: pd.DataFrame,
    name: str,
    column: Column,
    weights: Mapping[str, float],
    references: References,
    before: Mapping[str, tuple[str, ...]] | None,
) -> Judged:
    """N-best lists as they are trained on.

    Args:
        table: N-best table with all columns.
        name: Name of the column whose model is trained.
        column: How this model reads texts.
        weights: Weight of every column.
        references: Reference texts, to count errors.
        before: What was said before each utterance; None if the model reads no context.
    """
    spell = normaliser(column.normaliser)
    errors = references.counts(table)["errors"]
    utts = table["utt"].unique()
    owner = pd.factorize(table["utt"])[0]
    order = np.lexsort((table["rank"].to_numpy(), owner))
    texts = [*table["text"].to_numpy()[order], *(references.texts[utt] for utt in utts)]
    spelled = normalised(texts, spell, f"column {name}")
    texts = [spelled[text] for text in texts]
    said = None
    if before is not None:
        by_list = [tuple(spell(text) for text in before.get(utt, ())) for utt in utts]
        said = [*(by_list[i] for i in owner[order]), *by_list]
    numbers = np.append(owner[order], np.arange(len(utts)))
    prompt = column.context.prompt
    others = {other: weight for other, weight in weights.items() if other != name}
    return Judged(
        Texts(texts, said, numbers, () if prompt is None else (prompt,)),
        errors.to_numpy()[order],
        total(table, others)[order],
        weights[name],
        list(utts),
    )
