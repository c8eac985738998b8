"""The report in a real browser: a headless Chromium, where Debian's packages for it are installed.

`apt-get install chromium chromium-driver` brings both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.evaluation.alignment import METHODS, Method, WordIds
from asr.hypothesis import Hypothesis
from asr.nbest import build_nbest, write_nbest
from experiments.cli import main
from experiments.report import write_report
from lm.text.normalisers import Normaliser
from tests.support.browser import CHROMIUM, DRIVER, Browser
from tests.support.result_folders import (
    AUDIO_SECONDS,
    COUNTING,
    HOSTILE,
    SPEAKERS,
    VOCABULARY,
    random_results,
    sweep_results,
)

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)",
)
MANY = 3_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_results(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    return write_report([folder], folder / "report.html")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of thousands of utterances."""
    return random_results(tmp_path_factory.mktemp("many") / "run", utterances=MANY, hypotheses=3)


def changes(folder: Path, split: str = "test") -> pd.Series:
    """Errors of `weighted` minus those of `first-pass`, by utterance."""
    rows = pd.read_parquet(folder / "utterances.parquet")
    rows = rows[rows["split"] == split]
    errors = rows["substitutions"] + rows["deletions"] + rows["insertions"]
    wide = rows.assign(errors=errors).pivot(index="utt", columns="system", values="errors")
    return wide["weighted"] - wide["first-pass"]


def matches(browser: Browser) -> int:
    text = browser.run("return document.querySelector('#matches').textContent")
    return int(text.split(" of ")[0].replace(",", ""))


def choose(browser: Browser, label: str, value: str) -> None:
    """Sets a selector, named by its label, to the option with this value or text."""
    script = """
      const label = [...document.querySelectorAll("label")].find((l) =>
        l.firstChild.textContent.trim() === arguments[0]);
      const box = label.querySelector("select");
      const option = [...box.options].find((o) => [o.value, o.text].includes(arguments[1]));
      box.value = option.value;
      box.dispatchEvent(new Event("change"));
    """
    browser.run(script, label, value)


def test_loads_without_errors_and_without_the_network(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.errors() == []
    fetched = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in fetched if not name.startswith(("data:", "blob:"))] == []
    sections = browser.run("return [...document.querySelectorAll('main section')].map((s) => s.id)")
    expected = ["systems", "explorer", "nbest", "weights", "tags", "confusions", "trust", "time"]
    assert sections == [*expected, "provenance"]
    marks = "p.querySelectorAll('.trace, .hm, .bars').length"
    drawn = f"return [...document.querySelectorAll('.plot')].map((p) => {marks})"
    assert min(browser.run(drawn)) > 0
    # The buttons, which only a pointer brings up: none of them sends anything anywhere.
    browser.run(
        """const plot = document.querySelector(".plot");
        const config = { ...plotConfig(), displayModeBar: true };
        Plotly.newPlot(plot, plot.data, plot.layout, config);"""
    )
    buttons = "return [...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title)"
    found = browser.wait(buttons)
    assert "Zoom in" in found
    assert not [title for title in found if re.search("share|cloud|studio|edit", title, re.I)]


def test_the_table_says_what_the_folder_says(browser: Browser, page: Path, folder: Path) -> None:
    browser.open(page)
    cells = browser.run(
        "return [...document.querySelectorAll('.systems')].map((t) => "
        "[...t.querySelectorAll('tbody tr')].map((r) => [...r.cells].map((c) => c.textContent)))"
    )
    systems = pd.read_parquet(folder / "systems.parquet")
    for table, (_, rows) in zip(cells, systems.groupby("split", sort=False), strict=True):
        assert [row[0] for row in table] == list(rows["system"])
        assert [row[1] for row in table] == [f"{100 * wer:.2f}" for wer in rows["wer"]]


