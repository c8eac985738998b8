"""First pass: CTC log-probabilities to N-best lists.

secondpass decode EMISSIONS [--lm LM.arpa] [--beam-width N] [--nbest N] -o NBEST.parquet
"""

from __future__ import annotations

import argparse
import logging
import sys

from asr.options import DECODERS, DecoderOptions
from experiments.comparison.arguments import add_fields, from_arguments
from lm.files import output_file

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments: DecoderOptions, field by field."""
    parser.add_argument("emissions", metavar="EMISSIONS", help="what `secondpass emit` wrote")
    parser.add_argument(
        "-o", "--output", required=True, metavar="NBEST.parquet", help="the table to write"
    )
    add_fields(parser, DecoderOptions, more={"decoder": {"choices": DECODERS}})
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads, or processes of pyctcdecode. Default: one for each processor.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the table; reports utterances that failed."""
    options = from_arguments(DecoderOptions, arguments)
    output = output_file(arguments.output, options.lms)
    from asr.emissions import Emissions
    from experiments.comparison.first_pass import decode_to

    emissions = Emissions.open(arguments.emissions)
    summary = decode_to(output, emissions, options, arguments.workers, "decode")
    for reason in summary.failures.values():
        LOG.error(reason)
    LOG.info(
        f"wrote {output}: {summary.utterances:,} utterances, {summary.hypotheses:,} hypotheses; "
        f"{len(summary.failures)} failed; {summary.utterances / summary.seconds:.1f} utterances/s, "
        f"real-time factor {summary.seconds / max(summary.audio_seconds, 1e-9):.5f}"
    )
    return 1 if summary.failures else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["decode", *sys.argv[1:]]))
