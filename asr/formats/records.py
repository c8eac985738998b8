"""What the readers of other systems' files share: lines with their numbers, checks, tables.

A reader collects candidates as its file has them. If a value of one utterance is wrong, that
utterance is left out, with a reason. If the file is damaged or has another format, the import ends
with an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.hypothesis import Hypothesis
from lm.errors import InputError
from lm.text.prose import open_text

if TYPE_CHECKING:
    import pandas as pd

# Names in a file that are not scores; words are counted from the text.
NO_SCORES = ("utt", "rank", "ref", "text", "score", "words")
# How torch prints a score that was not converted to a number: tensor(-4.06), sometimes with more.
TENSOR = re.compile(r"tensor\(([^,)]+)[^)]*\)")
TICKS = 1000  # word times are rounded to this fraction of a second


@dataclass(frozen=True)
class Imported:
    """N-best lists of another system.

    Attributes:
        table: N-best table; a system's single score is `acoustic`.
        references: Reference by utterance of the table; None if the format has none.
        failures: Reason for each utterance that was left out.
    """

    table: pd.DataFrame
    references: dict[str, str] | None
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hypothesis as a file has it, not checked yet.

    Attributes:
        text: Words.
        score: Score of the system, natural log, as a number or as printed.
        where: File and line or utterance, for messages.
        more: Scores that have names in the file, by column. `acoustic` is used instead of `score`,
            `ngram` and `oov` are columns of every table, and other names are further columns.
        times: Starts and ends of the words, seconds.
    """

    text: object
    score: object
    where: str
    more: Mapping[str, object] = field(default_factory=dict)
    times: tuple[Sequence[float], Sequence[float]] | None = None


def _raw_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line with its end, and its number.

    Raises:
        InputError: The file is missing, damaged, or not UTF-8.
    """
    with open_text(path) as lines:
        yield from enumerate(lines, 1)


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not empty, each with file and number for messages.

    Raises:
        InputError: The file is missing, damaged, or not UTF-8.
    """
    for number, line in _raw_lines(path):
        if line.strip():
            yield line.rstrip("\n"), f"{path}, line {number}"


def keyed(path: Path) -> Iterator[tuple[str, str, str]]:
    """Utterance, the rest of its line, and file and line for messages (Kaldi's text files)."""
    for line, where in lines_of(path):
        utt, *rest = line.split(maxsplit=1)
        yield utt, "".join(rest).strip(), where


def keyed_once(path: Path) -> dict[str, tuple[str, str]]:
    """The rest of the line, and its place, by utterance.

    Raises:
        InputError: An utterance occurs twice.
    """
    found: dict[str, tuple[str, str]] = {}
    for utt, rest, where in keyed(path):
        if utt in found:
            raise InputError(f"{where}: {utt} occurs twice; keep one of the lines")
        found[utt] = (rest, where)
    return found


def read_json(path: Path) -> Any:
    """A whole JSON file, plain or compressed.

    Raises:
        InputError: It is missing, damaged, not JSON, or a key occurs twice in an object.
    """
    text = "".join(line for _, line in _raw_lines(path))

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise InputError(f"{path}: {key!r} occurs twice in an object; keep one of them")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); is the file complete?") from error


