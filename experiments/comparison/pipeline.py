"""The stages of one experiment, from utterances to N-best tables with every LM's column.

Each stage is run by `stages`, so one whose inputs and settings have not changed is read back
instead.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asr.corpus import Utterance, read_corpus
from asr.emissions import Emissions
from asr.formats.nbest_import import import_nbest
from asr.nbest import read_nbest
from asr.options import Acoustic, DecoderOptions
from experiments.comparison.counting import SPEAKER
from experiments.comparison.first_pass import decode_to, write_emissions
from experiments.comparison.second_pass import Column, Models, add_column
from experiments.comparison.split import Split, SplitData
from experiments.comparison.stages import Stage, fingerprint, run_stage
from lm.combine import score_column
from lm.errors import InputError


def load_split(
    name: str,
    split: Split,
    acoustic: Acoustic | None,
    first_passes: Mapping[str, DecoderOptions],
    columns: Mapping[str, Column],
    needed: Mapping[str, Iterable[str]],
    root: Path,
    workers: int | None,
    models: Models,
) -> SplitData:
    """Runs (or reads back) every stage of one split.

    Args:
        name: The split's name, for folder names and messages.
        split: Where its data come from.
        acoustic: The acoustic stage; not needed for imported lists.
        first_passes: Decoders by name; imported lists are the first pass of every name.
        columns: Language models by name.
        needed: Which columns each first pass needs: those of language models are made, the others
            must be there.
        root: Folder of the stages.
        workers: Threads or processes of the decoder.
        models: Loads the language models.

    Raises:
        InputError: An input is missing or wrong.
    """
    if split.manifest is not None:
        if acoustic is None:
            raise InputError(f"split {name}: audio needs an `acoustic` model in the config")
        loaded = recognise(name, split, acoustic, first_passes, root, workers)
    else:
        loaded = imported(name, split, needed, root)
    tables, seconds, hashes = dict(loaded.tables), dict(loaded.seconds), dict(loaded.hashes)
    for lists, wanted in needed.items():
        for column in wanted:
            if column not in columns:
                has_column(tables[lists], column, f"split {name}")
    for lists, wanted in needed.items():
        for column in wanted:
            if column not in columns:
                continue
            stage = add_column(name, lists, tables[lists], column, columns[column], root, models)
            scores = pd.read_parquet(stage.folder / "scores.parquet")
            tables[lists] = tables[lists].assign(
                **{c: scores[c].to_numpy() for c in (column, f"{column}.tokens")}
            )
            seconds[f"rescore.{lists}.{column}"] = stage.seconds
            hashes[f"columns.{column}"] = str(stage.facts["model_hash"])
    return replace(loaded, tables=tables, seconds=seconds, hashes=hashes)


def has_column(table: pd.DataFrame, column: str, where: str) -> None:
    """Checks that lists have a score.

    Raises:
        InputError: They have none of this name.
    """
    try:
        score_column(table, column)
    except InputError as error:
        raise InputError(
            f"{where}: {error}; `columns` of the config are made by language models"
        ) from error


def recognise(
    name: str,
    split: Split,
    acoustic: Acoustic,
    first_passes: Mapping[str, DecoderOptions],
    root: Path,
    workers: int | None,
) -> SplitData:
    """Acoustic stage and every first pass of a split of audio."""
    assert split.manifest is not None
    utterances = read_corpus(split.manifest)[: split.limit]
    if not utterances:
        raise InputError(f"{split.manifest}: no utterances")
    without = [u.id for u in utterances if u.text is None]
    if without:
        raise InputError(
            f"{split.manifest}: {len(without)} utterances have no reference `text` "
            f"(first: {without[0]}); WER needs one"
        )
    references = {u.id: u.text for u in utterances if u.text is not None}
    emission = emit_stage(name, utterances, acoustic, root)
    failures: dict[str, str] = dict(emission.facts["failures"])
    emissions = Emissions.open(emission.folder / "emissions")
    tables: dict[str, pd.DataFrame] = {}
    seconds = {"emit": emission.seconds}
    hashes = {"acoustic": emission.facts["model_hash"], f"audio.{name}": emission.key}
    for label, options in first_passes.items():
        lm_hashes = [fingerprint(lm) for lm in options.lms]

        def make(
            folder: Path, options: DecoderOptions = options, label: str = label
        ) -> dict[str, Any]:
            path, shown = folder / "nbest.parquet", f"{name}: decode {label}"
            return asdict(decode_to(path, emissions, options, workers, shown))

        inputs = {"emissions": emission.key, "options": asdict(options), "lms": lm_hashes}
        stage = run_stage(root, f"decode-{name}-{label}", inputs, make)
        failures |= stage.facts["failures"]
        tables[label] = read_nbest(stage.folder / "nbest.parquet")
        seconds[f"decode.{label}"] = stage.seconds
        for number, lm_hash in enumerate(lm_hashes):
            lm = "lm" if number == 0 else f"more_lms.{number - 1}"
            hashes[f"first_passes.{label}.{lm}"] = lm_hash
    audio_seconds = float(emission.facts["audio_seconds"])
    tags = with_speakers(tags_of(utterances), split.speaker)
    return SplitData(references, tables, failures, seconds, audio_seconds, hashes, tags)


def tags_of(utterances: Iterable[Utterance]) -> pd.DataFrame:
    """Speakers and tags as columns `tag.NAME`, one row an utterance, indexed by `utt`.

    `audio` is the file, where it holds what the model hears: no noise is mixed in, and it starts
    where the utterance does.
    """
    utterances = list(utterances)
    rows = [{"utt": u.id, "speaker": u.speaker, **u.tags} for u in utterances]
    table = pd.DataFrame(rows).set_index("utt").dropna(axis=1, how="all").add_prefix("tag.")
    heard = [None if u.noise or u.offset else str(u.audio_filepath) for u in utterances]
    return table.assign(audio=np.array(heard, dtype=object)) if any(heard) else table


def with_speakers(tags: pd.DataFrame, pattern: str | None) -> pd.DataFrame:
    """The tags with `tag.speaker` from the ids where it is not known and the pattern finds it."""
    if pattern is None:
        return tags
    matches = [re.match(pattern, str(utt)) for utt in tags.index]
    names = [m.group(1 if m.lastindex else 0) if m else None for m in matches]
    found = pd.Series(names, index=tags.index, dtype=object)
    return tags.assign(**{SPEAKER: tags[SPEAKER].fillna(found) if SPEAKER in tags else found})


def emit_stage(name: str, utterances: list[Utterance], acoustic: Acoustic, root: Path) -> Stage:
    """Audio to log-probs on disk; utterances that fail are noted, the others go on."""
    model_hash = fingerprint(acoustic.model)

    def make(folder: Path) -> dict[str, Any]:
        written = write_emissions(folder / "emissions", utterances, acoustic, f"{name}: emit")
        return {**asdict(written), "model_hash": model_hash}

    inputs = {
        "model": model_hash,
        "utterances": [audio_identity(u) for u in utterances],
        "dtype": acoustic.dtype,
        "save_dtype": acoustic.save_dtype,
    }
    return run_stage(root, f"emit-{name}", inputs, make)


def audio_identity(utterance: Utterance) -> dict[str, Any]:
    """What an utterance's emissions depend on; a file is known by its size and time of change."""
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


