"""Words without times: the text is kept, the reason is given, and other utterances keep theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from asr.formats.nbest_import import import_nbest
from asr.nbest import TIMES, read_nbest
from experiments.cli import main

TIMED = {"word": " one", "start": 0.5, "end": 0.75}
LATER = {"word": " two", "start": 1.0, "end": 1.25}


def whisper(folder: Path, name: str, *words: Mapping[str, object]) -> None:
    text = "".join(str(word["word"]) for word in words)
    content = {"text": text, "segments": [{"text": text, "words": words}]}
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"word": " 4"}, "word '4': it has no start and no end"),
        ({"word": " 4", "start": 1.0}, "word '4': it has no end"),
        ({"word": " 4", "start": None, "end": 2.0}, "word '4': it has no start"),
        ({"word": " 4", "start": -1, "end": 2.0}, "word '4': time -1 is not a number of seconds"),
        ({"word": " 4", "start": "soon", "end": 2.0}, "word '4': time 'soon' is not a number"),
    ],
)
def test_a_word_without_times_keeps_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture, second: dict[str, object], reason: str
) -> None:
    whisper(tmp_path, "bad.json", TIMED, second, LATER)
    whisper(tmp_path, "good.json", TIMED, LATER)
    out = tmp_path / "n.parquet"
    assert main(["import-nbest", str(tmp_path), "--format", "whisper", "-o", str(out)]) == 0
    printed = capsys.readouterr().err
    assert f"{tmp_path / 'bad.json'}, utterance bad, {reason}" in printed
    assert "the times of its words are left out" in printed and "utterance good" not in printed
    table = read_nbest(out).set_index("utt")
    assert table.loc["bad", "text"] == "one 4 two" and table.loc["good", "text"] == "one two"
    assert [list(table.loc["bad", name]) for name in TIMES] == [[], []]
    assert [list(table.loc["good", name]) for name in TIMES] == [[0.5, 1.0], [0.75, 1.25]]
    # What has times is written, and what has none is named.
    export = ["export", str(out), "--format", "ctm", "-o", str(tmp_path / "x.ctm")]
    assert main([*export, "--utt", "good"]) == 0
    assert len((tmp_path / "x.ctm").read_text().splitlines()) == 2
    assert main(export) == 2
    assert "utterance bad: no word times are known" in capsys.readouterr().err


def test_words_that_are_not_those_of_the_text(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    content = {"text": " one two", "segments": [{"words": [TIMED]}, {"text": " two"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert not import_nbest(tmp_path / "a.json", "whisper").table.columns.isin(TIMES).any()
    main(
        [
            "import-nbest",
            str(tmp_path / "a.json"),
            "--format=whisper",
            f"-o{tmp_path / 'n.parquet'}",
        ]
    )
    assert "the words with times are not the words of its text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([{"word": "x"}, {"word": "y", "start": 0, "end": 1}], "word 1 has no start and no end"),
        ([{"word": "x", "start": 0, "end": 1}, {"start": 1, "end": None}], "word 2 has no end"),
        ([{"word": "x", "start": 0, "end": 1}], "it has 1 entries in `words` for 2 words"),
    ],
)
def test_lines_with_some_times(
    tmp_path: Path, capsys: pytest.CaptureFixture, words: list[object], reason: str
) -> None:
    path, out = tmp_path / "x.jsonl", tmp_path / "n.parquet"
    good = {"utt": "b", "text": "z", "words": [{"word": "z", "start": 0.5, "end": 1}]}
    lines = [{"utt": "a", "text": "x y", "words": words}, good]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert main(["import-nbest", str(path), "--format", "jsonl", "-o", str(out)]) == 0
    assert f"{path}, line 1, utterance a: {reason}; the text is kept" in capsys.readouterr().err
    table = read_nbest(out)
    assert table["text"].tolist() == ["x y", "z"]
    assert [list(one) for one in table["word_starts"]] == [[], [0.5]]


def test_lines_without_any_times_are_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, out = tmp_path / "x.jsonl", tmp_path / "n.parquet"
    path.write_text('{"utt": "a", "text": "x", "words": [{"word": "x"}]}\n{"utt": "b", "text": ""}')
    assert main(["import-nbest", str(path), "--format", "jsonl", "-o", str(out)]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not read_nbest(out).columns.isin(TIMES).any()
