"""The report: its numbers against brute force and other libraries, and what the file holds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jiwer
import numpy as np
import pandas as pd
import pytest

from asr.evaluation.wer import oracle
from experiments.breakdown import confusions, oracle_by_n
from experiments.cli import main
from experiments.report import write_report
from experiments.report_page.curves import (
    Lists,
    errors_by_n,
    split_curves,
    weight_axis,
    weight_curve,
    weight_map,
)
from experiments.report_page.explorer import audio_link, shown, split_explorer
from experiments.report_page.groups import split_groups
from experiments.report_page.payload import plain
from experiments.report_page.run import read_run, read_runs
from lm.combine import total, winners
from lm.errors import InputError
from lm.text.normalisers import Normaliser
from tests.support.data import PROJECT
from tests.support.result_folders import COUNTING, HOSTILE, random_results, sweep_results


def random_table(seed: int, utterances: int = 9) -> pd.DataFrame:
    """Lists of different lengths, rows in any order, with ties and impossible hypotheses."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(utterances):
        for rank in range(1, int(rng.integers(2, 9))):
            rows.append((f"utt{u}", rank, f"text {rank}", int(rng.integers(0, 4))))
    table = pd.DataFrame(rows, columns=["utt", "rank", "text", "errors"])
    table["acoustic"] = -rng.integers(0, 6, len(table)).astype(float)
    table["llm"] = -rng.integers(0, 6, len(table)).astype(float)
    table["words"] = rng.integers(0, 5, len(table))
    table.loc[rng.random(len(table)) < 0.2, "llm"] = -np.inf
    return table.sample(frac=1.0, random_state=seed)


def brute_force(table: pd.DataFrame, weights: dict[str, float]) -> int:
    return int(table["errors"].to_numpy()[winners(table, total(table, weights))].sum())


@pytest.mark.parametrize("seed", range(5))
def test_curves_equal_reranking_at_every_point(seed: int) -> None:
    table = random_table(seed)
    lists, weights = Lists.of(table), {"acoustic": 1.0, "llm": 0.5, "words": -0.25}
    llm, words = np.array([0.0, 0.25, 0.5, 2.0, -1.0]), np.array([-1.0, -0.25, 0.0, 3.0])
    expected = [brute_force(table, {**weights, "llm": float(x)}) for x in llm]
    assert weight_curve(lists, weights, "llm", llm) == expected
    expected_map = [
        [brute_force(table, {**weights, "llm": float(x), "words": float(y)}) for x in llm]
        for y in words
    ]
    assert weight_map(lists, weights, ("llm", "words"), (llm, words)) == expected_map


@pytest.mark.parametrize("seed", range(5))
def test_curves_over_n_equal_shortened_lists(seed: int) -> None:
    table = random_table(seed)
    lists, weights = Lists.of(table), {"acoustic": 1.0, "llm": 0.7}
    by_n = errors_by_n(lists, lists.totals(weights))
    best = oracle_by_n(table.assign(lists="lists"), 1)["errors"]
    assert len(by_n) == len(best) == table["rank"].max()
    for n in range(1, len(by_n) + 1):
        short = table[table["rank"] <= n]
        assert by_n[n - 1] == brute_force(short, weights)
        chosen = oracle(short, short["errors"])
        assert best[n - 1] == short["errors"].to_numpy()[chosen].sum()


@pytest.mark.parametrize("name", ["llm", "words", "llm.tokens"])
@pytest.mark.parametrize("tuned", [0.0, 0.4321, -3.7, 12.0])
def test_axes_hold_the_tuned_weight_and_zero(name: str, tuned: float) -> None:
    axis = weight_axis(name, tuned, 41)
    assert {0.0, tuned} <= set(axis)
    assert (np.diff(axis) > 0).all()


