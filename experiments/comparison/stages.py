"""Stages that are run once: each result lies in a folder named by what went into it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.comparison.config import to_plain
from lm.plugin import plugin_file

STAMP = "stage.json"
# Raised whenever a stage's code changes what it writes for the same inputs and settings.
VERSION = 1


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Attributes:
        folder: Where its files lie.
        seconds: Wall time it took when it ran.
        reused: Whether it was found from an earlier run.
        key: Hash of its inputs and settings.
        facts: What the stage says of itself, JSON values.
    """

    folder: Path
    seconds: float
    reused: bool
    key: str
    facts: Mapping[str, Any]


def run_stage(
    root: Path,
    name: str,
    inputs: Mapping[str, Any],
    make: Callable[[Path], Mapping[str, Any] | None],
) -> Stage:
    """Runs `make(folder)` unless the same stage with the same inputs has finished before.

    Args:
        root: Folder of all stages of an experiment.
        name: Readable part of the folder's name.
        inputs: Everything that the result depends on, JSON values; hashed.
        make: Writes its files into the folder that it is given; may return facts to keep. The
            folder gets its final name only afterwards, so a crash leaves no half stage.
    """
    plain = to_plain({"stage": name, "version": VERSION, **inputs})
    key = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
    folder = root / f"{name}-{key}"
    stamp = folder / STAMP
    if stamp.is_file():
        found = json.loads(stamp.read_text(encoding="utf-8"))
        return Stage(folder, found["seconds"], True, key, found["facts"])
    temporary = root / f"{name}-{key}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    start = time.perf_counter()
    facts = dict(make(temporary) or {})
    seconds = time.perf_counter() - start
    content = {"seconds": seconds, "facts": facts, "inputs": plain}
    (temporary / STAMP).write_text(json.dumps(content, indent=1), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
    return Stage(folder, seconds, False, key, facts)


def fingerprint(path: str | Path) -> str:
    """A hash of a file's or folder's content; a name that is no path stands for itself.

    The name of a model on a hub is such a name.
    """
    name = str(path)
    path = plugin_file(path) or Path(path)
    digest = hashlib.sha256(b"" if name == str(path) else name.encode())
    if path.is_file():
        files = [path]
    elif path.is_dir():
        # What training left in it is not part of a model.
        files = sorted(
            p
            for p in path.rglob("*")
            if p.is_file() and not {"checkpoints", "training.json"} & {*p.relative_to(path).parts}
        )
    else:
        return f"name:{path}"
    for file in files:
        named = file.relative_to(path) if path.is_dir() else Path(file.name)
        digest.update(named.as_posix().encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]
