"""Other systems' N-best lists: real lists in two formats, their published rates, and bad files."""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.evaluation.wer import oracle, row_errors
from asr.formats.nbest_import import import_nbest
from asr.nbest import COLUMNS, Hypothesis, build_nbest, read_nbest
from experiments.cli import main
from lm.errors import InputError
from lm.rerank.tune import tune

LINE = {"utt": "a", "ref": "X Y", "hyps": [{"text": "X", "score": -1}, {"text": "Y", "score": -2}]}


def espnet(folder: Path, files: dict[str, str]) -> Path:
    """A decoding folder of ESPnet's layout."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def espnet_token_counts(folder: Path) -> dict[tuple[str, str], list[int]]:
    """Different token counts of each text of an utterance, best hypothesis first."""
    counts: dict[tuple[str, str], list[int]] = {}
    for rank in range(1, 11):
        (place,) = folder.glob(f"**/{rank}best_recog")
        texts = dict(line.split(" ", 1) for line in (place / "text").read_text().splitlines())
        for line in (place / "token_int").read_text().splitlines():
            utt, *tokens = line.split(" ")
            known = counts.setdefault((utt, texts[utt]), [])
            if len(tokens) not in known:
                known.append(len(tokens))
    return counts


def percent(table: pd.DataFrame, references: dict[str, str]) -> tuple[float, float]:
    """First-best and oracle WER, per cent, to two places as published."""
    kinds = ["substitutions", "deletions", "insertions"]
    errors = row_errors(table, references)[kinds].sum(axis=1)
    words = sum(len(text.split()) for text in references.values())
    return (
        round(100 * errors[table["rank"] == 1].sum() / words, 2),
        round(100 * errors.iloc[oracle(table, errors)].sum() / words, 2),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "utterances", "first_best", "best"),
    [("dev_clean", 2703, 6.12, 4.04), ("test_clean", 2620, 6.42, 4.17)],
)
def test_real_lists_have_their_published_rates(
    shared_data: Path, split: str, utterances: int, first_best: float, best: float
) -> None:
    found = import_nbest(shared_data / "librispeech-10best" / f"{split}.jsonl.xz", "jsonl")
    assert found.references is not None and len(found.references) == utterances
    assert percent(found.table, found.references) == (first_best, best)


def test_both_formats_agree_on_the_same_lists(shared_data: Path) -> None:
    lists = import_nbest(shared_data / "librispeech-10best" / "dev_clean.jsonl.xz", "jsonl").table
    sample = import_nbest(shared_data / "espnet-sample", "espnet")
    assert sample.references is None
    assert sample.table["utt"].nunique() == 338
    keys = ["utt", "rank"]
    common = lists[lists["utt"].isin(sample.table["utt"])].sort_values(keys, ignore_index=True)
    found = sample.table.sort_values(keys, ignore_index=True)
    # Where a list has a text more than once, in other tokens, the published lists give the count
    # of any of them; everywhere else the counts are equal.
    counts = espnet_token_counts(shared_data / "espnet-sample")
    spelled = [counts[row.utt, row.text] for row in common.itertuples()]
    several = pd.Series([len(one) > 1 for one in spelled])
    assert all(n in one for n, one in zip(common["tokens"], spelled, strict=True))
    assert found["tokens"].tolist() == [one[0] for one in spelled]
    assert several.mean() < 0.02
    found.loc[several, "tokens"] = common.loc[several, "tokens"]
    pd.testing.assert_frame_equal(found, common, atol=1e-3)  # ESPnet prints four digits


def test_the_command_writes_table_and_references(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    empty = {"utt": "b", "ref": "", "hyps": [{"text": " X   Z ", "score": -0.5}]}
    path.write_text(f"{json.dumps(LINE)}\n\n{json.dumps(empty)}\n")
    out, refs = tmp_path / "n.parquet", tmp_path / "refs.txt"
    command = ["import-nbest", str(path), "--format", "jsonl", "-o", str(out)]
    assert main([*command, "--refs-out", str(refs)]) == 0
    assert refs.read_text() == "a X Y\nb\n"
    assert read_nbest(out)[["utt", "rank", "text", "acoustic", "words"]].values.tolist() == [
        ["a", 1, "X", -1, 1],
        ["a", 2, "Y", -2, 1],
        ["b", 1, "X Z", -0.5, 2],
    ]


def test_one_missing_reference_does_not_lose_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, refs = tmp_path / "lists.jsonl", tmp_path / "refs.txt"
    lines = [LINE, LINE | {"utt": "b", "ref": None}, LINE | {"utt": "c", "ref": ""}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert import_nbest(path, "jsonl").references == {"a": "X Y", "c": ""}
    command = ["import-nbest", str(path), "--format", "jsonl", "-o", str(tmp_path / "n.parquet")]
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--refs-out", str(refs)]) == 1
    assert refs.read_text() == "a X Y\nc\n"
    assert "1 of 3 utterances have no reference (b); they are not in" in capsys.readouterr().err
    assert read_nbest(tmp_path / "n.parquet")["utt"].tolist() == [*"aabbcc"]
    # Nothing is scored without its reference.
    assert main(["score", str(tmp_path / "n.parquet"), "--refs", str(refs)]) == 2
    assert "no reference for 1 of the N-best list's utterances: b" in capsys.readouterr().err


def test_a_file_without_references_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps(LINE | {"ref": None}))
    assert import_nbest(path, "jsonl").references is None
    command = ["import-nbest", str(path), "--format", "jsonl", "-o", str(tmp_path / "n.parquet")]
    assert main([*command, "--refs-out", str(tmp_path / "refs.txt")]) == 2
    assert not (tmp_path / "refs.txt").exists() and not (tmp_path / "n.parquet").exists()


def test_of_equal_texts_the_first_stays(tmp_path: Path) -> None:
    texts = ["A  B", "C", "A B", "D"]
    hyps = [{"text": text, "score": -i} for i, text in enumerate(texts)]
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps({"utt": "u", "hyps": hyps}))
    rows = import_nbest(path, "jsonl").table[["rank", "text", "acoustic"]].values.tolist()
    assert rows == [[1, "A B", 0], [2, "C", -1], [3, "D", -3]]


def test_espnet_in_several_jobs_with_plain_scores_and_an_empty_text(tmp_path: Path) -> None:
    folder = espnet(
        tmp_path,
        {
            "output.1/1best_recog/text": "a X Y\nb\n",
            "output.1/1best_recog/score": "a tensor(-1.5, device='cuda:0')\nb -2\n",
            "output.1/2best_recog/text": "a X\n",
            "output.1/2best_recog/score": "a tensor(-3.)\n",
            "output.2/1best_recog/text": "c\tZ\n",
            "output.2/1best_recog/score": "c\t-1e-2\n",
        },
    )
    table = import_nbest(folder, "espnet").table
    assert table[["utt", "rank", "text", "acoustic"]].values.tolist() == [
        ["a", 1, "X Y", -1.5],
        ["a", 2, "X", -3.0],
        ["b", 1, "", -2.0],
        ["c", 1, "Z", -0.01],
    ]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", "line 2: .*JSON object"),
        ("[]", "line 2: .*JSON object"),
        ('{"hyps": []}', "line 2: no key 'utt'"),
        ('{"utt": null, "hyps": []}', "line 2: None is not an utterance id"),
        (json.dumps(LINE), "line 2: utterance a occurs twice"),
        ('{"utt": "b", "hyps": [], "hyps": []}', "line 2: key 'hyps' occurs twice in an object"),
        ('{"utt": "b", "hyps": [{"text": "x", "score": -1, "score": -2}]}', "line 2: key 'score'"),
    ],
)
def test_a_bad_line_is_reported(tmp_path: Path, second: str, message: str) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{second}\n")
    with pytest.raises(InputError, match=message) as error:
        import_nbest(path, "jsonl")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{}", "line 2, utterance b: there is no list named hyps"),
        ('{"hyps": {}}', "line 2, utterance b: there is no list named hyps"),
        ('{"hyps": []}', "utterance b: there are no hypotheses"),
        ('{"hyps": [5]}', "line 2, utterance b: text None is not a string"),
        ('{"hyps": [{"text": "X"}]}', "line 2, utterance b: score 'None' is not a number"),
        (
            '{"hyps": [{"text": null, "score": 1}]}',
            "line 2, utterance b: text None is not a string",
        ),
        ('{"hyps": [{"text": "X", "score": NaN}]}', "line 2, utterance b: score is NaN"),
        (
            '{"hyps": [{"text": "X", "score": Infinity}]}',
            "line 2, utterance b: score inf is not a log",
        ),
        ('{"hyps": [{"text": "X", "score": 1%s}]}' % ("0" * 400), "score '10{39}' is not a number"),
        (
            '{"hyps": [{"text": "X", "score": 1}], "ref": 5}',
            "utterance b: reference 5 is not a string",
        ),
        ('{"text": "X", "words": [{"start": -1, "end": 2}]}', "utterance b: time -1 is not"),
    ],
)
def test_a_bad_utterance_does_not_lose_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture, entry: str, message: str
) -> None:
    path, out = tmp_path / "lists.jsonl", tmp_path / "n.parquet"
    bad = '{"utt": "b"' + (", " + entry[1:] if entry != "{}" else "}")
    path.write_text(f"{json.dumps(LINE)}\n{bad}\n{json.dumps(LINE | {'utt': 'c'})}\n")
    command = ["import-nbest", str(path), "--format", "jsonl", "-o", str(out)]
    assert main([*command, "--refs-out", str(tmp_path / "refs.txt")]) == 1
    assert read_nbest(out)["utt"].tolist() == ["a", "a", "c", "c"]
    assert (tmp_path / "refs.txt").read_text() == "a X Y\nc X Y\n"
    printed, counts = capsys.readouterr().err.splitlines()
    assert re.search(message, printed) and printed.startswith(str(path))
    assert "2 utterances, 4 hypotheses; 1 failed and are left out" in counts


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv"])
def test_scores_by_name_become_columns(tmp_path: Path, format: str) -> None:
    rows = [
        ("a", "X Y", -1.0, -7.5, -3.25, 1),
        ("a", "X", -2.0, -6.5, -1.5, 0),
        ("b", "", -0.5, -1.0, float("-inf"), 0),
    ]
    names = ("utt", "text", "acoustic", "score", "gpt2", "oov")
    path = tmp_path / "lists"
    if format == "jsonl":
        entries: dict[str, list] = {}
        for row in rows:
            entry = dict(zip(names, row, strict=True)) | {"tokens": ["no score"], "words": 9}
            entries.setdefault(row[0], []).append(entry)
        lines = (json.dumps({"utt": utt, "hyps": hyps}) for utt, hyps in entries.items())
        path.write_text("\n".join(lines) + "\n")
    else:
        mark = "," if format == "csv" else "\t"
        table = [(*names, "speaker"), *((*row, "ann") for row in rows)]
        path.write_text("".join(mark.join(map(str, row)) + "\n" for row in table))
    table = import_nbest(path, "csv" if format == "tsv" else format).table
    assert set(table.columns) == {*COLUMNS, "gpt2"}
    # The list is in the order of `score`, or of the file where it says that it is sorted.
    table = table.sort_values(["utt", "acoustic"], ascending=[True, False])
    assert table[["utt", "text", "acoustic", "gpt2", "oov"]].values.tolist() == [
        list(row[:3] + row[4:]) for row in rows
    ]
    assert table["words"].tolist() == [2, 1, 0]
    ranks = table.set_index("text")["rank"].to_dict()
    assert ranks == ({"X Y": 1, "X": 2, "": 1} if format == "jsonl" else {"X": 1, "X Y": 2, "": 1})


def test_a_truncated_file_is_reported(tmp_path: Path) -> None:
    lines = "".join(
        json.dumps(LINE | {"utt": str(i), "ref": hex(i * 7919)}) + "\n" for i in range(9)
    )
    path = tmp_path / "lists.jsonl.xz"
    path.write_bytes(lzma.compress(lines.encode())[:-20])
    with pytest.raises(InputError, match="damaged after line"):
        import_nbest(path, "jsonl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("1best_recog/score", "a -1\na -1\n", "line 2: a occurs twice"),
        ("1best_recog/text", "a X\nb Y\na Z\n", "text, line 3: a occurs twice"),
        ("2best_recog/text", "a X\n", "2best_recog/score: cannot be read"),
    ],
)
def test_bad_espnet_files_are_reported(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    good = {"1best_recog/text": "a X\nb Y\n", "1best_recog/score": "a -1\nb -2\n"}
    files = {f"output.1/{key}": value for key, value in (good | {name: content}).items()}
    with pytest.raises(InputError, match=message):
        import_nbest(espnet(tmp_path, files), "espnet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("score", "a -1\nb minus\n", "score, line 2, utterance b: score 'minus' is not a number"),
        ("score", "a -1\n", "score: no line of utterance b"),
        ("text", "a X\n", "text: no line of utterance b"),
    ],
)
def test_what_espnet_lacks_is_reported_for_its_utterance(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    files = {"text": "a X\nb Y\n", "score": "a -1\nb -2\n", name: content}
    folder = espnet(tmp_path, {f"output.1/1best_recog/{k}": value for k, value in files.items()})
    found = import_nbest(folder, "espnet")
    assert found.table["utt"].tolist() == ["a"]
    assert list(found.failures) == ["b"] and message in found.failures["b"]


TOKENS = {
    "1best_recog/text": "a X Y\nb\n",
    "1best_recog/score": "a -1\nb -2\n",
    "1best_recog/token_int": "a 17 4 250\nb \n",
    "2best_recog/text": "a X\n",
    "2best_recog/score": "a -3\n",
    "2best_recog/token_int": "a 17\n",
}


def with_tokens(folder: Path, **changed: str | None) -> Path:
    """A decoding folder with token counts; what is None is left out."""
    files = {f"output.1/{name}": text for name, text in (TOKENS | changed).items() if text}
    return espnet(folder, files)


def test_espnet_tokens_are_counted(tmp_path: Path) -> None:
    table = import_nbest(with_tokens(tmp_path), "espnet").table
    assert table["tokens"].dtype == np.int64
    assert table[["utt", "rank", "tokens"]].values.tolist() == [
        ["a", 1, 3],
        ["a", 2, 1],
        ["b", 1, 0],
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a 17 4 250\n", "1best_recog/token_int: no line of utterance b"),
        ("a 17 4 250\nb 1 x7\n", "token_int, line 2, utterance b: token 'x7' is not a number"),
        ("a 17 4 250\nb -1\n", "token_int, line 2, utterance b: token '-1' is not a number"),
    ],
)
def test_bad_espnet_tokens_leave_their_utterance_out(
    tmp_path: Path, lines: str, message: str
) -> None:
    found = import_nbest(with_tokens(tmp_path, **{"1best_recog/token_int": lines}), "espnet")
    assert found.table[["utt", "tokens"]].values.tolist() == [["a", 3], ["a", 1]]
    assert list(found.failures) == ["b"] and message in found.failures["b"]


def test_espnet_tokens_are_in_every_folder_or_in_none(tmp_path: Path) -> None:
    folder = with_tokens(tmp_path / "some", **{"2best_recog/token_int": None})
    with pytest.raises(InputError, match="2best_recog: token_int is missing, and other folders"):
        import_nbest(folder, "espnet")
    without = {name: None for name in TOKENS if name.endswith("token_int")}
    table = import_nbest(with_tokens(tmp_path / "none", **without), "espnet").table
    assert tuple(table.columns) == COLUMNS


@pytest.mark.parametrize(("second", "kind"), [("3", np.int64), ("2.5", float), ("-inf", float)])
def test_counts_of_tokens_are_whole_where_all_are(tmp_path: Path, second: str, kind: type) -> None:
    path = tmp_path / "lists.csv"
    path.write_text(f"utt,text,score,tokens,gpt2.tokens,lm\na,X,-1,2,1,-3\na,Y,-2,{second},4,-5\n")
    table = import_nbest(path, "csv").table
    assert table["tokens"].tolist() == [2, float(second)] and table["tokens"].dtype == kind
    assert table["gpt2.tokens"].dtype == np.int64 and table["lm"].dtype == float


def test_a_weight_of_tokens_may_be_negative() -> None:
    """The first pass's score grows with the length, and the shorter texts are right."""
    rows = {
        f"u{i}": [
            Hypothesis("A B", -1.0, more={"tokens": 5}),
            Hypothesis("A", -2.0, more={"tokens": 2}),
        ]
        for i in range(4)
    }
    table = build_nbest(rows, more=["tokens"])
    tuned = tune(table, np.array([1, 0] * 4), ["acoustic", "tokens"])
    assert tuned.weights["tokens"] < 0


def test_missing_and_empty_inputs_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        import_nbest(tmp_path / "none.jsonl", "jsonl")
    with pytest.raises(InputError, match="no output"):
        import_nbest(tmp_path, "espnet")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no utterances"):
        import_nbest(tmp_path / "empty.jsonl", "jsonl")
    with pytest.raises(InputError, match="'sphinx' is not known; one of jsonl, csv, espnet"):
        import_nbest(tmp_path, "sphinx")
