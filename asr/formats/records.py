"""What the readers of other systems' files share: lines with their numbers, and checks of values.

A reader collects candidates as its file has them. If a value of one utterance is wrong, that
utterance is left out, with a reason. If the file is damaged or has another format, the import ends
with an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm.errors import InputError
from lm.text.json_values import parse_json
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
        references: Reference by utterance of the table, where the file has one; None if it has
            none at all.
        failures: Reason for each utterance that was left out.
    """

    table: pd.DataFrame
    references: dict[str, str] | None
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lists:
    """N-best lists as a file has them, not checked yet.

    Attributes:
        path: File or folder, for messages.
        lists: Candidates by utterance, best first.
        references: Reference by utterance, where there is one.
        failures: Reason for each utterance that has failed already.
        by_score: Whether the file gives no order, so that the scores do.
    """

    path: Path
    lists: Mapping[str, Sequence[Candidate]]
    references: Mapping[str, object] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    by_score: bool = False


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
    return parse_json(text, str(path), "is the file complete?", halves=True)


def utt_of(value: object, where: str) -> str:
    """An utterance's id.

    Raises:
        InputError: It is missing or empty, or it has several lines.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f"{where}: {value!r} is not an utterance id; every utterance needs one")
    utt = encodable(str(value), where)
    if len(utt.splitlines()) > 1:
        raise InputError(f"{where}: utterance id {utt!r} has line breaks; rename the utterance")
    return utt


def encodable(text: str, where: str) -> str:
    """The text itself, if UTF-8 can hold it.

    Raises:
        InputError: It has half of a surrogate pair, which JSON can hold and no file of text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: the text has {text[error.start]!a}, half of a character; write it again "
            "as UTF-8"
        ) from error
    return text


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
        if isinstance(value, str) and "_" in value:  # which Python takes for a comma of thousands
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{where}: {name} {str(value)[:40]!r} is not a number or tensor(NUMBER)"
        ) from error
    if math.isnan(number):
        raise InputError(f"{where}: {name} is NaN, not a number; remove that line or entry")
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
