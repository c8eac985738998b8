"""Writes transcripts in the formats that other tools read.

secondpass export NBEST.parquet --weights weights.json --format ctm -o hyp.ctm
secondpass export CHOSEN.parquet --format json -o transcripts.json
secondpass export results/demo --split test --system beam --format trn -o hyp.trn
secondpass export results/demo --split test --references --format trn -o ref.trn
secondpass export NBEST.parquet --format srt --utt call-17 -o call-17.srt
secondpass export NBEST.parquet --weights weights.json --format lists -o lists.jsonl

The input is an N-best table (rank 1, or the best under --weights), what `secondpass choose` wrote,
or a results folder. `secondpass import-nbest` reads text, trn, ctm, stm, csv and jsonl. The format
`lists` holds whole N-best lists with all columns and the weighted sum (`score`), for `import-nbest
--format jsonl`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.formats.transcript_writers import WRITERS, Transcript, write_transcripts
from lm.errors import InputError
from lm.files import output_file, whole_file

if TYPE_CHECKING:
    import pandas as pd

    from asr.corpus import Utterance

LOG = logging.getLogger("secondpass")

LISTS = "lists"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("source", metavar="NBEST.parquet|CHOSEN.parquet|RESULTS")
    parser.add_argument("--format", required=True, choices=[*WRITERS, LISTS])
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--weights", metavar="weights.json", help="weights for an N-best table")
    parser.add_argument("--system", help="system of a results folder (default: its last one)")
    parser.add_argument("--split", help="split of a results folder (default: its last one)")
    parser.add_argument(
        "--references", action="store_true", help="write the references of a results folder instead"
    )
    parser.add_argument("--utt", help="write only this utterance")
    parser.add_argument("--manifest", help="manifest with speakers and durations, for stm")
    parser.add_argument(
        "--escape",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="csv: put an apostrophe before cells that spreadsheets would take for formulas (they "
        "begin with = + - or @); our commands take it away again. On by default.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Reads, chooses, writes."""
    path = Path(arguments.source)
    output_file(arguments.output, [path, arguments.manifest, arguments.weights])
    if arguments.format == LISTS:
        written = write_lists(path, arguments)
    else:
        found = from_results(path, arguments) if path.is_dir() else from_table(path, arguments)
        if arguments.utt is not None:
            check_known(arguments.utt, [transcript.utt for transcript in found], path)
            found = [transcript for transcript in found if transcript.utt == arguments.utt]
        if arguments.manifest:
            from asr.corpus import read_corpus

            about = {utterance.id: utterance for utterance in read_corpus(arguments.manifest)}
            found = [known_more(transcript, about) for transcript in found]
        write_transcripts(found, arguments.output, arguments.format, arguments.escape)
        written = len(found)
    LOG.info(f"wrote {arguments.output}: {written:,} utterances")
    return 0


def check_known(utt: str, known: Sequence[str], path: Path) -> None:
    """Checks that there is an utterance of that name.

    Raises:
        InputError: There is none.
    """
    if utt not in known:
        raise InputError(f"{path}: no utterance {utt} in it (first: {', '.join(known[:3])})")


def from_table(path: Path, arguments: argparse.Namespace) -> list[Transcript]:
    """The best of an N-best table, or what was chosen.

    Raises:
        InputError: An option of results folders is given, or the file is neither.
    """
    import numpy as np
    import pandas as pd

    from asr.nbest import read_nbest
    from lm.combine import read_weights, total, winners

    for name in ("system", "split", "references"):
        if getattr(arguments, name):
            raise InputError(f"--{name} is for results folders; {path} is a table")
    if not path.is_file():
        raise InputError(f"{path}: no such file or results folder")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})") from error
    if "rank" in table or not {"utt", "text"} <= set(table.columns):
        table = read_nbest(path)
        weights = read_weights(arguments.weights) if arguments.weights else None
        scores = np.zeros(len(table)) if weights is None else total(table, weights)
        table = table.iloc[winners(table, scores)]
    elif arguments.weights:
        raise InputError(f"{path}: transcripts that were chosen already take no --weights")
    return transcripts_of(table, "text")


def from_results(folder: Path, arguments: argparse.Namespace) -> list[Transcript]:
    """One system's transcripts of one split, as they were counted; or the references.

    Raises:
        InputError: The folder has no such system or split.
    """
    from experiments.results import load_results

    results = load_results(folder)
    rows = results.utterances
    for name in ("split", "system"):
        known = list(dict.fromkeys(rows[name]))
        wanted = getattr(arguments, name) or known[-1]
        if wanted not in known:
            raise InputError(f"{folder}: no {name} {wanted!r} ({', '.join(map(str, known))})")
        rows = rows[rows[name] == wanted]
    if arguments.references:
        kept = [c for c in ("utt", "tag.speaker") if c in rows]
        return transcripts_of(rows[kept].assign(text=rows["ref"]), "text")
    return transcripts_of(rows, "hyp")


def transcripts_of(table: pd.DataFrame, text: str) -> list[Transcript]:
    """Rows as transcripts; times and confidences only where there is one for each word."""
    import pandas as pd

    from asr.nbest import TIMES

    found = []
    for row in table.to_dict("records"):
        words = len(str(row[text]).split())
        marks = [listed(row.get(name)) for name in (*TIMES, "confidence")]
        starts, ends, confidence = (mark if len(mark) == words else () for mark in marks)
        speaker = row.get("tag.speaker")
        found.append(
            Transcript(
                str(row["utt"]),
                " ".join(str(row[text]).split()),
                starts,
                ends,
                confidence,
                None if pd.isna(speaker) else str(speaker),
            )
        )
    return found


def listed(value: object) -> tuple[float, ...]:
    """A cell that holds a list; empty where there is none."""
    import numpy as np

    return tuple(map(float, value)) if isinstance(value, np.ndarray | list | tuple) else ()


def known_more(transcript: Transcript, about: Mapping[str, Utterance]) -> Transcript:
    """The transcript with what the manifest says of its utterance."""
    utterance = about.get(transcript.utt)
    if utterance is None:
        return transcript
    return replace(
        transcript,
        speaker=utterance.speaker or transcript.speaker,
        duration=utterance.duration or transcript.duration,
    )


def write_lists(path: Path, arguments: argparse.Namespace) -> int:
    """Writes whole lists as `import-nbest --format jsonl` reads them; returns their number.

    Raises:
        InputError: The file is no N-best table, has no such utterance, or an option of other
            formats is given.
    """
    from asr.nbest import TIMES, read_nbest
    from lm.combine import KEYS, read_weights, rerank, total

    for name in ("system", "split", "references", "manifest"):
        if getattr(arguments, name):
            raise InputError(f"--{name} does not apply to --format {LISTS}; leave it out")
    weights, output = arguments.weights, arguments.output
    table = read_nbest(path)
    if arguments.utt is not None:
        check_known(arguments.utt, list(dict.fromkeys(table["utt"])), path)
        table = table[table["utt"] == arguments.utt]
    if weights is not None:
        used = read_weights(weights)
        table = rerank(table, used)
    columns = [name for name in table.columns if name not in (*KEYS, *TIMES, "words")]
    scores = table["acoustic"].to_numpy() if weights is None else total(table, used)
    number = 0
    with whole_file(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for utt, rows in table.assign(score=scores).groupby("utt", sort=False):
            ordered = rows.sort_values("rank")
            hyps = ordered[["text", "score", *columns]].to_dict("records")
            file.write(json.dumps({"utt": utt, "hyps": hyps}, ensure_ascii=False) + "\n")
            number += 1
    return number


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["export", *sys.argv[1:]]))
