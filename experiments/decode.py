"""First pass: emissions to N-best lists.

secondpass decode EMISSIONS [--lm LM.arpa] [--beam-width N] [--nbest N] -o NBEST.parquet
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from asr.emissions import Emissions
from asr.options import DECODERS, DecoderOptions
from experiments.comparison.first_pass import decode_to
from lm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments: DecoderOptions, field by field."""
    parser.add_argument("emissions", metavar="EMISSIONS")
    parser.add_argument("-o", "--output", required=True, metavar="NBEST.parquet")
    # An attribute of the docstring: its name, its text, up to the next attribute.
    attributes = re.findall(
        r"^    (\w+): (.+?)(?=^    \w|\Z)", inspect.getdoc(DecoderOptions) or "", re.M | re.S
    )
    helps = {name: " ".join(text.split()).replace("%", "%%") for name, text in attributes}
    hints = typing.get_type_hints(DecoderOptions)
    for field in fields(DecoderOptions):
        settings = argument_of(hints[field.name])
        default = getattr(DecoderOptions(), field.name)
        shown = "" if default in (None, (), {}) else f" Default: {default}."
        if field.name == "decoder":
            settings["choices"] = list(DECODERS)
        option = f"--{field.name.replace('_', '-')}"
        if settings.get("action") == "append":
            shown, default = " May be given again.", None
        parser.add_argument(option, default=default, help=helps[field.name] + shown, **settings)
    parser.add_argument("--workers", type=int, help="default: one for each processor")


def argument_of(hint: Any) -> dict[str, Any]:
    """How an argument of a type is declared."""
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is tuple:
        return {"type": typing.get_args(hint)[0], "action": "append"}
    if typing.get_origin(hint) is Mapping:
        return {"action": "append", "metavar": "PHRASE=WEIGHT"}
    return {"type": hint if hint in (int, float) else str}


def option_value(value: Any, hint: Any) -> Any:
    """An argument as its field wants it."""
    if typing.get_origin(hint) is tuple:
        return tuple(value or ())
    if typing.get_origin(hint) is not Mapping:
        return value
    weights = {}
    for item in value or ():
        phrase, equals, weight = item.rpartition("=")
        try:
            weights[phrase] = float(weight)
        except ValueError as error:
            raise InputError(f"--hotwords {item!r}: write PHRASE=WEIGHT") from error
        if not equals:
            raise InputError(f"--hotwords {item!r}: write PHRASE=WEIGHT")
    return weights


def run(arguments: argparse.Namespace) -> int:
    """Writes the table; lists utterances that failed."""
    emissions = Emissions.open(arguments.emissions)
    hints = typing.get_type_hints(DecoderOptions)
    options = DecoderOptions(
        **{
            f.name: option_value(getattr(arguments, f.name), hints[f.name])
            for f in fields(DecoderOptions)
        }
    )
    output = Path(arguments.output)
    summary = decode_to(output, emissions, options, arguments.workers, "decode")
    for reason in summary.failures.values():
        print(reason, file=sys.stderr)
    print(
        f"{output}: {summary.utterances} utterances, {summary.hypotheses} hypotheses; "
        f"{len(summary.failures)} failed; {summary.utterances / summary.seconds:.1f} utterances/s, "
        f"real-time factor {summary.seconds / max(summary.audio_seconds, 1e-9):.5f}",
        file=sys.stderr,
    )
    return 1 if summary.failures else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["decode", *sys.argv[1:]]))
