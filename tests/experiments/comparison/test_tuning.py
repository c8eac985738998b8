"""Systems that choose by risk or by vote, through `compare`: tuned on dev, tested, reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from asr.nbest import write_nbest
from experiments.cli import main
from experiments.comparison.counting import Counting
from experiments.comparison.references import References
from experiments.comparison.system import System, resolve
from experiments.comparison.tuning import decide
from experiments.results import load_results
from tests.asr.formats.test_transcripts import truth_and_lists

SYSTEMS = {
    "first-pass": {"lists": "imported"},
    "map": {"lists": "imported", "columns": ["acoustic", "words"]},
    "mbr": {"lists": "imported", "columns": ["acoustic", "words"], "choose": "mbr"},
    "vote": {"lists": "imported", "columns": ["acoustic", "words"], "choose": "vote"},
    "both": {"systems": ["map", "mbr"], "choose": "vote"},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    splits = {}
    for seed, split in enumerate(("dev", "test")):
        references, table = truth_and_lists(seed, 60)
        write_nbest(table, tmp_path / f"{split}.parquet")
        lines = (f"{utt} {text}\n" for utt, text in references.items())
        (tmp_path / f"{split}.txt").write_text("".join(lines))
        splits[split] = {
            "nbest": str(tmp_path / f"{split}.parquet"),
            "format": "parquet",
            "references": str(tmp_path / f"{split}.txt"),
        }
    path = tmp_path / "config.yaml"
    content = {
        "name": "choices",
        "splits": splits,
        "systems": SYSTEMS,
        "normaliser": "none",
        "resamples": 100,
        "cache": None,
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
def test_every_way_to_choose_is_a_row(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert main(["compare", str(config), "--out", str(out)]) == 0
    assert "mbr, temperature" in capsys.readouterr().out
    results = load_results(out)
    systems = results.systems.set_index(["split", "system"])
    assert systems.loc["test", "wer"].notna().all()
    tuned = [name for name in SYSTEMS if name != "first-pass"]
    for split in ("dev", "test"):
        choices = systems.loc[split].loc[tuned, "choice"]
        assert [t.split(",")[0] if isinstance(t, str) else None for t in choices] == [
            *(None, "mbr", "vote", "vote"),
        ]
        assert systems.loc[split].loc[tuned, "nce"].notna().all()
    # On dev, on which temperatures are tuned, neither is worse than the plain weighted sum but by
    # what taking errors as words of their own costs.
    assert systems.loc[("dev", "mbr"), "wer"] <= systems.loc[("dev", "map"), "wer"] + 0.01
    rows = results.utterances[results.utterances["system"] == "vote"]
    inside = rows["rank"].notna()
    lists = results.hypotheses.groupby(["split", "utt"])["text"].agg(set)
    for row, known in zip(rows.to_dict("records"), inside, strict=True):
        assert (row["hyp"] in lists[row["split"], row["utt"]]) == known
        assert len(row["confidence"]) == len(row["chosen"].split())
    decisions = results.meta["decisions"]
    assert decisions["mbr"]["choice"]["temperature"] > 0
    assert decisions["first-pass"]["trust"] is None
    assert all("vote" in s for s in systems.loc["test"].loc[["vote", "both"], "signature"])
    assert (out / "report.html").stat().st_size > 10_000
    # Rates of a system of other systems come from the best of either list.
    assert systems.loc[("test", "both"), "oracle_wer"] == systems.loc[("test", "map"), "oracle_wer"]
    assert main(["compare", "--from", str(out), "--out", str(tmp_path / "again")]) == 0
    assert "All 10 rows agree" in capsys.readouterr().out


def test_confidence_tells_right_from_wrong_on_test(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["compare", str(config), "--out", str(out)]) == 0
    rows = load_results(out).utterances
    own = rows[(rows["split"] == "test") & (rows["system"] == "map")]
    sure = np.concatenate([np.asarray(c) for c in own["confidence"]])
    right = np.concatenate(
        [
            np.array([a == b for a, b in zip(r.split(), h.split(), strict=True)])
            for r, h in zip(own["ref"], own["hyp"], strict=True)
        ]
    )
    # Words are only ever replaced in these lists, so that right and wrong can be read off.
    assert sure[right].mean() > sure[~right].mean() + 0.1


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"lists": "imported", "choose": "mbr"}, "needs `columns` or `weights`"),
        ({"systems": ["map"], "choose": "map"}, "needs `choose: vote` or `choose: mbr`"),
        ({"systems": ["map"], "lists": "x", "choose": "vote"}, "from `lists`, or from those"),
        ({"systems": ["map"], "choose": "vote", "weights": {"words": 1}}, "has none itself"),
        ({"systems": ["nobody"], "choose": "vote"}, "made of 'nobody', which is no system"),
        ({"systems": ["both"], "choose": "vote"}, "made of 'both', which is no system"),
        ({"systems": ["first-pass"], "choose": "vote"}, "so no posteriors"),
        ({"choose": "best", "lists": "imported"}, "should be map | mbr | vote"),
    ],
)
def test_systems_that_make_no_sense(
    config: Path, system: dict, message: str, capsys: pytest.CaptureFixture
) -> None:
    content = yaml.safe_load(config.read_text())
    content["systems"]["odd"] = system
    config.write_text(yaml.safe_dump(content))
    assert main(["compare", str(config)]) == 2
    assert message in capsys.readouterr().err


def test_without_dev_posteriors_are_taken_as_they_are() -> None:
    weights = {"acoustic": 1.0}
    systems = resolve({"mbr": System("lists", weights=weights, choose="mbr")})
    (found,) = decide(systems, {}, References({}, Counting())).values()
    assert found.choice.temperature == 1.0 and found.trust is None
    assert json.dumps(found.weights) == '{"acoustic": 1.0}'
    assert systems["mbr"].parts == {"mbr": "lists"}


def test_empty_lists_everywhere(tmp_path: Path, config: Path) -> None:
    table = pd.read_parquet(tmp_path / "test.parquet")
    empty = table[table["rank"] == 1].assign(text="", words=0)
    write_nbest(empty, tmp_path / "test.parquet")
    out = tmp_path / "out"
    assert main(["compare", str(config), "--out", str(out)]) == 0
    found = load_results(out).systems
    found = found[found["split"] == "test"]
    assert found["wer"].eq(1.0).all() and found["gap_recovered"].isna().all()
    assert found["deletions"].eq(found["ref_words"]).all()


def test_lists_with_scores_of_their_own(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rng = np.random.default_rng(2)
    for split in ("dev", "test"):
        table = pd.read_parquet(tmp_path / f"{split}.parquet")
        write_nbest(table.assign(theirs=-rng.random(len(table))), tmp_path / f"{split}.parquet")
        with open(tmp_path / f"{split}.txt", "a") as references:
            references.write("unheard one two\n")
    content = yaml.safe_load(config.read_text())
    content["systems"] = {
        "first": {"lists": "imported"},
        "tuned": {"lists": "imported", "columns": ["acoustic", "theirs"]},
        "fixed": {"lists": "imported", "weights": {"acoustic": 1, "theirs": 50}},
    }
    config.write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    assert main(["compare", str(config), "--out", str(out)]) == 0
    assert "split test: 1 references have no hypotheses" in capsys.readouterr().err
    found = load_results(out)
    weights = found.systems.set_index(["split", "system"])["weights"]
    assert set(json.loads(weights["test", "tuned"])) == {"acoustic", "theirs"}
    lists = found.hypotheses.query("split == 'test'")
    best = (lists["acoustic"] + 50 * lists["theirs"]).groupby(lists["utt"], sort=False).idxmax()
    rows = found.utterances.query("split == 'test' and system == 'fixed'")
    assert rows["chosen"].tolist() == lists.loc[best, "text"].tolist()
    assert main(["compare", str(config), "systems.tuned.columns=[acoustic, their]"]) == 2
    assert "split dev: 'their' names no score column" in (err := capsys.readouterr().err)
    assert "did you mean 'theirs'?" in err


def test_nothing_to_tune_on(config: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["compare", str(config), "dev=[]"]) == 2
    assert (
        "system 'map' has `columns` to tune, but there is no dev split" in capsys.readouterr().err
    )
