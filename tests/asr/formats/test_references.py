"""References from files of every format: read by their ending, refused where it is another's."""

from __future__ import annotations

import gzip
import itertools
import json
import lzma
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from asr.formats.line_formats import clear_formats
from asr.formats.nbest_import import import_nbest
from asr.formats.references import read_references
from asr.formats.transcript_writers import Transcript, write_transcripts
from experiments.cli import main
from lm.errors import InputError

TEXTS = {"talk_1": "hello there", "talk_2": "", "talk_3": "good day to you"}
STM = """;; made for a test
talk_1 1 ann 0.00 1.50 <o,f0> hello there
talk_2 1 ann 1.50 1.75 <o,f0>
talk_3 1 bob 0.00 1.25 <o,f0> good day
talk_3 1 bob 1.25 2.00 <o,f0> to you
"""
CTM = "talk_1 1 0.10 0.40 hello\ntalk_1 1 0.60 0.30 there\ntalk_3 1 0.1 0.2 good 0.9\n"
FILES = {
    "text": "talk_1 hello there\ntalk_2\ntalk_3\tgood day to you\n",
    "x.text": "talk_1 hello there\ntalk_2\ntalk_3 good day to you\n",
    "x.stm": STM,
    "X.STM": STM,
    "x.trn": "hello there (talk_1)\n(talk_2)\ngood day to you (talk_3)\n",
    "x.csv": "utt,text\ntalk_1,hello there\ntalk_2,\ntalk_3,good day to you\n",
    "ref.csv": "rank,text,Ref,ID\n1,hallo,hello there,talk_1\n2,hal,hello there,talk_1\n"
    "1,x,,talk_2\n1,y,good day to you,talk_3\n",
    "x.tsv": "id\ttranscript\ntalk_1\thello there\ntalk_2\t\ntalk_3\tgood day to you\n",
    "audio.csv": "id,audio_filepath,text\ntalk_1,a.wav,hello there\ntalk_2,b.wav,\n"
    "talk_3,c.wav,good day to you\n",
    "x.jsonl": "".join(json.dumps({"utt": u, "text": t}) + "\n" for u, t in TEXTS.items()),
    "no_ending": "".join(json.dumps({"id": u, "ref": t}) + "\n" for u, t in TEXTS.items()),
    "x.json": json.dumps([{"utt": u, "text": t} for u, t in TEXTS.items()], indent=1),
    "manifest.json": "".join(
        json.dumps({"id": u, "audio_filepath": f"{u}.wav", "text": t}) + "\n"
        for u, t in TEXTS.items()
    ),
    "lists.jsonl": "".join(
        json.dumps({"utt": u, "ref": t, "hyps": [{"text": "hallo", "score": -1}]}) + "\n"
        for u, t in TEXTS.items()
    ),
}


@pytest.mark.parametrize(
    ("name", "packed"),
    # Manifests that are tables are not packed.
    [pair for pair in itertools.product(FILES, ["", ".gz", ".xz"]) if pair[0] != "audio.csv"]
    + [("audio.csv", "")],
)
def test_references_of_every_format(tmp_path: Path, name: str, packed: str) -> None:
    path = tmp_path / f"{name}{packed}"
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packed]
    path.write_bytes(pack(FILES[name].encode("utf-8-sig")))
    assert read_references(path) == TEXTS


