"""Errors by tag and the most frequent confusions of one split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.breakdown import TAG, by_group, confusions, most_frequent, natural, with_classes
from experiments.report_page.run import Run

MOST_GROUPS = 24
RESAMPLES = 1_000  # for the intervals of groups; the table of systems has its own number
CONFUSIONS = 15  # of each kind
COUNTED = ("utterances", "ref_words", "errors")


def split_groups(run: Run, split: str) -> list[dict[str, Any]]:
    """Error counts of every system by every tag's values, with bootstrap intervals.

    A tag with a different value for nearly every utterance is left out: it is a name, not a group.

    Returns:
        For each tag: its name, the groups, and for each system the utterances, words, errors and
        interval (fractions; None for a single utterance) of each group.
    """
    rows = with_classes(run.utterances[run.utterances["split"] == split])
    named = [str(c) for c in rows.columns if str(c).startswith(TAG)]
    found = [tag_errors(rows, column, run.labels) for column in named]
    # First the classes that every run has, then the tags.
    classes = [f"{TAG}{name}" for name in ("length", "unknown words", "chosen rank")]
    order = sorted(zip(named, found, strict=True), key=lambda pair: pair[0] not in classes)
    return [group for _, group in order if group is not None]


def tag_errors(rows: pd.DataFrame, column: str, labels: Sequence[str]) -> dict[str, Any] | None:
    """One tag, see `split_groups`; None if the tag has one value only or too many."""
    sizes = rows.drop_duplicates(["utt", column])[column].dropna().astype(str).value_counts()
    if len(sizes) < 2 or len(sizes) > max(2, rows["utt"].nunique() // 2):
        return None
    values = sorted(sizes.index[:MOST_GROUPS], key=natural)
    kept = rows[rows[column].astype(str).isin(values)]
    table = by_group(kept, column, RESAMPLES, "label").set_index(["system", "group"])
    systems = []
    for label in labels:
        own = table.loc[label].reindex(values)
        counts = {name: list(own[name].fillna(0).astype(int)) for name in COUNTED}
        systems.append(
            {
                "system": label,
                "utterances": counts["utterances"],
                "words": counts["ref_words"],
                "errors": counts["errors"],
                "low": [None if pd.isna(x) else round(x, 5) for x in own["wer_low"]],
                "high": [None if pd.isna(x) else round(x, 5) for x in own["wer_high"]],
            }
        )
    return {
        "tag": column.removeprefix(TAG),
        "values": values,
        "left_out": max(0, len(sizes) - MOST_GROUPS),
        "systems": systems,
    }


def split_confusions(run: Run, split: str) -> list[dict[str, Any]]:
    """The most frequent substitutions, deletions and insertions of every system."""
    rows = run.utterances[run.utterances["split"] == split]
    alignment = run.meta.get("config", {}).get("alignment", "jiwer")
    found = []
    for label, part in rows.groupby("label", sort=False):
        entry: dict[str, Any] = {"system": label}
        for kind, counts in confusions(part["ref"], part["hyp"], alignment).items():
            entry[kind] = [[*pair, count] for pair, count in most_frequent(counts, CONFUSIONS)]
        found.append(entry)
    return found
