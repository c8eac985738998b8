"""The data of the N-best explorer: every utterance of one split, in columns to save space."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from experiments.report_page.run import Run
from lm.combine import KEYS

MOST_HYPOTHESES = 20  # of one list, without the oracle and those that a system chose
MOST_ROWS = 200_000  # hypotheses of one split, so that the page stays fast
FEWEST_HYPOTHESES = 3
DIGITS = 3  # decimals of scores

# Columns of hypotheses.parquet that are not scores.
NO_SCORES = (*KEYS, "split", "lists", "counted", "errors", "word_starts", "word_ends")


def split_explorer(run: Run, split: str, page: Path, anonymous: bool) -> dict[str, Any]:
    """Utterances, every system's output and the N-best lists of one split.

    Args:
        run: The results.
        split: Name of the split.
        page: The report's folder; links to audio are relative to it.
        anonymous: Leaves out texts, tokens and audio.
    """
    rows = run.utterances[run.utterances["split"] == split]
    first = rows.drop_duplicates("utt")
    utts = [str(utt) for utt in first["utt"]]
    place = {utt: i for i, utt in enumerate(utts)}
    words = first["hits"] + first["substitutions"] + first["deletions"]
    found: dict[str, Any] = {
        "utts": utts,
        "words": words.astype(int).tolist(),
        "refs": None if anonymous else first["ref"].astype(str).tolist(),
        "audio": None if anonymous else audio_links(run, first, page),
        "systems": system_outputs(run, rows, place, anonymous),
        "lists": [],
        "tokens": None if anonymous else tokens(run, split, place),
    }
    if run.hypotheses is not None:
        here = run.hypotheses[run.hypotheses["split"] == split]
        here = here[here["utt"].astype(str).isin(place.keys())]
        for name, table in here.groupby("lists", sort=False):
            found["lists"].append(hypotheses(run, str(name), table, rows, place, anonymous))
    return found


def system_outputs(
    run: Run, rows: pd.DataFrame, place: dict[str, int], anonymous: bool
) -> list[dict[str, Any]]:
    """The output of each system for every utterance.

    If an earlier system has the same output for an utterance, that system's number is written.
    """
    outputs: list[dict[str, Any]] = []
    seen: list[dict[str, int]] = [{} for _ in place]
    for number, (label, part) in enumerate(rows.groupby("label", sort=False)):
        where = [place[str(utt)] for utt in part["utt"]]
        texts: list[str | int | None] = [None] * len(place)
        if not anonymous:
            for i, text in zip(where, map(str, part["hyp"]), strict=True):
                texts[i] = seen[i].setdefault(text, number)
                if texts[i] == number:
                    texts[i] = text
        entry: dict[str, Any] = {
            "system": label,
            "lists": run.lists.get(str(label)),
            "weights": run.weights(str(label)),
            "hyps": None if anonymous else texts,
        }
        for short, count in (("s", "substitutions"), ("d", "deletions"), ("i", "insertions")):
            entry[short] = placed(part[count], where, len(place))
        ranks = part["rank"] if "rank" in part else pd.Series(np.nan, index=part.index)
        entry["rank"] = placed(ranks, where, len(place))
        entry["sure"] = None if anonymous else percents(part, where, len(place))
        outputs.append(entry)
    return outputs


def placed(values: pd.Series, where: Sequence[int], size: int) -> list[int | None]:
    """Values in the utterances' order; None where there is none."""
    found: list[int | None] = [None] * size
    for i, value in zip(where, values, strict=True):
        found[i] = None if pd.isna(value) else int(value)
    return found


def percents(part: pd.DataFrame, where: Sequence[int], size: int) -> list[str | None] | None:
    """The confidence of every word of a system's outputs in percent, two digits a word.

    Returns:
        A string of 2 · W digits for each utterance; None if its words have no confidences,
        and None instead of the list if no utterance has any. 99 means 0.99 or more.
    """
    if "confidence" not in part or part["confidence"].isna().all():
        return None
    found: list[str | None] = [None] * size
    texts = map(str, part["hyp"])
    for i, text, sure in zip(where, texts, part["confidence"], strict=True):
        # A normaliser may have changed the number of words.
        if np.ndim(sure) == 1 and len(sure) == len(text.split()):
            found[i] = "".join(f"{min(99, int(100 * value)):02}" for value in sure)
    return found


