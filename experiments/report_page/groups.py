"""Errors by tag and the most frequent confusions of one split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

from asr.significance import bootstrap_interval
from experiments.report_page.run import Run

TAG = "tag."
MOST_GROUPS = 24
RESAMPLES = 1_000  # of the intervals of groups; the table of systems has its own
CONFUSIONS = 15  # of each kind

# Upper ends of the length classes, reference words.
LENGTHS = (5, 10, 15, 20, 30)


def length_class(words: int) -> str:
    """The class of a reference's length."""
    low = 0
    for high in LENGTHS:
        if words <= high:
            return f"{low}–{high} words"
        low = high + 1
    return f"{low} words or more"


def split_groups(run: Run, split: str) -> list[dict[str, Any]]:
    """Error counts of every system by every tag's values, with bootstrap intervals.

    Tags that tell nearly every utterance apart are left out: they are names, not groups.

    Returns:
        For each tag: its name, the groups with utterances and words, and for each system the
        errors and interval (fractions; None for a single utterance) of each group.
    """
    rows = run.utterances[run.utterances["split"] == split]
    words = rows["hits"] + rows["substitutions"] + rows["deletions"]
    rows = rows.assign(
        **{
            "tag.length": words.map(length_class),
            "ref_words": words,
            "errors": rows["substitutions"] + rows["deletions"] + rows["insertions"],
        }
    )
    named = [str(c) for c in rows.columns if str(c).startswith(TAG)]
    found = []
    for column in ["tag.length", *(c for c in named if c != "tag.length")]:
        group = tag_errors(rows, column, run.labels)
        if group is not None:
            found.append(group)
    return found


def tag_errors(rows: pd.DataFrame, column: str, labels: Sequence[str]) -> dict[str, Any] | None:
    """One tag, see `split_groups`; None where it groups nothing."""
    first = rows.drop_duplicates("utt")
    sizes = first[column].dropna().astype(str).value_counts()
    if len(sizes) < 2 or len(sizes) > max(2, len(first) // 2):
        return None
    values = sorted(sizes.index[:MOST_GROUPS], key=natural)
    words = first["ref_words"].groupby(first[column].astype(str)).sum()
    systems = []
    by_group = {key: part for key, part in rows.groupby(["label", rows[column].astype(str)])}
    for label in labels:
        errors, low, high = [], [], []
        for value in values:
            part = by_group.get((label, value))
            counts = np.zeros(0, dtype=np.int64) if part is None else part["errors"].to_numpy()
            length = np.zeros(0) if part is None else part["ref_words"].to_numpy()
            interval = bootstrap_interval(counts, length, RESAMPLES)
            errors.append(int(counts.sum()))
            low.append(None if interval is None else round(interval[0], 5))
            high.append(None if interval is None else round(interval[1], 5))
        systems.append({"system": label, "errors": errors, "low": low, "high": high})
    return {
        "tag": column.removeprefix(TAG),
        "values": values,
        "utterances": [int(sizes[value]) for value in values],
        "words": [int(words[value]) for value in values],
        "left_out": max(0, len(sizes) - MOST_GROUPS),
        "systems": systems,
    }


def natural(value: str) -> tuple[int, float, str]:
    """Sorts numbers by size and before other texts; a leading number counts."""
    head = value.split("–")[0].split()[0] if value.split() else ""
    try:
        return 0, float(head), value
    except ValueError:
        return 1, 0.0, value


def split_confusions(run: Run, split: str) -> list[dict[str, Any]]:
    """The most frequent substitutions, deletions and insertions of every system."""
    rows = run.utterances[run.utterances["split"] == split]
    found = []
    for label, part in rows.groupby("label", sort=False):
        counts = confusions(part["ref"], part["hyp"])
        entry: dict[str, Any] = {"system": label}
        for kind, counter in counts.items():
            ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
            entry[kind] = [[*pair, count] for pair, count in ordered[:CONFUSIONS]]
        found.append(entry)
    return found


def confusions(references: pd.Series, hypotheses: pd.Series) -> dict[str, Counter]:
    """Which words stand for which, by the alignment that the errors are counted with.

    Returns:
        `substitutions` by (reference word, hypothesis word), `deletions` by (reference word,) and
        `insertions` by (hypothesis word,).
    """
    found: dict[str, Counter] = {
        "substitutions": Counter(),
        "deletions": Counter(),
        "insertions": Counter(),
    }
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        if reference == hypothesis:
            continue
        ref, hyp = str(reference).split(), str(hypothesis).split()
        for edit in Levenshtein.editops(ref, hyp):
            kind, i, j = edit.tag, edit.src_pos, edit.dest_pos
            if kind == "replace":
                found["substitutions"][ref[i], hyp[j]] += 1
            elif kind == "delete":
                found["deletions"][(ref[i],)] += 1
            else:
                found["insertions"][(hyp[j],)] += 1
    return found
