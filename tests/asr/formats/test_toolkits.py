"""Other toolkits' N-best files in the layouts that these write, and malformed files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from asr.formats.nbest_import import FORMATS, import_nbest
from asr.formats.records import Imported
from asr.nbest import check_nbest, read_nbest
from experiments.cli import main
from lm.errors import InputError

LISTS = {"a": [("x y", -1.5), ("x", -2.0)], "b": [("", -0.5), ("z", -3.0)], "c": [("w v", -0.1)]}
REFERENCES = {"a": "x y", "b": "", "c": "w"}


def found_lists(found: Imported) -> dict[str, list[tuple[str, float]]]:
    check_nbest(found.table, "test")
    return {
        str(utt): list(zip(rows["text"], rows["acoustic"].round(6), strict=True))
        for utt, rows in found.table.groupby("utt", sort=False)
    }


def manifest(folder: Path) -> Path:
    path = folder / "manifest.jsonl"
    lines = [
        {"id": utt, "audio_filepath": f"{utt}.wav", "text": text}
        for utt, text in REFERENCES.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def nemo(folder: Path) -> Path:
    path = folder / "preds_out_size2_alpha1.0_beta0.0.tsv"
    path.write_text("".join(f"{t}\t{s}\n" for one in LISTS.values() for t, s in one))
    return path


def kaldi(folder: Path) -> Path:
    lines = [(f"{u}-{k}", t, s) for u, one in LISTS.items() for k, (t, s) in enumerate(one, 1)]
    (folder / "words_text").write_text("".join(f"{key} {text}\n" for key, text, _ in lines))
    (folder / "acwt").write_text("".join(f"{key} {-score}\n" for key, _, score in lines))
    (folder / "lmwt.nolm").write_text("".join(f"{key} 0.125\n" for key, _, _ in lines))
    (folder / "lmwt.withlm").write_text("".join(f"{key} 0.25\n" for key, _, _ in lines))
    return folder


def wenet(folder: Path) -> Path:
    path = folder / "result"
    lines = []
    for utt, one in LISTS.items():
        # decoder_main writes no candidate without words.
        lines += [f"wav {utt}", *(f"candidate {s} {t}" for t, s in one if t)]
    path.write_text("\n".join(lines) + "\n")
    return path


def mlm_scoring(folder: Path) -> Path:
    path = folder / "lists.json"
    content: dict[str, dict[str, object]] = {}
    for utt, one in LISTS.items():
        content[utt] = {"ref": REFERENCES[utt]}
        for k in range(len(one), 0, -1):  # in any order
            text, score = one[k - 1]
            content[utt][f"hyp_{k}"] = {"score": score, "text": f" {text}"}
    path.write_text(json.dumps(content))
    return path


def csv_table(folder: Path) -> Path:
    path = folder / "lists.csv"
    rows = [(u, t, s, REFERENCES[u]) for u, one in LISTS.items() for t, s in reversed(one)]
    pd.DataFrame(rows, columns=["utt", "text", "score", "ref"]).to_csv(path, index=False)
    return path


def tsv_with_ranks(folder: Path) -> Path:
    path = folder / "lists.tsv"
    rows = [
        (k, u, s, t) for u, one in LISTS.items() for k, (t, s) in reversed([*enumerate(one, 1)])
    ]
    table = pd.DataFrame(rows, columns=["rank", "utt", "score", "text"])
    table.to_csv(path, index=False, sep="\t")
    return path


@pytest.mark.parametrize(
    ("format", "write", "with_references"),
    [
        ("nemo", nemo, True),
        ("kaldi", kaldi, False),
        ("mlm-scoring", mlm_scoring, True),
        ("csv", csv_table, True),
        ("csv", tsv_with_ranks, False),
    ],
)
def test_lists_of_other_toolkits(tmp_path: Path, format: str, write, with_references: bool) -> None:  # type: ignore[no-untyped-def]
    found = import_nbest(write(tmp_path), format, manifest(tmp_path))
    assert found_lists(found) == LISTS
    assert found.references == (REFERENCES if with_references else None)


def test_wenet(tmp_path: Path) -> None:
    found = found_lists(import_nbest(wenet(tmp_path), "wenet"))
    assert found == {"a": LISTS["a"], "b": [("z", -3.0)], "c": LISTS["c"]}
    silent = tmp_path / "silent"
    silent.write_text("wav a\nwav b\ncandidate -1 x\n")
    assert found_lists(import_nbest(silent, "wenet")) == {"a": [("", 0.0)], "b": [("x", -1.0)]}


def test_kaldi_text_alone_and_dashes_in_ids(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("61-70968-0000-2 b\n61-70968-0000-1 a\n61-70968-0000-10 a\n")
    assert found_lists(import_nbest(path, "kaldi")) == {"61-70968-0000": [("a", 0.0), ("b", 0.0)]}


def test_icefall(tmp_path: Path) -> None:
    path = tmp_path / "recogs-test-clean.txt"
    path.write_text(
        "61-1:\tref=['HE', \"ISN'T\"]\n61-1:\thyp=['HE', 'IS']\n"
        "61-1:\ttimestamp_hyp=[0.120, 0.400]\n61-2:\tref=[]\n61-2:\thyp=[]\n"
    )
    found = import_nbest(path, "icefall")
    assert found_lists(found) == {"61-1": [("HE IS", 0.0)], "61-2": [("", 0.0)]}
    assert found.references == {"61-1": "HE ISN'T", "61-2": ""}


def test_a_damaged_cut_of_icefall_does_not_lose_the_others(tmp_path: Path) -> None:
    path = tmp_path / "recogs.txt"
    lines = ["a:\tref=['x']", "b:\tref=['x']", "b:\thyp=['x'", "c:\tref=['y']", "c:\thyp=['z']"]
    path.write_text("\n".join(lines) + "\n")
    found = import_nbest(path, "icefall")
    assert found_lists(found) == {"c": [("z", 0.0)]} and found.references == {"c": "y"}
    assert "cut a has no hyp=" in found.failures["a"]
    assert "line 3: \"['x'\" is not a complete list of words" in found.failures["b"]


def test_hypo2trans(tmp_path: Path) -> None:
    path = tmp_path / "test_wsj.json"
    path.write_text(
        json.dumps(
            [
                {"input": ["a b", "a", "a b", "<UNK>"], "output": "a b"},
                {"input1": "c", "input2": "d. e.", "output": "<UNK>"},
            ]
        )
    )
    found = import_nbest(path, "hypo2trans")
    assert found_lists(found) == {
        "test_wsj-000001": [("a b", 0.0), ("a", 0.0), ("", 0.0)],
        "test_wsj-000002": [("c", 0.0)],
    }
    assert found.references == {"test_wsj-000001": "a b", "test_wsj-000002": ""}
    with pytest.raises(InputError, match=r"2 entries, .* has 3"):
        import_nbest(path, "hypo2trans", manifest(tmp_path))


def test_nemo_lists_of_different_lengths_begin_where_the_score_rises(tmp_path: Path) -> None:
    path = nemo(tmp_path)
    lines = path.read_text().splitlines()
    assert len(lines) == 5  # 2, 2 and 1
    assert found_lists(import_nbest(path, "nemo", manifest(tmp_path))) == LISTS
    path.write_text("\n".join(lines[:4]) + "\n")  # four lines and only one rise
    with pytest.raises(InputError, match="4 lines cannot be the lists of the 3 utterances"):
        import_nbest(path, "nemo", manifest(tmp_path))
    with pytest.raises(InputError, match="no ids; add the manifest"):
        import_nbest(path, "nemo")


@pytest.mark.parametrize(
    ("format", "content", "message"),
    [
        ("nemo", "no tab\n", "line 1: there is no tab"),
        ("nemo", "x\tmany\n", "line 1: score 'many' is not a number"),
        ("kaldi", "a-1 x\nb y\n", "line 2: 'b' is not UTT-K"),
        ("kaldi", "a-1 x\na-1 y\n", "line 2: a-1 occurs twice"),
        ("icefall", "a hyp=['x']\n", "line 1: not CUT"),
        ("icefall", "a:\tref=['x']\n", "cut a has no hyp=; is the file complete"),
        ("icefall", "a:\thyp=['x']\na:\thyp=['x']\n", "line 2: hyp of a occurs twice"),
        ("wenet", "a text\n", "line 1: neither `wav UTT`"),
        ("wenet", "candidate -1 x\n", "line 1: neither"),
        ("wenet", "wav a\ncandidate nan x\n", "line 2, utterance a: score is NaN"),
        ("wenet", "wav a\nwav a\n", "line 2: utterance a occurs twice"),
        ("mlm-scoring", "[1]", "not a JSON object with an entry"),
        (
            "mlm-scoring",
            '{"a": {"hyp_1": {"text": "x"}}}',
            "utterance a, hyp_1: score 'None' is not a number",
        ),
        ("mlm-scoring", '{"a": {"ref": "x"}}', "utterance a: there are no hypotheses"),
        ("mlm-scoring", '{"a": {"hyp_1": ', "not JSON .* is the file complete"),
        ("hypo2trans", "{}", "not a list of objects"),
        ("hypo2trans", '[{"output": "x"}]', "entry 1: there is no list of texts named input"),
        ("csv", "utt,score\na,1\n", "header utt, score has no text"),
        ("csv", "utt,text\na,x,y\n", "line 2: the row has 3 values for 2 columns"),
        ("csv", "utt,text,score\na,x,nan\n", "line 2, utterance a: score is NaN"),
        ("trn", "words without id\n", r"line 1: there is no \(UTT\)"),
        ("trn", "x (a)\ny (a)\n", "utterance a occurs twice"),
        ("ctm", "a 1 0.0 x\n", "line 1: not a line UTT CHANNEL START"),
        ("ctm", "a 1 zero 0.1 x\n", "line 1: time 'zero' is not a number"),
        ("stm", "a 1 s 0.0\n", "line 1: not a line UTT CHANNEL SPEAKER"),
        ("text", "a x\na y\n", "utterance a occurs twice"),
        *(
            (format, "", "no utterances|not JSON")
            for format in sorted({*FORMATS} - {"espnet", "nemo"})
        ),
    ],
)
def test_bad_files_are_named_with_their_line(
    tmp_path: Path, format: str, content: str, message: str
) -> None:
    path = tmp_path / "bad"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        import_nbest(path, format, manifest(tmp_path) if format == "nemo" else None)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("format", list(FORMATS))
def test_missing_files_and_wrong_bytes(tmp_path: Path, format: str) -> None:
    with pytest.raises(InputError):
        import_nbest(tmp_path / "nowhere", format, manifest(tmp_path))
    (tmp_path / "latin").write_bytes(b"caf\xe9 x\n")
    if format != "espnet":  # a folder
        with pytest.raises(InputError, match="latin, line 1: not UTF-8"):
            import_nbest(tmp_path / "latin", format, manifest(tmp_path))


def test_the_command_reads_nemo_with_a_manifest(tmp_path: Path) -> None:
    out = tmp_path / "n.parquet"
    command = ["import-nbest", str(nemo(tmp_path)), "--format", "nemo", "-o", str(out)]
    refs = tmp_path / "refs.txt"
    assert main([*command, "--manifest", str(manifest(tmp_path)), "--refs-out", str(refs)]) == 0
    assert read_nbest(out)["utt"].unique().tolist() == ["a", "b", "c"]
    assert main(["score", str(out), "--refs", str(refs)]) == 0
