"""How tables of systems are counted: sets of utterances, speakers, alignments, gap recovered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.nbest import Hypothesis, build_nbest, write_nbest
from experiments.cli import main
from experiments.comparison.counting import Counting, same_utterances
from experiments.comparison.evaluation import ScoredSplit, evaluate
from experiments.comparison.inputs import with_speakers
from experiments.comparison.references import References
from experiments.comparison.split import Split
from experiments.comparison.system import System, resolve
from experiments.comparison.table import weights_text
from experiments.comparison.tuning import Decision
from experiments.results import load_results
from lm.errors import InputError
from lm.text.normalisers import Normaliser

REFERENCES = {"a-1": "one two three", "a-2": "four five", "b-1": "six seven eight nine"}
TRUTH = References(REFERENCES, Counting())
ONE = resolve({"s": System("l")})


# Weights, and how the table shows them.
SHOWN = {
    "{}": "",
    '{"acoustic": 1.0, "words": 0.5}': "words 0.5",
    '{"acoustic": -1.0, "words": 0.5}': "acoustic -1, words 0.5",
    '{"words": 0.5}': "acoustic 0, words 0.5",
}


def lists(texts: dict[str, list[str]]) -> pd.DataFrame:
    return build_nbest(
        {
            utt: [Hypothesis(text, -float(n)) for n, text in enumerate(ranked)]
            for utt, ranked in texts.items()
        }
    )


FIRST = lists(
    {"a-1": ["one too three", "one two three"], "a-2": ["four five"], "b-1": ["six", "six seven"]}
)
OTHER = lists({"b-1": ["six seven ate nine"], "a-1": ["one two three"]})


def references_file(folder: Path) -> Path:
    path = folder / "refs.txt"
    path.write_text("".join(f"{utt} {text}\n" for utt, text in REFERENCES.items()))
    return path


def test_columns_of_a_system() -> None:
    weighted = System("lists", weights={"acoustic": 1.0, "words": 9.0})  # longer wins
    found = evaluate(
        ScoredSplit("test", {"lists": FIRST}, TRUTH),
        resolve({"first": System("lists"), "longer": weighted}),
        {"first": Decision(), "longer": Decision(weighted.weights)},
    ).systems.set_index("system")
    # rank 1: 1 + 0 + 3 errors, oracle 0 + 0 + 2; the longer of b-1 saves one of the two.
    assert found["wer"].tolist() == [4 / 9, 3 / 9]
    assert found["ser"].tolist() == [2 / 3, 2 / 3]
    assert found["oracle_wer"].tolist() == [2 / 9, 2 / 9]
    assert found["gap_recovered"].tolist() == [0.0, 0.5]


def test_texts_are_counted_as_they_are_spelled() -> None:
    seen: list[str] = []

    def spell(text: str) -> str:
        seen.append(text)
        return text.replace("-", " ").lower()

    references = References({"u": "One-Two three"}, Counting(Normaliser("spell", spell)))
    table = lists({"u": ["ONE TWO", "one-two-three", "ONE TWO"]})
    for _ in range(2):
        assert references.counts(table)["errors"].tolist() == [1, 0, 1]
    assert references.of(["u"]) == ["one two three"]
    # Each once; letters are also tried alone, to see whether one is lost.
    texts = [text for text in seen if len(text) > 1]
    assert sorted(texts) == ["ONE TWO", "One-Two three", "one-two-three"]
    with pytest.raises(InputError, match=r"no reference for 1 .* v;"):
        references.counts(lists({"v": ["x"]}))


def test_gap_of_lists_without_one_is_unknown() -> None:
    one = lists({"a-2": ["four six"]})
    found = evaluate(ScoredSplit("t", {"l": one}, TRUTH), ONE, {"s": Decision()})
    assert np.isnan(found.systems["gap_recovered"].iloc[0])
    assert found.systems[["wer_low", "wer_high"]].isna().all(axis=None)  # one utterance only


def test_different_utterances_are_refused_and_named() -> None:
    with pytest.raises(InputError, match=r"other lacks 1 \(a-2\); .*--intersect"):
        same_utterances({"first": FIRST, "other": OTHER}, "test")
    shared = same_utterances({"first": FIRST, "other": OTHER}, "test", intersect=True)
    assert [table["utt"].unique().tolist() for table in shared.values()] == [["a-1", "b-1"]] * 2
    assert shared["first"]["rank"].tolist() == [1, 2, 1, 2]
    with pytest.raises(InputError, match="no utterance in common"):
        same_utterances({"x": FIRST[FIRST["utt"] == "a-2"], "y": OTHER}, "test", intersect=True)


def test_order_of_utterances_does_not_matter() -> None:
    turned = FIRST.iloc[::-1].reset_index(drop=True)
    tables = same_utterances({"one": FIRST, "two": turned}, "test")
    assert tables["two"]["utt"].tolist() == tables["one"]["utt"].tolist()


def test_intervals_over_speakers_draw_speakers() -> None:
    rng = np.random.default_rng(0)
    truth = {f"s{s}-{u}": " ".join("abcdefghij") for s in range(12) for u in range(30)}
    rate = {f"s{s}": r for s, r in enumerate(rng.uniform(0, 0.4, 12))}  # speakers differ much
    table = lists(
        {
            utt: [" ".join(w if rng.random() > rate[utt.split("-")[0]] else "x" for w in t.split())]
            for utt, t in truth.items()
        }
    )
    tags = with_speakers(pd.DataFrame(index=pd.Index(list(truth), name="utt")), r"(\w+)-")
    rows = {
        by: evaluate(
            ScoredSplit(
                "t",
                {"l": table},
                References(truth, Counting(intervals=by, resamples=2000)),
                tags,
            ),
            ONE,
            {"s": Decision()},
        ).systems.iloc[0]
        for by in ("utterances", "speakers")
    }
    width = {by: row["wer_high"] - row["wer_low"] for by, row in rows.items()}
    assert rows["utterances"]["wer"] == rows["speakers"]["wer"]
    # Of 12 speakers with rates of standard deviation 0.115, the mean's interval is 0.13 wide;
    # 3,600 words drawn alone would give 0.03.
    assert width["speakers"] > 2 * width["utterances"]
    assert 0.06 < width["speakers"] < 0.22
    with pytest.raises(InputError, match=r"over speakers need.*but 360 of 360.*speaker.*pattern"):
        references = References(truth, Counting(intervals="speakers"))
        evaluate(ScoredSplit("t", {"l": table}, references), ONE, {"s": Decision()})


def test_speakers_from_ids(caplog: pytest.LogCaptureFixture) -> None:
    tags = pd.DataFrame({"tag.speaker": [None, "ann"]}, index=["61-70968-0000", "x"])
    assert with_speakers(tags, r"\d+")["tag.speaker"].tolist() == ["61", "ann"]
    assert with_speakers(tags[[]], r"(\d+)-70968")["tag.speaker"].tolist() == ["61", None]
    assert not caplog.messages
    assert with_speakers(tags, "z+")["tag.speaker"].isna().tolist() == [True, False]
    assert "`speaker: z+` matches the beginning of no utterance id (the first is 61-" in caplog.text
    with pytest.raises(InputError, match="not a regular expression"):
        Split(nbest="x", speaker="(")


def test_score_compares_several_tables(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_nbest(FIRST, tmp_path / "ours.parquet")
    write_nbest(OTHER, tmp_path / "theirs.parquet")
    refs = str(references_file(tmp_path))
    paths = [str(tmp_path / "ours.parquet"), str(tmp_path / "theirs.parquet")]
    assert main(["score", *paths, "--refs", refs]) == 2
    assert "theirs lacks 1 (a-2)" in capsys.readouterr().err
    out = tmp_path / "results"
    assert main(["score", *paths, "--refs", refs, "--intersect", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "some table lacks, not counted: 1" in printed
    assert "without hypotheses, not counted: 0" in printed
    found = load_results(out).systems.set_index("system")
    assert found["wer"].tolist() == [4 / 7, 1 / 7]
    assert found.loc["theirs", "delta_wer"] == pytest.approx(-3 / 7)
    assert main(["report", str(out)]) == 0


def test_score_by_sclite_s_alignment(tmp_path: Path) -> None:
    write_nbest(lists({"u": ["b c x"]}), tmp_path / "n.parquet")
    (tmp_path / "refs.txt").write_text("u a b x\n")
    counts = {}
    for method in ("jiwer", "sclite"):
        out = tmp_path / method
        command = ["score", str(tmp_path / "n.parquet"), "--refs", str(tmp_path / "refs.txt")]
        assert main([*command, "--alignment", method, "--out", str(out)]) == 0
        row = load_results(out).systems.iloc[0]
        counts[method] = [row["substitutions"], row["deletions"], row["insertions"]]
    assert counts == {"jiwer": [2, 0, 0], "sclite": [0, 1, 1]}


def test_score_says_when_no_interval_can_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_nbest(lists({"a-2": ["four five"]}), tmp_path / "n.parquet")
    assert (
        main(["score", str(tmp_path / "n.parquet"), "--refs", str(references_file(tmp_path))]) == 0
    )
    assert "One utterance only" in capsys.readouterr().out


def test_score_of_tables_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_nbest(FIRST, tmp_path / folder / "n.parquet")
    paths = [str(tmp_path / folder / "n.parquet") for folder in ("x", "y")]
    refs = str(references_file(tmp_path))
    out = tmp_path / "out"
    assert main(["score", *paths, "--refs", refs, "--out", str(out)]) == 0
    assert load_results(out).systems["system"].tolist() == ["x/n", "y/n"]
    capsys.readouterr()
    assert main(["score", paths[0], paths[0], "--refs", refs]) == 2
    assert "two tables are named x/n" in capsys.readouterr().err
    weights = tmp_path / "w.json"
    weights.write_text('{"weights": {"acoustic": 1}}')
    (tmp_path / "y" / "n.parquet").rename(tmp_path / "m.parquet")
    paths = [paths[0], str(tmp_path / "m.parquet")]
    command = ["score", *paths, "--refs", str(references_file(tmp_path)), "--weights", str(weights)]
    assert main(command) == 2
    assert "needs a single table" in capsys.readouterr().err


def test_what_is_wrong_is_reported_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_nbest(FIRST, tmp_path / "n.parquet")
    lists, refs = str(tmp_path / "n.parquet"), str(references_file(tmp_path))
    (tmp_path / "file").write_text("")
    (tmp_path / "some.txt").write_text("a-1 one two three\n")
    inside = str(tmp_path / "file" / "w.json")  # its folder is a file
    tune = ["tune", lists, "--refs", refs, "-o"]
    dev = ["--dev", lists, "--dev-refs", str(tmp_path / "some.txt")]
    for command, message in (
        ([*tune, inside, "--columns", "acoustic,words"], "file/w.json: cannot be written"),
        ([*tune, str(tmp_path / "w.json"), "--columns", " , "], "names no column"),
        (
            [*tune, str(tmp_path / "w.json"), "--columns", "words", "--seed=-1"],
            "--seed is -1; give",
        ),
        (["score", lists, "--refs", refs, "--out", inside], "file"),
        (
            ["choose", lists, "--method", "vote", *dev, "-o", str(tmp_path / "c")],
            "no reference for 2 of the N-best list's utterances: a-2, b-1",
        ),
    ):
        assert main(command) == 2
        lines = capsys.readouterr().err.splitlines()
        assert message in lines[-1] and lines[-1].startswith(f"secondpass {command[0]}: ")
    deep = tmp_path / "new" / "folder" / "w.json"
    assert main([*tune, str(deep), "--columns", "acoustic,words"]) == 0
    assert deep.is_file()


def test_the_weight_of_acoustic_is_shown_where_it_is_not_1() -> None:
    shown = {weights: weights_text(weights) for weights in SHOWN}
    assert shown == SHOWN
    assert weights_text(None) == ""
