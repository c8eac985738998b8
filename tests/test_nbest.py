"""N-best tables and the import of other systems' lists."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.interchange import import_nbest
from asr.nbest import Hypothesis, build_nbest, check_nbest, read_nbest, write_nbest
from asr.wer import oracle, row_errors
from experiments.cli import main
from lm.errors import InputError

LISTS = {
    "u1": [Hypothesis("A B", -1.0, -5.0, 1), Hypothesis("A", -2.0, -3.0)],
    "u2": [Hypothesis("", -np.inf)],
}


def test_written_and_read_back(tmp_path: Path) -> None:
    table = build_nbest(LISTS)
    assert table["words"].tolist() == [2, 1, 0]
    assert table["rank"].tolist() == [1, 2, 1]
    write_nbest(table, tmp_path / "deep" / "n.parquet")
    pd.testing.assert_frame_equal(read_nbest(tmp_path / "deep" / "n.parquet"), table)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["n.parquet"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="acoustic"), "no column acoustic"),
        (lambda t: t.assign(acoustic=[0.0, np.nan, 1.0]), "acoustic is nan for utterance u1"),
        (lambda t: t.assign(llm=[0.0, 0.0, np.inf]), "llm is inf for utterance u2"),
        (lambda t: t.assign(rank=[1, 3, 1]), "ranks of utterance u1"),
        (lambda t: t.assign(rank=[1, 1, 1]), "ranks of utterance u1"),
        (lambda t: t.assign(text=["A", "A", ""]), "'A' twice"),
        (lambda t: t.assign(ngram=["x", "y", "z"]), "ngram is not numeric"),
    ],
)
def test_wrong_tables_are_told(change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(InputError, match=message):
        check_nbest(change(build_nbest(LISTS)), "table.parquet")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such"):
        read_nbest(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="not a readable Parquet"):
        read_nbest(tmp_path / "bad.parquet")


def entry(utt: str, *hyps: tuple[str, float]) -> str:
    found = [{"text": text, "score": score} for text, score in hyps]
    return json.dumps({"utt": utt, "ref": "R", "hyps": found})


def test_jsonl_import_keeps_order_and_drops_repeated_texts(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl.xz"
    with lzma.open(path, "wt") as out:
        out.write(entry("u", ("A  B", -1), ("C", -3), ("A B", -4), ("", -2)) + "\n\n")
    found = import_nbest(path, "jsonl")
    assert found.table["text"].tolist() == ["A B", "C", ""]
    assert found.table["acoustic"].tolist() == [-1, -3, -2]
    assert (found.table[["ngram", "oov"]] == 0).all(axis=None)
    assert found.references == {"u": "R"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2"),
        ('{"utt": "x"}', "line 2"),
        (entry("u", ("A", -1)), "line 2: utterance u occurs twice"),
        (entry("v"), "line 2: no hypotheses"),
        ('{"utt": "v", "hyps": [{"text": "A", "score": "low"}]}', "line 2"),
        ('{"utt": "v", "hyps": [{"text": "A", "score": NaN}]}', "line 2: score nan"),
    ],
)
def test_jsonl_errors_name_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "n.jsonl"
    path.write_text(entry("u", ("A", -1)) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message) as error:
        import_nbest(path, "jsonl")
    assert str(path) in str(error.value)


def test_espnet_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1best_recog"):
        import_nbest(tmp_path, "espnet")
    folder = tmp_path / "output.1" / "1best_recog"
    folder.mkdir(parents=True)
    (folder / "text").write_text("u1 A\n")
    (folder / "score").write_text("u1 tensor(-1.5, device='cuda:0')\nu2 -1\n")
    with pytest.raises(InputError, match="line 2: utterance u2 has a score but no text"):
        import_nbest(tmp_path, "espnet")
    (folder / "score").write_text("u1 tensor(-1.5, device='cuda:0')\n")
    assert import_nbest(tmp_path, "espnet").table["acoustic"].tolist() == [-1.5]
    (folder / "score").write_text("u1 high\n")
    with pytest.raises(InputError, match="'high' is not a number"):
        import_nbest(tmp_path, "espnet")
    with pytest.raises(InputError, match="jsonl, espnet"):
        import_nbest(tmp_path, "nemo")


def test_espnets_own_layout_gives_what_the_json_lists_give(shared_data: Path) -> None:
    lists = import_nbest(shared_data / "librispeech-10best" / "dev_clean.jsonl.xz", "jsonl").table
    sample = import_nbest(shared_data / "espnet-sample" / "dev_clean", "espnet").table
    assert sample["utt"].nunique() == 338
    keys = ["utt", "rank"]
    same = lists[lists["utt"].isin(sample["utt"])].sort_values(keys, ignore_index=True)
    sample = sample.sort_values(keys, ignore_index=True)
    assert same["text"].tolist() == sample["text"].tolist()
    assert np.allclose(same["acoustic"], sample["acoustic"], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "best", "least"), [("dev_clean", 6.12, 4.04), ("test_clean", 6.42, 4.17)]
)
def test_published_error_rates(shared_data: Path, name: str, best: float, least: float) -> None:
    found = import_nbest(shared_data / "librispeech-10best" / f"{name}.jsonl.xz", "jsonl")
    assert found.references is not None
    errors = row_errors(found.table, found.references)["errors"]
    words = sum(len(r.split()) for r in found.references.values())
    first = errors[found.table["rank"] == 1].sum()
    assert round(100 * first / words, 2) == best
    assert round(100 * errors.iloc[oracle(found.table, errors)].sum() / words, 2) == least


def test_commands_from_import_to_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, table, refs = (str(tmp_path / n) for n in ("n.jsonl", "n.parquet", "refs"))
    lines = [entry(f"u{i}", ("A B", -1.0), ("R", -1.0 - 0.1 * i)) for i in range(9)]
    Path(source).write_text("\n".join(lines))
    command = ["import-nbest", source, "--format", "jsonl", "-o", table, "--refs-out", refs]
    assert main(command) == 0
    weights = str(tmp_path / "w.json")
    tune = ["tune", table, "--refs", refs, "--columns", "acoustic,words", "-o", weights]
    assert main(tune) == 0
    found = json.loads(Path(weights).read_text())
    # Every reference is the single word R: a penalty on words that makes up for the scores.
    assert found["errors"] == 0
    assert found["weights"]["words"] < -0.8
    out = str(tmp_path / "results")
    capsys.readouterr()
    assert main(["score", table, "--refs", refs, "--weights", weights, "--out", out]) == 0
    systems = pd.read_parquet(Path(out) / "systems.parquet").set_index("system")
    assert systems.loc["first-pass", "wer"] == 2.0
    assert systems.loc["weighted", "wer"] == 0.0
    assert (systems["oracle_wer"] == 0.0).all()
    assert main(["score", table, "--refs", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
    Path(refs).write_text("u1 R\n")
    assert main(["score", table, "--refs", refs]) == 2
    assert "u0" in capsys.readouterr().err
