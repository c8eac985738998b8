"""Manifests, tables and references that are damaged, or that say what cannot be."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.corpus import Utterance, read_corpus, write_manifest
from asr.formats.references import read_references
from lm.errors import InputError
from tests.support.damage import refusals

NOISE = {"kind": "pink", "snr_db": 5, "seed": 3}
ENTRIES = [
    {"id": "ä1", "audio_filepath": "a.wav", "text": "one 二", "offset": 0.5, "duration": 1.25},
    {"audio_filepath": "b.wav", "text": "", "channel": 1, "sample_rate": 8000, "noise": NOISE},
    {"audio_filepath": "c/d.flac", "speaker": "s", "tags": {"accent": "scots"}, "labels": [1, 2]},
]
MANIFEST = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in ENTRIES)
TABLE = (
    "id,audio_filepath,text,offset,noise\n"
    'u1,a.wav,"one, ""two""",0.5,"{""kind"": ""pink"", ""snr_db"": 5, ""seed"": 3}"\n'
    "u2,b.wav,,,\n"
)
TABBED = 'audio_filepath\ttext\tsnr\na.wav\t"one ""two"""\t5\nb.wav\t\t\nc.wav\tthree\t-1.5\n'
KALDI = "u1 one two\nu2\nü3\tdrei\n"
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize(
    ("name", "content"),
    [("m.jsonl", MANIFEST), ("t.csv", TABLE), ("t.tsv", TABBED)],
)
def test_a_damaged_corpus_is_read_or_refused(
    tmp_path: Path, name: str, content: str, packed: str
) -> None:
    path = tmp_path / f"{name}{packed}"
    path.write_bytes(PACK[packed](content.encode()))
    whole = read_corpus(path)

    def read(path: Path) -> None:
        found = read_corpus(path)
        # What was read can be written, and read again.
        write_manifest(found, tmp_path / "again.jsonl")
        assert [u.id for u in read_corpus(tmp_path / "again.jsonl")] == [u.id for u in found]
        if packed:
            assert found == whole

    messages = refusals(read, path)
    assert len(messages) > 60
    assert all(message.startswith(str(path)) for message in messages)


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize(("name", "content"), [("text", KALDI), ("m.jsonl", MANIFEST)])
def test_damaged_references_are_read_or_refused(
    tmp_path: Path, name: str, content: str, packed: str
) -> None:
    path = tmp_path / f"{name}{packed}"
    path.write_bytes(PACK[packed](content.encode()))
    whole = read_references(path)

    def read(path: Path) -> None:
        found = read_references(path)
        for text in (*found, *found.values()):
            text.encode()
        if packed:
            assert found == whole

    messages = refusals(read, path)
    assert len(messages) > 20
    assert all(message.startswith(str(path)) for message in messages)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"audio_filepath": "b", "tags": ' + "[" * 100_000, "not JSON (lists or objects are too"),
        ('{"audio_filepath": "b", "id": "x\\ud800"}', "'\\ud800' is half of a surrogate pair"),
        ('{"audio_filepath": "b", "text": "x\\uDC80"}', "half of a surrogate pair"),
        ('{"audio_filepath": "b", "text": "x", "text": "y"}', "key 'text' occurs twice"),
        ('{"audio_filepath": "b", "id": ["x"]}', "`id` is ['x'], not a name"),
        ('{"audio_filepath": "b", "id": ""}', "`id` is '', not a name"),
        ('{"audio_filepath": "b", "id": "x\\ny"}', "`id` 'x\\ny' has line breaks"),
        ('{"audio_filepath": "b", "channel": 0.5}', "`channel` is 0.5; it must be a whole number"),
        ('{"audio_filepath": "b", "duration": true}', "`duration` is True, not a number"),
        ('{"audio_filepath": "b", "offset": 1e305}', "it must not be above 1e+09"),
        ('{"audio_filepath": "b", "duration": 1' + "0" * 400 + "}", "`duration` is 1"),
        ('{"audio_filepath": "b\\u0000"}', "not a path"),
        ('{"audio_filepath": "' + "b" * 300 + '"}', "too long for the name of a file"),
        ('{"audio_filepath": "b", "noise": {"kind": [], "snr_db": 1, "seed": 1}}', "noise of kind"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio_filepath": "a.wav"}\n' + line + "\n")
    with pytest.raises(InputError) as error:
        read_corpus(path)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert message in str(error.value)


def test_whole_characters_as_pairs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio_filepath": "a.wav", "text": "\\ud83d\\ude00"}\n')
    assert read_corpus(path)[0].text == "😀"


def test_lists_in_tags_become_texts(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(MANIFEST, encoding="utf-8")
    assert read_corpus(path)[2].tags == {"labels": "[1, 2]", "accent": "scots"}


def test_a_quotation_mark_without_its_partner_hides_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text('audio_filepath\ttext\na.wav\t"one\nb.wav\ttwo\nc.wav\tthree\n')
    with pytest.raises(InputError, match=r"not a table .*quotation mark"):
        read_corpus(path)
    path.write_text("audio_filepath\ttext\ttext\na.wav\tone\ttwo\n")
    with pytest.raises(InputError, match="line 1: there are two columns 'text'"):
        read_corpus(path)


def test_a_file_whose_name_is_not_utf8_is_named_at_once(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    try:
        Path(name).touch()
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    with pytest.raises(InputError, match=r"'caf\\udce9', is not UTF-8; rename the file"):
        read_corpus(tmp_path)


def test_compressed_tables_are_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TABLE.encode()))
    found = read_corpus(path)
    assert [(u.id, u.text) for u in found] == [("u1", 'one, "two"'), ("u2", "")]
    assert found[1] == Utterance("u2", tmp_path / "b.wav", "")
