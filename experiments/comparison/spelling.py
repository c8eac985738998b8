"""Warns of hypotheses that are spelled otherwise than the references: nearly all words are wrong.

Weights that are tuned on such lists mean nothing, and the cause is nearly always a setting.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from asr.evaluation.wer import ErrorRate
from experiments.comparison.dev import Dev
from experiments.comparison.references import References
from lm.text.normalisers import unicode_words

LOG = logging.getLogger("secondpass")
NEARLY_ALL = 0.95  # word error rate of rank 1 from which a warning is given
EXAMPLES = 2


def warn_of_spelling(dev: Dev) -> None:
    """Warns of every first pass whose lists on dev have nearly no word as in the references."""
    for lists, table in dev.tables.items():
        if (message := spelling_problem(lists, table, dev.references)) is not None:
            LOG.warning(message)


def spelling_problem(lists: str, table: pd.DataFrame, references: References) -> str | None:
    """What is wrong with N-best lists in which nearly all words are wrong; None where it is not so.

    Args:
        lists: their name.
        table: the N-best table.
        references: the references of its utterances.
    """
    first = table.loc[table.groupby("utt", sort=False)["rank"].idxmin(), ["utt", "text"]]
    rate = ErrorRate.total(references.counts(first)).rate
    utts = first["utt"].tolist()
    truth = dict(zip(utts, references.of(utts), strict=True))
    spoken = words_of(truth.values())
    if not spoken:
        return None
    found = words_of(references.spelled(table)["text"])
    nothing = not spoken & found
    if rate < NEARLY_ALL and not nothing:
        return None
    shown = dict(zip(utts, references.spelled(first)["text"], strict=True))
    examples = [utt for utt in utts if truth[utt] and shown[utt]] or utts
    what = f"dev: {100 * rate:.1f} % of the words in the N-best lists {lists!r} are wrong"
    lines = [f"{what}; not one word is spelled as in the references." if nothing else f"{what}."]
    for utt in examples[:EXAMPLES]:
        lines += [f"  {utt}", f"    reference:  {truth[utt]}", f"    hypothesis: {shown[utt]}"]
    return "\n".join([*lines, f"  {likely_reason(truth, shown)}"])


def likely_reason(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> str:
    """Why nearly all words are wrong, as far as the texts tell.

    Args:
        references: texts as they are counted, by utterance.
        hypotheses: texts of the same utterances as they are counted.
    """
    utts = [utt for utt in references if hypotheses[utt]]
    if not utts:
        return "The hypotheses are empty: check that the acoustic model fits the audio."
    if agree([(references[u].lower(), hypotheses[u].lower()) for u in utts]):
        return "The likely reason: upper and lower case differ; set `normaliser: unicode`."
    if agree([(unicode_words(references[u]), unicode_words(hypotheses[u])) for u in utts]):
        return "The likely reason: punctuation or other marks differ; set `normaliser: unicode`."
    return (
        "The spelling is not the reason. Check that the references belong to these utterances, "
        "and that the models are of their language."
    )


def agree(pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether at least half of the references' words are in their hypotheses."""
    words = [(reference.split(), set(hypothesis.split())) for reference, hypothesis in pairs]
    same = sum(word in hypothesis for reference, hypothesis in words for word in reference)
    return 2 * same >= sum(len(reference) for reference, _ in words) > 0


def words_of(texts: Iterable[str]) -> set[str]:
    """The different words of some texts."""
    return {word for text in texts for word in text.split()}
