"""Lists or removes the scores that are kept between runs.

secondpass cache
secondpass cache --prune-days 30
secondpass cache --remove MODEL
secondpass cache --clear
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm.errors import InputError
from lm.files import SCORES

if TYPE_CHECKING:
    from lm.cache_file import Scope

LOG = logging.getLogger("secondpass")
DAY = 86_400.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--file",
        default=str(SCORES),
        metavar="FILE",
        help="file of the scores (default: %(default)s)",
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--prune-days", type=float, metavar="N", help="remove scores that were not used for N days"
    )
    one.add_argument(
        "--remove",
        metavar="MODEL",
        help="remove the scores of a model, by its name or hash, or of one line, by its id",
    )
    one.add_argument("--clear", action="store_true", help="remove all scores")


def run(arguments: argparse.Namespace) -> int:
    """Prints what is in the cache, after removing what should go."""
    path = Path(arguments.file)
    if not path.is_file():
        if arguments.file != str(SCORES):
            raise InputError(f"{path}: there is no such file of scores; check the name")
        print(f"{path}: nothing is cached yet")
        return 0
    from lm.cache_file import ScoreCache

    cache = ScoreCache.open(path)
    scopes = cache.scopes()
    going = chosen(scopes, arguments)
    if going:
        before = path.stat().st_size
        cache.remove([scope.number for scope in going])
        freed = max(0, before - path.stat().st_size)
        LOG.info(
            f"removed {sum(scope.scores for scope in going):,} scores of {len(going)} models and "
            f"settings, {megabytes(freed)} MB"
        )
        scopes = cache.scopes()
    show(path, scopes)
    return 0


def chosen(scopes: Sequence[Scope], arguments: argparse.Namespace) -> list[Scope]:
    """What should go.

    Raises:
        InputError: There is nothing of that name.
    """
    if arguments.clear:
        return list(scopes)
    if arguments.prune_days is not None:
        if not arguments.prune_days >= 0:
            raise InputError(f"--prune-days {arguments.prune_days}: use 0 or more")
        oldest = time.time() - DAY * arguments.prune_days
        return [scope for scope in scopes if scope.used < oldest or not scope.current]
    if arguments.remove is None:
        return []
    from experiments.comparison.stages import fingerprint

    # A path or hub name means the model that is there, or, if it is gone, every model whose name
    # is the last part.
    wanted = {arguments.remove, fingerprint(arguments.remove)}
    found = []
    for scope in scopes:
        model, facts = named(scope)
        if wanted & {model, facts.get("model"), short(scope), scope.scope}:
            found.append(scope)
    if not found:
        raise InputError(
            f"--remove {arguments.remove}: there is nothing of that name in {arguments.file}; "
            "`secondpass cache` lists what there is"
        )
    return found


def named(scope: Scope) -> tuple[str, dict[str, Any]]:
    """A scope's model, and its settings by name; one that has none is all name."""
    model, _, rest = scope.scope.partition(" {")
    try:
        return model, dict(json.loads("{" + rest))
    except ValueError:
        return scope.scope, {}


def short(scope: Scope) -> str:
    """A scope's number as people see it."""
    return f"{scope.number:016x}"[:8]


def settings(scope: Scope) -> str:
    """The settings that are not the usual ones."""
    from lm.scorer import ScorerOptions

    usual = ScorerOptions().identity()
    unusual = [
        f"{name} {json.dumps(value, ensure_ascii=False)}"
        for name, value in named(scope)[1].items()
        if name != "model" and usual.get(name, ...) != value
    ]
    return ", ".join([*unusual, *([] if scope.current else ["of another version, unused"])])


def show(path: Path, scopes: Sequence[Scope]) -> None:
    """Prints the table of scopes."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{path}: {megabytes(path.stat().st_size)} MB", title_justify="left")
    table.add_column("id", no_wrap=True)
    table.add_column("model")
    table.add_column("settings")
    for heading in ("scores", "MB", "last used"):
        table.add_column(heading, justify="right", no_wrap=True)
    for scope in scopes:
        table.add_row(
            short(scope),
            named(scope)[0],
            settings(scope),
            f"{scope.scores:,}",
            megabytes(scope.size),
            f"{datetime.fromtimestamp(scope.used):%Y-%m-%d %H:%M}",
        )
    Console(width=None if Console().is_terminal else 140).print(table)


def megabytes(size: int) -> str:
    """Bytes in millions."""
    return f"{size / 1e6:,.1f}"


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["cache", *sys.argv[1:]]))
