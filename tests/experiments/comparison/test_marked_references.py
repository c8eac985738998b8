"""References with NIST's marks from the file to the table, and warnings where marks are words."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.evaluation.alignment import Method
from asr.evaluation.significance import delta_interval
from asr.hypothesis import Hypothesis
from asr.nbest import build_nbest, write_nbest
from experiments.cli import main
from experiments.comparison.counting import Counting
from experiments.comparison.evaluation import ScoredSplit, evaluate
from experiments.comparison.references import References
from experiments.comparison.system import System, resolve
from experiments.comparison.tuning import Decision
from experiments.results import load_results
from lm.text.normalisers import normaliser

MARKED = {
    "u-1": "I've { um / uh / @ } as far (as)",
    "u-2": "{ Mr. / Mister } Smith went",
    "u-3": "so { it is / it's } done",
}
FIRST = {"u-1": "i've as far", "u-2": "mister smith went", "u-3": "so it is done"}
SECOND = {"u-1": "i've uh as far as", "u-2": "mister smith sent", "u-3": "so its done"}


def lists(texts: dict[str, str]) -> pd.DataFrame:
    return build_nbest({utt: [Hypothesis(text, -1.0)] for utt, text in texts.items()})


def counting(alignment: Method = "sclite") -> Counting:
    return Counting(normaliser("librispeech"), alignment)


def test_systems_are_compared_with_the_readings_that_they_chose() -> None:
    references = References(MARKED, counting())
    split = ScoredSplit("test", {"one": lists(FIRST), "two": lists(SECOND)}, references)
    systems = {name: System(name) for name in ("one", "two")}
    found = evaluate(split, resolve(systems), {name: Decision() for name in systems})
    table = found.systems.set_index("system")
    assert table.loc["one", ["substitutions", "deletions", "insertions"]].tolist() == [0, 0, 0]
    assert table.loc["two", ["substitutions", "deletions", "insertions"]].tolist() == [2, 0, 0]
    # I've as far (as), mister Smith went, so it is done: the optional word counts, as in sclite.
    assert table["ref_words"].tolist() == [4 + 3 + 4, 5 + 3 + 3]
    assert table["oracle_wer"].tolist() == [0.0, 2 / 11]
    assert table["cer"].tolist() == [0.0, pytest.approx(2 / (16 + 3 + 17 + 12), abs=0.01)]
    assert table.loc["two", "delta_wer"] == pytest.approx(2 / 11)
    assert found.utterances["hyp"].tolist()[:1] == ["I'VE AS FAR"]


def test_trn_from_the_command_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_nbest(lists(FIRST), tmp_path / "first.parquet")
    refs = tmp_path / "refs.trn"
    refs.write_text("".join(f"{text} ({utt})\n" for utt, text in MARKED.items()))
    command = ["score", str(tmp_path / "first.parquet"), "--refs", str(refs)]
    command += ["--normaliser", "librispeech", "--out"]
    out = tmp_path / "out"
    assert main([*command, str(out), "--alignment", "sclite"]) == 0
    assert load_results(out).systems["wer"].tolist() == [0.0]
    assert "alternatives" not in caplog.text
    page = tmp_path / "page.html"
    assert main(["report", str(out), "-o", str(page)]) == 0
    with caplog.at_level(logging.WARNING, "secondpass"):
        assert main([*command, str(tmp_path / "jiwer")]) == 0
    assert load_results(tmp_path / "jiwer").systems["wer"].item() > 0.2
    assert "3 references have alternatives or optional words" in caplog.text
    assert "u-1" in caplog.text and "--alignment sclite" in caplog.text


def test_stm_and_ctm_alternatives_count(tmp_path: Path) -> None:
    write_nbest(lists({"call": "so it is done"}), tmp_path / "l.parquet")
    stm, ctm = tmp_path / "r.stm", tmp_path / "r.ctm"
    stm.write_text(
        ';; LABEL "O" "Overall" "all"\n'
        "call 1 inter_segment_gap 0.00 0.50 <o,,unknown>\n"
        "call 1 ann 0.50 1.00 <o,f0,female> so { it's / it is }\n"
        "call 1 ann 1.00 1.20 <o,f0,female> ignore_time_segment_in_scoring\n"
        "call 1 ann 1.20 2.00 <o,f0,female> done (uh)\n"
    )
    timed = [("0.1", "so"), ("*", "<ALT_BEGIN>"), ("0.2", "it's"), ("*", "<ALT>"), ("0.2", "it")]
    timed += [("0.3", "is"), ("*", "<ALT>"), ("*", "<ALT_END>"), ("0.5", "done")]
    ctm.write_text(
        "".join(f"call 1 {time} {'*' if time == '*' else '0.1'} {word}\n" for time, word in timed)
    )
    for path in (stm, ctm):
        command = ["score", str(tmp_path / "l.parquet"), "--refs", str(path)]
        assert main([*command, "--alignment", "sclite", "--out", str(tmp_path / path.suffix)]) == 0
        assert load_results(tmp_path / path.suffix).systems["wer"].tolist() == [0.0]


def test_tune_and_choose_count_as_sclite(tmp_path: Path) -> None:
    table = build_nbest(
        {utt: [Hypothesis("wrong", -1.0), Hypothesis(t, -1.5)] for utt, t in FIRST.items()}
    ).assign(lm=[-9.0, -1.0] * 3)
    path, weights = tmp_path / "l.parquet", tmp_path / "w.json"
    write_nbest(table, path)
    refs = tmp_path / "refs.trn"
    refs.write_text("".join(f"{text} ({utt})\n" for utt, text in MARKED.items()))
    spelled = ["--normaliser", "librispeech", "--alignment", "sclite"]
    command = ["tune", str(path), "--refs", str(refs), "--columns", "acoustic,lm", *spelled]
    assert main([*command, "-o", str(weights)]) == 0
    assert '"errors": 0' in weights.read_text()
    command = ["choose", str(path), "--weights", str(weights), "--method", "mbr", *spelled]
    command += ["--dev", str(path), "--dev-refs", str(refs), "-o", str(tmp_path / "c.parquet")]
    assert main(command) == 0


def test_marks_that_are_not_complete_are_named_and_lose_no_other_utterance(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "secondpass"):
        references = References({**MARKED, "bad": "a { b / c"}, counting())
    assert "marks of 1 references are not complete" in caplog.text
    assert "bad: there is a { without }" in caplog.text
    counts = references.counts(lists({**FIRST, "bad": "a b c"}))
    assert counts["errors"].tolist() == [0, 0, 0, 0]


def test_alternatives_of_hypotheses_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    references = References({"u": "one two", "v": "one (uh)"}, counting())
    with caplog.at_level(logging.WARNING, "secondpass"):
        counts = references.counts(lists({"u": "one { two / too }", "v": "one (two)"}))
    assert counts["errors"].tolist() == [0, 1]  # no recogniser excuses its own words
    assert "hypotheses have alternatives in braces" in caplog.text


def test_difference_interval_with_different_numbers_of_words() -> None:
    rng = np.random.default_rng(0)
    words, ours, theirs = (rng.integers(5, 20, 60), rng.integers(0, 4, 60), rng.integers(0, 4, 60))
    others = words + rng.integers(0, 3, 60)
    found = delta_interval(ours, theirs, words, resamples=4000, seed=3, baseline_words=others)
    drawn = np.random.default_rng(9).integers(0, 60, (20_000, 60))
    sums = [values[drawn].sum(axis=1) for values in (ours, words, theirs, others)]
    expected = np.quantile(sums[0] / sums[1] - sums[2] / sums[3], [0.025, 0.975])
    assert found == pytest.approx(expected, abs=0.006)
    same = delta_interval(ours, theirs, words, resamples=500)
    assert delta_interval(ours, theirs, words, resamples=500, baseline_words=words.copy()) == same
    with pytest.raises(ValueError, match="shapes"):
        delta_interval(ours, theirs, words, baseline_words=words[:5])