def test_markup_in_a_transcript_stays_text(browser: Browser, page: Path) -> None:
    browser.open(page)
    choose(browser, "Sort", "order")
    browser.type_into("#search", "<script>alert(1)")
    assert matches(browser) == 1
    assert browser.alert() is None
    assert HOSTILE in browser.run("return document.querySelector('.row-text').textContent")
    shown = browser.run("return document.querySelector('.aligned tr.ref').textContent")
    assert "<script>alert(1)</script>" in shown
    foreign = "main script, main img, main iframe, main object"
    assert browser.run("return document.querySelectorAll(arguments[0]).length", foreign) == 0
    assert "alert(3)" in browser.run("return document.querySelector('#confusions').textContent")
    assert "alert(3)" in browser.run("return document.querySelector('.hyps').textContent")
    labels = browser.run("return document.querySelector('#tags').textContent")
    assert all(speaker in labels for speaker in SPEAKERS)
    links = "return [...document.querySelectorAll('main a')].map((a) => a.outerHTML)"
    assert browser.run(links) == []
    assert browser.errors() == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("improved", lambda change: change < 0),
        ("worsened", lambda change: change > 0),
        ("unchanged", lambda change: change == 0),
    ],
)
def test_filters_find_what_pandas_finds(
    browser: Browser, page: Path, folder: Path, name: str, wanted: Callable[[pd.Series], pd.Series]
) -> None:
    browser.open(page)
    choose(browser, "Show", name)
    assert matches(browser) == int(wanted(changes(folder)).sum())


def test_sorts_by_change_and_follows_the_keys(browser: Browser, page: Path, folder: Path) -> None:
    browser.open(page)
    choose(browser, "Sort", "loss")
    expected = changes(folder).reset_index().sort_values(0, ascending=False, kind="stable")["utt"]
    names = "return [...document.querySelectorAll('.row .utt')].map((u) => u.textContent)"
    assert browser.run(names)[:5] == list(expected)[:5]
    browser.click(".row")
    browser.type_into(".list", "\ue015\ue015")  # arrow down, twice
    chosen = "return document.querySelector('.row[aria-selected=true] .utt').textContent"
    assert browser.run(chosen) == expected.iloc[2]
    assert expected.iloc[2] in browser.run("return document.querySelector('.utt-name').textContent")


def test_an_utterance_shows_outputs_scores_and_tokens(
    browser: Browser, page: Path, folder: Path
) -> None:
    browser.open(page)
    browser.type_into("#search", "test-0001")
    rows = pd.read_parquet(folder / "utterances.parquet").query("utt == 'test-0001'")
    marked = browser.run(
        "return [...document.querySelectorAll('.aligned tr:not(.ref)')].map((r) => "
        "[r.querySelector('th').textContent, r.querySelectorAll('.sub, .del, .ins').length])"
    )
    errors = rows["substitutions"] + rows["deletions"] + rows["insertions"]
    for name, count in zip(rows["system"], errors, strict=True):
        assert sum(n for found, n in marked if found == name) == count
    lists = pd.read_parquet(folder / "hypotheses.parquet").query("utt == 'test-0001'")
    assert browser.run("return document.querySelectorAll('.hyps tbody tr').length") == len(lists)
    first = "return document.querySelector('.hyps tbody tr').cells[0].textContent"
    assert int(browser.run(first)) == rows.query("system == 'weighted'")["rank"].iloc[0]
    choose(browser, "Scored as", "first-pass")
    assert int(browser.run(first)) == 1
    pieces = browser.run("return document.querySelectorAll('.tokens .piece').length")
    words = pd.read_parquet(folder / "pieces.parquet").query("utt == 'test-0001'")
    assert pieces == len(words)
    browser.run("document.querySelector('audio').preload = 'metadata'")
    seconds = browser.wait("return document.querySelector('audio').duration")
    assert seconds == pytest.approx(AUDIO_SECONDS)
    assert browser.errors() == []


