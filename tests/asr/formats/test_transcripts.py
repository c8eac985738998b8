"""Transcripts in other tools' formats: read back, read by sclite, and bad input."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.evaluation.alignment import right_words
from asr.evaluation.wer import ErrorRate, word_errors
from asr.formats.nbest_import import import_nbest
from asr.formats.transcript_readers import READERS
from asr.formats.transcript_writers import WRITERS, Transcript, clock, write_transcripts
from asr.nbest import Hypothesis, build_nbest, read_nbest, write_nbest
from experiments.cli import main
from experiments.results import load_results
from lm.errors import InputError
from lm.rerank.confidence import normalised_cross_entropy
from tests.support.result_folders import random_results
from tests.support.sctk import needs_sctk

FOUND = [
    Transcript("s_1", "a cat sat", (0.1, 0.5, 0.9), (0.4, 0.8, 1.2), (0.9, 0.25, 1.0), "ann", 2.0),
    Transcript("s_2", "", speaker="bob", duration=1.5),
    Transcript("t_1", "on", (0.0,), (0.3,), (0.5,)),
]


@pytest.mark.parametrize("format", list(READERS))
def test_what_is_written_is_read_back(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    write_transcripts(FOUND, path, format)
    found = {t.utt: t for t in READERS[format](path)}
    expected = {t.utt: t for t in FOUND if t.words or format != "ctm"}
    assert {utt: t.text for utt, t in found.items()} == {u: t.text for u, t in expected.items()}
    if format == "ctm":
        for utt, transcript in expected.items():
            assert found[utt].starts == pytest.approx(transcript.starts)
            assert found[utt].ends == pytest.approx(transcript.ends)
            assert found[utt].confidence == pytest.approx(transcript.confidence)
    if format == "stm":
        assert [found[u].speaker for u in expected] == ["ann", "bob", "t_1"]
        assert [found[u].duration for u in expected] == [2.0, 1.5, 0.3]


def test_comments_labels_and_order_of_nist_files(tmp_path: Path) -> None:
    (tmp_path / "a.ctm").write_text(";; c\nu A 0.5 0.1 two\nu A 0.1 0.1 one\n")
    assert READERS["ctm"](tmp_path / "a.ctm")[0].text == "one two"
    (tmp_path / "a.stm").write_text(";; c\nu A s 0 1 <o,f0> one\nu A s 1 2 two three\nv A s 0 1\n")
    assert [t.text for t in READERS["stm"](tmp_path / "a.stm")] == ["one two three", ""]
    (tmp_path / "b.stm").write_text("u A s 10 11 three\nu A s 9 10 two\nu A s 0 9 one\n")
    assert [t.text for t in READERS["stm"](tmp_path / "b.stm")] == ["one two three"]
    (tmp_path / "a.trn").write_text(";; c\n one  two (u-1)\n(u-2)\n")
    assert [(t.utt, t.text) for t in READERS["trn"](tmp_path / "a.trn")] == [
        ("u-1", "one two"),
        ("u-2", ""),
    ]


def test_json_has_words_with_what_is_known(tmp_path: Path) -> None:
    write_transcripts([*FOUND, Transcript("u", "no times")], tmp_path / "all.json", "json")
    content = json.loads((tmp_path / "all.json").read_text())
    assert content[0]["words"][1] == {"word": "cat", "start": 0.5, "end": 0.8, "confidence": 0.25}
    assert content[3]["words"] == [{"word": "no"}, {"word": "times"}]
    write_transcripts(FOUND, tmp_path / "all.jsonl", "jsonl")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == content[:3]


def test_subtitles_are_cut_at_silence_time_and_letters(tmp_path: Path) -> None:
    starts = [0.0, 0.4, 3.0, 3.3, *(4.0 + n for n in range(8))]
    words = ["one", "two", "three", "four", *(f"w{n}" for n in range(8))]
    long = Transcript("call", " ".join(words), starts, [s + 0.3 for s in starts])
    write_transcripts([long], tmp_path / "call.srt", "srt")
    cues = (tmp_path / "call.srt").read_text().strip().split("\n\n")
    assert cues[0] == "1\n00:00:00,000 --> 00:00:00,700\none two"
    assert cues[1].splitlines()[1].startswith("00:00:03,000 --> 00:00:08,300")
    assert " ".join(cue.splitlines()[2] for cue in cues) == long.text
    tagged = Transcript("u", "a<b &c", (0.0, 1.0), (0.5, 1.5))
    write_transcripts([tagged], tmp_path / "u.vtt", "vtt")
    text = (tmp_path / "u.vtt").read_text()
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na&lt;b &amp;c\n")
    with pytest.raises(InputError, match="3 utterances: subtitles are for one recording"):
        write_transcripts(FOUND, tmp_path / "x.srt", "srt")
    assert clock(3661.0406, ",") == "01:01:01,041"


@pytest.mark.parametrize(
    ("format", "transcript", "message"),
    [
        ("trn", Transcript("a b", "x"), "must not have spaces or brackets"),
        ("trn", Transcript("a(1)", "x"), "must not have spaces or brackets"),
        (
            "trn",
            Transcript("a", "x {uh} y"),
            "utterance a: '{uh}' is a mark and not a word for NIST's tools",
        ),
        ("trn", Transcript("a", ";; x"), "utterance a: ';;' is a mark"),
        ("stm", Transcript("a", "** x", duration=1.0), "utterance a: '[*][*]' is a mark"),
        ("ctm", Transcript("a", "@", (0.0,), (1.0,)), "utterance a: '@' is a mark"),
        ("text", Transcript("", "x"), "an id in this format must not have spaces"),
        ("ctm", Transcript("a", "x"), "utterance a: no word times"),
        ("srt", Transcript("a", "x"), "utterance a: no word times"),
        ("stm", Transcript("a", "x"), "utterance a: neither its duration nor word times"),
        ("docx", Transcript("a", "x"), "'docx' is not known; one of text, trn"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, format: str, transcript: Transcript, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_transcripts([transcript], tmp_path / "out", format)
    assert list(tmp_path.iterdir()) == []


def spoken(seed: int) -> tuple[dict[str, str], list[Transcript]]:
    """Random references, and transcripts with errors and confidences that know something."""
    rng = np.random.default_rng(seed)
    references, found = {}, []
    for number in range(60):
        utt = f"s{number % 4}_{number}"
        words = [str(w) for w in rng.choice(list("abcdefgh"), rng.integers(1, 12))]
        references[utt] = " ".join(words)
        said, confidence = [], []
        for word in words:
            wrong = rng.random() < 0.2
            if rng.random() < 0.95:
                said.append("z" if wrong else word)
                confidence.append(float(rng.beta(2, 4) if wrong else rng.beta(5, 2)))
        starts = np.arange(len(said)) * 0.5
        text, ends = " ".join(said), starts + 0.4
        found.append(Transcript(utt, text, starts, ends, confidence, f"s{number % 4}", 9.0))
    return references, found


@needs_sctk
def test_sclite_reads_our_files_and_agrees(tmp_path: Path) -> None:
    references, found = spoken(3)
    truth = [Transcript(t.utt, references[t.utt], speaker=t.speaker, duration=9.0) for t in found]
    for name, transcripts, format in (
        ("ref.trn", truth, "trn"),
        ("ref.stm", truth, "stm"),
        ("hyp.trn", found, "trn"),
        ("hyp.ctm", found, "ctm"),
    ):
        write_transcripts(transcripts, tmp_path / name, format)
    ours = sum((word_errors(references[t.utt], t.text) for t in found), ErrorRate())
    for ref, hyp in (("ref.trn", "hyp.trn"), ("ref.stm", "hyp.ctm")):
        command = ["sctk", "sclite", "-r", ref, ref[-3:], "-h", hyp, hyp[-3:], "-i", "spu_id"]
        printed = subprocess.run(
            [*command, "-o", "rsum", "stdout"], cwd=tmp_path, check=True, capture_output=True
        ).stdout.decode()
        row = next(line for line in printed.splitlines() if "Sum" in line)
        sentences, words, *counts = [int(n) for n in re.findall(r"\d+", row.split("NCE")[0])[:8]]
        assert (sentences, words) == (60, ours.ref_words)
        assert counts[4] == ours.errors
    # With confidences, sclite prints their normalised cross-entropy.
    right = right_words([references[t.utt] for t in found], [t.text for t in found], "sclite")
    confidence = np.concatenate([np.asarray(t.confidence) for t in found])
    expected = float(row.replace("|", " ").split()[-1])
    assert normalised_cross_entropy(confidence, right) == pytest.approx(expected, abs=2e-3)


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A table with word times."""
    table = build_nbest(
        {
            "u": [
                Hypothesis("a b", -1.0, times=((0, 5), (4, 9))),
                Hypothesis("a", -1.5, times=((0,), (9,))),
            ],
            "v": [Hypothesis("", -0.5, times=((), ()))],
        },
        frame_seconds=0.1,
        times=True,
    )
    write_nbest(table, tmp_path / "n.parquet")
    return tmp_path / "n.parquet"


