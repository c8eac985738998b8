"""Damaged N-best tables: a table that is one, or an error of one line."""

from __future__ import annotations

from pathlib import Path

from asr.hypothesis import Hypothesis
from asr.nbest import build_nbest, check_nbest, read_nbest, write_nbest
from tests.support.damage import refusals


def test_damaged_tables(tmp_path: Path) -> None:
    path = tmp_path / "n.parquet"
    times = ([0, 3], [2, 5])
    lists = {
        "a": [Hypothesis("x y", -1.5, -2.0, 1, {"lm": -3.0}, times)],
        "b": [Hypothesis("é z", -1.0, more={"lm": -2.0}, times=times)],
    }
    write_nbest(build_nbest(lists, 0.02, ["lm"], times=True), path)

    def read(path: Path) -> None:
        table = read_nbest(path)
        check_nbest(table, str(path))
        for text in (*table["utt"], *table["text"]):
            text.encode()

    read(path)
    messages = refusals(read, path)
    assert all(str(path) in message for message in messages)
    assert len(messages) > 100
