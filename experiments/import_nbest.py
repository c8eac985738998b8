"""Reads another system's N-best lists.

secondpass import-nbest PATH --format FORMAT -o NBEST.parquet [--refs-out REFS]
secondpass import-nbest preds_out.tsv --format nemo --manifest test.jsonl -o NBEST.parquet

A system's single score becomes the column `acoustic`; jsonl, csv and mlm-scoring keep further
scores under their names, for `tune --columns` or a config. A higher score is better; scores that
are costs need --negate. An utterance whose values are wrong is left out and reported, and so is one
without a reference with --refs-out; the exit code is then 1. Formats:

"""

from __future__ import annotations

import argparse
import logging
import sys

from asr.formats.nbest_import import FORMATS, import_nbest
from lm.errors import InputError
from lm.files import output_file

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = f"{__doc__}{described()}"
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("--format", required=True, choices=list(FORMATS))
    parser.add_argument("-o", "--output", required=True, metavar="NBEST.parquet")
    parser.add_argument("--manifest", help="manifest of the utterances, for formats without ids")
    parser.add_argument("--refs-out", metavar="REFS", help="write the references, as Kaldi text")
    parser.add_argument(
        "--negate",
        action="store_true",
        help="the system's score is a cost, such as a negative log-prob: lower is better",
    )
    parser.add_argument(
        "--negate-columns",
        default="",
        metavar="a,b,c",
        help="further scores that are costs",
    )


def described() -> str:
    """Every format with the first line of what its reader says."""
    return "\n".join(
        f"  {name:<12} {(reader.__doc__ or '').strip().splitlines()[0]}"
        for name, reader in FORMATS.items()
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the table, and the references where asked; lists utterances that failed."""
    from asr.formats.transcript_writers import Transcript, write_transcripts
    from asr.nbest import COLUMNS, TIMES, write_nbest

    for path in filter(None, (arguments.output, arguments.refs_out)):
        output_file(path, [arguments.path, arguments.manifest])
    costs = [name.strip() for name in arguments.negate_columns.split(",") if name.strip()]
    negated = {*costs, *(["acoustic"] if arguments.negate else [])}
    found = import_nbest(arguments.path, arguments.format, arguments.manifest, negated)
    if arguments.refs_out and found.references is None:
        raise InputError(f"{arguments.path}: holds no references for --refs-out")
    write_nbest(found.table, arguments.output)
    if arguments.refs_out and found.references is not None:
        texts = (Transcript(utt, " ".join(t.split())) for utt, t in found.references.items())
        write_transcripts(texts, arguments.refs_out, "text")
    for reason in found.failures.values():
        LOG.error(reason)
    lacking = []
    if arguments.refs_out and found.references is not None:
        utts = found.table["utt"].drop_duplicates()
        lacking = [utt for utt in utts if utt not in found.references]
    if lacking:
        shown = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
        LOG.error(
            f"{arguments.path}: {len(lacking)} of {len(utts)} utterances have no reference "
            f"({shown}); they are not in {arguments.refs_out}. Add their references before scoring"
        )
    more = [c for c in found.table.columns if c not in (*COLUMNS, *TIMES)]
    scores = f" with the scores acoustic, {', '.join(more)}" if more else ""
    failed = f"; {len(found.failures)} failed and are left out" if found.failures else ""
    LOG.info(
        f"wrote {arguments.output}: {found.table['utt'].nunique():,} utterances, "
        f"{len(found.table):,} hypotheses{scores}{failed}"
    )
    return 1 if found.failures or lacking else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["import-nbest", *sys.argv[1:]]))
