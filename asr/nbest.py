"""N-best tables: one row a hypothesis, every score a raw natural-log probability.

Columns: `utt`, `rank` (1 is best), `text`, `acoustic`, `ngram` (0 where no n-gram model took part),
`words`, `oov` (words unknown to the n-gram model), then one column for each further language model
and its `NAME.tokens`. -inf is legal, NaN is not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow

from lm.errors import InputError

COLUMNS = ("utt", "rank", "text", "acoustic", "ngram", "words", "oov")


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis of an utterance.

    Attributes:
        text: Words separated by single spaces.
        acoustic: Natural log.
        ngram: Natural log; 0 where no n-gram model took part.
        oov: Words that the n-gram model does not know.
    """

    text: str
    acoustic: float
    ngram: float = 0.0
    oov: int = 0


def build_nbest(lists: Mapping[str, Sequence[Hypothesis]]) -> pd.DataFrame:
    """The table of N-best lists, each best first."""
    rows = [
        (utt, rank, h.text, h.acoustic, h.ngram, len(h.text.split()), h.oov)
        for utt, hypotheses in lists.items()
        for rank, h in enumerate(hypotheses, 1)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(
        {"utt": str, "text": str, "acoustic": float, "ngram": float}
        | dict.fromkeys(("rank", "words", "oov"), np.int64)
    )


def check_nbest(table: pd.DataFrame, where: str) -> None:
    """Checks that a table is an N-best table.

    Args:
        table: The table.
        where: What to call it in messages.

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
    for name in table.columns.difference(["utt", "text"]):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise InputError(
                f"{where}: column {name} holds {table[name].dtype}, not numbers; drop or convert it"
            )
        values = table[name].to_numpy(dtype=float)
        bad = np.flatnonzero(np.isnan(values) | np.isposinf(values))
        if len(bad):
            row = table.iloc[bad[0]]
            raise InputError(
                f"{where}: column {name} is {values[bad[0]]} for utterance {row['utt']}, rank "
                f"{row['rank']}; scores are log-probs, make that column again"
            )
    if table["utt"].isna().any() or table["text"].isna().any():
        raise InputError(f'{where}: an utterance or a text is missing (null); use "" for no words')
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
            f"{where}: utterance {row['utt']} has the text {row['text']!r} twice; keep the better"
        )


def read_nbest(path: str | Path) -> pd.DataFrame:
    """Reads an N-best table (Parquet), checked.

    Raises:
        InputError: The file is missing or damaged, or no N-best table.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such N-best table")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a readable Parquet file: {reason}") from error
    check_nbest(table, str(path))
    return table


def write_nbest(table: pd.DataFrame, path: str | Path) -> None:
    """Writes an N-best table (Parquet), checked, under a temporary name first."""
    path = Path(path)
    check_nbest(table, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    table.to_parquet(temporary, index=False)
    os.replace(temporary, path)
