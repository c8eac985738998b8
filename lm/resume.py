"""Checkpoints of training: where an interrupted run goes on, and the finished one."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

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
