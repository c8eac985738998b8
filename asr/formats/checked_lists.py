"""Lists that a reader has collected, checked one utterance after the other, as an N-best table."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from asr.formats.records import TICKS, Candidate, Imported, Lists, encodable, number_of
from asr.hypothesis import Hypothesis
from asr.nbest import TIMES, build_nbest
from lm.columns import KEYS, is_count
from lm.errors import InputError

LOG = logging.getLogger("secondpass")


def checked(found: Lists, negated: Collection[str] = ()) -> Imported:
    """Makes a table of N-best lists; it has word times where hypotheses have them.

    Args:
        found: The lists.
        negated: Columns that hold costs in the file and get the other sign; `acoustic` is the
            system's single score, too.

    Raises:
        InputError: There are no utterances, all of them fail, or there is no score to negate.
    """
    if counts := sorted(filter(is_count, negated)):
        raise InputError(f"{found.path}: {', '.join(counts)} are counts and not costs; name scores")
    failed = dict(found.failures)
    kept: dict[str, list[Hypothesis]] = {}
    texts: dict[str, str] = {}
    for utt, candidates in found.lists.items():
        if utt in failed:
            continue
        where = f"{found.path}, utterance {utt}"
        try:
            ordered = in_score_order(candidates, negated) if found.by_score else candidates
            hypotheses = distinct(ordered, negated, where)
            reference = found.references.get(utt)
            if isinstance(reference, str):
                texts[utt] = encodable(reference, f"{where}, reference")
            elif reference is not None:
                raise InputError(f"{where}: reference {reference!r} is not a string")
            kept[utt] = hypotheses
        except InputError as error:
            failed[utt] = str(error)
    names = usual_scores(kept)
    for utt, why in other_scores(kept, names).items():
        failed[utt] = f"{found.path}, utterance {utt}: {why}"
        del kept[utt]
        texts.pop(utt, None)
    if not kept:
        first = next(iter(failed.values()), None)
        reason = f"; all of them failed, the first one: {first}" if first else ""
        raise InputError(f"{found.path}: no utterances in it{reason}")
    times = [h.times for one in kept.values() for h in one]
    timed = None not in times or any(one is not None and len(one[0]) for one in times)
    table = build_nbest(kept, 1 / TICKS, names, times=timed)
    scores = table.columns.difference([*KEYS, *TIMES])
    if unknown := sorted(set(negated) - set(scores)):
        raise InputError(
            f"{found.path}: no score {', '.join(unknown)} that could be negated; there are "
            f"{', '.join(name for name in scores if not is_count(name))}"
        )
    warn_of_costs(table, found)
    warn_of_order(table, found)
    return Imported(table, texts or None, failed)


def in_score_order(candidates: Sequence[Candidate], negated: Collection[str]) -> list[Candidate]:
    """Candidates with the best score first; a bad score is reported when it is checked."""
    sign = 1 if "acoustic" in negated else -1

    def place(candidate: Candidate) -> float:
        try:
            return sign * number_of(candidate.score, candidate.where)
        except InputError:
            return 0.0

    return sorted(candidates, key=place)


def distinct(found: Sequence[Candidate], negated: Collection[str], where: str) -> list[Hypothesis]:
    """Hypotheses in their order; of equal texts the first one, which is better.

    Raises:
        InputError: As `hypothesis_of`, or there is no hypothesis.
    """
    kept: dict[str, Hypothesis] = {}
    for candidate in found:
        hypothesis = hypothesis_of(candidate, negated)
        kept.setdefault(hypothesis.text, hypothesis)
    if not kept:
        raise InputError(
            f"{where}: there are no hypotheses; at least one is needed, whose text may be empty"
        )
    return list(kept.values())


def hypothesis_of(found: Candidate, negated: Collection[str] = ()) -> Hypothesis:
    """Checks a candidate; white space becomes single spaces.

    Raises:
        InputError: Its text is not a text, or a score is not a log-prob.
    """
    if not isinstance(found.text, str):
        raise InputError(f'{found.where}: text {found.text!r} is not a string; use "" for no words')
    given = found.more if "acoustic" in found.more else {"acoustic": found.score, **found.more}
    scores = {
        name: score_of(value, found.where, name, name in negated) for name, value in given.items()
    }
    times = None
    if found.times is not None:
        starts, ends = ([round(TICKS * second) for second in side] for side in found.times)
        times = (starts, ends)
    acoustic, ngram, oov = (scores.pop(name, 0.0) for name in ("acoustic", "ngram", "oov"))
    if oov < 0 or oov % 1:
        raise InputError(f"{found.where}: oov {oov} is not a number of words")
    text = " ".join(encodable(found.text, found.where).split())
    return Hypothesis(text, acoustic, ngram, int(oov), more=scores, times=times)


def score_of(value: object, where: str, column: str, cost: bool = False) -> float:
    """A log-prob, or a count.

    Args:
        value: As the file has it.
        where: File and line or utterance, for messages.
        column: Name of the score.
        cost: Whether it is minus a log-prob.

    Raises:
        InputError: It is not a number, or it is NaN, or the log-prob is +inf.
    """
    name = "score" if column == "acoustic" else column
    number = number_of(value, where, name)
    if cost:
        number = 0.0 - number
    if number == math.inf:
        given = "cost -inf" if cost else "inf"
        raise InputError(f"{where}: {name} {given} is not a log-prob; remove that line or entry")
    return number


def usual_scores(lists: Mapping[str, Sequence[Hypothesis]]) -> tuple[str, ...]:
    """The names of further scores that most lists have; of equally many the first ones."""
    found = Counter(tuple(one[0].more or ()) for one in lists.values())
    as_sets = Counter(frozenset(names) for names in found.elements())
    if not as_sets:
        return ()
    most = as_sets.most_common(1)[0][0]
    return next(names for names in found if frozenset(names) == most)


def other_scores(
    lists: Mapping[str, Sequence[Hypothesis]], names: Collection[str]
) -> dict[str, str]:
    """Why a list cannot be in a table with these scores, by utterance."""
    failed = {}
    for utt, hypotheses in lists.items():
        for hypothesis in hypotheses:
            if other := set(names) ^ set(hypothesis.more or ()):
                failed[utt] = (
                    "some of its hypotheses and of those of most utterances have a score "
                    f"{min(other)}, others do not; give it to all or to none"
                )
                break
    return failed


def warn_of_costs(table: pd.DataFrame, found: Lists) -> None:
    """Warns of scores that cannot be log-probs of texts: not one is below 0."""
    columns = [name for name in table.columns if name not in (*KEYS, *TIMES) and not is_count(name)]
    for name in columns:
        values = table[name].to_numpy(dtype=float)
        if not (values >= 0).all() or not (values > 0).any():
            continue
        option = "--negate" if name == "acoustic" else f"--negate-columns {name}"
        LOG.warning(
            f"{found.path}: not one value of the score {name} is below 0 (they are "
            f"{np.min(values):g} to {np.max(values):g}), and higher ones are taken as better. If "
            "they are costs, such as negative log-probs, use `secondpass import-nbest "
            f"{option}`; if they are probabilities, write their natural log"
        )


def warn_of_order(table: pd.DataFrame, found: Lists) -> None:
    """Warns of lists in the order of the file whose scores never fall and often rise."""
    values = table["acoustic"]
    others = table.columns.difference([*KEYS, *TIMES, "acoustic"])
    scored = any(table[name].any() for name in others if not is_count(name))
    # Scores of which none is below 0 have their own warning.
    if found.by_score or scored or (values >= 0).all():
        return
    change = values.groupby(table["utt"], sort=False).diff().dropna()
    if (change >= 0).all() and (change > 0).any():
        LOG.warning(
            f"{found.path}: the first hypothesis of every list has the lowest score, and higher "
            "scores are taken as better. If they are costs, use `secondpass import-nbest "
            "--negate`; else put the best hypothesis first"
        )