def test_confusions_are_those_that_jiwer_counts(tmp_path: Path) -> None:
    rows = read_run(random_results(tmp_path / "run")).utterances
    ref, hyp = list(rows["ref"]), list(rows["hyp"])
    found = confusions(rows["ref"], rows["hyp"])
    expected = jiwer.process_words(ref, hyp)
    for kind in ("substitutions", "deletions", "insertions"):
        assert sum(found[kind].values()) == getattr(expected, kind)
    pairs: dict[tuple[str, ...], int] = {}
    for r, h, chunks in zip(
        expected.references, expected.hypotheses, expected.alignments, strict=True
    ):
        for chunk in chunks:
            if chunk.type == "substitute":
                for k in range(chunk.ref_end_idx - chunk.ref_start_idx):
                    pair = (r[chunk.ref_start_idx + k], h[chunk.hyp_start_idx + k])
                    pairs[pair] = pairs.get(pair, 0) + 1
    assert dict(found["substitutions"]) == pairs


def test_groups_add_up_to_the_split(tmp_path: Path) -> None:
    run = read_run(random_results(tmp_path / "run"))
    groups = split_groups(run, "test")
    # Not tag.name, all different.
    assert [g["tag"] for g in groups] == ["length", "chosen rank", "speaker"]
    rows = run.systems[run.systems["split"] == "test"].set_index("label")
    for group in groups:
        for entry in group["systems"]:
            row = rows.loc[entry["system"]]
            assert sum(entry["words"]) == row["ref_words"]
            assert sum(entry["utterances"]) == row["utterances"]
            assert sum(entry["errors"]) == row[["substitutions", "deletions", "insertions"]].sum()
            for errors, words, low, high in zip(
                entry["errors"], entry["words"], entry["low"], entry["high"], strict=True
            ):
                assert low is None or low - 1e-4 <= errors / words <= high + 1e-4


def test_curves_pass_through_the_numbers_of_the_table(tmp_path: Path) -> None:
    run = read_run(random_results(tmp_path / "run"))
    curves = split_curves(run, "test")
    row = run.systems[(run.systems["split"] == "test") & (run.systems["label"] == "weighted")]
    errors = int(row[["substitutions", "deletions", "insertions"]].sum(axis=1).iloc[0])
    assert curves["by_n"][0]["errors"][-1] == errors
    for curve in curves["weights"]:
        assert curve["errors"][curve["x"].index(curve["tuned"])] == errors
    oracle_rate = curves["oracle"][0]["errors"][-1] / curves["words"]
    assert oracle_rate == pytest.approx(row["oracle_wer"].iloc[0])


def test_a_system_that_picks_otherwise_has_no_curves(tmp_path: Path) -> None:
    folder = random_results(tmp_path / "run")
    systems = pd.read_parquet(folder / "systems.parquet")
    systems.loc[systems["system"] == "weighted", "substitutions"] += 1
    systems.to_parquet(folder / "systems.parquet", index=False)
    curves = split_curves(read_run(folder), "test")
    assert curves["oracle"] and not curves["weights"] and not curves["by_n"]


def test_outputs_and_hypotheses_reach_the_page_whole(tmp_path: Path) -> None:
    run = read_run(random_results(tmp_path / "run"))
    data = plain(split_explorer(run, "test", tmp_path, anonymous=False))
    rows = run.utterances[run.utterances["split"] == "test"]
    for entry in data["systems"]:
        texts = [data["systems"][h]["hyps"][u] if isinstance(h, int) else h
                 for u, h in enumerate(entry["hyps"])]  # fmt: skip
        expected = rows[rows["label"] == entry["system"]].set_index("utt")["hyp"]
        assert texts == list(expected.loc[data["utts"]])
    lists = data["lists"][0]
    table = run.hypotheses[run.hypotheses["split"] == "test"].set_index(["utt", "rank"])
    for u, utt in enumerate(data["utts"]):
        for k in range(lists["start"][u], lists["start"][u + 1]):
            row = table.loc[(utt, lists["rank"][k])]
            assert lists["text"][k] == row["text"] and lists["errors"][k] == row["errors"]
            score = lists["scores"]["llm"][k]
            assert np.isneginf(row["llm"]) if score is None else abs(score - row["llm"]) < 6e-4


