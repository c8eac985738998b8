"""Trains or fine-tunes a causal language model.

secondpass train-lm CONFIG.yaml [key.path=value …] [--resume | --restart]

A run that was interrupted continues from its newest checkpoint when the same command is given
again. With other settings or data, give another `output`, or --restart.
"""

from __future__ import annotations

import argparse
import logging
import sys

from experiments.comparison.arguments import keys_help
from experiments.comparison.config import load_config
from lm.training.settings import LMTraining

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_training(parser, LMTraining)


def add_training(parser: argparse.ArgumentParser, settings: type) -> None:
    """Declares the arguments that all trainings have, and lists the config's keys in the help."""
    parser.add_argument("config", metavar="CONFIG.yaml", help="config with the keys below")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="values that replace the config's"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume",
        action="store_true",
        default=None,
        help="stop with an error if there is no checkpoint to continue from",
    )
    start.add_argument(
        "--restart",
        dest="resume",
        action="store_false",
        help="train from the beginning: checkpoints in the output folder are removed, and a "
        "finished model there is replaced when the new one is complete",
    )
    parser.epilog = keys_help(settings)


def run(arguments: argparse.Namespace) -> int:
    """Trains; prints the figures."""
    settings = load_config(LMTraining, arguments.config, arguments.overrides)
    from lm.training.causal_lm import train_lm  # torch takes seconds to import

    figures = train_lm(settings, resume=arguments.resume)
    print_figures(figures)
    if cut := figures["cut_lines"]:
        LOG.warning(f"{cut:,.0f} lines are longer than max_tokens and were cut")
    if left_out := figures.get("valid_left_out"):
        LOG.warning(f"{left_out:,.0f} held-out lines are longer than max_tokens and were left out")
    LOG.info(f"the model is in {settings.output}")
    return 0


def print_figures(figures: dict[str, float]) -> None:
    """Prints a figure a line."""
    for name, value in figures.items():
        print(f"{name}: {value:,.0f}" if float(value).is_integer() else f"{name}: {value:.4f}")


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["train-lm", *sys.argv[1:]]))
