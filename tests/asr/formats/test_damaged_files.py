"""Damaged files of every format: a result that can be written, or an error of one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from asr.formats.nbest_import import FORMATS, import_nbest
from asr.formats.references import read_references
from asr.formats.transcript_readers import READERS
from asr.nbest import check_nbest
from tests.support.damage import refusals

MANIFEST = '{"audio_filepath": "a.wav", "text": "x y"}\n{"audio_filepath": "b.wav", "text": ""}\n'
WORDS = '"words": [{"word": " x", "start": 0, "end": 0.5}, {"word": " y", "start": 1, "end": 2}]'
# The damaged file is the last one; espnet and kaldi have one case for each of their files.
LISTS: dict[str, tuple[str, dict[str, str]]] = {
    "jsonl": (
        "jsonl",
        {
            "x.jsonl": '{"utt": "a", "ref": "x y", "hyps": [{"text": "x", "score": -1.5, "lm": -2},'
            ' {"text": "y", "score": -2, "lm": -1}]}\n'
            '{"utt": "b", "hyps": [{"text": "", "score": -1e-2, "lm": -3}]}\n'
        },
    ),
    "jsonl-transcripts": ("jsonl", {"x.jsonl": '{"utt": "a", "text": "x y", ' + WORDS + "}\n"}),
    "csv": (
        "csv",
        {"x.csv": 'utt,text,score,rank,ref,lm\na,"x ""y""",-1.5,1,x y,-2\na,x,-2,2,x y,-3\n'},
    ),
    "tsv": ("csv", {"x.tsv": "utt\ttext\tscore\na\tx\t-1.5\nb\t'=y\t-2\n"}),
    "espnet-text": (
        "espnet",
        {"1best_recog/score": "a tensor(-1.5)\nb -2\n", "1best_recog/text": "a x y\nb\n"},
    ),
    "espnet-score": (
        "espnet",
        {"1best_recog/text": "a x y\nb\n", "1best_recog/score": "a tensor(-1.5)\nb -2\n"},
    ),
    "nemo": ("nemo", {"m.json": MANIFEST, "preds_out_width2_a.tsv": "x\t-1\ny\t-2\nz\t-1\nu\t-3"}),
    "nemo-any": ("nemo", {"m.json": MANIFEST, "preds.tsv": "x\t-1\ny\t-2\nz\t-1\n"}),
    "kaldi-text": ("kaldi", {"acwt": "a-1 5.5\na-2 6\n", "words_text": "a-1 x y\na-2 x\n"}),
    "kaldi-costs": ("kaldi", {"words_text": "a-1 x y\na-2 x\n", "acwt": "a-1 5.5\na-2 6\n"}),
    "icefall": ("icefall", {"x.txt": "a-1:\tref=['x', \"y's\"]\na-1:\thyp=['x']\nb:\thyp=x y\n"}),
    "wenet": ("wenet", {"x": "wav a\ncandidate -1.5 x y\ncandidate -2 x\nwav b\n"}),
    "mlm-scoring": (
        "mlm-scoring",
        {"x": '{"a": {"hyp_1": {"text": "x", "score": -1}, "ref": "x"}, "b": {"hyp_1": 5}}'},
    ),
    "hypo2trans": ("hypo2trans", {"x": '[{"input": ["x y", "x"], "output": "x y"}]'}),
    "whisper": ("whisper", {"a.json": '{"text": " x y", "segments": [{' + WORDS + "}]}"}),
    "text": ("text", {"x": "a x y\nb\nc \xe9\n"}),
    "trn": ("trn", {"x": ";; c\nx { y / @ } (a_1)\n(a_2)\n"}),
    "ctm": (
        "ctm",
        {
            "x": "a 1 0.5 0.25 x 0.5\na 1 * * <ALT_BEGIN>\na 1 1 .5 y\na 1 * * <ALT>\n"
            "a 1 1 .5 z\na 1 * * <ALT_END>\n"
        },
    ),
    "stm": ("stm", {"x": ";; c\na 1 s 0.0 1.5 <o,f0> x y\na 1 s 1.5 2 <o> z\nb A t 0 1\n"}),
}


def test_every_format_is_damaged() -> None:
    assert {format for format, _ in LISTS.values()} == set(FORMATS)


@pytest.mark.parametrize("case", LISTS)
def test_lists(tmp_path: Path, case: str) -> None:
    format, files = LISTS[case]
    path = tmp_path
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    place = tmp_path if format in ("espnet", "kaldi") else path
    manifest = tmp_path / "m.json" if format == "nemo" else None

    def read(_: Path) -> None:
        found = import_nbest(place, format, manifest)
        check_nbest(found.table, case)
        pyarrow.Table.from_pandas(found.table)
        assert all(len(why.splitlines()) == 1 for why in found.failures.values())
        assert set(found.references or {}) <= set(found.table["utt"])

    read(path)
    messages = refusals(read, path)
    assert 0 < len(messages) < 300
    assert all(str(tmp_path) in message for message in messages)


@pytest.mark.parametrize("format", READERS)
def test_transcripts(tmp_path: Path, format: str) -> None:
    path = tmp_path / "x"
    path.write_text(LISTS[format][1]["x"], encoding="utf-8")
    assert all(str(path) in message for message in refusals(READERS[format], path))


REFERENCES = {
    "text": "a x y\nb\nc z\n",
    "x.csv": 'utt,text\na,"x, y"\nb,\'=y\n',
    "x.tsv": "id\tref\na\tx y\nb\tz\n",
    "x.json": '[{"utt": "a", "text": "x y"}, {"utt": "b", "text": ""}]',
    "x.jsonl": '{"utt": "a", "ref": "x y", "text": "z"}\n{"id": "b", "text": "z"}\n',
    "manifest": MANIFEST,
    "audio.csv": "audio_filepath,text,speaker\na.wav,x y,s\nb.wav,,t\n",
    "x.stm": LISTS["stm"][1]["x"],
    "x.ctm": LISTS["ctm"][1]["x"],
    "x.trn": LISTS["trn"][1]["x"],
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
@pytest.mark.parametrize("name", REFERENCES)
def test_references(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / name
    path.write_bytes(pack(REFERENCES[name].encode()))

    def read(path: Path) -> None:
        found = read_references(path)
        assert found and json.dumps(found, ensure_ascii=False).encode()

    if not (name == "audio.csv" and pack is gzip.compress):
        read(path)
    assert all(str(path) in message for message in refusals(read, path))
