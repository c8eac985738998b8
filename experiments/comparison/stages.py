"""Stages that run once: the name of a result's folder has a hash of its inputs and settings."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.comparison.config import to_plain
from experiments.results import provenance
from lm.files import whole_folder
from lm.plugin import plugin_file

STAMP = "stage.json"
LOG = logging.getLogger("secondpass")


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Attributes:
        folder: folder of its files.
        seconds: wall time of the stage when it ran.
        reused: whether the result is from an earlier run.
        key: hash of its inputs and settings.
        facts: what the stage reported, JSON values.
        made: `versions` of packages, `python`, `machine` and `commit` that made it; empty if
            it is from an older version of this project.
    """

    folder: Path
    seconds: float
    reused: bool
    key: str
    facts: Mapping[str, Any]
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the result of a stage; equal recipes have equal results.

    The versions of the code and of packages are not part of the recipe, so that a new release can
    use results that took a day to decode. The stage records the versions instead.

    Attributes:
        name: readable part of the folder's name.
        inputs: everything that the result depends on, JSON values.
        form: number that is increased when a change of the stage's code changes what it writes
            for the same inputs.
    """

    name: str
    inputs: Mapping[str, Any]
    form: int = 1

    @property
    def plain(self) -> Any:
        """The recipe as JSON values."""
        return to_plain({"stage": self.name, "version": self.form, **self.inputs})

    @property
    def key(self) -> str:
        """Hash of the recipe."""
        return hashlib.sha256(json.dumps(self.plain, sort_keys=True).encode()).hexdigest()[:16]

    def folder(self, root: Path) -> Path:
        """The folder of the stage under the folder of all stages."""
        return root / f"{self.name}-{self.key}"

    def finished(self, root: Path) -> Stage | None:
        """The stage from an earlier run; None where it must be run."""
        key = self.key
        folder = root / f"{self.name}-{key}"
        stamp = folder / STAMP
        if not stamp.is_file():
            return None
        try:
            found = json.loads(stamp.read_text(encoding="utf-8"))
            made = found.get("made") or {}
            return Stage(folder, float(found["seconds"]), True, key, dict(found["facts"]), made)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            LOG.warning(f"{stamp}: damaged; the stage runs again")
            return None

    def last_seconds(self, root: Path) -> float | None:
        """Wall time of the last stage of this name, with whatever inputs; None without any."""
        stamps = [
            path
            for path in root.glob(f"{self.name}-*/{STAMP}")
            if path.parent.name.removeprefix(f"{self.name}-").isalnum()
        ]
        if not stamps:
            return None
        last = max(stamps, key=lambda path: path.stat().st_mtime_ns)
        try:
            return float(json.loads(last.read_text(encoding="utf-8"))["seconds"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


def run_stage(
    root: Path, recipe: Recipe, make: Callable[[Path], Mapping[str, Any] | None]
) -> Stage:
    """Runs `make(folder)` unless the stage of the same recipe has finished before.

    Args:
        root: folder of all stages of an experiment.
        recipe: what the stage is made from.
        make: writes its files into the folder that it is given; may return facts to keep. The
            folder gets its final name only afterwards, so a crash leaves no half stage.
    """
    if (found := recipe.finished(root)) is not None:
        LOG.debug(f"stage {recipe.name}: reused; it took {found.seconds:.1f} s")
        return found
    LOG.debug(f"stage {recipe.name}: runs")
    folder, plain, made = recipe.folder(root), recipe.plain, provenance()
    start = time.perf_counter()
    with whole_folder(folder) as temporary:
        facts = dict(make(temporary) or {})
        seconds = time.perf_counter() - start
        content = {"seconds": seconds, "facts": facts, "made": made, "inputs": plain}
        (temporary / STAMP).write_text(json.dumps(content, indent=1), encoding="utf-8")
    LOG.debug(f"stage {recipe.name}: finished in {seconds:.1f} s")
    return Stage(folder, seconds, False, recipe.key, facts, made)


class Fingerprints:
    """Hashes of files and folders whose content is read once.

    A file that keeps its path, size and time of change is taken to keep its content. One object
    serves one run: models are hashed for every column, split and list, and can be gigabytes.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[tuple[str, int, int], ...], str]] = {}

    def of(self, path: str | Path) -> str:
        """The hash of a file's or folder's content, see `fingerprint`."""
        name = str(path)
        state = tuple(
            (str(file), stat.st_size, stat.st_mtime_ns)
            for file in content_files(plugin_file(path) or Path(path))
            if (stat := file.stat())
        )
        if name not in self._known or self._known[name][0] != state:
            self._known[name] = (state, self.read(path))
        return self._known[name][1]

    def read(self, path: str | Path) -> str:
        """The hash, from the content."""
        return fingerprint(path)


def fingerprint(path: str | Path) -> str:
    """A hash of a file's or folder's content; a name that is no path represents itself.

    The name of a model on a hub is such a name.
    """
    name = str(path)
    path = plugin_file(path) or Path(path)
    digest = hashlib.sha256(b"" if name == str(path) else name.encode())
    if not path.is_file() and not path.is_dir():
        return f"name:{path}"
    for file in content_files(path):
        named = file.relative_to(path) if path.is_dir() else Path(file.name)
        digest.update(named.as_posix().encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def content_files(path: Path) -> Iterator[Path]:
    """The files that a model consists of, in order: one file, or those of a folder.

    What training left in a folder is not part of a model.
    """
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from sorted(
            p
            for p in path.rglob("*")
            if p.is_file() and not {"checkpoints", "training.json"} & {*p.relative_to(path).parts}
        )
