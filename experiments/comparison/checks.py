"""Checks everything that can be checked before the first stage, which may take hours.

One error lists all that is wrong. Nothing is loaded: a model's files are only looked at.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.comparison.inputs import SplitInput, read_split
from experiments.comparison.pipeline import check_columns
from experiments.comparison.plan import Plan
from experiments.comparison.split import Split
from lm.errors import InputError
from lm.ngram.arpa_reader import check_header
from lm.ngram.store import is_store
from lm.plugin import NAME, plugin_file
from lm.rescore import is_ngram
from lm.text.normalisers import normaliser

DTYPES = ("float32", "float16", "bfloat16")
WEIGHTS = ("*.safetensors", "*.gguf")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def checked_inputs(plans: Sequence[Plan], out: Path) -> list[dict[str, SplitInput]]:
    """Checks comparisons and reads what their splits start from.

    Args:
        plans: one comparison, or those of a sweep's points.
        out: the results folder.

    Returns:
        For each plan the inputs by split. Points of a sweep share those of equal splits.

    Raises:
        InputError: Something is wrong; all of it is listed.
    """
    problems: dict[str, None] = {}
    known: dict[tuple[str, Split], SplitInput | None] = {}
    found = []
    for text in folder_problems(out):
        problems[text] = None
    for plan in plans:
        inputs = {}
        for name, split in plan.comparison.splits.items():
            if (name, split) not in known:
                known[name, split] = _read(name, split, problems)
            if (given := known[name, split]) is not None:
                inputs[name] = given
        for problem in plan_problems(plan, inputs):
            problems[problem] = None
        found.append(inputs)
    if len(problems) == 1:
        raise InputError(next(iter(problems)))
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise InputError(f"{len(problems)} things are wrong, and nothing was run:{lines}")
    return found


def _read(name: str, split: Split, problems: dict[str, None]) -> SplitInput | None:
    """What a split starts from; None where it cannot be read, which is added to the problems."""
    try:
        return read_split(name, split)
    except InputError as error:
        problems[str(error)] = None
    except OSError as error:
        problems[f"{error.filename}: {error.strerror}"] = None
    return None


def plan_problems(plan: Plan, inputs: Mapping[str, SplitInput]) -> Iterator[str]:
    """Everything that is wrong with a comparison, as far as its files tell."""
    comparison = plan.comparison
    try:
        counting = comparison.counting()
        for name, given in inputs.items():
            if given.table is not None:
                check_columns(given.table, plan.lists, name)
                counting.units(list(given.references), given.tags, name)
            else:
                counting.units([u.id for u in given.utterances], given.tags, name)
    except InputError as error:
        yield str(error)
    audio = [name for name, split in comparison.splits.items() if split.manifest is not None]
    if audio and comparison.acoustic is None:
        yield f"split {audio[0]}: audio needs an `acoustic` model in the config"
    if audio and comparison.acoustic is not None:
        acoustic = comparison.acoustic
        yield from checkpoint_problems(acoustic.model, "acoustic.model")
        yield from dtype_problems(acoustic.dtype, "acoustic.dtype")
    for lists, needs in plan.lists.items():
        for lm in needs.decoder.lms if audio and needs.decoder is not None else ():
            yield from ngram_problems(lm, f"first_passes.{lists}")
        if audio and needs.decoder is not None and needs.decoder.decoder == "pyctcdecode":
            packages = ("pyctcdecode", "kenlm") if needs.decoder.lms else ("pyctcdecode",)
            for package in packages:
                yield from package_problems(package, f"first_passes.{lists}")
    used = {column for needs in plan.lists.values() for column in needs.models}
    for name in (name for name in comparison.columns if name in used):
        column, where = comparison.columns[name], f"columns.{name}"
        yield from model_problems(column.model, f"{where}.model")
        yield from dtype_problems(column.dtype, f"{where}.dtype")
        if column.bits is not None:
            yield from package_problems("bitsandbytes", f"{where}.bits")
        if column.device_map is not None:
            yield from package_problems("accelerate", f"{where}.device_map")
        try:
            normaliser(column.normaliser)
        except InputError as error:
            yield f"{where}.normaliser: {error}"


def model_problems(model: str, where: str) -> Iterator[str]:
    """What is wrong with a language model: a custom scorer, an n-gram file or a checkpoint."""
    if plugin_file(model) is not None:
        yield from plugin_problems(model, where)
    elif is_ngram(model):
        yield from ngram_problems(model, where)
    else:
        yield from checkpoint_problems(model, where)


def plugin_problems(model: str, where: str) -> Iterator[str]:
    """What is wrong with the file of a custom scorer, without running it."""
    match = NAME.fullmatch(model)
    assert match is not None
    path, name = Path(match[1]), match[2]
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        yield f"{where}: {path}: {error.strerror}; give FILE.py:CLASS"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        yield f"{where}: {path}{line}: this is not valid Python ({error}); correct the file"
    else:
        if name not in _names(tree):
            yield f"{where}: {path}: there is no class {name!r} in it; give FILE.py:CLASS"


def _names(tree: ast.AST) -> set[str]:
    """Every name that a Python file gives to something."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