@pytest.mark.parametrize("method", METHODS)
def test_alignments_are_those_that_are_counted(
    browser: Browser, page: Path, method: Method
) -> None:
    browser.open(page)
    rng = np.random.default_rng(0)
    pairs = [
        [" ".join(rng.choice(VOCABULARY[:3], int(rng.integers(0, 9)))) for _ in range(2)]
        for _ in range(500)
    ]
    found = browser.run(
        """return arguments[0].map(([ref, hyp]) => {
          const kinds = alignWords(splitWords(ref), splitWords(hyp), arguments[1]);
          return kinds.map(([kind]) => ["ok", "sub", "del", "ins"].indexOf(kind));
        })""",
        pairs,
        method,
    )
    words = WordIds(method)
    paths = [words.path(words.encode(ref), words.encode(hyp)).tolist() for ref, hyp in pairs]
    if method == "jiwer":
        found, paths = ([np.bincount(p, minlength=4).tolist() for p in f] for f in (found, paths))
    assert found == paths


@pytest.mark.slow
def test_hypotheses_are_marked_as_they_are_counted(browser: Browser, tmp_path: Path) -> None:
    """In the counted spelling and by the counted alignment, whatever the lists look like."""
    counting = replace(COUNTING, normalise=Normaliser("lower case", str.lower), alignment="sclite")
    folder = random_results(tmp_path / "run", counting=counting)
    lists = pd.read_parquet(folder / "hypotheses.parquet").query("split == 'test'")
    rows = "[...document.querySelectorAll('.hyps tbody tr')].map"
    marked = f"return {rows}((r) => r.querySelectorAll('.sub, .del, .ins').length)"
    for kept in (True, False):
        page = write_report([folder], folder / "report.html")
        for utt in ("test-0003", "test-0004", "test-0005"):
            browser.open(page)
            browser.type_into("#search", utt)
            choose(browser, "Scored as", "first-pass")
            errors = lists.loc[lists["utt"] == utt, "errors"].tolist()
            assert sum(errors) > 0
            assert browser.run(marked) == (errors if kept else [0] * len(errors))
            texts = browser.run(f"return {rows}((r) => r.querySelector('.hyp').textContent)")
            assert ("ZQ" in texts[0]) != kept
        # Results of before the counted text was kept: rather no marks than wrong ones.
        table = pd.read_parquet(folder / "hypotheses.parquet").drop(
            columns="counted", errors="ignore"
        )
        table.to_parquet(folder / "hypotheses.parquet", index=False)
    assert browser.errors() == []


def test_references_with_alternatives_are_shown_without_marked_errors(
    browser: Browser, tmp_path: Path
) -> None:
    lists = build_nbest({"u-1": [Hypothesis("we saw him", -1.0)]})
    write_nbest(lists, tmp_path / "lists.parquet")
    (tmp_path / "refs.trn").write_text("we { see / saw } her (too) (u-1)\n")
    out = tmp_path / "out"
    command = ["score", str(tmp_path / "lists.parquet"), "--refs", str(tmp_path / "refs.trn")]
    assert main([*command, "--alignment", "sclite", "--out", str(out)]) == 0
    browser.open(write_report([out], out / "report.html"))
    browser.type_into("#search", "u-1")
    shown = browser.run("return document.body.textContent")
    assert "The reference has alternatives, so the errors are counted but not marked." in shown
    assert "1 / 0 / 0" in shown
    assert browser.run("return document.querySelectorAll('.aligned').length") == 0
    assert browser.errors() == []


def test_words_say_how_sure_the_system_was(browser: Browser, page: Path, folder: Path) -> None:
    browser.open(page)
    browser.type_into("#search", "test-0003")
    rows = pd.read_parquet(folder / "utterances.parquet").query("utt == 'test-0003'")
    shown = browser.run(
        "return [...document.querySelectorAll('.aligned tr:not(.ref)')].flatMap((r) => "
        "[...r.querySelectorAll('.w.sure')].map((w) => [r.querySelector('th').textContent, "
        "Number(/confidence ([0-9.]+)/.exec(w.title)[1])]))"
    )
    assert {name for name, _ in shown} == {"weighted"}
    sure = rows.loc[rows["system"] == "weighted", "confidence"].iloc[0]
    # Shown to the hundredth, cut off.
    assert [value for _, value in shown] == pytest.approx(np.minimum(0.99, sure), abs=0.0101)
    assert len({value for _, value in shown}) > 1


