"""Corpora in every form, and errors that name file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr.audio import Noise
from asr.corpus import Utterance, read_corpus, write_manifest
from asr.formats.references import read_references
from lm.errors import InputError


def manifest(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def test_nemo_keys_and_ours(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        {"audio_filepath": "a.wav", "duration": 2.5, "text": "HELLO", "lang": "en"},
        {"audio_filepath": "a.wav", "offset": 2.5, "text": ""},
        {
            "id": "x",
            "audio_filepath": "/abs/b.flac",
            "channel": 1,
            "speaker": 7,
            "noise": {"kind": "pink", "snr_db": 5, "seed": 3},
            "tags": {"accent": "scots"},
        },
    )
    first, second, third = read_corpus(path)
    assert first == Utterance("a", tmp_path / "a.wav", "HELLO", duration=2.5, tags={"lang": "en"})
    assert (second.id, second.offset, second.text) == ("a-2.5", 2.5, "")
    assert third.audio_filepath == Path("/abs/b.flac")
    assert third.noise == Noise("pink", 5.0, 3)
    assert (third.channel, third.speaker, third.text) == (1, "7", None)
    assert third.tags == {"accent": "scots"}


def test_a_written_manifest_is_read_back(tmp_path: Path) -> None:
    utterances = [
        Utterance("one", tmp_path / "audio" / "one.wav", "A", 1.0, 2.0, "s", 0, 16000),
        Utterance("two", Path("/other/two.wav"), noise=Noise("white", 0.0, 1), tags={"k": "v"}),
    ]
    write_manifest(utterances, tmp_path / "out.jsonl")
    assert read_corpus(tmp_path / "out.jsonl") == utterances
    entry = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert entry["audio_filepath"] == "audio/one.wav"


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_tables(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = tmp_path / f"t{suffix}"
    rows = [["id", "audio_filepath", "duration", "text"], ["u", "a.wav", "1.5", "HI"]]
    path.write_text("\n".join(delimiter.join(row) for row in rows))
    assert read_corpus(path) == [Utterance("u", tmp_path / "a.wav", "HI", duration=1.5)]


def test_tables_from_a_spreadsheet_with_noise_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    noise = '"{""kind"": ""pink"", ""snr_db"": 5, ""seed"": 3}"'
    path.write_bytes(
        b"\xef\xbb\xbfaudio_filepath,text,offset,noise,tags\r\n"
        + f'a.wav,"HI, YOU",,{noise},"{{""accent"": ""scots""}}"\r\n'.encode()
        + b"b.wav,,1234.5678,,\r\n"
    )
    first, second = read_corpus(path)
    assert first.text == "HI, YOU"
    assert first.noise == Noise("pink", 5.0, 3)
    assert first.tags == {"accent": "scots"}
    assert (second.id, second.text, second.noise) == ("b-1234.5678", "", None)
    for row, message in (
        ("a.wav", "the line does not have as many fields as the header"),
        ("a.wav,,,pink,", "`noise`: not JSON"),
    ):
        path.write_text(f"audio_filepath,text,offset,noise,tags\n{row}\n")
        with pytest.raises(InputError, match=f"line 2: {message}"):
            read_corpus(path)


def test_librispeech_layout_and_folder_of_audio(tmp_path: Path) -> None:
    chapter = tmp_path / "ls" / "19" / "198"
    chapter.mkdir(parents=True)
    (chapter / "19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n19-198-0001\n")
    found = read_corpus(tmp_path / "ls")
    assert [(u.id, u.text, u.speaker) for u in found] == [
        ("19-198-0000", "NORTHANGER ABBEY", "19"),
        ("19-198-0001", "", "19"),
    ]
    assert found[0].audio_filepath == chapter / "19-198-0000.flac"
    (tmp_path / "plain" / "sub").mkdir(parents=True)
    for name in ("b.WAV", "sub/a.flac", "notes.txt"):
        (tmp_path / "plain" / name).touch()
    assert [u.id for u in read_corpus(tmp_path / "plain")] == ["b", "sub/a"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object"),
        ({"text": "x"}, "line 2: key `audio_filepath` is missing"),
        ({"audio_filepath": "b", "duration": "long"}, "line 2: `duration` is 'long'"),
        ({"audio_filepath": "b", "offset": -1}, "line 2: `offset` is -1"),
        ({"audio_filepath": "b", "text": 3}, "line 2: `text` is 3"),
        ({"audio_filepath": "b", "noise": {"kind": "pink"}}, "line 2: `noise` needs"),
        (
            {"audio_filepath": "b", "noise": {"kind": "blue", "snr_db": 1, "seed": 1}},
            "line 2: noise of kind 'blue'",
        ),
        (
            {"audio_filepath": "b", "noise": {"kind": "pink", "snr_db": "loud", "seed": 1}},
            "line 2: `noise`",
        ),
        (
            {"audio_filepath": "b", "noise": {"kind": "pink", "snr_db": 5, "seed": -1}},
            "line 2: `noise`",
        ),
        ('{"audio_filepath": "b", "offset": Infinity}', "line 2: `offset` is inf"),
        ({"audio_filepath": None}, "line 2: `audio_filepath` is None"),
        ({"audio_filepath": "x/a.wav"}, "'a' occurs twice"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, line: object, message: str) -> None:
    path = manifest(tmp_path, {"audio_filepath": "a.wav"}, line)
    with pytest.raises(InputError) as error:
        read_corpus(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such manifest"):
        read_corpus(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="neither"):
        read_corpus(tmp_path)
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"audio_filepath": "ü"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.jsonl, line 1: not UTF-8 \(byte 0xFC after"):
        read_corpus(path)


def test_references_from_manifest_and_kaldi_text(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"audio_filepath": "a.wav", "text": "A B"})
    assert read_references(path) == {"a": "A B"}
    assert read_references(path.rename(tmp_path / "manifest.txt")) == {"a": "A B"}
    text = tmp_path / "text"
    text.write_text("u1\tA  B\nu2\n\n")
    assert read_references(text) == {"u1": "A  B", "u2": ""}
    text.write_text("u1 A\nu1 B\n")
    with pytest.raises(InputError, match="line 2: utterance 'u1' occurs twice"):
        read_references(text)
    text.write_text("")
    with pytest.raises(InputError, match="no references"):
        read_references(text)
