"""Acoustic stage: audio to CTC log-probabilities.

secondpass emit MANIFEST --model M -o EMISSIONS
"""

from __future__ import annotations

import argparse
import logging
import sys

from asr.options import Acoustic
from experiments.comparison.arguments import add_fields, from_arguments
from lm.errors import InputError
from lm.files import output_folder

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "manifest", metavar="MANIFEST", help="JSONL, CSV/TSV, LibriSpeech folder, folder of audio"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="EMISSIONS", help="the folder to write"
    )
    add_fields(parser, Acoustic)


def run(arguments: argparse.Namespace) -> int:
    """Writes the emissions; reports utterances that failed."""
    from asr.corpus import read_corpus
    from experiments.comparison.first_pass import write_emissions

    output = output_folder(arguments.output)
    utterances = read_corpus(arguments.manifest)
    if not utterances:
        raise InputError(f"{arguments.manifest}: there are no utterances in it; give another one")
    written = write_emissions(output, utterances, from_arguments(Acoustic, arguments), "emit")
    for reason in written.failures.values():
        LOG.error(reason)
    done = len(utterances) - len(written.failures)
    LOG.info(
        f"wrote {output}: {done:,} utterances, {written.audio_seconds:.1f} s of audio; "
        f"{len(written.failures)} failed"
    )
    return 1 if written.failures else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["emit", *sys.argv[1:]]))