def test_confidences_reach_the_page_word_by_word(tmp_path: Path) -> None:
    run = read_run(random_results(tmp_path / "run"))
    data = plain(split_explorer(run, "test", tmp_path, anonymous=False))
    assert data["systems"][0]["sure"] is None
    rows = run.utterances[run.utterances["split"] == "test"].set_index("utt")
    rows = rows[rows["label"] == "weighted"]
    for utt, digits in zip(data["utts"], data["systems"][1]["sure"], strict=True):
        percents = [int(digits[k : k + 2]) for k in range(0, len(digits), 2)]
        assert percents == [min(99, int(100 * c)) for c in rows.loc[utt, "confidence"]]
        assert len(percents) == len(rows.loc[utt, "hyp"].split())
    assert plain(split_explorer(run, "test", tmp_path, True))["systems"][1]["sure"] is None
    # Where normalising changed the number of words, nobody knows whose confidence is whose.
    run.utterances["hyp"] += " more"
    assert split_explorer(run, "test", tmp_path, False)["systems"][1]["sure"] == [None] * len(rows)


def test_counted_texts_are_kept_where_they_differ(tmp_path: Path) -> None:
    spell = Normaliser("spell", lambda text: text.replace("ZQALPHA", "ZQALFA"))
    counting = replace(COUNTING, normalise=spell)
    for folder, how in (("plain", COUNTING), ("spelled", counting)):
        run = read_run(random_results(tmp_path / folder, counting=how))
        (lists,) = split_explorer(run, "test", tmp_path, anonymous=False)["lists"]
        changed = ["ZQALPHA" in text for text in lists["text"]]
        assert any(changed) and not all(changed)
        if folder == "plain":
            assert lists["counted"] is None
            continue
        assert [counted is not None for counted in lists["counted"]] == changed
        table = run.hypotheses[run.hypotheses["split"] == "test"]
        assert {c for c in lists["counted"] if c} <= set(table["counted"])
        (hidden,) = split_explorer(run, "test", tmp_path, anonymous=True)["lists"]
        assert hidden["counted"] is None and hidden["text"] is None


def test_long_lists_keep_what_matters() -> None:
    rank = np.arange(1, 101)
    table = pd.DataFrame(
        {"place": 0, "utt": "a", "rank": rank, "errors": np.where(rank == 70, 0, 5)}
    )
    keep = shown(table, pd.DataFrame({"utt": ["a"], "rank": [42.0]}), 20)
    assert list(rank[keep]) == [*range(1, 21), 42, 70]


def test_a_real_run_agrees_with_its_own_table() -> None:
    """The demo's lists, reweighted for the curves, give the error rates that `compare` printed."""
    folder = PROJECT / "results" / "demo"
    if not (folder / "meta.json").exists():
        pytest.skip(f"needs {folder}: `secondpass compare` writes it")
    run = read_run(folder)
    assert run.hypotheses is not None
    for split in run.splits:
        curves = split_curves(run, split)
        rows = run.systems[run.systems["split"] == split].set_index("label")
        assert {curve["system"] for curve in curves["by_n"]} == {"beam+ngram", "beam+ngram+llm"}
        for curve in curves["by_n"]:
            rate = curve["errors"][-1] / curves["words"]
            assert rate == pytest.approx(rows.loc[curve["system"], "wer"])
        best = {curve["lists"]: curve["errors"][-1] for curve in curves["oracle"]}
        for label, lists in run.lists.items():
            assert best[lists] / curves["words"] == pytest.approx(rows.loc[label, "oracle_wer"])