def test_export_of_lists(lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert main(["export", str(lists), "--format", "ctm", "-o", str(out)]) == 0
    assert out.read_text() == "u 1 0.000 0.400 a\nu 1 0.500 0.400 b\n"
    weights = tmp_path / "w.json"
    weights.write_text('{"weights": {"acoustic": 1, "words": -2}}')
    command = ["export", str(lists), "--weights", str(weights), "-o", str(out)]
    assert main([*command, "--format", "text"]) == 0
    assert out.read_text() == "u a\nv\n"
    assert main([*command, "--format", "srt", "--utt", "u"]) == 0
    assert out.read_text() == "1\n00:00:00,000 --> 00:00:00,900\na\n\n"
    assert main([*command, "--format", "lists"]) == 0
    again = import_nbest(out, "jsonl").table
    # In the order of the weighted scores, each score by itself.
    assert again[["utt", "rank", "text", "acoustic", "words"]].values.tolist() == [
        ["u", 1, "a", -1.5, 1],
        ["u", 2, "a b", -1.0, 2],
        ["v", 1, "", -0.5, 0],
    ]
    totals = [entry["score"] for line in map(json.loads, out.open()) for entry in line["hyps"]]
    assert totals == [-3.5, -5.0, -0.5]
    assert main([*command, "--format", "lists", "--utt", "u"]) == 0
    assert import_nbest(out, "jsonl").table["utt"].tolist() == ["u", "u"]
    for format in ("srt", "lists"):
        assert main([*command, "--format", format, "--utt", "w"]) == 2
        assert "no utterance w in it (first: u, v)" in capsys.readouterr().err
    assert main([*command, "--format", "lists", "--split", "dev"]) == 2
    assert "--split does not apply to --format lists" in capsys.readouterr().err
    assert main([*command, "--format", "trn", "--split", "dev"]) == 2
    assert "--split is for results folders" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "no"), "--format", "trn", "-o", str(out)]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.slow
