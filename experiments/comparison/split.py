"""One evaluation set: where its data come from, and what is known of it after its stages."""

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
    """One evaluation set: audio to recognise, or N-best lists that exist already.

    Attributes:
        manifest: JSONL manifest, LibriSpeech folder, CSV/TSV or folder of audio, with references.
        nbest: N-best lists of another system, or a Parquet table of this project.
        format: format of `nbest`, see `secondpass import-nbest`; `parquet` for a table of this
            project.
        references: reference texts, where the N-best lists do not have them.
        speaker: regular expression that finds the speaker at the start of an utterance's id (its
            first group, where it has one), where nothing else gives speakers.
        limit: use only the first N utterances.
    """

    manifest: str | None = None
    nbest: str | None = None
    format: str = "jsonl"
    references: str | None = None
    speaker: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if (self.manifest is None) == (self.nbest is None):
            raise InputError("a split needs either `manifest` (audio) or `nbest` (lists)")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"a split's `limit` is {self.limit}; use at least 1 utterance")
        try:
            re.compile(self.speaker or "")
        except re.error as error:
            raise InputError(
                f"a split's `speaker` is {self.speaker!r}, no regular expression: {error}"
            ) from error


def _no_tags() -> pd.DataFrame:
    import pandas as pd  # takes most of a second, which help need not wait for

    return pd.DataFrame()


@dataclass(frozen=True)
class SplitData:
    """What is known of a split after its stages have run.

    Attributes:
        references: Reference text by utterance.
        tables: N-best table by first pass, with all columns.
        failures: Reason by utterance that failed in any stage.
        seconds: Wall time by stage (`emit`, `decode.NAME`, `rescore.NAME.COLUMN`).
        audio_seconds: Length of the audio; 0 where there is none.
        hashes: Content hash by input.
        tags: Speaker, the manifest's tags and the audio's file, one row an utterance, indexed by
            `utt`.
        made: what made each stage, see `Stage.made`.
    """

    references: Mapping[str, str]
    tables: Mapping[str, pd.DataFrame]
    failures: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    audio_seconds: float = 0.0
    hashes: Mapping[str, str] = field(default_factory=dict)
    tags: pd.DataFrame = field(default_factory=_no_tags)
    made: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
