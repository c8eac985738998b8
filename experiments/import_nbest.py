"""Reads another system's N-best lists.

secondpass import-nbest PATH --format FORMAT -o NBEST.parquet [--refs-out REFS]
secondpass import-nbest preds_out.tsv --format nemo --manifest test.jsonl -o NBEST.parquet

The system's single score becomes `acoustic`. Formats:

"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from asr.interchange import FORMATS, import_nbest
from asr.nbest import write_nbest
from lm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = f"{__doc__}{described()}"
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("--format", required=True, choices=list(FORMATS))
    parser.add_argument("-o", "--output", required=True, metavar="NBEST.parquet")
    parser.add_argument("--manifest", help="of the utterances, for formats without ids")
    parser.add_argument("--refs-out", metavar="REFS", help="Kaldi-style text of the references")


def described() -> str:
    """Every format with the first line of what its reader says."""
    return "\n".join(
        f"  {name:<12} {(reader.__doc__ or '').strip().splitlines()[0]}"
        for name, reader in FORMATS.items()
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the table, and the references where asked."""
    found = import_nbest(arguments.path, arguments.format, arguments.manifest)
    if arguments.refs_out and found.references is None:
        raise InputError(f"{arguments.path}: holds no references for --refs-out")
    write_nbest(found.table, arguments.output)
    if arguments.refs_out and found.references is not None:
        path = Path(arguments.refs_out)
        temporary = path.with_name(path.name + ".part")
        lines = (f"{utt} {text}".rstrip() + "\n" for utt, text in found.references.items())
        temporary.write_text("".join(lines), encoding="utf-8")
        os.replace(temporary, path)
    print(
        f"{arguments.output}: {found.table['utt'].nunique()} utterances, "
        f"{len(found.table)} hypotheses",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["import-nbest", *sys.argv[1:]]))