class Page(HTMLParser):
    """The scripts, JSON blocks and outside links of a file, as a browser's parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.code: list[str] = []
        self.blocks: dict[str, Any] = {}
        self.links: list[str] = []
        self.policy = ""
        self._script: dict[str, str | None] | None = None
        self._text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [v for k, v in attrs if k in ("src", "href") and v is not None]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""
        if tag == "script":
            self._script, self._text = found, []

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script is not None:
            text = "".join(self._text)
            if self._script.get("type") == "application/json":
                self.blocks[str(self._script["id"])] = json.loads(text)
            else:
                self.code.append(text)
            self._script = None


def test_the_file_is_whole_by_itself_and_texts_stay_data(tmp_path: Path) -> None:
    folder = random_results(tmp_path / "run")
    text = write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert HOSTILE not in text and "<script>alert" not in text
    assert HOSTILE in page.blocks["explorer-0-1"]["refs"]
    assert page.links == ["data:,"]
    assert len(page.code) == 2
    allowed = re.findall(r"'sha256-([^']+)'", page.policy)
    hashes = [base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in page.code]
    assert allowed == hashes
    assert page.policy.startswith("default-src 'none'") and "http" not in page.policy


def test_anonymous_reports_hold_no_text(tmp_path: Path) -> None:
    folder = random_results(tmp_path / "run")
    text = write_report([folder], tmp_path / "a.html", anonymous=True).read_text(encoding="utf-8")
    page = Page(text)
    data = json.dumps(page.blocks)
    run = read_run(folder)
    words = {w for column in ("ref", "hyp") for t in run.utterances[column] for w in t.split()}
    assert len(words) > 5
    assert not [word for word in words if word in data]
    assert "SECRETHOTWORD" not in data and "speech.wav" not in data
    assert page.blocks["explorer-0-0"]["systems"][0]["s"]  # counts stay


def test_older_folders_give_a_report_that_says_what_is_missing(tmp_path: Path) -> None:
    folder = random_results(tmp_path / "run")
    (folder / "hypotheses.parquet").unlink()
    (folder / "pieces.parquet").unlink()
    page = Page(write_report([folder], tmp_path / "r.html").read_text(encoding="utf-8"))
    missing = page.blocks["data"]["runs"][0]["missing"]
    assert ["hypotheses.parquet" in missing[0], "pieces.parquet" in missing[1]] == [True, True]


def test_points_of_a_sweep_have_their_own_labels(tmp_path: Path) -> None:
    run = read_run(sweep_results(tmp_path / "sweep", (4, 8, 16)))
    assert run.labels[:2] == ["first-pass [beam_width=4]", "weighted [beam_width=4]"]
    assert run.lists["weighted [beam_width=8]"] == "beam [beam_width=8]"
    assert len(split_curves(run, "test")["by_n"]) == 3
    data = Page(write_report([run.folder], tmp_path / "r.html").read_text(encoding="utf-8")).blocks
    assert data["data"]["runs"][0]["sweep"] == ["sweep.first_passes.beam.beam_width"]


def test_runs_of_one_name_are_numbered(tmp_path: Path) -> None:
    folders = [random_results(tmp_path / name, seed) for seed, name in enumerate("abc")]
    assert [run.name for run in read_runs(folders)] == ["random", "random (2)", "random (3)"]


def test_audio_is_linked_from_where_the_page_lies(tmp_path: Path) -> None:
    file = tmp_path / "run" / "sound #1 ü.wav"
    file.parent.mkdir()
    file.touch()
    link = audio_link(file.name, file.parent, tmp_path / "pages" / "deep")
    assert link is not None and "#" not in link and ":" not in link
    assert (tmp_path / "pages" / "deep" / unquote(link)).resolve() == file.resolve()
    assert audio_link("javascript:alert(1)", file.parent, tmp_path) is None


def test_the_command_writes_beside_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = random_results(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").stat().st_size > 1e6
    assert str(folder / "report.html") in capsys.readouterr().out
    assert not list(folder.glob("*.tmp"))


def test_bad_input_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
    folder = random_results(tmp_path / "run")
    table = pd.read_parquet(folder / "hypotheses.parquet").drop(columns="errors")
    table.to_parquet(folder / "hypotheses.parquet")
    with pytest.raises(InputError, match=r"hypotheses.parquet: has no column errors"):
        read_run(folder)
    (folder / "hypotheses.parquet").write_bytes(b"not a table")
    with pytest.raises(InputError, match=r"hypotheses.parquet: cannot be read"):
        read_run(folder)
    (folder / "hypotheses.parquet").unlink()
    with pytest.raises(InputError, match="cannot be written"):
        write_report([folder], folder / "meta.json" / "report.html")
