"""The data that the page shows, as plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.report_page.curves import split_curves
from experiments.report_page.explorer import split_explorer
from experiments.report_page.groups import split_confusions, split_groups
from experiments.report_page.run import Run
from experiments.report_page.sweep_points import sweep_columns
from experiments.report_page.trust import split_reliability

# The keys of meta.json that an anonymous report shows; none of them can have texts of speakers.
KNOWN_META = (
    *("signature", "signatures", "versions", "python", "machine", "commit", "config", "inputs"),
    *("stage_seconds", "tuned", "failed", "seconds"),
)
# Settings of a decoder that are words.
WORDS_IN_CONFIG = ("hotwords",)


def summary(run: Run, anonymous: bool) -> dict[str, Any]:
    """The data of one run, without its utterances."""
    meta = dict(run.meta)
    if anonymous:
        meta = {key: without_words(value) for key, value in meta.items() if key in KNOWN_META}
    config = run.meta.get("config", {})
    return plain(
        {
            "name": run.name,
            "labels": run.labels,
            "splits": run.splits,
            "dev": config.get("dev") or [],
            "baseline": config.get("baseline"),
            "note": config.get("note"),
            "alignment": config.get("alignment", "jiwer"),
            "meta": meta,
            "systems": run.systems.to_dict("records"),
            "sweep": sweep_columns(run.systems),
            "curves": {split: split_curves(run, split) for split in run.splits},
            "groups": {split: split_groups(run, split) for split in run.splits},
            "confusions": {
                split: [] if anonymous else split_confusions(run, split) for split in run.splits
            },
            "reliability": {split: split_reliability(run, split) for split in run.splits},
            "missing": list(run.missing),
        }
    )


def explorers(run: Run, page: Path, anonymous: bool) -> list[dict[str, Any]]:
    """The explorer's data of every split, in the order of the splits."""
    return [plain(split_explorer(run, split, page, anonymous)) for split in run.splits]


def without_words(value: Any) -> Any:
    """Metadata in which each setting that has words is replaced by their number."""
    if isinstance(value, Mapping):
        return {
            key: f"{len(part)} left out" if key in WORDS_IN_CONFIG and part else without_words(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [without_words(part) for part in value]
    return value


def plain(value: Any) -> Any:
    """Converts NumPy and pandas values for JSON; NaN and infinite numbers become null."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Sequence):
        return [plain(part) for part in value]
    if pd.isna(value):
        return None
    return str(value)