def imported(name: str, split: Split, needed: Mapping[str, Iterable[str]], root: Path) -> SplitData:
    """N-best lists of another system, as the first pass of every name."""
    assert split.nbest is not None
    if split.format == "parquet":
        table, references, failures = read_nbest(split.nbest), None, {}
    else:
        # NeMo's lists have no ids: they are in the order of their manifest.
        manifest = split.references if split.format == "nemo" else None
        lists = import_nbest(split.nbest, split.format, manifest)
        table, references, failures = lists.table, lists.references, dict(lists.failures)
    if split.references is not None:
        from asr.corpus import read_references

        references = read_references(split.references)
    if references is None:
        raise InputError(f"split {name}: {split.nbest} has no references; set `references`")
    if split.limit is not None:
        kept = table["utt"].drop_duplicates().head(split.limit)
        table = table[table["utt"].isin(kept)].reset_index(drop=True)
    used = {utt: references[utt] for utt in table["utt"].unique() if utt in references}
    hashes = {f"nbest.{name}": fingerprint(split.nbest)}
    tags = with_speakers(pd.DataFrame(index=pd.Index(list(used), name="utt")), split.speaker)
    tables = {label: table for label in needed}
    unheard = [utt for utt in references if utt not in used and utt not in failures]
    if unheard and split.limit is None:
        print(
            f"split {name}: {len(unheard)} references have no hypotheses in {split.nbest} (first: "
            f"{unheard[0]}); they are not counted",
            file=sys.stderr,
        )
    return SplitData(used, tables, failures, hashes=hashes, tags=tags)


def write_errors(path: Path, failures: Mapping[str, Mapping[str, str]]) -> int:
    """Writes one JSON line for each utterance that failed; returns their number."""
    lines = [
        json.dumps({"split": split, "utt": utt, "error": reason}, ensure_ascii=False)
        for split, reasons in failures.items()
        for utt, reason in reasons.items()
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(lines)
