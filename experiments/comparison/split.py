"""One evaluation set: where its data come from, and the results of its stages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lm.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Split:
    """One evaluation set: audio to recognise, or existing N-best lists.

    Attributes:
        manifest: JSONL manifest, LibriSpeech folder, CSV/TSV or folder of audio, with references.
        nbest: N-best lists of another system, or a Parquet table of this project.
        format: format of `nbest`, see `secondpass import-nbest`; `parquet` for a table of this
            project.
        references: file with the reference texts, if the N-best lists do not have them: a
            manifest, Kaldi text, or a .trn, .stm, .ctm, .csv, .tsv or .jsonl file.
        speaker: regular expression that finds the speaker at the start of an utterance's id; if it
            has a group, the first group is the speaker. It is used if the data have no speakers.
        limit: number of utterances to use, from the start; by default all are used.
    """

    manifest: str | None = None
    nbest: str | None = None
    format: str = "jsonl"
    references: str | None = None
    speaker: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if (self.manifest is None) == (self.nbest is None):
            raise InputError("a split needs either `manifest` (audio) or `nbest` (N-best lists)")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"a split's `limit` is {self.limit}; use at least 1 utterance")
        try:
            re.compile(self.speaker or "")
        except re.error as error:
            raise InputError(
                f"a split's `speaker` is {self.speaker!r}, not a regular expression: {error}"
            ) from error


def _no_tags() -> pd.DataFrame:
    import pandas as pd  # the import takes most of a second; --help should not wait for it

    return pd.DataFrame()


@dataclass(frozen=True)
class SplitData:
    """The data of a split after its stages have run.

    Attributes:
        references: reference text of each utterance.
        tables: N-best table of each first pass, with all columns.
        failures: reason for each utterance that failed in a stage.
        seconds: wall time of each stage (`emit`, `decode.NAME`, `rescore.NAME.COLUMN`).
        audio_seconds: length of the audio; 0 if there is none.
        hashes: hash of the content of each input.
        tags: speaker, the manifest's tags and the audio file, one row for each utterance, indexed
            by `utt`.
        made: what each stage was made with, see `Stage.made`.
    """

    references: Mapping[str, str]
    tables: Mapping[str, pd.DataFrame]
    failures: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    audio_seconds: float = 0.0
    hashes: Mapping[str, str] = field(default_factory=dict)
    tags: pd.DataFrame = field(default_factory=_no_tags)
    made: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
