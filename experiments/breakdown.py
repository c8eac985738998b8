"""Where the errors are: error rates by group of utterances, by N and by word.

The tables are for notebooks and the report. Rates are fractions; a rate is calculated from the sums
of the counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from asr.evaluation.alignment import Method, word_pairs
from asr.evaluation.significance import RESAMPLES, bootstrap_interval

TAG = "tag."

# Upper ends of the classes; the last class is open.
LENGTHS = (5, 10, 15, 20, 30)
RANKS = (1, 3, 10, 30)
UNKNOWN = (0, 1)


def with_classes(utterances: pd.DataFrame) -> pd.DataFrame:
    """Adds classes and counts, for `by_group`, to the utterances of a results folder.

    Returns:
        The table with the columns `errors`, `ref_words`, `tag.length` (class of the reference's
        length), `tag.chosen rank` (class of the rank) and, if n-gram models were used,
        `tag.unknown words` (class of the number of reference words that these do not know).
    """
    wrong = utterances["substitutions"] + utterances["deletions"]
    words = utterances["hits"] + wrong
    classes = {f"{TAG}length": words.map(lambda n: class_of(n, LENGTHS, "words"))}
    if "rank" in utterances:
        classes[f"{TAG}chosen rank"] = utterances["rank"].map(lambda n: class_of(n, RANKS, first=1))
    if "unknown" in utterances:
        classes[f"{TAG}unknown words"] = utterances["unknown"].map(lambda n: class_of(n, UNKNOWN))
    return utterances.assign(errors=wrong + utterances["insertions"], ref_words=words, **classes)


def class_of(number: float, ends: Iterable[int], unit: str = "", first: int = 0) -> str | None:
    """The class of a count, such as `6–10 words`; None if the count is not known."""
    if pd.isna(number):
        return None
    low = first
    for high in ends:
        if number <= high:
            return f"{low}–{high} {unit}".strip() if low < high else f"{low} {unit}".strip()
        low = high + 1
    return f"{low} {unit} or more".replace("  ", " ")


def natural(value: str) -> tuple[int, float, str]:
    """Sort key: texts that start with a number come first, by that number."""
    head = value.split("–")[0].split()[0] if value.split() else ""
    try:
        return 0, float(head), value
    except ValueError:
        return 1, 0.0, value


def by_group(
    utterances: pd.DataFrame, column: str, resamples: int = RESAMPLES, system: str = "system"
) -> pd.DataFrame:
    """Error rates of every system in every group of utterances.

    Args:
        utterances: Rows of one split, from `with_classes`.
        column: The column that gives the group, for example `tag.speaker`; utterances without a
            value are left out.
        resamples: Number of bootstrap samples over utterances, for the intervals.
        system: The column that names the system.

    Returns:
        `system, group, utterances, ref_words, errors, wer, wer_low, wer_high, ser`, systems in the
        order of the table, groups sorted by `natural`; the interval is NaN for one utterance.
    """
    known = utterances[utterances[column].notna()]
    groups = known[column].astype(str)
    rows = []
    for name in utterances[system].unique():
        own = known[system] == name
        for group in sorted(groups[own].unique(), key=natural):
            part = known[own & (groups == group)]
            errors, words = part["errors"].to_numpy(), part["ref_words"].to_numpy()
            low, high = bootstrap_interval(errors, words, resamples) or (np.nan, np.nan)
            total = int(words.sum())
            rows.append(
                {
                    "system": name,
                    "group": group,
                    "utterances": len(part),
                    "ref_words": total,
                    "errors": int(errors.sum()),
                    "wer": errors.sum() / total if total else np.nan,
                    "wer_low": low,
                    "wer_high": high,
                    "ser": float((errors > 0).mean()),
                }
            )
    return pd.DataFrame(rows)


def oracle_by_n(hypotheses: pd.DataFrame, ref_words: int) -> pd.DataFrame:
    """The oracle's error rate with only the first N hypotheses of each N-best list.

    Args:
        hypotheses: Rows of one split, with `lists, utt, rank, errors`.
        ref_words: Number of reference words of the split.

    Returns:
        `lists, n, errors, wer`, for every N up to the longest list.
    """
    found = []
    for name, table in hypotheses.groupby("lists", sort=False):
        wide = table.pivot(index="utt", columns="rank", values="errors")
        # Beyond the end of a shorter list, its fewest errors stay the same.
        fewest = wide.cummin(axis=1).ffill(axis=1).sum()
        errors = fewest.to_numpy().astype(np.int64)
        n = fewest.index.to_numpy()
        found.append(
            pd.DataFrame(
                {"lists": name, "n": n, "errors": errors, "wer": errors / (ref_words or np.nan)}
            )
        )
    return pd.concat(found, ignore_index=True)


def confusions(
    references: Iterable[str], hypotheses: Iterable[str], alignment: Method = "jiwer"
) -> dict[str, Counter]:
    """Counts which words were recognised as which, by the alignment that counts the errors.

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
        for ref, hyp in word_pairs(reference, hypothesis, alignment):
            if ref is None:
                found["insertions"][(hyp,)] += 1
            elif hyp is None:
                found["deletions"][(ref,)] += 1
            elif ref != hyp:
                found["substitutions"][ref, hyp] += 1
    return found


def most_frequent(counts: Counter, most: int) -> list[tuple[tuple[str, ...], int]]:
    """The most frequent entries; those with equal counts are in alphabetical order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def unknown_words(text: str, models: Iterable[Callable[[str], bool]]) -> int:
    """Number of words of a text that no model knows, in this case or another.

    Args:
        text: Words, separated by white space.
        models: Functions that say whether a model knows a word.
    """
    models = list(models)
    return sum(
        not any(knows(form) for knows in models for form in (word, word.lower(), word.upper()))
        for word in text.split()
    )
