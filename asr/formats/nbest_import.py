"""The readers of other systems' N-best lists, by the name of the format."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from asr.formats import json_lists, tabular, toolkits
from asr.formats.line_formats import clear_formats
from asr.formats.records import Candidate, Imported, Lists, lines_of, new_list
from asr.formats.transcript_readers import READERS
from lm.errors import InputError

Reader = Callable[[Path, Path | None], Lists]


def import_nbest(
    path: str | Path,
    format: str,
    manifest: str | Path | None = None,
    negated: Collection[str] = (),
) -> Imported:
    """Reads another system's N-best lists.

    Args:
        path: File (plain, .gz, .bz2 or .xz) or folder.
        format: One of `FORMATS`; the docstring of each reader says what it reads.
        manifest: Manifest of the utterances, for formats without ids.
        negated: Columns that hold costs in the file and get the other sign; `acoustic` is the
            system's single score.

    Returns:
        The lists; utterances with wrong values are left out, with the reason.

    Raises:
        InputError: The format is unknown, or the files are malformed; file and line are named.
    """
    if format not in FORMATS:
        raise InputError(f"N-best format {format!r} is not known; one of {', '.join(FORMATS)}")
    from asr.formats.checked_lists import checked  # pandas takes most of a second to import

    found = FORMATS[format](Path(path), None if manifest is None else Path(manifest))
    return checked(found, negated)


def transcripts_reader(format: str) -> Reader:
    """A reader of transcripts: lists of one hypothesis with score 0, and word times if known."""

    def read(path: Path, manifest: Path | None = None) -> Lists:
        if format == "text":
            check_text(path)
        lists: dict[str, list[Candidate]] = {}
        for found in READERS[format](path):
            where = f"{path}, utterance {found.utt}"
            times = (found.starts, found.ends) if found.starts else None
            new_list(lists, found.utt, str(path)).append(
                Candidate(found.text, 0.0, where, times=times)
            )
        return Lists(path, lists)

    read.__doc__ = READERS[format].__doc__
    return read


def check_text(path: Path) -> None:
    """Checks that lines can be Kaldi's text, which nearly all lines are if they are taken for it.

    Raises:
        InputError: They are clearly those of another format.
    """
    for found in clear_formats([line for line, _ in lines_of(path)]):
        raise InputError(
            f"{path}: its lines are those of {found.name} and not of Kaldi's text (utt words…); "
            f"{found.for_lists}"
        )


# A new format is one function and one line here.
FORMATS: dict[str, Reader] = {
    "jsonl": json_lists.read_jsonl,
    "csv": tabular.read_csv,
    "espnet": toolkits.read_espnet,
    "nemo": toolkits.read_nemo,
    "kaldi": toolkits.read_kaldi,
    "icefall": toolkits.read_icefall,
    "wenet": toolkits.read_wenet,
    "mlm-scoring": json_lists.read_mlm_scoring,
    "hypo2trans": json_lists.read_hypo2trans,
    "whisper": json_lists.read_whisper,
    **{format: transcripts_reader(format) for format in READERS},
}
