"""N-best lists and transcripts that are exported and read back, and malformed files."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.evaluation.wer import ErrorRate, row_errors
from asr.formats.nbest_import import import_nbest
from asr.formats.transcript_readers import READERS
from asr.formats.transcript_writers import Transcript, write_transcripts
from asr.nbest import TIMES, Hypothesis, build_nbest, read_nbest, write_nbest
from experiments.cli import main
from experiments.comparison.inputs import read_split
from experiments.comparison.split import Split
from lm.errors import InputError
from tests.support.sctk import needs_sctk

SCORES = (("a", -1.0), ("b", float("nan")), ("c", -2.0))
ONE_BEST = ("text", "trn", "stm", "ctm", "csv", "jsonl")
# Words of any script, without what a format uses as its own marks.
WORDS = st.text(st.characters(categories=("L", "N"), include_characters="'-\""), min_size=1)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True)


def write(folder: Path, content: str, name: str = "file") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def rows(table: pd.DataFrame, *columns: str) -> list[list[object]]:
    return table[list(columns)].values.tolist()


def timed_lists(seed: int) -> pd.DataFrame:
    """Lists with word times on a grid of frames."""
    rng = np.random.default_rng(seed)
    lists = {}
    for number in range(20):
        found = {}
        for _ in range(3):
            size = int(rng.integers(1, 6))
            starts = np.sort(rng.choice(100, size, replace=False))
            words = [str(w) for w in rng.choice(["a", "b'c", "dé", "e-f"], size)]
            ends = [*starts[1:], 101]
            times = ([int(s) for s in starts], [int(e) for e in ends])
            found[" ".join(words)] = Hypothesis(" ".join(words), -rng.random(), times=times)
        lists[f"s{number % 3}_{number}"] = list(found.values())
    return build_nbest(lists, 0.04, times=True)


@pytest.mark.parametrize("format", ONE_BEST)
def test_the_best_text_is_exported_and_read_back(tmp_path: Path, format: str) -> None:
    table = timed_lists(1)
    write_nbest(table, tmp_path / "n.parquet")
    first, second = tmp_path / f"first.{format}", tmp_path / f"second.{format}"
    back = tmp_path / "back.parquet"
    for source, out in ((tmp_path / "n.parquet", first), (back, second)):
        if source == back:
            command = ["import-nbest", str(first), "--format", format, "-o", str(back)]
            assert main(command) == 0
            again = read_nbest(back)
            best = table[table["rank"] == 1].reset_index(drop=True)
            pd.testing.assert_frame_equal(again[["utt", "text"]], best[["utt", "text"]])
            if format in ("ctm", "jsonl"):
                for name in TIMES:
                    for ours, theirs in zip(again[name], best[name], strict=True):
                        np.testing.assert_allclose(ours, theirs, atol=6e-4)
            elif format == "stm":  # has the length of an utterance, but no times of words
                return
        assert main(["export", str(source), "--format", format, "-o", str(out)]) == 0
    assert first.read_text() == second.read_text()


@settings(max_examples=60, deadline=None)
@given(texts=st.dictionaries(IDS, st.lists(WORDS, max_size=5).map(" ".join), min_size=1))
@pytest.mark.parametrize("format", ["text", "trn", "stm", "csv", "jsonl"])
def test_any_words_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, format: str, texts: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("any") / "out"
    write_transcripts([Transcript(u, t, duration=1.0) for u, t in texts.items()], path, format)
    found = import_nbest(path, format).table
    assert dict(zip(found["utt"], found["text"], strict=True)) == texts
    assert (found["acoustic"] == 0).all()


@needs_sctk
def test_sclite_counts_the_errors_of_exported_texts(shared_data: Path, tmp_path: Path) -> None:
    lists = shared_data / "librispeech-10best" / "dev_clean.jsonl.xz"
    refs = import_nbest(lists, "jsonl").references
    assert refs is not None
    sample, hyp = tmp_path / "n.parquet", tmp_path / "hyp.trn"
    source = str(shared_data / "espnet-sample")
    assert main(["import-nbest", source, "--format", "espnet", "-o", str(sample)]) == 0
    assert main(["export", str(sample), "--format", "trn", "-o", str(hyp)]) == 0
    best = read_nbest(sample).query("rank == 1")
    ours = ErrorRate.total(row_errors(best, refs))
    truth = [Transcript(utt, refs[utt]) for utt in best["utt"]]
    write_transcripts(truth, tmp_path / "ref.trn", "trn")
    command = ["sctk", "sclite", "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "spu_id"]
    printed = subprocess.run(
        [*command, "-o", "rsum", "stdout"], cwd=tmp_path, check=True, capture_output=True
    ).stdout.decode()
    row = next(line for line in printed.splitlines() if "Sum" in line)
    sentences, words, _, *kinds, errors, _ = (int(n) for n in re.findall(r"\d+", row))
    assert (sentences, words, errors) == (338, ours.ref_words, ours.errors)
    assert sum(kinds) == errors


@needs_sctk
@pytest.mark.parametrize("text", ["a { b c", "a @ b", ";; a b", "** a b"])
def test_sclite_reads_what_is_refused_as_something_else(tmp_path: Path, text: str) -> None:
    write(tmp_path, f"{text} (s_1)\nx (s_2)\n", "a.trn")
    command = ["sctk", "sclite", "-r", "a.trn", "trn", "-h", "a.trn", "trn", "-i", "spu_id"]
    printed = subprocess.run(
        [*command, "-o", "rsum", "stdout"], cwd=tmp_path, check=True, capture_output=True
    ).stdout.decode()
    row = next(line for line in printed.splitlines() if "Sum" in line)
    assert int(re.findall(r"\d+", row)[1]) < len(text.split()) + 1
    with pytest.raises(InputError, match="is a mark and not a word for NIST's tools"):
        write_transcripts([Transcript("s_1", text)], tmp_path / "b.trn", "trn")


def test_segments_that_are_not_scored_are_left_out(tmp_path: Path) -> None:
    lines = "u A s 0 1 <o> one\nu A s 1 2 <o> IGNORE_TIME_SEGMENT_IN_SCORING\nu A s 2 3 two\n"
    (found,) = READERS["stm"](write(tmp_path, lines))
    assert (found.text, found.duration) == ("one two", 3.0)


def test_a_comparison_lists_what_failed_in_the_import(tmp_path: Path) -> None:
    lines = [{"utt": u, "ref": "x", "hyps": [{"text": "x", "score": s}]} for u, s in SCORES]
    path = write(tmp_path, "".join(json.dumps(line) + "\n" for line in lines))
    split = Split(nbest=str(path), format="jsonl")
    found = read_split("test", split)
    assert found.table is not None
    assert list(found.references) == ["a", "c"] == found.table["utt"].tolist()
    assert list(found.failures) == ["b"] and "utterance b: score is NaN" in found.failures["b"]


def test_nemo_lists_of_the_beam_in_the_name_need_no_order(tmp_path: Path) -> None:
    entries = [{"audio_filepath": f"{u}.wav", "text": u} for u in "ab"]
    manifest = write(tmp_path, "".join(json.dumps(e) + "\n" for e in entries), "m.jsonl")
    lines = "x\t-3.0\ny\t-1.0\nz\t-2.0\nx\t-1.0\ny\tnan\nw\t-2.0\n"
    path = write(tmp_path, lines, "preds_out_width3_alpha1.0_beta0.0.tsv")
    found = import_nbest(path, "nemo", manifest)
    assert rows(found.table, "utt", "text", "acoustic") == [
        ["a", "x", -3],
        ["a", "y", -1],
        ["a", "z", -2],
    ]
    assert list(found.failures) == ["b"] and "line 5: score is NaN" in found.failures["b"]
    assert found.references == {"a": "a"}
    # One list of four with a beam of three: some line is not of this manifest.
    path = write(tmp_path, "x\t-1\ny\t-2\nz\t-3\nv\t-4\nx\t-1\n", path.name)
    with pytest.raises(InputError, match=r"5 lines .* 2 utterances .*at most 3 of each"):
        import_nbest(path, "nemo", manifest)
    unnamed = path.rename(tmp_path / "lists.tsv")
    assert import_nbest(unnamed, "nemo", manifest).table["utt"].tolist() == [*"aaaab"]


def kaldi_archive(folder: Path, utt: str, costs: list[tuple[float, float]]) -> None:
    keys = [f"{utt}-{k}" for k in range(1, len(costs) + 1)]
    write(folder, "".join(f"{key} w{n}\n" for n, key in enumerate(keys)), "words_text")
    for name, side in (("acwt", 0), ("lmwt.withlm", 1)):
        lines = (f"{key} {cost[side]}\n" for key, cost in zip(keys, costs, strict=True))
        write(folder, "".join(lines), name)


def test_kaldi_costs_are_two_columns_because_they_are_not_scaled(tmp_path: Path) -> None:
    # Best first by 0.1 · acoustic + graph, as lattice-to-nbest --acoustic-scale=0.1 sorts.
    kaldi_archive(tmp_path / "archives.1", "a-1", [(100.0, 5.0), (90.0, 7.0)])
    kaldi_archive(tmp_path / "archives.2", "b", [(-20.5, 0.0)])
    table = import_nbest(tmp_path, "kaldi").table
    assert rows(table, "utt", "text", "acoustic", "ngram") == [
        ["a-1", "w0", -100.0, -5.0],
        ["a-1", "w1", -90.0, -7.0],
        ["b", "w0", 20.5, 0.0],
    ]
    totals = 0.1 * table["acoustic"] + table["ngram"]
    assert totals[0] > totals[1] and table["acoustic"][0] < table["acoustic"][1]


def test_kaldi_files_that_do_not_fit(tmp_path: Path) -> None:
    kaldi_archive(tmp_path, "a", [(1.0, 2.0)])
    text = write(tmp_path, "a-1 x\nb-1 y\nc-1 z\n", "words_text")
    write(tmp_path, "a-1 1\nc-1 many\n", "acwt")
    write(tmp_path, "a-1 1\nb-1 1\nc-1 1\n", "lmwt.withlm")
    found = import_nbest(tmp_path, "kaldi")
    assert found.table["utt"].tolist() == ["a"]
    assert "words_text, line 2: b-1 has no cost" in found.failures["b"]
    assert "acwt, line 2, c-1: cost 'many' is not a number" in found.failures["c"]
    write(tmp_path, "a-1 1\na-1 1\n", "acwt")
    with pytest.raises(InputError, match="acwt, line 2: a-1 occurs twice"):
        import_nbest(tmp_path, "kaldi")
    # A text of utterances, whose last numbers are no ranks.
    text.write_text("61-70968-0000 x\n61-70968-0001 y\n")
    with pytest.raises(InputError, match=r"line 1: '61-70968-0000' is not UTT-K.*--format text"):
        import_nbest(text, "kaldi")


def whisper(text: str, *words: tuple[str, float, float]) -> str:
    """A result in the form of `whisper --output_format json --word_timestamps True`."""
    marked = [{"word": w, "start": s, "end": e, "probability": 0.9} for w, s, e in words]
    segments = [
        {"id": n, "seek": 0, "text": text, "avg_logprob": -0.2, "words": part}
        for n, part in enumerate((marked[:2], marked[2:]))
    ]
    return json.dumps({"text": text, "segments": segments, "language": "en"})


def test_whisper_with_times_and_without(tmp_path: Path) -> None:
    said = whisper(
        " Well-known words, here.",
        *((" Well", 0.0, 0.3), ("-known", 0.3, 0.62), (" words,", 0.7, 1.0), (" here.", 1.5, 2.0)),
    )
    write(tmp_path, said, "call.2.json")
    found = import_nbest(tmp_path, "whisper")
    assert rows(found.table, "utt", "text", "acoustic") == [
        ["call.2", "Well-known words, here.", 0.0]
    ]
    np.testing.assert_allclose(found.table["word_starts"][0], [0.0, 0.7, 1.5], atol=1e-6)
    np.testing.assert_allclose(found.table["word_ends"][0], [0.62, 1.0, 2.0], atol=1e-6)
    write(tmp_path, whisper(" No times."), "b.json")
    write(tmp_path, said[:-30], "cut.json")
    write(tmp_path, "[]", "other.json")
    found = import_nbest(tmp_path, "whisper")
    assert found.table["utt"].tolist() == ["b", "call.2"]
    # A recording without times takes none from the others.
    assert [len(times) for times in found.table["word_starts"]] == [0, 3]
    np.testing.assert_allclose(found.table["word_ends"][1], [0.62, 1.0, 2.0], atol=1e-6)
    assert "cut.json: not JSON" in found.failures["cut"]
    assert "is it Whisper's JSON" in found.failures["other"]
    untimed = import_nbest(tmp_path / "b.json", "whisper").table
    assert not untimed.columns.isin(TIMES).any()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.json files"):
        import_nbest(tmp_path / "empty", "whisper")


@pytest.mark.parametrize(
    ("format", "content", "message"),
    [
        # What would have become other utterances' words, silently.
        ("csv", 'utt,text\na,"x\nb,y\n', "line 3: unexpected end of data"),
        ("csv", "utt,text,rank\na,x,1\na,y,1\n", "line 3, utterance a: rank 1 occurs twice"),
        ("csv", "utt,text,rank\na,x,nan\n", "line 2, utterance a: rank is NaN"),
        ("csv", "utt,text,rank\n\na,x,one\n", "line 3, utterance a: rank 'one' is not a number"),
        ("csv", "utt,text,utt\na,x,b\n", "the header has utt twice"),
        ("csv", "utt,text\n,x\n", "line 2: '' is not an utterance id"),
        ("csv", "utt,text,ref\na,x,r\na,y,s\n", "line 3, utterance a: its references differ"),
        ("csv", f"utt,text\na,{'x' * 140_000}\n", "line 2: field larger than field limit"),
        ("jsonl", '{"utt": "a", "hyps": [', "line 1: .*JSON object"),
        ("jsonl", '{"utt": "a", "hyps": [], "hyps": []}', "line 1: key 'hyps' occurs twice"),
        ("mlm-scoring", '{"a": {}, "a": {}}', "'a' occurs twice"),
        ("mlm-scoring", '\n\n{"a": {\n"hyp_1": 5', "not JSON .*line 4"),
        ("mlm-scoring", "[" * 100_000, "not JSON .*too deep"),
        ("mlm-scoring", '{"a": {"hyp_1": {"text": null, "score": 1}}}', "a, hyp_1: text None"),
        ("hypo2trans", '[{"input": ["x", null]}]', "entry 1, utterance bad-000001: text None"),
        ("icefall", "a:\thyp=['x', 'y\n", "line 1: .* is not a complete list"),
        ("ctm", "a 1 nan 1 x\n", "line 1: time is NaN"),
        ("ctm", "a 1 0 -1 x\n", "line 1: time -1 is not a number of seconds"),
        ("ctm", "a 1 0 1 x 0.9\na 2 0 1 y 0.9\n", "line 2: a has channels 1 and 2"),
        ("stm", "a 1 s 5 1 x\n", "line 1: the segment ends at 1, before its start at 5"),
        ("stm", "a A s 0 1 x\na B t 0 1 y\n", "line 2: a has channels A and B"),
        ("trn", "x (a b)\n", r"line 1: there is no \(UTT\)"),
        ("trn", "x (a(1))\n", r"line 1: there is no \(UTT\)"),
    ],
)
def test_malformed_files(tmp_path: Path, format: str, content: str, message: str) -> None:
    path = write(tmp_path, content, "bad")
    with pytest.raises(InputError, match=message) as error:
        import_nbest(path, format)
    assert str(path) in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("before", [0, 1, 1000, 5000])
def test_the_line_of_a_wrong_byte_is_reported(tmp_path: Path, before: int, packed: bool) -> None:
    content = "u é\n".encode() * before + b"v caf\xe9\n" + b"w x\n" * 5000
    path = tmp_path / ("bad.gz" if packed else "bad")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=f"line {before + 1}: not UTF-8"):
        READERS["text"](path)


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("text", "a x\n"),
        ("jsonl", '{"utt": "a", "hyps": [{"text": "x", "score": 0}]}\n'),
        ("csv", "utt,text\na,x\n"),
        ("mlm-scoring", '{"a": {"hyp_1": {"text": "x", "score": 0}}}'),
        ("trn", "x (a)\r\n"),
    ],
)
def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path: Path, format: str, content: str) -> None:
    path = tmp_path / "marked"
    path.write_bytes(content.encode("utf-8-sig"))
    assert rows(import_nbest(path, format).table, "utt", "text") == [["a", "x"]]


def test_references_are_written_only_where_they_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = write(tmp_path, "utt,text,ref\na b,x,y\n", "lists.csv")
    command = ["import-nbest", str(path), "--format", "csv", "-o", str(tmp_path / "n.parquet")]
    assert main([*command, "--refs-out", str(tmp_path / "refs")]) == 2
    assert "'a b': an id in this format must not have spaces" in capsys.readouterr().err
    assert not (tmp_path / "refs").exists()
