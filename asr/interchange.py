"""N-best lists of other systems."""

from __future__ import annotations

import json
import lzma
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from asr.nbest import Hypothesis, build_nbest
from lm.errors import InputError
from lm.prose import open_text

# How torch prints a score that was never turned into a number: tensor(-4.06), and with more in it.
TENSOR = re.compile(r"tensor\(([^,)]+)[^)]*\)")
ESPNET_FOLDER = re.compile(r"(\d+)best_recog")


@dataclass(frozen=True)
class Imported:
    """Lists of another system.

    Attributes:
        table: N-best table; the system's single score is `acoustic`.
        references: By utterance, where the format has them.
    """

    table: pd.DataFrame
    references: dict[str, str] | None


def import_nbest(path: str | Path, format: str) -> Imported:
    """Reads another system's N-best lists.

    Args:
        path: File or folder.
        format: `jsonl`: an object a line, {`utt`, `ref`, `hyps`: [{`text`, `score`}, …]}, best
            first, `ref` optional; plain, .gz, .bz2 or .xz.
            `espnet`: a decoding folder with `output.N/{K}best_recog/{text,score}`.

    Raises:
        InputError: The format is unknown, or the files are malformed; file and line are named.
    """
    if format not in FORMATS:
        raise InputError(f"N-best format {format!r} is not known; one of {', '.join(FORMATS)}")
    return FORMATS[format](Path(path))


def read_jsonl(path: Path) -> Imported:
    """JSON lines, see `import_nbest`."""
    lists: dict[str, list[Hypothesis]] = {}
    references: dict[str, str] = {}
    for line, where in _lines(path):
        try:
            entry = json.loads(line)
            utt = str(entry["utt"])
            found = [(str(h["text"]), float(h["score"])) for h in entry["hyps"]]
        except (ValueError, TypeError, KeyError) as error:
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(
                f"{where}: {reason}; each line is a JSON object with utt and hyps, a list of "
                "objects with text and score"
            ) from error
        if utt in lists:
            raise InputError(f"{where}: utterance {utt} occurs twice; keep one of them")
        lists[utt] = _distinct(found, f"{where}, utterance {utt}")
        if entry.get("ref") is not None:
            references[utt] = str(entry["ref"])
    return _imported(path, lists, references if len(references) == len(lists) else None)


def read_espnet(folder: Path) -> Imported:
    """ESPnet's decoding folder, see `import_nbest`."""
    found: dict[str, dict[int, tuple[str, float]]] = {}
    places = [
        (int(match[1]), place)
        for place in sorted(folder.glob("**/*best_recog"))
        if (match := ESPNET_FOLDER.fullmatch(place.name))
    ]
    if not places:
        raise InputError(f"{folder}: no output.N/1best_recog below it; give ESPnet's decode folder")
    for rank, place in places:
        texts = {utt: text for utt, text, _ in _table(place / "text")}
        for utt, score, where in _table(place / "score"):
            if utt not in texts:
                raise InputError(f"{where}: utterance {utt} has no line in {place / 'text'}")
            if rank in found.setdefault(utt, {}):
                raise InputError(f"{where}: utterance {utt} occurs twice; keep one of them")
            found[utt][rank] = (texts[utt], _score(score, where))
        unscored = next((utt for utt in texts if rank not in found.get(utt, {})), None)
        if unscored is not None:
            raise InputError(f"{place / 'score'}: no score of utterance {unscored}, which has text")
    lists = {
        utt: _distinct([ranks[rank] for rank in sorted(ranks)], f"{folder}, utterance {utt}")
        for utt, ranks in found.items()
    }
    return _imported(folder, lists, None)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not empty, each with file and number for messages."""
    number = 0
    try:
        with open_text(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield line, f"{path}, line {number}"
    except (EOFError, OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: damaged after line {number} ({error}); copy or unpack it again"
        ) from error


def _table(path: Path) -> Iterator[tuple[str, str, str]]:
    """Utterance, the rest of its line, and file and line for messages."""
    for line, where in _lines(path):
        utt, *rest = line.split(maxsplit=1)
        yield utt, "".join(rest).strip(), where


def _score(text: str, where: str) -> float:
    match = TENSOR.fullmatch(text)
    try:
        return float(match[1] if match else text)
    except ValueError as error:
        raise InputError(f"{where}: score {text!r} is not a number, nor tensor(NUMBER)") from error


def _distinct(found: list[tuple[str, float]], where: str) -> list[Hypothesis]:
    """Hypotheses in their order; of equal texts the first, which is the better."""
    kept: dict[str, Hypothesis] = {}
    for text, score in found:
        if math.isnan(score) or score == math.inf:
            raise InputError(f"{where}: score {score} of {text!r} is no log-prob; leave it out")
        text = " ".join(text.split())
        kept.setdefault(text, Hypothesis(text, score))
    if not kept:
        raise InputError(f"{where}: no hypotheses; give at least one, whose text may be empty")
    return list(kept.values())


def _imported(
    path: Path, lists: dict[str, list[Hypothesis]], references: dict[str, str] | None
) -> Imported:
    if not lists:
        raise InputError(f"{path}: no utterances in it")
    return Imported(build_nbest(lists), references)


# A new format is one function and one line here.
FORMATS: dict[str, Callable[[Path], Imported]] = {"jsonl": read_jsonl, "espnet": read_espnet}
