"""Checkpoints of training: where an interrupted run goes on, and the finished one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainingArguments

from lm.errors import InputError

NAME = re.compile(r"checkpoint-(\d+)")
# transformers writes it last: a folder without it is of a run that was killed while it saved.
LAST_FILE = "trainer_state.json"


def newest_checkpoint(folder: Path, resume: bool | None) -> Path | None:
    """The newest whole checkpoint of a run, None to start anew.

    Args:
        folder: Where the run keeps its checkpoints.
        resume: None goes on if there is a checkpoint; True demands one; False removes what is
            there, so that no later run goes on from it.

    Raises:
        InputError: One is demanded, and there is none.
    """
    if resume is False:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := NAME.fullmatch(path.name)) and (path / LAST_FILE).is_file()
    }
    if not found and resume:
        raise InputError(
            f"{folder}: no checkpoint to go on from; start the run without --resume, or give the "
            "`output` that it had"
        )
    return found[max(found)] if found else None


def check_same_run(folder: Path, facts: Mapping[str, object], going_on: bool) -> None:
    """Makes sure that checkpoints are of the run that goes on from them, and notes what run it is.

    Args:
        folder: Where the run keeps its checkpoints.
        facts: What may not change within a run, JSON values by what people call them.
        going_on: Whether the run goes on from a checkpoint.

    Raises:
        InputError: The checkpoints are of another run.
    """
    path = folder / "run.json"
    if going_on:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for name, value in json.loads(json.dumps(facts)).items():
            if known.get(name) != value:
                raise InputError(
                    f"{folder}: these checkpoints are of a run with other {name}; start anew with "
                    "--restart, which removes them, or give another `output`"
                )
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    temporary.replace(path)


def digest(arrays: Iterable[np.ndarray]) -> str:
    """A hash of arrays, their number and lengths."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(len(array).to_bytes(8, "big") + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def write_checkpoint(model: Any, tokenizer: Any, output: Path, dtype: str) -> None:
    """Writes model and tokenizer; no file has its name before all are written.

    Args:
        model: transformers' model; it is converted to the dtype.
        tokenizer: Its tokenizer.
        output: Folder of the checkpoint.
        dtype: `float32`, `float16` or `bfloat16`.
    """
    temporary = output / ".part"
    shutil.rmtree(temporary, ignore_errors=True)
    model.to(getattr(torch, dtype)).save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    for path in sorted(temporary.iterdir()):
        os.replace(path, output / path.name)
    temporary.rmdir()


def use_one_device(arguments: TrainingArguments) -> None:
    """Keeps the Trainer from cutting batches up for all GPUs: an item is a whole batch."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
