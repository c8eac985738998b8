"""One training run and its folder: what it is made from, where it continues, how it ends.

While a run trains, its output folder holds `checkpoints` alone: transformers' checkpoints, and
`run.json`, which says what the run is made from. When the run is complete, the model takes the
place of the whole folder at once, with `training.json`: what it is made from, and its figures.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from lm.errors import InputError
from lm.files import whole_folder, write_text

LOG = logging.getLogger("secondpass")
CHECKPOINTS = "checkpoints"
RUN_FILE = "run.json"
RECORD = "training.json"
NAME = re.compile(r"checkpoint-(\d+)")
# transformers writes it last: a folder without it is of a run that was killed while it saved.
LAST_FILE = "trainer_state.json"


@dataclass(frozen=True)
class Ingredients:
    """What a run is made from; a run continues only if all of it is the same.

    Attributes:
        settings: Values of the settings by name, as JSON has them.
        contents: A hash of the content by what is read, such as the training texts; None where
            there is none.
    """

    settings: Mapping[str, Any]
    contents: Mapping[str, str | None]

    @classmethod
    def of(
        cls, settings: Any, contents: Mapping[str, str | None], apart: Sequence[str] = ()
    ) -> Ingredients:
        """The ingredients of a run with a dataclass of settings.

        Args:
            settings: The dataclass.
            contents: See the attribute. A setting that names a file or a model is of no interest
                by itself: what counts is the content.
            apart: Further settings that do not matter, such as the number of processes.
        """
        names = [f.name for f in fields(settings) if f.name not in (*contents, *apart)]
        return cls({name: _plain(getattr(settings, name)) for name in names}, contents)

    def differences(self, known: Mapping[str, Any]) -> list[str]:
        """What differs from the ingredients that a file of a run names."""
        found = []
        settings, contents = known.get("settings", {}), known.get("contents", {})
        for name in dict.fromkeys([*settings, *self.settings]):
            before, now = settings.get(name), self.settings.get(name)
            if before != now:
                was, is_now = (json.dumps(value, ensure_ascii=False) for value in (before, now))
                found.append(f"`{name}` was {was} and is {is_now}")
        for name in dict.fromkeys([*contents, *self.contents]):
            if contents.get(name) != self.contents.get(name):
                what = f"`{name}`" if name.isidentifier() else f"the {name}"
                found.append(f"the content of {what} has changed")
        return found


class Run:
    """One training run, as its output folder shows it.

    Attributes:
        output: Folder of the finished model.
        folder: Folder of the checkpoints.
        last: The newest whole checkpoint; None to train from the beginning.
    """

    def __init__(self, output: str | Path, resume: bool | None) -> None:
        """Finds out where a run starts; changes nothing.

        Args:
            output: Folder of the finished model.
            resume: None continues from the newest checkpoint, if there is one; True demands one;
                False trains from the beginning.

        Raises:
            InputError: A checkpoint is demanded, and there is none; or the folder holds something
                that is not from such a run.
        """
        self.output = Path(output)
        self.folder = self.output / CHECKPOINTS
        self.restart = resume is False
        _check_place(self.output, self.restart)
        self.last = None if self.restart else newest_checkpoint(self.folder)
        finished = (self.output / RECORD).is_file() and not self.restart
        if resume and self.last is None and not finished:
            raise InputError(
                f"{self.folder}: there is no checkpoint to continue from; start the run without "
                "--resume, or give the `output` that it had"
            )

    @property
    def first_step(self) -> int:
        """Number of optimiser steps that were made before."""
        return 0 if self.last is None else _step(self.last)

    def begin(self, ingredients: Ingredients) -> dict[str, float] | None:
        """Makes sure that the folder is of this run, and notes what the run is made from.

        Returns:
            The recorded figures, if the run is complete and there is nothing to do.

        Raises:
            InputError: The folder's checkpoints or its model are from a run that differs.
        """
        # Checkpoints beside a finished model are of a newer run, which was begun with --restart.
        path = self.folder / RUN_FILE if self.last is not None else self.output / RECORD
        if not self.restart and (self.last is not None or path.is_file()):
            known = read_json(path) or {}
            if "ingredients" not in known:
                raise InputError(
                    f"{path}: cannot be read, so it is not known what the run in this folder was "
                    "made from; give another `output`, or train from the beginning with --restart"
                )
            differences = ingredients.differences(known["ingredients"])
            if differences:
                raise InputError(
                    f"{self.output}: this folder is from a run that differs: "
                    f"{'; '.join(differences)}. Give another `output`, or train from the beginning "
                    "with --restart, which replaces what is there"
                )
            if self.last is None:
                LOG.info(
                    f"{self.output}: this model is complete and was trained with the same "
                    "settings and data; its recorded figures follow"
                )
                return {name: float(value) for name, value in known["figures"].items()}
        if self.last is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        _write(self.folder / RUN_FILE, ingredients)
        if self.last is not None:
            LOG.info(f"continues from the checkpoint of step {self.first_step:,}")
        return None

    def finish(
        self,
        model: Any,
        parts: Sequence[Any],
        dtype: str,
        ingredients: Ingredients,
        figures: Mapping[str, float],
    ) -> None:
        """Puts the finished model in the place of the output folder, all files at once.

        Args:
            model: transformers' model; it is converted to the dtype.
            parts: Its tokenizer and its feature extractor, or whatever else is saved with it.
            dtype: `float32`, `float16` or `bfloat16`.
            ingredients: What the run is made from.
            figures: What is recorded of it.

        Raises:
            InputError: A weight is no number, or has none in the dtype.
        """
        steps = f"{figures['steps']:,.0f} steps" if "steps" in figures else "training"
        if broken := not_finite(model):
            raise InputError(
                f"after {steps} the weights {broken} are no longer numbers: the training has "
                "diverged and no model was written; lower `learning_rate` or raise `warmup`, and "
                "train again with --restart"
            )
        model = model.to(getattr(torch, dtype))
        if broken := not_finite(model):
            raise InputError(
                f"after {steps} the weights {broken} are too large for {dtype}; set `save_dtype: "
                "float32` and train again with --restart"
            )
        with whole_folder(self.output) as folder:
            model.save_pretrained(folder)
            for part in parts:
                part.save_pretrained(folder)
            _write(folder / RECORD, ingredients, figures=dict(figures))


def not_finite(model: torch.nn.Module) -> str | None:
    """The name of the first weights with a value that is no finite number; None if there are none.

    Buffers may have infinite values, such as masks.
    """
    named = model.named_parameters()
    return next((name for name, value in named if not value.isfinite().all()), None)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder; a damaged one is named and skipped."""
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := NAME.fullmatch(path.name))
    }
    for step in sorted(found, reverse=True):
        damage = damage_of(found[step])
        if damage is None:
            return found[step]
        LOG.warning(f"{found[step]}: this checkpoint is skipped: {damage}")
    return None


