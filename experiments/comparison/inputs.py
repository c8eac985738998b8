"""What a split starts from: utterances to recognise, or N-best lists that exist already."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from asr.corpus import Utterance, read_corpus
from asr.formats.nbest_import import import_nbest
from asr.formats.references import read_references
from asr.nbest import read_nbest
from experiments.comparison.counting import SPEAKER
from experiments.comparison.split import Split
from lm.errors import InputError

LOG = logging.getLogger("secondpass")


@dataclass(frozen=True)
class SplitInput:
    """A split before its first stage.

    Attributes:
        name: the split's name.
        split: its settings.
        references: reference text by utterance.
        tags: speaker, the manifest's tags and the audio's file, one row an utterance, indexed by
            `utt`.
        utterances: the audio to recognise; empty where lists are imported.
        table: the imported N-best lists; None for audio.
        failures: reason by utterance that the imported lists do not have.
    """

    name: str
    split: Split
    references: Mapping[str, str]
    tags: pd.DataFrame
    utterances: tuple[Utterance, ...] = ()
    table: pd.DataFrame | None = None
    failures: Mapping[str, str] = field(default_factory=dict)


def read_split(name: str, split: Split) -> SplitInput:
    """Reads what a split starts from.

    Args:
        name: the split's name, for messages.
        split: where its data come from.

    Raises:
        InputError: A file is missing or wrong, or there are no references.
    """
    return _audio(name, split) if split.manifest is not None else _lists(name, split)


def _audio(name: str, split: Split) -> SplitInput:
    assert split.manifest is not None
    utterances = read_corpus(split.manifest)[: split.limit]
    if not utterances:
        raise InputError(f"{split.manifest}: there are no utterances; give another manifest")
    without = [u.id for u in utterances if u.text is None]
    if without:
        raise InputError(
            f"{split.manifest}: {len(without)} utterances have no reference `text` "
            f"(first: {without[0]}); add it, because the word error rate needs one"
        )
    if not any(u.audio_filepath.is_file() for u in utterances):
        raise InputError(
            f"{split.manifest}: not one of its audio files exists (first: "
            f"{utterances[0].audio_filepath}); correct the paths"
        )
    references = {u.id: u.text for u in utterances if u.text is not None}
    tags = with_speakers(tags_of(utterances), split.speaker)
    return SplitInput(name, split, references, tags, tuple(utterances))


def _lists(name: str, split: Split) -> SplitInput:
    assert split.nbest is not None
    references: Mapping[str, str] | None
    failures: Mapping[str, str]
    if split.format == "parquet":
        table, references, failures = read_nbest(split.nbest), None, {}
    else:
        # NeMo's lists have no ids: they are in the order of their manifest.
        manifest = split.references if split.format == "nemo" else None
        lists = import_nbest(split.nbest, split.format, manifest)
        table, references, failures = lists.table, lists.references, dict(lists.failures)
    if split.references is not None:
        references = read_references(split.references)
    if references is None:
        raise InputError(f"split {name}: {split.nbest} has no references; set `references`")
    if split.limit is not None:
        kept = table["utt"].drop_duplicates().head(split.limit)
        table = table[table["utt"].isin(kept)].reset_index(drop=True)
    if table.empty:
        raise InputError(f"split {name}: {split.nbest} has no hypotheses; give other lists")
    used = {utt: references[utt] for utt in table["utt"].unique() if utt in references}
    unheard = [utt for utt in references if utt not in used and utt not in failures]
    if unheard and split.limit is None:
        LOG.warning(
            f"split {name}: {len(unheard)} references have no hypotheses in {split.nbest} (first: "
            f"{unheard[0]}); they are not counted"
        )
    tags = with_speakers(pd.DataFrame(index=pd.Index(list(used), name="utt")), split.speaker)
    return SplitInput(name, split, used, tags, (), table, failures)


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
    if len(names) and not any(names):
        LOG.warning(
            f"the pattern `speaker: {pattern}` matches the beginning of no utterance id (the first "
            f"is {tags.index[0]}), so no speaker is known from it; correct the pattern"
        )
    found = pd.Series(names, index=tags.index, dtype=object)
    return tags.assign(**{SPEAKER: tags[SPEAKER].fillna(found) if SPEAKER in tags else found})
