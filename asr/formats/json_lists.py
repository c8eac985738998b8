"""N-best lists and transcripts in JSON files: our own lines, mlm-scoring, Hypo2Trans, Whisper.

The readers are like those in `asr.formats.toolkits`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from asr.corpus import read_corpus
from asr.formats.records import (
    NO_SCORES,
    Candidate,
    Lists,
    in_order,
    lines_of,
    new_list,
    number_of,
    read_json,
    seconds_of,
    utt_of,
)
from lm.errors import InputError
from lm.text.json_values import parse_json

LOG = logging.getLogger("secondpass")
HYPOTHESIS = re.compile(r"hyp_(\d+)")
NO_WORDS = "<UNK>"
JSONL = "each line is a JSON object with utt and hyps, a list of objects with text and score"


def read_jsonl(path: Path, manifest: Path | None = None) -> Lists:
    """A JSON object a line: {`utt`, `ref`, `hyps`: [{`text`, `score`}, …]}, best first.

    If all hypotheses have a `rank`, it is their order. Further numbers of a hypothesis are scores,
    which become columns of that name; `acoustic` is used instead of `score`. `ref` may be missing.
    A line with `text` and without `hyps` has one hypothesis, with score 0 and the times of its
    `words` ({`start`, `end`}), as `export --format jsonl` writes it.
    """
    lists: dict[str, list[Candidate]] = {}
    references: dict[str, object] = {}
    failures: dict[str, str] = {}
    for line, where in lines_of(path):
        entry = parse_json(line, where, JSONL, halves=True)
        if not isinstance(entry, dict):
            raise InputError(f"{where}: not a JSON object; {JSONL}")
        if "utt" not in entry:
            raise InputError(f"{where}: no key 'utt'; {JSONL}")
        utt = utt_of(entry["utt"], where)
        found = new_list(lists, utt, where)
        references[utt] = entry.get("ref")
        try:
            found.extend(_candidates(entry, f"{where}, utterance {utt}"))
        except InputError as error:
            failures[utt] = str(error)
    return Lists(path, lists, references, failures)


def _candidates(entry: dict[str, Any], where: str) -> list[Candidate]:
    """The hypotheses of a line; errors in them are reported when they are checked.

    Raises:
        InputError: A time is not a time, or there are no hypotheses.
    """
    if "hyps" not in entry and "text" in entry:
        return [Candidate(entry["text"], 0.0, where, times=_line_times(entry, where))]
    found = entry.get("hyps")
    if not isinstance(found, list):
        raise InputError(f"{where}: there is no list named hyps; {JSONL}")
    if found and all(isinstance(one, dict) and "rank" in one for one in found):
        ranks = [number_of(one["rank"], where, "rank") for one in found]
        if len({*ranks}) < len(ranks):
            raise InputError(f"{where}: a rank occurs twice; renumber the list")
        found = [found[i] for i in sorted(range(len(found)), key=ranks.__getitem__)]
    return [candidate_of(one, where) for one in found]


def _line_times(entry: dict[str, Any], where: str) -> tuple[list[float], list[float]] | None:
    """Starts and ends of the words of a line; None if they are not known for all words.

    A warning says why if some words have them.

    Raises:
        InputError: A time is not a time.
    """
    words, text = entry.get("words"), entry["text"]
    listed = words if isinstance(words, list) else []
    marks = [word if isinstance(word, dict) else {} for word in listed]
    timed = [word for word in marks if {"start", "end"} & word.keys()]
    if not isinstance(text, str) or (marks and not timed):
        return None
    reason = ""
    if len(marks) != len(text.split()):
        reason = f"it has {len(marks)} entries in `words` for {len(text.split())} words"
    for number, word in enumerate(marks, 1):
        if missing := [name for name in ("start", "end") if word.get(name) is None]:
            reason = reason or f"word {number} has no {' and no '.join(missing)}"
    if not reason:
        starts, ends = ([seconds_of(w[k], where) for w in marks] for k in ("start", "end"))
        return starts, ends
    if timed:
        LOG.warning(f"{where}: {reason}; the text is kept, and the times of its words are left out")
    return None


def read_mlm_scoring(path: Path, manifest: Path | None = None) -> Lists:
    """mlm-scoring's JSON (Shin et al. 2019; Salazar et al. 2020).

    {UTT: {"hyp_1": {"text", "score"}, "hyp_2": …, "ref"}}; the score is the first pass's log-prob.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: the file is not a JSON object with an entry for each utterance; is it "
            "mlm-scoring's?"
        )
    found: dict[str, dict[int, Candidate]] = {}
    references = {}
    for name, entry in content.items():
        utt = utt_of(name, str(path))
        where = f"{path}, utterance {utt}"
        ranks = found.setdefault(utt, {})
        for key, hypothesis in entry.items() if isinstance(entry, dict) else ():
            if match := HYPOTHESIS.fullmatch(key):
                ranks[int(match[1])] = candidate_of(hypothesis, f"{where}, {key}")
            elif key == "ref":
                references[utt] = hypothesis
    return Lists(path, in_order(found), references)