def utt_of(value: object, where: str) -> str:
    """An utterance's id.

    Raises:
        InputError: It is missing or empty.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f"{where}: {value!r} is not an utterance id; every utterance needs one")
    return str(value)


def number_of(value: object, where: str, name: str = "score") -> float:
    """A number, or a number as torch or a person prints it.

    Raises:
        InputError: It is not a number, or it is NaN.
    """
    match = TENSOR.fullmatch(value) if isinstance(value, str) else None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        number = float(match[1] if match else value)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{where}: {name} {str(value)[:40]!r} is not a number or tensor(NUMBER)"
        ) from error
    if math.isnan(number):
        raise InputError(f"{where}: {name} is NaN, not a number; remove that line or entry")
    return number


def score_of(value: object, where: str, column: str) -> float:
    """A log-prob, or a count.

    Raises:
        InputError: It is not a number, or it is NaN or +inf.
    """
    name = "score" if column == "acoustic" else column
    number = number_of(value, where, name)
    if number == math.inf:
        raise InputError(f"{where}: {name} inf is not a log-prob; remove that line or entry")
    return number


def seconds_of(value: object, where: str) -> float:
    """A time, seconds.

    Raises:
        InputError: It is not a number, negative or infinite.
    """
    seconds = number_of(value, where, "time")
    if not 0 <= seconds < math.inf:
        raise InputError(f"{where}: time {value} is not a number of seconds, 0 or more")
    return seconds


def new_list(lists: dict[str, list[Candidate]], utt: str, where: str) -> list[Candidate]:
    """Adds an empty list for an utterance to the other lists and returns it.

    Raises:
        InputError: The utterance has a list already.
    """
    if utt in lists:
        raise InputError(f"{where}: utterance {utt} occurs twice; keep one of them")
    lists[utt] = []
    return lists[utt]


def in_order(found: Mapping[str, Mapping[int, Candidate]]) -> dict[str, list[Candidate]]:
    """Candidates by utterance, in the order of their numbers."""
    return {utt: [ranks[rank] for rank in sorted(ranks)] for utt, ranks in found.items()}


def hypothesis_of(found: Candidate) -> Hypothesis:
    """Checks a candidate; white space becomes single spaces.

    Raises:
        InputError: Its text is not a text, or a score is not a log-prob.
    """
    if not isinstance(found.text, str):
        raise InputError(f'{found.where}: text {found.text!r} is not a string; use "" for no words')
    given = found.more if "acoustic" in found.more else {"acoustic": found.score, **found.more}
    scores = {name: score_of(score, found.where, name) for name, score in given.items()}
    times = None
    if found.times is not None:
        starts, ends = ([round(TICKS * second) for second in side] for side in found.times)
        times = (starts, ends)
    acoustic, ngram, oov = (scores.pop(name, 0.0) for name in ("acoustic", "ngram", "oov"))
    if oov < 0 or oov % 1:
        raise InputError(f"{found.where}: oov {oov} is not a number of words")
    text = " ".join(found.text.split())
    return Hypothesis(text, acoustic, ngram, int(oov), more=scores, times=times)


def distinct(found: Sequence[Candidate], where: str) -> list[Hypothesis]:
    """Hypotheses in their order; of equal texts the first one, which is better.

    Raises:
        InputError: As `hypothesis_of`, or there is no hypothesis.
    """
    kept: dict[str, Hypothesis] = {}
    for candidate in found:
        hypothesis = hypothesis_of(candidate)
        kept.setdefault(hypothesis.text, hypothesis)
    if not kept:
        raise InputError(
            f"{where}: there are no hypotheses; at least one is needed, whose text may be empty"
        )
    return list(kept.values())


def imported(
    path: Path,
    lists: Mapping[str, Sequence[Candidate]],
    references: Mapping[str, object] | None = None,
    failures: Mapping[str, str] | None = None,
) -> Imported:
    """Makes a table of N-best lists; it has word times if every hypothesis has them.

    Args:
        path: File or folder of the lists, for messages.
        lists: Candidates by utterance, best first.
        references: Reference by utterance; they are used only if every utterance has one.
        failures: Reason for each utterance that has failed already.

    Raises:
        InputError: There are no utterances, or all of them fail.
    """
    references = references or {}
    failed = dict(failures or {})
    kept: dict[str, list[Hypothesis]] = {}
    texts: dict[str, str] = {}
    names: list[tuple[str, ...]] = []  # names of further scores, once they are known
    for utt, found in lists.items():
        if utt in failed:
            continue
        where = f"{path}, utterance {utt}"
        try:
            hypotheses = distinct(found, where)
            reference = references.get(utt)
            if isinstance(reference, str):
                texts[utt] = reference
            elif reference is not None:
                raise InputError(f"{where}: reference {reference!r} is not a string")
            names = names or [tuple(hypotheses[0].more or ())]
            for hypothesis in hypotheses:
                if other := set(names[0]) ^ set(hypothesis.more or ()):
                    raise InputError(
                        f"{where}: some of its hypotheses and of those before have a score "
                        f"{min(other)}, others do not; give it to all or to none"
                    )
            kept[utt] = hypotheses
        except InputError as error:
            failed[utt] = str(error)
    if not kept:
        first = next(iter(failed.values()), None)
        reason = f"; all of them failed, the first one: {first}" if first else ""
        raise InputError(f"{path}: no utterances in it{reason}")
    from asr.nbest import build_nbest  # pandas takes most of a second to import

    timed = all(h.times is not None for one in kept.values() for h in one)
    table = build_nbest(kept, 1 / TICKS, names[0], times=timed)
    return Imported(table, texts if len(texts) == len(kept) else None, failed)
