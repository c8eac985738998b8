"""N-best tables: what is accepted, what is refused, and that files keep everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.nbest import (
    COLUMNS,
    Hypothesis,
    NbestWriter,
    build_nbest,
    check_nbest,
    read_nbest,
    write_nbest,
)
from lm.errors import InputError


@pytest.fixture
def table() -> pd.DataFrame:
    return build_nbest(
        {
            "second one": [Hypothesis("A B", -1.5, -3.25, 1), Hypothesis("", -np.inf)],
            "first": [Hypothesis("ÉTÉ", -0.1)],
        }
    )


def test_rows_are_built_in_order(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    assert table.values.tolist() == [
        ["second one", 1, "A B", -1.5, -3.25, 2, 1],
        ["second one", 2, "", -np.inf, 0.0, 0, 0],
        ["first", 1, "ÉTÉ", -0.1, 0.0, 1, 0],
    ]
    check_nbest(table, "built")


def test_a_file_keeps_every_value(table: pd.DataFrame, tmp_path: Path) -> None:
    table["gpt2"] = [-10.123456789012345, -np.inf, 0.0]
    table["gpt2.tokens"] = [3, 1, 2]
    path = tmp_path / "new folder" / "n.parquet"
    write_nbest(table, path)
    pd.testing.assert_frame_equal(read_nbest(path), table)
    assert [p.name for p in path.parent.iterdir()] == ["n.parquet"]


def test_what_fails_while_writing_keeps_the_old_table(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "n.parquet"
    write_nbest(table, path)
    with pytest.raises(RuntimeError), NbestWriter(path) as writer:
        writer.add("new", [Hypothesis("A", -1.0)])
        raise RuntimeError
    # The last lists are checked and written when the block ends.
    with pytest.raises(InputError, match="acoustic is nan"), NbestWriter(path) as writer:
        writer.add("new", [Hypothesis("A", np.nan)])
    assert [p.name for p in tmp_path.iterdir()] == ["n.parquet"]
    pd.testing.assert_frame_equal(read_nbest(path), table)


def test_an_empty_table_has_its_types(tmp_path: Path) -> None:
    write_nbest(build_nbest({}), tmp_path / "n.parquet")
    assert read_nbest(tmp_path / "n.parquet")["acoustic"].to_numpy().dtype == np.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acoustic": None}, "no column acoustic"),
        ({"words": None, "oov": None}, "no column words, oov"),
        ({"acoustic": [-1.0, np.nan, 0.0]}, "acoustic is nan for utterance second one, rank 2"),
        ({"gpt2": [-1.0, -2.0, np.inf]}, "gpt2 is inf for utterance first, rank 1"),
        ({"gpt2": ["-1", "-2", "x"]}, "gpt2 holds .*, not numbers"),
        ({"rank": [1, 1, 1]}, "ranks of utterance second one"),
        ({"rank": [0, 1, 1]}, "ranks of utterance second one"),
        ({"rank": [1, 3, 1]}, "ranks of utterance second one"),
        ({"rank": [1, 2, 2]}, "ranks of utterance first"),
        ({"text": ["A B", "A B", "C"]}, "second one has the text 'A B' twice"),
        ({"text": ["A B", None, "C"]}, "a text is missing"),
    ],
)
def test_what_is_wrong_is_reported(
    table: pd.DataFrame, tmp_path: Path, change: dict[str, list[object] | None], message: str
) -> None:
    for name, values in change.items():
        if values is None:
            table = table.drop(columns=name)
        else:
            table[name] = values
    path = tmp_path / "n.parquet"
    with pytest.raises(InputError, match=message) as error:
        write_nbest(table, path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not path.exists()
    table.to_parquet(path)
    with pytest.raises(InputError, match=message):
        read_nbest(path)


def test_one_text_may_occur_in_two_lists() -> None:
    check_nbest(build_nbest({"a": [Hypothesis("YES", -1)], "b": [Hypothesis("YES", -1)]}), "built")


@pytest.mark.parametrize("size", [0, 10, 1000])
def test_a_damaged_file_is_reported(table: pd.DataFrame, tmp_path: Path, size: int) -> None:
    path = tmp_path / "n.parquet"
    write_nbest(table, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="not a readable Parquet file") as error:
        read_nbest(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such N-best table"):
        read_nbest(tmp_path / "n.parquet")