def damage_of(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint of transformers' Trainer; None if it is whole.

    The end of each file is read, which a full disk or a killed process cuts off.
    """
    state = read_json(checkpoint / LAST_FILE)
    if state is None or state.get("global_step") != _step(checkpoint):
        return f"{LAST_FILE}, which is written last, is missing or incomplete"
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights:
        return "it has no weights"
    for path in weights:
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError):
            return f"{path.name} is incomplete"
    for name in ("optimizer.pt", "scheduler.pt"):
        if not zipfile.is_zipfile(checkpoint / name):
            return f"{name} is missing or incomplete"
    return None


def digest(parts: Iterable[bytes]) -> str:
    """A hash of byte strings, their number and lengths."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()[:16]


def weights_digest(model: torch.nn.Module) -> str:
    """A hash of a model's weights and their names."""
    return digest(
        part
        for name, value in model.state_dict().items()
        for part in (
            name.encode(),
            value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None where there is no such file, or only a part of it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, ingredients: Ingredients, **more: Any) -> None:
    """Writes what a run is made from, and perhaps its figures."""
    content = {"ingredients": asdict(ingredients), **more}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def _plain(value: Any) -> Any:
    """A setting as JSON has it."""
    return json.loads(json.dumps(value, default=asdict))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _check_place(output: Path, restart: bool) -> None:
    """Makes sure, before hours of training, that the finished model can be put there.

    Raises:
        InputError: It cannot, or something would be lost.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: `output` is a file; give the name of a folder")
    if os.path.ismount(output):
        raise InputError(f"{output}: `output` is a mounted disk; give a folder on it")
    if not output.is_dir():
        return
    parent = Path(os.path.realpath(output)).parent
    if not os.access(parent, os.W_OK):
        raise InputError(f"{parent}: cannot write there, where the finished model is put together")
    if (output / RECORD).is_file():
        return
    others = sorted(path.name for path in output.iterdir() if path.name != CHECKPOINTS)
    if others and not (restart and (output / "config.json").is_file()):
        remedy = (
            "give another `output`, or replace it with --restart"
            if (output / "config.json").is_file()
            else "give another `output`"
        )
        raise InputError(
            f"{output}: the folder of the finished model holds something already ({others[0]}), "
            f"which is not known to be from such a run; {remedy}"
        )
