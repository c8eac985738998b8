"""Acoustic stage: audio to CTC log-probabilities.

secondpass emit MANIFEST --model M -o EMISSIONS
"""

from __future__ import annotations

import argparse
import sys

from asr.corpus import read_corpus
from experiments.comparison.first_pass import Acoustic, write_emissions
from lm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("manifest", help="JSONL, CSV/TSV, LibriSpeech folder or folder of audio")
    parser.add_argument("--model", required=True, help="AutoModelForCTC checkpoint, name or folder")
    parser.add_argument("-o", "--output", required=True, metavar="EMISSIONS")
    parser.add_argument("--batch-seconds", type=float, default=60.0, help="audio in one batch")
    parser.add_argument("--device", help="default: the GPU if there is one")
    parser.add_argument("--dtype", help="of the computation: float32, float16 (GPU), bfloat16")
    parser.add_argument("--save-dtype", default="float16", help="of what is stored")


def run(arguments: argparse.Namespace) -> int:
    """Writes the emissions; lists utterances that failed."""
    utterances = read_corpus(arguments.manifest)
    if not utterances:
        raise InputError(f"{arguments.manifest}: no utterances in it")
    acoustic = Acoustic(
        arguments.model,
        arguments.batch_seconds,
        arguments.device,
        arguments.dtype,
        arguments.save_dtype,
    )
    written = write_emissions(arguments.output, utterances, acoustic, "emit")
    for reason in written.failures.values():
        print(reason, file=sys.stderr)
    done = len(utterances) - len(written.failures)
    print(
        f"{arguments.output}: {done} utterances, {written.audio_seconds:.1f} s of audio; "
        f"{len(written.failures)} failed",
        file=sys.stderr,
    )
    return 1 if written.failures else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["emit", *sys.argv[1:]]))