def test_another_split_and_theme(browser: Browser, page: Path) -> None:
    browser.open(page)
    choose(browser, "Split", "dev")
    assert "dev-" in browser.run("return document.querySelector('.row .utt').textContent")
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = browser.run(ground)
    browser.click("#theme")
    assert browser.run(ground) != before
    assert browser.errors() == []


@pytest.mark.slow
def test_of_thousands_of_utterances_few_are_drawn(browser: Browser, many: Path) -> None:
    browser.open(write_report([many], many / "report.html"))
    assert matches(browser) == MANY
    assert browser.run("return document.querySelectorAll('.row').length") < 60
    choose(browser, "Show", "worsened")
    browser.type_into("#search", VOCABULARY[0])
    assert 0 < matches(browser) <= int((changes(many) > 0).sum())
    browser.run("document.querySelector('.list').scrollTop = 1e6")
    browser.wait("return document.querySelectorAll('.row').length > 0")


@pytest.mark.slow
def test_runs_side_by_side(browser: Browser, folder: Path, tmp_path: Path) -> None:
    other = random_results(tmp_path / "other", seed=5)
    browser.open(write_report([folder, other], tmp_path / "both.html"))
    assert browser.run("return document.querySelectorAll('#nbest .run').length") == 2
    cells = "document.querySelectorAll('.systems')[1].querySelectorAll('td:first-child')"
    names = browser.run(f"return [...{cells}].map((cell) => cell.textContent)")
    assert names[0::2] == ["random: first-pass", "random (2): first-pass"]
    browser.type_into("#search", "test-0003")
    assert browser.run("return document.querySelectorAll('.counts tbody tr').length") == 4
    assert browser.errors() == []


@pytest.mark.slow
def test_sweeps_anonymous_and_older_folders(browser: Browser, tmp_path: Path) -> None:
    sweep = sweep_results(tmp_path / "sweep", (4, 8))
    browser.open(write_report([sweep], tmp_path / "sweep.html"))
    assert "beam width" in browser.run("return document.querySelector('#sweep').textContent")
    browser.open(write_report([sweep], tmp_path / "anonymous.html", anonymous=True))
    text = browser.run("return document.documentElement.textContent")
    assert not [word for word in VOCABULARY if word in text]
    assert browser.run("return document.querySelectorAll('.hyps tbody tr').length") > 0
    for name in ("hypotheses", "words"):
        (sweep / f"{name}.parquet").unlink(missing_ok=True)
    browser.open(write_report([sweep], tmp_path / "old.html"))
    missing = "return [...document.querySelectorAll('.missing')].map((p) => p.textContent).join()"
    assert "hypotheses.parquet is missing" in browser.run(missing)
    assert browser.errors() == []


@pytest.mark.slow
def test_odd_numbers_and_signatures(browser: Browser, tmp_path: Path) -> None:
    """One utterance has no interval, an empty reference no finite rate."""
    folder = random_results(tmp_path / "one", utterances=1)
    systems = pd.read_parquet(folder / "systems.parquet")
    systems.loc[0, "wer"] = np.inf
    systems.to_parquet(folder / "systems.parquet", index=False)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    meta["signature"] = {"weighted": "secondpass|<b>llm</b>|seed 1"}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    browser.open(write_report([folder], tmp_path / "one.html"))
    cells = browser.run(
        "return [...document.querySelector('.systems tbody tr').cells].map((c) => c.textContent)"
    )
    assert cells[1:3] == ["–", "–"]
    signature = "return document.querySelector('#provenance .signature').textContent"
    assert browser.run(signature) == "weighted secondpass|<b>llm</b>|seed 1"
    assert browser.errors() == []


@pytest.mark.slow
def test_narrow_windows_have_no_sideways_scrolling(page: Path) -> None:
    browser = Browser(500, 900, dark=True)
    try:
        browser.open(page)
        assert browser.run("return document.documentElement.scrollWidth - innerWidth") <= 0
        assert browser.run("return isDark()")
        browser.pdf(page.with_suffix(".pdf"))
        assert page.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert browser.errors() == []
    finally:
        browser.close()