def ngram_problems(path: str, where: str) -> Iterator[str]:
    """What is wrong with the file of an n-gram model, by its header."""
    try:
        if not Path(path).is_file() or not is_store(path):
            check_header(path)
    except InputError as error:
        yield f"{where}: {error}"


def checkpoint_problems(model: str, where: str) -> Iterator[str]:
    """What is wrong with a checkpoint: a folder, or a name on the hub."""
    folder = Path(model)
    if folder.exists() or is_path(model):
        yield from folder_of_checkpoint_problems(folder, where)
    else:
        yield from hub_problems(model, where)


def is_path(model: str) -> bool:
    """Whether a model's name can only be a folder's: hub names are `NAME` or `OWNER/NAME`."""
    if model.count("/") > 1 or "\\" in model or model.startswith((".", "/", "~")):
        return True
    return "/" in model and Path(model).parent.is_dir()


def folder_of_checkpoint_problems(folder: Path, where: str) -> Iterator[str]:
    """What is wrong with a folder that should hold a checkpoint."""
    if not folder.is_dir():
        what = "this is a file, not a checkpoint" if folder.exists() else "there is no such folder"
        yield f"{where}: {folder}: {what}; give a checkpoint's folder or a hub name"
        return
    config = next((f for f in ("config.json", "adapter_config.json") if (folder / f).is_file()), "")
    if not config:
        yield f"{where}: {folder}: config.json is missing, so this is no checkpoint; give another"
        return
    try:
        json.loads((folder / config).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        yield f"{where}: {folder / config}: cannot be read ({error}); copy the checkpoint again"
    if not any(True for pattern in WEIGHTS for _ in folder.glob(pattern)):
        yield (
            f"{where}: {folder}: there are no weights (*.safetensors) in it; convert other formats "
            "with transformers' save_pretrained"
        )


def hub_problems(model: str, where: str) -> Iterator[str]:
    """What is wrong with a name on the hub, as far as can be said without a network.

    A name that is not in the local cache is left to the download, unless downloads are off.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        yield f"{where}: {model!r} is no folder, and no name on the hub can look like this"
        return
    offline = [name for name in OFFLINE if os.environ.get(name, "").upper() in ("1", "TRUE", "YES")]
    if not isinstance(cached, str) and offline:
        yield (
            f"{where}: {model!r} is no folder and not in the local hub cache, and {offline[0]} "
            "forbids to download it; correct the name, or download the model first"
        )


def dtype_problems(dtype: str | None, where: str) -> Iterator[str]:
    """What is wrong with the name of a number format."""
    if dtype is not None and dtype not in DTYPES:
        yield f"{where}: there is no {dtype!r}; use one of {', '.join(DTYPES)}"


def package_problems(package: str, where: str) -> Iterator[str]:
    """Whether a package that a setting needs is missing."""
    if importlib.util.find_spec(package) is None:
        yield f"{where}: needs the package {package}: pip install {package}"


def folder_problems(out: Path) -> Iterator[str]:
    """Why a results folder cannot be written, without making it."""
    place = out
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        yield f"{out}: {place} is a file, so results cannot be written there; give another --out"
    elif not os.access(place, os.W_OK | os.X_OK):
        yield f"{out}: {place} cannot be written; give another --out"