def test_words_with_times(tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_text(CTM)
    assert read_references(tmp_path / "x.ctm") == {"talk_1": "hello there", "talk_3": "good"}


def test_marks_of_nist_formats_stay(tmp_path: Path) -> None:
    said = "we { are / 're / @ } here (uh)"
    (tmp_path / "x.stm").write_text(f"a_1 1 s 0.0 1.0 <o> {said}\n")
    (tmp_path / "x.trn").write_text(f"{said} (a_1)\n")
    alternatives = ["<ALT_BEGIN>", "0.2 are", "<ALT>", "0.2 're", "<ALT>", "0.2 @", "<ALT_END>"]
    times = [line.split() for line in ["0.0 we", *alternatives, "0.4 here", "0.6 (uh)"]]
    (tmp_path / "x.ctm").write_text(
        "".join(
            f"a_1 1 {time[0]} 0.2 {time[1]}\n" if len(time) == 2 else f"a_1 1 * * {time[0]}\n"
            for time in times
        )
    )
    for ending in ("stm", "trn", "ctm"):
        assert read_references(tmp_path / f"x.{ending}") == {"a_1": said}


@pytest.mark.parametrize("format", ["text", "trn", "stm", "csv", "jsonl", "json"])
def test_what_export_writes_is_read_as_references(tmp_path: Path, format: str) -> None:
    rng = random.Random(format)
    words = ["a", "it's", "=", "-1", "@home", "+", '"', "ü", "天", "1", "2.5", "<b>", "(uh)", "'-"]
    if format in ("trn", "stm", "json", "jsonl"):
        words.remove("<b>")
    for number in range(20):
        texts = {
            f"u-{n}": " ".join(rng.choices(words, k=rng.randrange(5)))
            for n in range(1 + rng.randrange(6))
        }
        path = tmp_path / f"x{number}.{format}"
        transcripts = [Transcript(utt, text, duration=1.0) for utt, text in texts.items()]
        write_transcripts(transcripts, path, format)
        assert read_references(path) == texts


@pytest.mark.parametrize(
    ("name", "content", "format", "remedy"),
    [
        ("refs.txt", STM, "stm", "ends in .stm"),
        ("refs", "a A s 0 15 x\na A s 15 30 y\n", "stm", "ends in .stm"),
        ("refs.txt", "a A s 0 1 <O,F0> x\nb A s 0 1 <O,F0>\n", "stm", "ends in .stm"),
        ("refs", CTM, "ctm", "ends in .ctm"),
        ("refs.ref", FILES["x.trn"], "trn", "ends in .trn"),
        ("refs.txt", FILES["x.csv"], "a table", "ends in .csv"),
        ("refs.txt", '"utt";"text"\n"a";"x"\n', "a table", "ends in .csv"),
        ("refs", FILES["x.tsv"], "a table", "ends in .tsv"),
        ("refs.txt", FILES["x.json"], "JSON", "ends in .json"),
        ("refs.txt", "1\n00:00:01,000 --> 00:00:02,000\nhello\n", "subtitles", "utterance ids"),
        ("refs.txt", "WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n", "subtitles", "utterance ids"),
        ("x.txt", "a:\tref=['x']\na:\thyp=['y']\n", "icefall's results", "--refs-out"),
    ],
)
def test_lines_of_another_format_are_refused(
    tmp_path: Path, name: str, content: str, format: str, remedy: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_references(path)
    message = str(error.value)
    assert message.startswith(f"{path}: its lines are those of {format} and not of Kaldi's text")
    assert remedy in message and "\n" not in message
    # The same for hypotheses.
    with pytest.raises(InputError, match=r"its lines are those of .* and not of Kaldi's text"):
        import_nbest(path, "text")


def test_hypotheses_of_another_format_are_refused_with_its_option(tmp_path: Path) -> None:
    for name in ("x.stm", "x.ctm", "x.trn", "x.csv", "x.tsv", "x.jsonl"):
        path = tmp_path / name
        path.write_text(CTM if name == "x.ctm" else FILES[name])
        option = name[2:].replace("tsv", "csv")
        with pytest.raises(InputError, match=f"use --format {option}"):
            import_nbest(path, "text")
        if name != "x.tsv":  # whose header has other names
            assert "talk_1" in import_nbest(path, option).table["utt"].tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.stm", FILES["text"], "line 1: not a line UTT CHANNEL SPEAKER"),
        ("x.trn", FILES["text"], r"line 1: there is no \(UTT\)"),
        ("x.ctm", FILES["text"], "line 1: not a line UTT CHANNEL START"),
        ("x.ctm", "a 1 * * <ALT_BEGIN>\na 1 0 1 x\n", "a has <ALT_BEGIN> without <ALT_END>"),
        ("x.ctm", "a 1 0 1 x\na 1 * * <ALT>\n", "line 2: <ALT> is not within <ALT_BEGIN>"),
        ("x.ctm", "a 1 * * <ALT_END>\n", "line 1: <ALT_END> is not within <ALT_BEGIN>"),
        ("x.ctm", "a 1 * * <ALT_BEGIN>\na 1 * * <ALT_BEGIN>\n", "line 2: <ALT_BEGIN> is not"),
        ("x.ctm", "a 1 * * x\n", "line 1: time '.' is not a number"),
        ("x.csv", FILES["text"], "the header talk_1 hello there has no utt"),
        ("x.tsv", "a\thello\nb\tyou\n", "the header a, hello has no utt"),
        ("x.json", FILES["text"], "line 1: not JSON"),
        ("x.jsonl", '{"utt": "a"\n', "line 1: not JSON"),
        ("x.jsonl", '{"utt": "a", "text": "x"}\n[]\n', "line 2: not a JSON object"),
        ("x.jsonl", '{"utt": "a", "ref": "x", "ref": "y"}\n', "line 1: key 'ref' occurs twice"),
        ("x.jsonl", '{"text": "x"}\n', "line 1: neither utt nor id in the object"),
        ("x.json", '{"a": {"ref": "x", "hyp_1": {}}}', "line 1: neither utt nor id"),
        ("x.jsonl", '{"utt": null, "text": "x"}\n', "line 1: None is not an utterance id"),
        ("x.jsonl", '{"utt": "a", "text": 5}\n', "line 1: reference '5' is not a string"),
        ("x.jsonl", '{"utt": "a", "ref": null, "text": "hyp"}\n', "there are no references"),
        ("x.srt", "1\n", "subtitles have no utterance ids"),
        ("x.parquet", "PAR1", "a Parquet table is not read here"),
        ("x.csv", "utt,text\na,x\na,y\n", "line 3: utterance 'a' occurs twice"),
        ("x.csv", "utt,text\na,x\na,x\n", "line 3: utterance 'a' occurs twice"),
        ("x.csv", "utt,ref\na,x\na,y\n", "line 3: utterance 'a' occurs twice"),
        ("x.trn", "x (a_1)\ny (a_1)\n", "utterance 'a_1' occurs twice"),
        ("x.jsonl", '{"utt": "a", "text": "x"}\n' * 2, "line 2: utterance 'a' occurs twice"),
        ("x.csv", "utt,text\na,x,y\n", "line 2: the row has 3 values"),
    ],
)
def test_malformed_references(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_references(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_kaldi_text_is_never_refused() -> None:
    """Also where its words are digits, marks or in brackets, as long as one line is text."""
    rng = random.Random(3)
    words = ["1", "2", "30", "15", "(uh)", "(laughs)", "<unk>", "[noise]", "hello", "it's", "/"]
    for number in range(2000):
        lines = [
            " ".join([f"utt{number}-{n}", *rng.choices(words, k=rng.randrange(8))])
            for n in range(2 + rng.randrange(6))
        ]
        assert list(clear_formats(lines)) == []
    digits = [f"d{n} {' '.join(map(str, range(n, n + 5)))}" for n in range(5)]
    assert list(clear_formats(digits)) == []
    assert list(clear_formats(["utt text", "text utt", "id ref"])) == []


def write_all(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        (folder / name).write_text(content)


def test_score_counts_the_same_with_references_of_any_format(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_all(tmp_path, FILES)
    (tmp_path / "hyp").write_text("talk_1 hello there\ntalk_2 oh\ntalk_3 good day two you\n")
    out = str(tmp_path / "n.parquet")
    assert main(["import-nbest", str(tmp_path / "hyp"), "--format", "text", "-o", out]) == 0
    printed = set()
    for name in FILES:
        capsys.readouterr()
        assert main(["score", out, "--refs", str(tmp_path / name)]) == 0
        printed.add(capsys.readouterr().out)
    assert len(printed) == 1
    assert "33.33" in printed.pop()  # 2 errors in 6 words


def test_compare_tune_and_choose_read_them_too(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_all(tmp_path, FILES)
    lists = [
        {"utt": utt, "hyps": [{"text": f"{text} x", "score": -1}, {"text": text, "score": -2}]}
        for utt, text in TEXTS.items()
    ]
    path, out = tmp_path / "hyp.jsonl", str(tmp_path / "n.parquet")
    path.write_text("".join(json.dumps(one) + "\n" for one in lists))
    assert main(["import-nbest", str(path), "--format", "jsonl", "-o", out]) == 0
    for name in ("x.stm", "x.csv", "x.trn", "lists.jsonl"):
        weights = str(tmp_path / "w.json")
        refs = str(tmp_path / name)
        capsys.readouterr()
        assert main(["tune", out, "--refs", refs, "--columns", "words", "-o", weights]) == 0
        assert "0 word errors with these weights, 3 with acoustic alone" in capsys.readouterr().err
        chosen = ["choose", out, "--weights", weights, "-o", str(tmp_path / "c.parquet")]
        assert main([*chosen, "--refs", refs]) == 0
        assert "chosen │  0.00" in capsys.readouterr().out
    config = {"nbest": str(path), "format": "jsonl", "references": str(tmp_path / "x.stm")}
    experiment = {
        "name": "x",
        "splits": {"test": config},
        "systems": {"first-pass": {"lists": "imported"}},
    }
    (tmp_path / "x.yaml").write_text(json.dumps(experiment))
    code = main(["compare", str(tmp_path / "x.yaml"), "--out", str(tmp_path / "compared")])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "50.00" in shown.out


def test_empty_cells_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.csv"
    path.write_text("utt,text,ref\na,x,y\nb,x,\nc,x, \n")
    message = f"{path}: 2 of 3 references are empty (first: b)"
    assert read_references(path) == {"a": "y", "b": "", "c": " "}
    assert message in caplog.text
    caplog.clear()
    assert import_nbest(path, "csv").references == {"a": "y", "b": "", "c": " "}
    assert message in caplog.text
    caplog.clear()
    path.write_text("utt,ref\na,y\nb,z\n")
    read_references(path)
    assert not caplog.text


def test_every_pair_of_formats_gives_the_same_references(tmp_path: Path) -> None:
    write_all(tmp_path, FILES)
    for one, other in itertools.combinations(FILES, 2):
        assert read_references(tmp_path / one) == read_references(tmp_path / other)
