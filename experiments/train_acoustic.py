"""Trains or fine-tunes an acoustic model with CTC.

secondpass train-acoustic CONFIG.yaml [key.path=value …] [--resume | --restart]

A run that was interrupted continues from its newest checkpoint when the same command is given
again. With other settings or data, give another `output`, or --restart.
"""

from __future__ import annotations

import argparse
import logging
import sys

from asr.training.settings import AcousticTraining
from experiments.comparison.config import load_config
from experiments.train_lm import add_training, print_figures

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_training(parser, AcousticTraining)


def run(arguments: argparse.Namespace) -> int:
    """Trains; prints the figures."""
    settings = load_config(AcousticTraining, arguments.config, arguments.overrides)
    from asr.training.ctc import train_acoustic  # torch takes seconds to import

    figures = train_acoustic(settings, resume=arguments.resume)
    print_figures(figures)
    if figures.get("valid_wer", 0.0) >= 1:
        LOG.warning(
            "not one held-out word is right: train for more `epochs`, or change `learning_rate`"
        )
    LOG.info(f"the model is in {settings.output}")
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["train-acoustic", *sys.argv[1:]]))
