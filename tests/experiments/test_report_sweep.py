"""The report of a sweep: nothing is missing or shown twice, values are as they were set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.comparison.table import markdown
from experiments.report_page.curves import split_curves
from experiments.report_page.explorer import split_explorer
from experiments.report_page.run import read_run
from experiments.report_page.sweep_points import relevant_keys, shared_pieces
from experiments.results import TABLES, write_results
from tests.support.result_folders import random_results, sweep_results

WIDTH = "sweep.first_passes.beam.beam_width"
ALPHA = "sweep.first_passes.other.alpha"


def half_swept(folder: Path) -> Path:
    """A sweep over a width that changes `weighted` and its lists, but not `first-pass`.

    Each has lists of its own. The value of one point is not set.
    """
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    fixed = random_results(folder.with_name("fixed"), 9)
    for seed, width in enumerate((16, 64, None)):
        moving = random_results(folder.with_name(f"moving-{seed}"), seed)
        for name, tables in parts.items():
            still, moved = (pd.read_parquet(f / f"{name}.parquet") for f in (fixed, moving))
            if "system" in still:
                still = still[still["system"] == "first-pass"]
                moved = moved[moved["system"] == "weighted"]
            if name == "systems":  # a difference to what moves, and seconds of the clock
                still = still.assign(p_value=0.1 * (seed + 1), seconds=float(seed))
            if name == "hypotheses":
                still = still.assign(lists="fixed")
            joined = pd.concat([still, moved], ignore_index=True)
            tables.append(joined.assign(**{WIDTH: width}))
    config = {
        "name": "half",
        "dev": ["dev"],
        "systems": {"first-pass": {"lists": "fixed"}, "weighted": {"lists": "beam"}},
    }
    joined_tables = {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
    write_results(folder, joined_tables, {"config": config})
    return folder


def test_systems_that_a_sweep_does_not_touch_are_shown_once(tmp_path: Path) -> None:
    run = read_run(half_swept(tmp_path / "sweep"))
    points = [f"[beam_width={width}]" for width in ("16", "64", "null")]
    assert run.labels == ["first-pass", *(f"weighted {point}" for point in points)]
    assert len(run.systems) == 2 * 4
    assert run.lists == {"first-pass": "fixed", **{f"weighted {p}": f"beam {p}" for p in points}}
    still = run.systems[run.systems["system"] == "first-pass"]
    # Its p-value was another at every point, so that none can be shown; it has no width.
    assert still["p_value"].isna().all() and still[WIDTH].isna().all()
    assert run.hypotheses is not None
    assert set(run.hypotheses["lists"]) == {"fixed", *(f"beam {point}" for point in points)}
    for split in run.splits:
        rows = run.utterances[run.utterances["split"] == split]
        assert not rows.duplicated(["label", "utt"]).any()
        for label in run.labels:
            summary = run.systems.query("label == @label and split == @split").iloc[0]
            own = rows[rows["label"] == label]
            assert own["substitutions"].sum() == summary["substitutions"]
        assert len(split_curves(run, split)["oracle"]) == 4
    assert markdown({"half": run.systems}).count("| first-pass |") == 2


def test_widths_are_whole_numbers(tmp_path: Path) -> None:
    run = read_run(half_swept(tmp_path / "sweep"))
    systems = pd.read_parquet(run.folder / "systems.parquet")
    assert systems[WIDTH].dtype == np.float64  # one point has none
    assert not [label for label in run.labels if ".0" in label]


def test_a_new_sweep_lacks_nothing(tmp_path: Path) -> None:
    run = read_run(sweep_results(tmp_path / "sweep", (4, 8)))
    assert run.missing == ()
    assert run.pieces is not None and len(run.pieces)
    assert split_explorer(run, "test", tmp_path, anonymous=False)["tokens"]


def test_tokens_that_points_disagree_on_are_left_out() -> None:
    rows = [
        (16, "same", 0, -1.0),
        (64, "same", 0, -1.0),
        (16, "other", 0, -2.0),
        (64, "other", 0, -3.0),
        (64, "single", 0, -4.0),
    ]
    pieces = pd.DataFrame(rows, columns=[WIDTH, "text", "position", "logprob"])
    found = shared_pieces(pieces.assign(split="test", column="llm", utt="u", piece="x"))
    assert found["text"].tolist() == ["same", "single"] and WIDTH not in found


def test_settings_matter_where_they_change_something() -> None:
    rows = [
        (name, width, alpha, number)
        for width in (1, 2)
        for alpha in (0.5, 1.0)
        for name, number in (("both", width * alpha), ("width", width), ("none", 7.0))
    ]
    table = pd.DataFrame(rows, columns=["name", WIDTH, ALPHA, "number"])
    assert relevant_keys(table, "name", ["number"]) == {
        "both": [WIDTH, ALPHA],
        "width": [WIDTH],
        "none": [],
    }