def hypotheses(
    run: Run,
    name: str,
    table: pd.DataFrame,
    rows: pd.DataFrame,
    place: dict[str, int],
    anonymous: bool,
) -> dict[str, Any]:
    """The N-best lists of one first pass, as columns over all kept hypotheses.

    Returns:
        `start` (U + 1), where each utterance's hypotheses begin; the columns `rank`, `errors`,
        `text`, `counted` (the normalised text; None if it is the same as `text`, and None instead
        of the column if all are the same) and every score (None for -inf); `left_out`, the number
        of hypotheses that are not shown.
    """
    table = table.assign(place=table["utt"].astype(str).map(place))
    table = table.sort_values(["place", "rank"], kind="stable")
    limit = min(MOST_HYPOTHESES, max(FEWEST_HYPOTHESES, MOST_ROWS // max(1, len(place))))
    keep = shown(table, chosen_ranks(run, name, rows), limit)
    kept = table[keep]
    scores = {
        str(column): rounded(kept[column])
        for column in kept.columns
        if column not in (*NO_SCORES, "place")
        and pd.api.types.is_numeric_dtype(kept[column])
        and not str(column).startswith("sweep.")
    }
    counts = np.bincount(kept["place"], minlength=len(place))
    texts = None if anonymous else kept["text"].astype(str).tolist()
    counted = None
    if not anonymous and "counted" in kept and (kept["counted"] != kept["text"]).any():
        pairs = zip(kept["counted"], kept["text"], strict=True)
        counted = [str(one) if one != text else None for one, text in pairs]
    return {
        "lists": name,
        "start": [0, *np.cumsum(counts).tolist()],
        "rank": kept["rank"].astype(int).tolist(),
        "errors": kept["errors"].astype(int).tolist(),
        "text": texts,
        "counted": counted,
        "scores": scores,
        "left_out": int((~keep).sum()),
        "limit": limit,
    }


def chosen_ranks(run: Run, name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The utterance and rank of every hypothesis of these lists that a system chose."""
    labels = [label for label, lists in run.lists.items() if lists == name]
    if "rank" not in rows:
        return pd.DataFrame({"utt": [], "rank": []})
    return rows.loc[rows["label"].isin(labels), ["utt", "rank"]].dropna().drop_duplicates()


def shown(table: pd.DataFrame, chosen: pd.DataFrame, limit: int) -> np.ndarray:
    """Which hypotheses are shown, bool (N,).

    They are the first ranks, those that a system chose, and the first with the fewest errors.

    Args:
        table: Sorted by utterance and rank.
        chosen: `utt` and `rank` of what systems chose.
        limit: Number of first ranks.
    """
    within = table.groupby("place").cumcount().to_numpy()
    picked = set(zip(chosen["utt"].astype(str), chosen["rank"].astype(int), strict=True))
    pairs = zip(table["utt"].astype(str), table["rank"].astype(int), strict=True)
    wanted = np.array([pair in picked for pair in pairs], dtype=bool)
    oracle = np.zeros(len(table), dtype=bool)
    if len(table):
        numbered = table["errors"].reset_index(drop=True)
        oracle[numbered.groupby(table["place"].to_numpy()).idxmin().to_numpy()] = True
    return (within < limit) | wanted | oracle


def rounded(column: pd.Series) -> list[float | int | None]:
    """Scores with few decimals; None for -inf and for a missing score."""
    values = column.to_numpy(dtype=np.float64)
    finite = np.isfinite(values)
    short = np.where(finite, values, 0.0).round(DIGITS)
    whole = bool((short == np.trunc(short)).all())
    numbers = short.astype(np.int64).tolist() if whole else short.tolist()
    return [n if good else None for n, good in zip(numbers, finite.tolist(), strict=True)]


def tokens(run: Run, split: str, place: dict[str, int]) -> dict[str, list[Any]] | None:
    """Log-probs of the tokens of chosen hypotheses.

    Returns:
        For each utterance, by its place, `[column, text, pieces, logprobs]` of each scored text;
        None if the folder has no log-probs of tokens.
    """
    if run.pieces is None:
        return None
    table = run.pieces[run.pieces["split"] == split]
    table = table.sort_values("position", kind="stable")
    found: dict[str, list[Any]] = {}
    for (utt, column, text), part in table.groupby(["utt", "column", "text"], sort=False):
        if str(utt) in place:
            entry = [column, text, part["piece"].astype(str).tolist(), rounded(part["logprob"])]
            found.setdefault(str(place[str(utt)]), []).append(entry)
    return found


def audio_links(run: Run, first: pd.DataFrame, page: Path) -> list[str | None] | None:
    """Links from the page's folder to the audio files that exist; None if there are none."""
    if "audio" not in first:
        return None
    links = [None if pd.isna(p) else audio_link(str(p), run.folder, page) for p in first["audio"]]
    return links if any(links) else None


def audio_link(path: str, folder: Path, page: Path) -> str | None:
    """A relative link to an audio file, whose path may start at `folder` or the current folder."""
    for base in (folder, Path()):
        file = base / path
        if file.is_file():
            try:
                relative = os.path.relpath(file.resolve(), page.resolve())
            except ValueError:  # on Windows, the file is on another drive
                return None
            return quote(Path(relative).as_posix())
    return None
