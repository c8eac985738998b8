"""Scores of other systems: costs, columns that are scores, and scores that some lists lack."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from asr.formats.nbest_import import import_nbest
from asr.nbest import read_nbest
from experiments.cli import main
from lm.errors import InputError

COSTS = "utt,text,score\na,right,3.5\na,wrong,4.25\nb,bad,9\nb,good,0.5\n"


def texts_by_rank(path: Path) -> list[list[object]]:
    table = read_nbest(path)
    return table[["utt", "rank", "text", "acoustic"]].values.tolist()


def test_costs_are_reported_and_negated(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = tmp_path / "costs.csv", tmp_path / "n.parquet"
    path.write_text(COSTS)
    command = ["import-nbest", str(path), "--format", "csv", "-o", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().err
    assert f"{path}: not one value of the score acoustic is below 0 (they are 0.5 to 9)" in printed
    assert "--negate`" in printed
    assert main([*command, "--negate"]) == 0
    assert "below 0" not in capsys.readouterr().err
    assert texts_by_rank(out) == [
        ["a", 1, "right", -3.5],
        ["a", 2, "wrong", -4.25],
        ["b", 1, "good", -0.5],
        ["b", 2, "bad", -9.0],
    ]


def test_of_equal_texts_the_lowest_cost_stays(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("utt,text,score\na,x,3\na,x,1\na,y,2\n")
    table = import_nbest(path, "csv", negated={"acoustic"}).table
    assert table[["text", "acoustic"]].values.tolist() == [["x", -1.0], ["y", -2.0]]


def test_further_costs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = tmp_path / "lists.jsonl", tmp_path / "n.parquet"
    hyps = [{"text": "x", "score": -1, "nll": 4, "tokens": 2}]
    path.write_text(json.dumps({"utt": "a", "hyps": hyps}) + "\n")
    command = ["import-nbest", str(path), "--format", "jsonl", "-o", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().err
    assert "score nll is below 0" in printed and "--negate-columns nll`" in printed
    assert "acoustic is below" not in printed and "tokens is below" not in printed
    assert main([*command, "--negate-columns", "nll"]) == 0
    table = read_nbest(out)
    assert table[["acoustic", "nll", "tokens"]].values.tolist() == [[-1, -4, 2]]
    assert main([*command, "--negate-columns", "lm"]) == 2
    assert "no score lm that could be negated; there are acoustic, ngram, nll" in (
        capsys.readouterr().err
    )
    assert main([*command, "--negate-columns", "tokens"]) == 2
    assert "tokens are counts and not costs" in capsys.readouterr().err


def test_an_infinite_cost_is_a_log_prob_and_a_cost_of_minus_infinity_is_none(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("utt,text,score\na,x,1\na,y,inf\nb,x,-inf\n")
    found = import_nbest(path, "csv", negated=["acoustic"])
    assert found.table["acoustic"].tolist() == [-1.0, float("-inf")]
    assert "line 4, utterance b: score cost -inf is not a log-prob" in found.failures["b"]


def test_logs_of_either_sign_and_lists_without_scores_are_no_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for content in ("utt,text,score\na,x,3\na,y,-1\n", "utt,text\na,x\n", "utt,text,score\na,x,0"):
        (tmp_path / "lists.csv").write_text(content)
        import_nbest(tmp_path / "lists.csv", "csv")
    assert capsys.readouterr().err == ""


def test_a_column_is_a_score_whatever_row_has_no_number(tmp_path: Path) -> None:
    """The gap is the failure of its utterance, wherever it is."""
    path = tmp_path / "lists.csv"
    for empty in range(4):
        for gap in ("", "n/a", "nan"):
            cells = [gap if row == empty else f"-{row}.5" for row in range(4)]
            lines = [f"u{row},x,-1,{cell}\n" for row, cell in enumerate(cells)]
            path.write_text("utt,text,score,lm\n" + "".join(lines))
            found = import_nbest(path, "csv")
            kept = [row for row in range(4) if row != empty]
            assert found.table["utt"].tolist() == [f"u{row}" for row in kept]
            assert found.table["lm"].tolist() == [-row - 0.5 for row in kept]
            assert list(found.failures) == [f"u{empty}"]
            assert f"line {empty + 2}, utterance u{empty}: lm" in found.failures[f"u{empty}"]


def test_a_column_of_text_with_some_numbers_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, out = tmp_path / "lists.csv", tmp_path / "n.parquet"
    path.write_text("utt,text,score,note,kind\na,x,-1,12,s\nb,x,-1,new,s\nc,x,-1,old,s\n")
    assert main(["import-nbest", str(path), "--format", "csv", "-o", str(out)]) == 0
    printed = capsys.readouterr().err
    assert "the column note has numbers in 1 of its 3 cells" in printed and "kind" not in printed
    assert "note" not in read_nbest(out)


def test_names_of_columns_in_upper_case(tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("Utt,Text,SCORE,Ref\na,bad,-5,r\na,good,-1,r\n")
    found = import_nbest(path, "csv")
    assert found.table[["text", "acoustic"]].values.tolist() == [["good", -1.0], ["bad", -5.0]]
    assert found.references == {"a": "r"}
    path.write_text("utt,text,score,Score\na,x,-5,-1\n")
    with pytest.raises(InputError, match="has score in upper and in lower case"):
        import_nbest(path, "csv")


@pytest.mark.parametrize(
    ("content", "message", "scores"),
    [
        (
            "utt,text,logprob\na,bad,-5\na,good,-1\n",
            "there is no column score, acoustic or rank, so the lists stay in the order of the "
            "lines, and `acoustic` is 0. If logprob has",
            ["logprob"],
        ),
        ("utt\ttext\tscore\tlm\na\tx\t-1\t-1,5\n", "the column lm has numbers in 0 of its 1", []),
        (",utt,text,score\n0,a,x,-1\n1,a,y,-2\n", "the column without a name is left out", []),
    ],
)
def test_columns_that_may_be_meant_as_scores_are_reported(
    tmp_path: Path, content: str, message: str, scores: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lists.csv"
    path.write_text(content)
    table = import_nbest(path, "csv").table
    assert list(table.columns[7:]) == scores
    assert f"{path}: {message}" in caplog.text


def test_a_number_has_no_underscore(tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("utt,text,score\na,x,-1_0\nb,x,-1\n")
    assert "score '-1_0' is not a number" in import_nbest(path, "csv").failures["a"]


def test_the_scores_of_most_lists_are_columns(tmp_path: Path) -> None:
    """Also where the first utterance lacks one, or has one that no other has."""
    path = tmp_path / "lists.jsonl"
    rng = random.Random(1)
    for _ in range(20):
        odd = rng.randrange(5)
        more = rng.choice([{}, {"lm": -2, "seconds": 3}])
        lines = []
        for number in range(5):
            scores = more if number == odd else {"lm": -number}
            hyps = [{"text": text, "score": -1, **scores} for text in "xy"]
            lines.append(json.dumps({"utt": f"u{number}", "hyps": hyps}))
        path.write_text("\n".join(lines))
        found = import_nbest(path, "jsonl")
        assert list(found.failures) == [f"u{odd}"]
        assert found.failures[f"u{odd}"].startswith(f"{path}, utterance u{odd}: some of its")
        kept = [number for number in range(5) if number != odd for _ in "xy"]
        assert found.table["lm"].tolist() == [-number for number in kept]
        assert "seconds" not in found.table


def test_scores_that_some_hypotheses_do_not_have(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    lines = [
        {"utt": "a", "hyps": [{"text": "X", "score": -1, "lm": -2}]},
        {"utt": "b", "hyps": [{"text": "X", "score": -1, "lm": -2}, {"text": "Y", "score": -1}]},
        {"utt": "c", "hyps": [{"text": "X", "score": -1, "lm": "n/a"}]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = import_nbest(path, "jsonl")
    assert found.table["lm"].tolist() == [-2.0]
    for utt in "bc":
        assert f"utterance {utt}: some of its hypotheses and of those" in found.failures[utt]
        assert "a score lm, others do not" in found.failures[utt]
    path.write_text("utt,text,score,lm\na,X,-1,-2\nb,X,-1,n/a\nc,X,-1,inf\n")
    found = import_nbest(path, "csv")
    assert found.table["lm"].tolist() == [-2.0]
    assert "line 3, utterance b: lm 'n/a' is not a number" in found.failures["b"]
    assert "line 4, utterance c: lm inf is not a log-prob" in found.failures["c"]
    path.write_text("utt,text,score,oov\na,X,-1,0\nb,X,-1,-inf\nc,X,-1,0.5\n")
    assert {utt: why.split(": ")[1] for utt, why in import_nbest(path, "csv").failures.items()} == {
        "b": "oov -inf is not a number of words",
        "c": "oov 0.5 is not a number of words",
    }


def test_half_a_character_fails_its_utterance_alone(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    lines = [
        r'{"utt": "a", "hyps": [{"text": "x \ud800", "score": -1}]}',
        r'{"utt": "b", "hyps": [{"text": "x", "score": -1}], "ref": "\udc00"}',
        r'{"utt": "c", "hyps": [{"text": "\ud83d\ude00", "score": -1}]}',
    ]
    path.write_text("\n".join(lines))
    found = import_nbest(path, "jsonl")
    assert found.table[["utt", "text"]].values.tolist() == [["c", "\U0001f600"]]
    assert r"line 1, utterance a: the text has '\ud800', half of a character" in found.failures["a"]
    assert "utterance b, reference: the text has" in found.failures["b"]
    path.write_text(r'{"utt": "\ud800", "hyps": []}')
    with pytest.raises(InputError, match="line 1: the text has"):
        import_nbest(path, "jsonl")


def jsonl(path: Path, hyps: list[dict[str, object]]) -> Path:
    path.write_text(json.dumps({"utt": "a", "hyps": hyps}) + "\n")
    return path


def test_ranks_of_json_lines_are_their_order(tmp_path: Path) -> None:
    hyps: list[dict[str, object]] = [{"text": "x", "score": -2, "rank": 9}]
    path = jsonl(tmp_path / "a.jsonl", [*hyps, {"text": "y", "score": -1, "rank": 0}])
    assert import_nbest(path, "jsonl").table["text"].tolist() == ["y", "x"]
    for rank, message in ((9, "a rank occurs twice"), ("best", "rank 'best' is not a number")):
        path = jsonl(tmp_path / "b.jsonl", [*hyps, {"text": "y", "score": -1, "rank": rank}])
        with pytest.raises(InputError, match=message):
            import_nbest(path, "jsonl")


@pytest.mark.parametrize(
    ("scores", "reported"), [((-3, 4, 9), True), ((-3, -3), False), ((-3, -1, -2), False)]
)
def test_lists_with_the_lowest_score_first_are_reported(
    tmp_path: Path, scores: tuple[int, ...], reported: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Costs of lattices have both signs."""
    hyps = [{"text": str(i), "score": score} for i, score in enumerate(scores)]
    import_nbest(jsonl(tmp_path / "a.jsonl", hyps), "jsonl")
    assert ("every list has the lowest score" in caplog.text) == reported
    caplog.clear()
    import_nbest(jsonl(tmp_path / "a.jsonl", hyps), "jsonl", negated={"acoustic"})
    assert "lowest score" not in caplog.text or not reported