def test_export_of_results_and_its_references(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = random_results(tmp_path / "run")
    out = tmp_path / "out"
    command = ["export", str(folder), "--split", "dev", "--format", "text", "-o", str(out)]
    assert main([*command, "--system", "weighted"]) == 0
    rows = load_results(folder).utterances
    rows = rows[(rows["split"] == "dev") & (rows["system"] == "weighted")]
    assert dict(line.split(" ", 1) for line in out.read_text().splitlines()) == dict(
        zip(rows["utt"], rows["hyp"], strict=True)
    )
    assert main([*command, "--references"]) == 0
    assert dict(line.split(" ", 1) for line in out.read_text().splitlines()) == dict(
        zip(rows["utt"], rows["ref"], strict=True)
    )
    assert main([*command, "--system", "best"]) == 2
    assert "no system 'best' (first-pass, weighted)" in capsys.readouterr().err


def truth_and_lists(seed: int, utterances: int = 80) -> tuple[dict[str, str], pd.DataFrame]:
    """Lists whose scores are posteriors of what was said: 1 of 6 texts with word errors."""
    rng = np.random.default_rng(seed)
    references, found = {}, {}
    for number in range(utterances):
        words = [str(w) for w in rng.choice(list("abcdefgh"), 6)]
        one: dict[str, float] = {}
        for _ in range(6):
            text = " ".join(
                w if rng.random() > 0.25 else str(rng.choice(list("xyz"))) for w in words
            )
            one.setdefault(text, float(-rng.exponential(1.5)))
        texts = list(one)
        p = np.exp(list(one.values()))
        references[f"u{number}"] = texts[rng.choice(len(texts), p=p / p.sum())]
        ranked = sorted(one.items(), key=lambda item: -item[1])
        found[f"u{number}"] = [Hypothesis(text, score) for text, score in ranked]
    return references, build_nbest(found)


@pytest.mark.parametrize("method", ["map", "mbr", "vote"])
def test_choose_writes_transcripts_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture, method: str
) -> None:
    for name, seed in (("test", 1), ("devlists", 2)):
        references, table = truth_and_lists(seed)
        write_nbest(table, tmp_path / f"{name}.parquet")
        lines = (f"{utt} {text}\n" for utt, text in references.items())
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    out = tmp_path / "chosen.parquet"
    command = ["choose", str(tmp_path / "test.parquet"), "--method", method, "-o", str(out)]
    command += ["--dev", str(tmp_path / "devlists.parquet")]
    command += ["--dev-refs", str(tmp_path / "devlists.txt"), "--normaliser", "none"]
    assert main([*command, "--refs", str(tmp_path / "test.txt")]) == 0
    printed = capsys.readouterr().out
    assert "chosen: word confidences have normalised cross-entropy" in printed
    found = pd.read_parquet(out)
    assert found["utt"].tolist() == [f"u{n}" for n in range(80)]
    for text, sure in zip(found["text"], found["confidence"], strict=True):
        assert len(sure) == len(text.split())
        assert all(0 <= c <= 1 for c in sure)
    if method == "map":
        first = read_nbest(tmp_path / "test.parquet")
        assert found["text"].tolist() == first[first["rank"] == 1]["text"].tolist()
    assert main(["export", str(out), "--format", "json", "-o", str(tmp_path / "out.json")]) == 0
    words = json.loads((tmp_path / "out.json").read_text())[0]["words"]
    assert all("confidence" in word for word in words)
    assert main(["export", str(out), "--format", "ctm", "-o", str(tmp_path / "out.ctm")]) == 2
    assert "no word times" in capsys.readouterr().err


