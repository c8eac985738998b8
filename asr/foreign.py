"""What readers of other systems' files share: lines with their numbers, scores, lists."""

from __future__ import annotations

import json
import lzma
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from asr.nbest import Hypothesis, build_nbest
from lm.errors import InputError
from lm.prose import open_text

# How torch prints a score that was never turned into a number: tensor(-4.06), and with more in it.
TENSOR = re.compile(r"tensor\(([^,)]+)[^)]*\)")


@dataclass(frozen=True)
class Imported:
    """Lists of another system.

    Attributes:
        table: N-best table; the system's single score is `acoustic`.
        references: By utterance, where the format has them.
    """

    table: pd.DataFrame
    references: dict[str, str] | None


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not empty, each with file and number for messages.

    Raises:
        InputError: The file is missing, damaged, or no UTF-8.
    """
    number = 0
    try:
        with open_text(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield line.rstrip("\n"), f"{path}, line {number}"
    except (EOFError, OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: damaged after line {number} ({error}); copy or unpack it again"
        ) from error


def keyed(path: Path) -> Iterator[tuple[str, str, str]]:
    """Utterance, the rest of its line, and file and line for messages (Kaldi's text files)."""
    for line, where in lines_of(path):
        utt, *rest = line.split(maxsplit=1)
        yield utt, "".join(rest).strip(), where


def read_json(path: Path) -> Any:
    """A whole JSON file, plain or compressed.

    Raises:
        InputError: It is missing, damaged, or no JSON.
    """
    text = "\n".join(line for line, _ in lines_of(path))
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}); is the file whole?") from error


def score_of(text: str, where: str) -> float:
    """A score as it is printed.

    Raises:
        InputError: It is no number.
    """
    match = TENSOR.fullmatch(text)
    try:
        return float(match[1] if match else text)
    except ValueError as error:
        raise InputError(f"{where}: score {text!r} is not a number, nor tensor(NUMBER)") from error


def distinct(found: list[tuple[str, float]], where: str) -> list[Hypothesis]:
    """Hypotheses in their order; of equal texts the first, which is the better.

    Raises:
        InputError: A score is NaN or +inf, or there is no hypothesis.
    """
    kept: dict[str, Hypothesis] = {}
    for text, score in found:
        if math.isnan(score) or score == math.inf:
            raise InputError(f"{where}: score {score} of {text!r} is no log-prob; leave it out")
        text = " ".join(text.split())
        kept.setdefault(text, Hypothesis(text, score))
    if not kept:
        raise InputError(f"{where}: no hypotheses; give at least one, whose text may be empty")
    return list(kept.values())


def imported(
    path: Path, lists: Mapping[str, list[Hypothesis]], references: Mapping[str, str]
) -> Imported:
    """Lists by utterance as a table; references count only where every utterance has one.

    Raises:
        InputError: There are no utterances.
    """
    if not lists:
        raise InputError(f"{path}: no utterances in it")
    whole = all(utt in references for utt in lists)
    return Imported(build_nbest(lists), {u: references[u] for u in lists} if whole else None)
