"""The stages of one split, from utterances to N-best tables with every LM's column.

`stages` runs each stage. If the inputs and settings of a stage have not changed, its result is
read from disk instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from asr.corpus import Utterance
from asr.emissions import Emissions
from asr.nbest import read_nbest
from asr.options import Acoustic, DecoderOptions
from experiments.comparison.first_pass import decode_to, write_emissions
from experiments.comparison.inputs import SplitInput
from experiments.comparison.plan import ListsPlan
from experiments.comparison.second_pass import Models, add_column
from experiments.comparison.split import SplitData
from experiments.comparison.stages import Fingerprints, Recipe, Stage, run_stage
from lm.combine import score_column
from lm.errors import InputError
from lm.files import write_text

# Increase these numbers when a change of the code changes the log-probs of the same audio, or the
# N-best lists of the same log-probs.
EMIT_FORM = 1
DECODE_FORM = 1


def load_split(
    given: SplitInput,
    lists: Mapping[str, ListsPlan],
    root: Path,
    models: Models,
    acoustic: Acoustic | None = None,
    workers: int | None = None,
) -> SplitData:
    """Runs every stage of one split, or reads its result.

    Args:
        given: what the split starts from.
        lists: the N-best lists that are needed, by name; an imported table is used for every name.
        root: folder of the stages.
        models: loads the language models.
        acoustic: settings of the acoustic stage; imported N-best lists need none.
        workers: threads or processes of the decoder.

    Raises:
        InputError: There is audio but no acoustic model, N-best lists lack a column, or a stage
            cannot be run.
    """
    name = given.name
    stages: dict[str, Stage] = {}
    failures = dict(given.failures)
    audio_seconds = 0.0
    if given.table is not None:
        tables = dict.fromkeys(lists, given.table)
        check_columns(given.table, lists, name)
        hashes = {f"nbest.{name}": models.fingerprints.of(given.split.nbest or "")}
    else:
        if acoustic is None:
            raise InputError(f"split {name}: audio needs an `acoustic` model in the config")
        tables = {}
        emission = emit_stage(name, given.utterances, acoustic, root, models.fingerprints)
        stages["emit"] = emission
        failures |= emission.facts["failures"]
        audio_seconds = float(emission.facts["audio_seconds"])
        hashes = {"acoustic": emission.facts["model_hash"], f"audio.{name}": emission.key}
        emissions = Emissions.open(emission.folder / "emissions")
        for label, plan in lists.items():
            assert plan.decoder is not None
            recipe = decode_recipe(name, label, plan.decoder, emission.key, models.fingerprints)
            stage = decode_stage(recipe, emissions, plan.decoder, root, workers)
            stages[f"decode.{label}"] = stage
            failures |= stage.facts["failures"]
            tables[label] = read_nbest(stage.folder / "nbest.parquet")
            for number, model_hash in enumerate(recipe.inputs["lms"]):
                lm = "lm" if number == 0 else f"more_lms.{number - 1}"
                hashes[f"first_passes.{label}.{lm}"] = model_hash
        for label, plan in lists.items():
            check_columns(tables[label], {label: plan}, name)
    for label, plan in lists.items():
        for column, model in plan.models.items():
            stage = add_column(name, label, tables[label], column, model, root, models)
            scores = pd.read_parquet(stage.folder / "scores.parquet")
            tables[label] = tables[label].assign(
                **{c: scores[c].to_numpy() for c in (column, f"{column}.tokens")}
            )
            stages[f"rescore.{label}.{column}"] = stage
            hashes[f"columns.{column}"] = str(stage.facts["model_hash"])
    return SplitData(
        given.references,
        tables,
        failures,
        {stage_name: stage.seconds for stage_name, stage in stages.items()},
        audio_seconds,
        hashes,
        given.tags,
        {stage_name: stage.made for stage_name, stage in stages.items()},
    )


def check_columns(table: pd.DataFrame, lists: Mapping[str, ListsPlan], split: str) -> None:
    """Checks that N-best lists have the scores that do not come from a language model.

    Raises:
        InputError: A score is missing.
    """
    for column in dict.fromkeys(column for plan in lists.values() for column in plan.given):
        try:
            score_column(table, column)
        except InputError as error:
            raise InputError(
                f"split {split}: {error}; `columns` of the config are made by language models"
            ) from error


def emit_stage(
    name: str,
    utterances: Sequence[Utterance],
    acoustic: Acoustic,
    root: Path,
    fingerprints: Fingerprints | None = None,
) -> Stage:
    """Writes the log-probs of audio; an utterance that fails is reported, the others continue."""
    recipe = emit_recipe(name, utterances, acoustic, fingerprints or Fingerprints())

    def make(folder: Path) -> dict[str, Any]:
        label = f"{name}: emit"
        written = write_emissions(folder / "emissions", list(utterances), acoustic, label)
        return {**asdict(written), "model_hash": recipe.inputs["model"]}

    return run_stage(root, recipe, make)


def emit_recipe(
    name: str, utterances: Sequence[Utterance], acoustic: Acoustic, fingerprints: Fingerprints
) -> Recipe:
    """The recipe of the log-probs of a split."""
    inputs = {
        "model": fingerprints.of(acoustic.model),
        "utterances": [audio_identity(u) for u in utterances],
        "dtype": acoustic.dtype,
        "save_dtype": acoustic.save_dtype,
    }
    return Recipe(f"emit-{name}", inputs, EMIT_FORM)


def audio_identity(utterance: Utterance) -> dict[str, Any]:
    """What an utterance's emissions depend on; size and time of change identify a file."""
    path = Path(utterance.audio_filepath)
    stat = path.stat() if path.is_file() else None
    return {
        "id": utterance.id,
        "path": str(path.resolve()),
        "size": stat.st_size if stat else None,
        "changed": stat.st_mtime_ns if stat else None,
        "offset": utterance.offset,
        "duration": utterance.duration,
        "channel": utterance.channel,
        "sample_rate": utterance.sample_rate,
        "noise": asdict(utterance.noise) if utterance.noise else None,
    }


def decode_recipe(
    split: str, label: str, options: DecoderOptions, emissions: str, fingerprints: Fingerprints
) -> Recipe:
    """The recipe of the N-best lists of one first pass; `emissions` is the key of that stage."""
    inputs = {
        "emissions": emissions,
        "options": asdict(options),
        "lms": [fingerprints.of(lm) for lm in options.lms],
    }
    return Recipe(f"decode-{split}-{label}", inputs, DECODE_FORM)


def decode_stage(
    recipe: Recipe,
    emissions: Emissions,
    options: DecoderOptions,
    root: Path,
    workers: int | None,
) -> Stage:
    """Decodes log-probs to N-best lists on disk."""

    def make(folder: Path) -> dict[str, Any]:
        path = folder / "nbest.parquet"
        return asdict(decode_to(path, emissions, options, workers, recipe.name))

    return run_stage(root, recipe, make)


def write_errors(path: Path, failures: Mapping[str, Mapping[str, str]]) -> int:
    """Writes one JSON line for each utterance that failed; returns their number."""
    lines = [
        json.dumps({"split": split, "utt": utt, "error": reason}, ensure_ascii=False)
        for split, reasons in failures.items()
        for utt, reason in reasons.items()
    ]
    write_text(path, "".join(line + "\n" for line in lines))
    return len(lines)