def test_choose_votes_over_two_systems(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = tmp_path / "other.parquet"
    write_nbest(build_nbest({"v": [Hypothesis("c", -1.0)], "u": [Hypothesis("a b", -1.0)]}), other)
    out = tmp_path / "chosen.parquet"
    command = ["choose", str(lists), str(other), "-o", str(out)]
    assert main([*command, "--method", "vote"]) == 0
    assert pd.read_parquet(out)["text"].tolist() == ["a b", ""]  # no word and "c" are alike
    assert main(command) == 2
    assert "use mbr or vote" in capsys.readouterr().err
    short = tmp_path / "short.parquet"
    write_nbest(build_nbest({"u": [Hypothesis("a b", -1.0)]}), short)
    assert main(["choose", str(lists), str(short), "--method", "vote", "-o", str(out)]) == 2
    assert (
        "tables 1 and 2 have different utterances: 1 are in one table only"
        in capsys.readouterr().err
    )
    weights = tmp_path / "w.json"
    weights.write_text('{"weights": {"gpt2": 1}}')
    assert main(["choose", str(lists), "--weights", str(weights), "-o", str(out)]) == 2
    assert "'gpt2' names no score column" in capsys.readouterr().err
    refs, unwritten = tmp_path / "refs", tmp_path / "unwritten.parquet"
    refs.write_text("u a b\n")
    assert main(["choose", str(lists), "--refs", str(refs), "-o", str(unwritten)]) == 2
    assert "no reference for 1 of the N-best list's utterances" in capsys.readouterr().err
    assert not unwritten.exists()
    assert main(["choose", str(lists), "--dev", str(lists), "-o", str(out)]) == 2
    assert "--dev and --dev-refs need each other" in capsys.readouterr().err


def test_every_writer_has_a_first_line_for_the_help() -> None:
    assert all((write.__doc__ or "").strip() for write in WRITERS.values())
