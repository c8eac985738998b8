"""Reliability of word confidences: mean confidence against the share of words that are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr.evaluation.alignment import right_words
from experiments.report_page.run import Run
from lm.rerank.confidence import calibration_error, normalised_cross_entropy, reliability


def split_reliability(run: Run, split: str) -> list[dict[str, Any]]:
    """The reliability diagram of every system whose words have confidences.

    Returns:
        For each system: its name, `nce`, `ece`, and for each bin that has words the mean
        `confidence`, the share `right` and the number of `words`.
    """
    if "confidence" not in run.utterances:
        return []
    rows = run.utterances[run.utterances["split"] == split]
    alignment = run.meta.get("config", {}).get("alignment", "jiwer")
    found = []
    for label, part in rows.groupby("label", sort=False):
        # An utterance without possible hypotheses has words, but no confidences.
        part = part[part["confidence"].notna()]
        if part.empty:
            continue
        sure = np.concatenate([np.asarray(c, dtype=np.float64) for c in part["confidence"]])
        right = right_words(part["ref"].tolist(), part["hyp"].tolist(), alignment)
        if len(sure) != len(right) or not len(sure):
            continue
        table = reliability(sure, right)
        found.append(
            {
                "system": label,
                "nce": normalised_cross_entropy(sure, right),
                "ece": calibration_error(sure, right),
                **{name: table[name].round(5).tolist() for name in ("confidence", "right")},
                "words": table["words"].tolist(),
            }
        )
    return found