def read_hypo2trans(path: Path, manifest: Path | None = None) -> Lists:
    """Hypo2Trans' and HyPoradise's JSON: a list of {"input": [hypotheses], "output": reference}.

    Of the older form {"input1": best, "input2": "second. third. …", "output"} the best hypothesis
    is read, because the others cannot be separated. There are no scores and no ids: the ids are
    those of the manifest, in its order, or `NAME-000001` after the file's name. `<UNK>` is an empty
    text.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: the file is not a list of objects with input and output")
    ids = [f"{path.name.split('.')[0]}-{number:06d}" for number in range(1, len(content) + 1)]
    if manifest is not None:
        ids = [utterance.id for utterance in read_corpus(manifest)]
        if len(ids) != len(content):
            raise InputError(
                f"{path}: the file has {len(content)} entries, {manifest} has {len(ids)}; use the "
                "manifest of these utterances"
            )
    lists: dict[str, list[Candidate]] = {}
    references = {}
    for number, (utt, entry) in enumerate(zip(ids, content, strict=True), 1):
        where = f"{path}, entry {number}"
        said = entry.get("input", entry.get("input1")) if isinstance(entry, dict) else None
        texts = [said] if isinstance(said, str) else said
        if not isinstance(texts, list):
            raise InputError(f"{where}: there is no list of texts named input")
        where = f"{where}, utterance {utt}"
        new_list(lists, utt, where).extend(
            Candidate(without_mark(text), 0.0, where) for text in texts
        )
        references[utt] = without_mark(entry.get("output"))
    return Lists(path, lists, references)


def read_whisper(path: Path, manifest: Path | None = None) -> Lists:
    """Whisper's JSON (--output_format json): a file, or a folder with a file a recording (1-best).

    An utterance has the name of its file, without .json. Words have times if Whisper wrote them
    (--word_timestamps True). The score is 0, because Whisper writes an average over tokens for each
    segment and not a log-prob of the text.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: the folder has no .json files")
    lists: dict[str, list[Candidate]] = {}
    failures: dict[str, str] = {}
    for file in files:
        utt = file.name.split(".json")[0]
        try:
            content = read_json(file)
            if not isinstance(content, dict) or not isinstance(content.get("text"), str):
                raise InputError(f"{file}: not an object with a text; is it Whisper's JSON?")
            where = f"{file}, utterance {utt}"
            times = whisper_times(content, where)
            lists[utt] = [Candidate(content["text"], 0.0, where, times=times)]
        except InputError as error:
            failures[utt] = str(error)
    return Lists(path, lists, failures=failures)


def whisper_times(content: dict[str, Any], where: str) -> tuple[list[float], list[float]] | None:
    """Starts and ends of the words of a text; None if they are not known for all words.

    An entry of Whisper's that does not begin with a space continues the word before it. A warning
    says why times are not known if some words have them.
    """
    words: list[str] = []
    starts: list[float] = []
    ends: list[float] = []
    segments = content.get("segments")
    try:
        for segment in segments if isinstance(segments, list) else ():
            marked = segment.get("words") if isinstance(segment, dict) else None
            for entry in marked if isinstance(marked, list) else ():
                if not isinstance(entry, dict) or not isinstance(entry.get("word"), str):
                    raise InputError(f"{where}: {str(entry)[:40]!r} is not a word with its times")
                start, end = _times_of(entry, f"{where}, word {entry['word'].strip()[:40]!r}")
                if words and not entry["word"][:1].isspace():
                    words[-1] += entry["word"].rstrip()
                    ends[-1] = end
                else:
                    words.append(entry["word"].strip())
                    starts.append(start)
                    ends.append(end)
        if words and words != content["text"].split():
            raise InputError(f"{where}: the words with times are not the words of its text")
    except InputError as error:
        LOG.warning(f"{error}; the text is kept, and the times of its words are left out")
        return None
    return (starts, ends) if words or not content["text"].split() else None


def _times_of(entry: dict[str, Any], where: str) -> tuple[float, float]:
    """Start and end of a word, seconds.

    Raises:
        InputError: One of them is missing, or not a time.
    """
    missing = [name for name in ("start", "end") if entry.get(name) is None]
    if missing:
        raise InputError(f"{where}: it has no {' and no '.join(missing)}")
    return seconds_of(entry["start"], where), seconds_of(entry["end"], where)


def candidate_of(entry: object, where: str) -> Candidate:
    """A hypothesis from {text, score}; further numbers are scores of that name.

    What is missing is reported when the hypothesis is checked.
    """
    known = entry if isinstance(entry, dict) else {}
    numbers = {
        str(name): value
        for name, value in known.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in NO_SCORES
    }
    return Candidate(known.get("text"), known.get("score"), where, numbers)


def without_mark(text: Any) -> Any:
    """The text; empty if it is only the mark of an empty text."""
    return "" if isinstance(text, str) and text.strip() == NO_WORDS else text
