"""Trains or fine-tunes a causal language model.

secondpass train-lm CONFIG.yaml [key.path=value …] [--resume | --restart]

A run whose output has checkpoints goes on from the newest.
"""

from __future__ import annotations

import argparse
import sys

from experiments.comparison.config import load_config
from lm.training.causal_lm import LMTraining, train_lm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "config", metavar="CONFIG.yaml", help="settings of lm.training.causal_lm.LMTraining"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win")
    add_resume(parser)


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Declares where training starts."""
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume", action="store_true", default=None, help="an error if there is no checkpoint"
    )
    start.add_argument(
        "--restart", dest="resume", action="store_false", help="remove existing checkpoints"
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains; prints the figures."""
    settings = load_config(LMTraining, arguments.config, arguments.overrides)
    figures = train_lm(settings, resume=arguments.resume)
    print_figures(figures)
    if cut := figures["cut_lines"]:
        print(f"{cut:,.0f} lines are longer than max_tokens and were cut", file=sys.stderr)
    if left_out := figures.get("valid_left_out"):
        print(
            f"{left_out:,.0f} held-out lines are longer than max_tokens and were left out",
            file=sys.stderr,
        )
    print(f"wrote {settings.output}", file=sys.stderr)
    return 0


def print_figures(figures: dict[str, float]) -> None:
    """A figure a line, and where the run went on."""
    for name, value in figures.items():
        print(f"{name}: {value:,.0f}" if float(value).is_integer() else f"{name}: {value:.4f}")
    if first := figures.get("first_step"):
        print(f"went on from the checkpoint of step {first:,.0f}", file=sys.stderr)


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["train-lm", *sys.argv[1:]]))
