"""Lists the bundled configs, copies one, or prints the schema of the settings.

secondpass configs                          what there is, a line each
secondpass configs demo -o mine.yaml        a copy to change: secondpass compare mine.yaml
secondpass configs --schema compare > compare.schema.json

An editor that knows JSON Schema completes and checks a config whose first line is
`# yaml-language-server: $schema=compare.schema.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from experiments.demo import bundled
from lm.errors import InputError
from lm.files import output_file, write_text

FOLDER = bundled.CONFIG.parent
COMMANDS = ("compare", "train-acoustic", "train-lm", "train-rescorer")
LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a bundled config")
    parser.add_argument(
        "-o", "--output", metavar="FILE.yaml", help="where to copy it (default: print it)"
    )
    parser.add_argument(
        "--schema", choices=COMMANDS, help="print the JSON Schema of a command's config"
    )


def run(arguments: argparse.Namespace) -> int:
    """Lists, copies or prints."""
    if arguments.schema:
        print(json.dumps(schema(arguments.schema), indent=1, ensure_ascii=False))
    elif arguments.name is None:
        if arguments.output:
            raise InputError("--output needs the NAME of a config to copy")
        print(listing())
    elif arguments.output is None:
        print(found(arguments.name).read_text(encoding="utf-8"), end="")
    else:
        copy(found(arguments.name), output_file(arguments.output))
        LOG.info(f"wrote {arguments.output}")
    return 0


def listing() -> str:
    """Every config with the first sentence of its comment."""
    names = {path.stem: description(path) for path in sorted(FOLDER.glob("*.yaml"))}
    width = max(map(len, names))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in names.items())


def description(path: Path) -> str:
    """The first sentence of the comment at the top of a config."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return " ".join(comment).split(". ")[0].rstrip(".")


def found(name: str) -> Path:
    """The file of a bundled config.

    Raises:
        InputError: There is none of that name.
    """
    from experiments.cli import nearest

    path = FOLDER / f"{name.removesuffix('.yaml')}.yaml"
    if not path.is_file() or path.parent != FOLDER:
        known = [path.stem for path in FOLDER.glob("*.yaml")]
        near = nearest(name, known) or "; `secondpass configs` lists what there is"
        raise InputError(f"there is no bundled config {name!r}{near}")
    return path


def copy(config: Path, path: Path) -> None:
    """Copies a config; `${here}` in it still means the folder of the bundled configs.

    Raises:
        InputError: The file exists already.
    """
    if path.exists():
        raise InputError(f"{path}: exists already; give another name, or remove it")
    folder = Path(os.path.relpath(FOLDER, path.resolve().parent)).as_posix()
    text = config.read_text(encoding="utf-8")
    write_text(path, text.replace("${here}", f"${{here}}/{folder}"))


def schema(command: str) -> dict[str, object]:
    """The JSON Schema of a command's config."""
    from experiments.comparison.schema import schema_of

    if command == "compare":
        from experiments.comparison.experiment import Comparison

        return schema_of(Comparison)
    if command == "train-acoustic":
        from asr.training.settings import AcousticTraining

        return schema_of(AcousticTraining)
    if command == "train-lm":
        from lm.training.settings import LMTraining

        return schema_of(LMTraining)
    from experiments.train_rescorer import RescorerTraining

    return schema_of(RescorerTraining)


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["configs", *sys.argv[1:]]))
