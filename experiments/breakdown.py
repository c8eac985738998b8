"""Where the errors are: results folders' tables taken apart by group, by N and by word.

Tidy frames for notebooks and the report; rates are fractions, and counts are summed before a rate
is taken.
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
    """The utterances of a results folder with what every group needs.

    Returns:
        Further columns `errors`, `ref_words`, `tag.length` (class of the reference's length),
        `tag.chosen rank` (its class) and, where n-gram models were used,
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
    """The class that a count falls in, `6–10 words`; None of what is not known."""
    if pd.isna(number):
        return None
    low = first
    for high in ends:
        if number <= high:
            return f"{low}–{high} {unit}".strip() if low < high else f"{low} {unit}".strip()
        low = high + 1
    return f"{low} {unit} or more".replace("  ", " ")


def natural(value: str) -> tuple[int, float, str]:
    """Sorts numbers by size and before other texts; a leading number counts."""
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
        column: What groups them, `tag.speaker` say; utterances without a value are left out.
        resamples: number of bootstrap samples over utterances, for the intervals.
        system: The column that names the system.

    Returns:
        `system, group, utterances, ref_words, errors, wer, wer_low, wer_high, ser`, systems in
        their order, groups in natural order; the interval is NaN for a single utterance.
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
    """The oracle's error rate when only the first N hypotheses of each list count.

    Args:
        hypotheses: Rows of one split, with `lists, utt, rank, errors`.
        ref_words: Words of its references.

    Returns:
        `lists, n, errors, wer`, for every N up to the longest list.
    """
    found = []
    for name, table in hypotheses.groupby("lists", sort=False):
        wide = table.pivot(index="utt", columns="rank", values="errors")
        # A shorter list has no more to offer than its last hypothesis does.
        fewest = wide.cummin(axis=1).ffill(axis=1).sum()
        errors = fewest.to_numpy().astype(np.int64)
        n = fewest.index.to_numpy()
        found.append(
            pd.DataFrame({"lists": name, "n": n, "errors": errors, "wer": errors / ref_words})
        )
    return pd.concat(found, ignore_index=True)


def confusions(
    references: Iterable[str], hypotheses: Iterable[str], alignment: Method = "jiwer"
) -> dict[str, Counter]:
    """Which words were recognised as which, by the alignment that the errors are counted with.

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
    """The most frequent entries; equals in alphabetical order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def unknown_words(text: str, models: Iterable[Callable[[str], bool]]) -> int:
    """How many words of a text no model knows, as they are or in another case.

    Args:
        text: Words at white space.
        models: Each says whether it knows a word.
    """
    models = list(models)
    return sum(
        not any(knows(form) for knows in models for form in (word, word.lower(), word.upper()))
        for word in text.split()
    )
