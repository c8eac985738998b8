"""First pass: emissions to N-best lists.

secondpass decode EMISSIONS [--lm LM.arpa] [--beam-width N] [--nbest N] -o NBEST.parquet
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from dataclasses import fields

from asr.decode import DECODERS, DecoderOptions, decode
from asr.emissions import Emissions
from asr.nbest import write_nbest
from experiments.pipeline import progress
from lm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments: DecoderOptions, field by field."""
    parser.add_argument("emissions", metavar="EMISSIONS")
    parser.add_argument("-o", "--output", required=True, metavar="NBEST.parquet")
    # An attribute of the docstring: its name, its text, up to the next attribute.
    attributes = re.findall(
        r"^    (\w+): (.+?)(?=^    \w|\Z)", inspect.getdoc(DecoderOptions) or "", re.M | re.S
    )
    helps = {name: " ".join(text.split()) for name, text in attributes}
    for field in fields(DecoderOptions):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=field.default,
            type=str if field.default is None else type(field.default),
            choices=list(DECODERS) if field.name == "decoder" else None,
            help=f"{helps[field.name]} Default: {field.default}.",
        )
    parser.add_argument("--processes", type=int, help="default: one for each processor")


def run(arguments: argparse.Namespace) -> int:
    """Writes the table; lists utterances that failed."""
    emissions = Emissions.open(arguments.emissions)
    options = DecoderOptions(**{f.name: getattr(arguments, f.name) for f in fields(DecoderOptions)})
    with progress(len(emissions), "decode", "utt") as bar:
        result = decode(emissions, options, arguments.processes, bar.update)
    for reason in result.failures.values():
        print(reason, file=sys.stderr)
    if result.table.empty:
        raise InputError(f"{arguments.emissions}: not one utterance could be decoded")
    write_nbest(result.table, arguments.output)
    print(
        f"{arguments.output}: {result.table['utt'].nunique()} utterances, "
        f"{len(result.table)} hypotheses; {len(result.failures)} failed",
        file=sys.stderr,
    )
    return 1 if result.failures else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["decode", *sys.argv[1:]]))
