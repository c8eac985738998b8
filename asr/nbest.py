"""N-best tables: one row a hypothesis, every score a raw natural-log probability.

Columns: `utt`, `rank` (1 is best), `text`, `acoustic`, `ngram` (0 where there was no n-gram model),
`words`, `oov` (words unknown to the n-gram model), then one column for each further language model
and its `NAME.tokens`. -inf is legal, NaN is not. Imported lists may have `tokens`, the number of
units that the first pass used for the text.

Some decoders add `ngram2`, `ngram3`, … (further n-gram models of a log-linear mixture), `hotwords`
(summed weights of the hot words in the text), `ctc` (log-prob over all paths of the text, those
that the search pruned included), and `word_starts` and `word_ends` (lists of seconds, one for each
word).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd
import pyarrow
from pyarrow.parquet import ParquetWriter

from asr.hypothesis import Hypothesis
from lm.columns import is_count
from lm.errors import InputError
from lm.files import whole_file

COLUMNS = ("utt", "rank", "text", "acoustic", "ngram", "words", "oov")
TIMES = ("word_starts", "word_ends")
LARGEST_COUNT = 1 << 53  # float64 holds every whole number below it
ROWS_PER_GROUP = 100_000  # rows that a writer collects before it writes them
# What pyarrow and pandas raise for a damaged file.
DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError),
    pyarrow.ArrowException,
)


def build_nbest(
    lists: Mapping[str, Sequence[Hypothesis]],
    frame_seconds: float = 0.0,
    more: Sequence[str] = (),
    times: bool = False,
) -> pd.DataFrame:
    """Makes the table of N-best lists; each list has its best hypothesis first.

    Args:
        lists: Hypotheses by utterance.
        frame_seconds: Seconds from one frame to the next, for word times.
        more: Names of further columns, which every hypothesis has.
        times: Whether every hypothesis has word times.
    """
    rows = [(utt, rank, h) for utt, found in lists.items() for rank, h in enumerate(found, 1)]
    found = [h for _, _, h in rows]
    columns: dict[str, object] = {
        "utt": pd.array([utt for utt, _, _ in rows], dtype="str"),
        "rank": np.array([rank for _, rank, _ in rows], dtype=np.int64),
        "text": pd.array([h.text for h in found], dtype="str"),
        "acoustic": np.array([h.acoustic for h in found], dtype=float),
        "ngram": np.array([h.ngram for h in found], dtype=float),
        "words": np.array([len(h.text.split()) for h in found], dtype=np.int64),
        "oov": np.array([h.oov for h in found], dtype=np.int64),
    }
    for name in more:
        columns[name] = _column(name, [(h.more or {})[name] for h in found])
    if times:
        for i, name in enumerate(TIMES):
            seconds = [np.array(h.times[i] if h.times else ()) * frame_seconds for h in found]
            # An array of objects, also where all lists are of one length.
            columns[name] = pd.Series(
                [s.round(3).astype(np.float32) for s in seconds], dtype=object
            )
    return pd.DataFrame(columns)


def _column(name: str, values: Sequence[float]) -> np.ndarray:
    """A further column; a column of counts has integers if all values are whole numbers."""
    column = np.array(values, dtype=float)
    whole = is_count(name) and (np.abs(column) < LARGEST_COUNT).all() and not (column % 1).any()
    return column.astype(np.int64) if whole else column


class NbestWriter:
    """An N-best table of any size, written as it grows; a context manager.

    The file appears under its name when the block ends without an error.

    Args:
        path: Parquet file.
        frame_seconds: See `build_nbest`.
        more: See `build_nbest`.
        times: See `build_nbest`.
    """

    def __init__(
        self,
        path: str | Path,
        frame_seconds: float = 0.0,
        more: Sequence[str] = (),
        times: bool = False,
    ) -> None:
        self.path = Path(path)
        self.build = partial(build_nbest, frame_seconds=frame_seconds, more=more, times=times)
        self._contexts = ExitStack()
        self._file: ParquetWriter | None = None
        self._lists: dict[str, Sequence[Hypothesis]] = {}
        self._rows = 0
        self.utterances = 0
        self.hypotheses = 0

    def add(self, utt: str, found: Sequence[Hypothesis]) -> None:
        """Adds the list of one utterance, best first."""
        self._lists[utt] = found
        self._rows += len(found)
        self.utterances += 1
        self.hypotheses += len(found)
        if self._rows >= ROWS_PER_GROUP:
            self._write()

    def _write(self) -> None:
        table = self.build(self._lists)
        check_nbest(table, str(self.path))
        rows = pyarrow.Table.from_pandas(table, preserve_index=False)
        if self._file is None:
            self._file = ParquetWriter(self._temporary, rows.schema)
        self._file.write_table(rows)
        self._lists, self._rows = {}, 0

    def __enter__(self) -> NbestWriter:
        self._temporary = self._contexts.enter_context(whole_file(self.path))
        self._contexts.push(self._finish)
        return self

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        """Writes the last lists unless there was an error."""
        try:
            if kind is None and (self._lists or self._file is None):
                self._write()
        finally:
            if self._file is not None:
                self._file.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._contexts.__exit__(kind, error, trace)


def check_nbest(table: pd.DataFrame, where: str) -> None:
    """Checks that a table is an N-best table.

    Args:
        table: The table.
        where: Name of the table in messages.

    Raises:
        InputError: A column is missing or not numeric, a score is NaN or +inf, ranks are not
            1, 2, 3, …, or a text occurs twice in a list; the utterance is named.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            f"{where}: no column {', '.join(missing)}; an N-best table has {', '.join(COLUMNS)} "
            "(`secondpass import-nbest` makes one from other formats)"
        )
    for name in table.columns.difference(["utt", "text", *TIMES]):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise InputError(
                f"{where}: column {name} holds {table[name].dtype}, not numbers; remove or convert "
                "it"
            )
        values = table[name].to_numpy(dtype=float)
        bad = np.flatnonzero(np.isnan(values) | np.isposinf(values))
        if len(bad):
            row = table.iloc[bad[0]]
            raise InputError(
                f"{where}: column {name} is {values[bad[0]]} for utterance {row['utt']}, rank "
                f"{row['rank']}; scores are log-probs: make that column again"
            )
    if table["utt"].isna().any() or table["text"].isna().any():
        raise InputError(
            f'{where}: an utterance or a text is missing (null); write "" for no words'
        )
    ranks = table.groupby("utt", sort=False)["rank"]
    wrong = (ranks.min() != 1) | (ranks.max() != ranks.size()) | (ranks.nunique() != ranks.size())
    if wrong.any():
        raise InputError(
            f"{where}: ranks of utterance {wrong.idxmax()} are not 1, 2, 3, …; number them again"
        )
    twice = table.duplicated(["utt", "text"])
    if twice.any():
        row = table[twice].iloc[0]
        raise InputError(
            f"{where}: utterance {row['utt']} has the text {row['text']!r} twice; keep the "
            "better one"
        )


def read_nbest(path: str | Path) -> pd.DataFrame:
    """Reads an N-best table (Parquet) and checks it.

    Raises:
        InputError: The file is missing or damaged, or it is not an N-best table.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such N-best table")
    try:
        table = pd.read_parquet(path, page_checksum_verification=True)
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a readable Parquet file: {reason}") from error
    check_nbest(table, str(path))
    return table


def write_nbest(table: pd.DataFrame, path: str | Path) -> None:
    """Checks an N-best table and writes it (Parquet); the file appears when it is complete.

    Raises:
        InputError: As `check_nbest`.
        OSError: The file cannot be written.
    """
    check_nbest(table, str(path))
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False, write_page_checksum=True)
