"""Checkpoints of language models: found, loaded and checked, with clear errors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoTokenizer, BitsAndBytesConfig

from lm.errors import InputError
from lm.neural.quiet import quiet_transformers
from lm.scorer import ScorerOptions

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# The names in configurations of the number of positions; without one, no limit is known.
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


def load_checkpoint(name: str, auto: Any, kind: str, options: ScorerOptions) -> tuple[Any, Any]:
    """A model in evaluation mode and its tokenizer; safetensors only, no code from the checkpoint.

    Args:
        name: Hub name or local folder.
        auto: transformers' class, such as AutoModelForCausalLM.
        kind: Name of such a model in messages.
        options: Device, dtype, device map and bits.

    Raises:
        InputError: There is no such checkpoint, it has no tokenizer, it is of another kind, weights
            are missing, or the device, the dtype or a package that an option needs is missing.
    """
    device = usable_device(options.device)
    dtype = usable_dtype(options.dtype, device)
    placed: dict[str, Any] = {}
    if options.device_map is not None:
        needs("accelerate", "device_map")
        placed["device_map"] = options.device_map
    if options.bits is not None:
        needs("bitsandbytes", "bits")
        placed["quantization_config"] = (
            BitsAndBytesConfig(load_in_8bit=True)
            if options.bits == 8
            else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype)
        )
        placed.setdefault("device_map", {"": device})
    check_folder(name)
    if adapter_base(Path(name)) is not None:
        # Without peft, transformers would leave the adapter out and say nothing.
        needs("peft", "adapter_config.json")
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model, found = auto.from_pretrained(
                name,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **placed,
            )
    # Checkpoints can be damaged in more ways than transformers has kinds of exceptions.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(
            f"{name}: no {kind} language model can be loaded from it ({reason}); give a hub "
            "name or a folder with config.json, model.safetensors and a tokenizer"
            f"{what_it_is(name)}"
        ) from error
    check_tokenizer(name, tokenizer)
    # transformers would fill these with random numbers and continue.
    absent = sorted({*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])})
    if absent:
        raise InputError(
            f"{name}: {len(absent)} weights of {type(model).__name__} are missing or have "
            f"another shape ({absent[0]}, …): it is not a complete {kind} language model; give one"
        )
    if not placed:
        model = model.to(device)
    return model.eval(), tokenizer


def check_folder(name: str) -> None:
    """Makes sure that a model's name that looks like a folder's is one.

    Hub names are `NAME` or `OWNER/NAME`; the latter is a folder's where OWNER is a folder here, and
    no such model was downloaded before.

    Raises:
        InputError: There is no such folder, or it is a file.
    """
    path = Path(name)
    if not name:
        raise InputError("the name of a model is empty; give a checkpoint's folder or a hub name")
    if path.is_dir():
        return
    if path.exists():
        raise InputError(f"{name}: this is a file, not a checkpoint; give a checkpoint's folder")
    local = name.count("/") > 1 or "\\" in name or name[0] in "./~" or name[-1] == "/"
    if not local and "/" in name and path.parent.is_dir():
        local = not isinstance(try_to_load_from_cache(name, "config.json"), str)
    if local:
        raise InputError(
            f"{name}: there is no such folder; give the folder of a checkpoint, or a hub name"
        )


def what_it_is(name: str) -> str:
    """An end for the message about a checkpoint that cannot be loaded: what its name stands for."""
    path = Path(name)
    if not path.exists():
        return f". There is no folder {name!r} here, so it was taken for a hub name"
    base = adapter_base(path)
    if base is None:
        return ""
    return (
        f". This folder holds a LoRA adapter of {base}, not a whole model: give the merged model "
        "(`train-lm` writes it; peft's merge_and_unload makes it), or put the tokenizer of "
        "the base model into the folder, and make sure that the base model and the package peft "
        "are there"
    )


def adapter_base(folder: Path) -> str | None:
    """The model that a LoRA adapter was trained for; None if the folder has no adapter."""
    try:
        found = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return str(found.get("base_model_name_or_path")) if isinstance(found, dict) else None


def check_tokenizer(name: str, tokenizer: Any) -> None:
    """Makes sure that a tokenizer has tokens: without its files, transformers makes an empty one.

    Raises:
        InputError: It has special tokens only.
    """
    special = set(tokenizer.all_special_ids)
    if all(int(token) in special for token in tokenizer.get_vocab().values()):
        raise InputError(
            f"{name}: its tokenizer has {len(special)} special tokens and nothing else, as if its "
            "files (such as tokenizer.json) were missing; copy them from the original checkpoint"
        )


def needs(package: str, option: str) -> None:
    """Makes sure that an optional package is installed.

    Raises:
        InputError: It is not.
    """
    if importlib.util.find_spec(package) is None:
        raise InputError(f"`{option}` needs the package {package}: pip install {package}")


def usable_device(device: str | None) -> torch.device:
    """The torch device of that name, or the best there is.

    Raises:
        InputError: There is no such device here.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    # If a kind of device is missing, torch raises one of these errors, depending on its build.
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} cannot be used here; use cpu, or leave it out"
        ) from error


def usable_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """The torch dtype of that name; by default float16 on a GPU, else float32.

    Raises:
        InputError: There is none of that name.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    return DTYPES[dtype or ("float16" if device.type == "cuda" else "float32")]


def context_length(config: Any) -> int | None:
    """Number of tokens that a model of this configuration can read, None if not limited."""
    text = config.get_text_config()
    found = (getattr(text, name, None) for name in CONTEXT_NAMES)
    return next((int(value) for value in found if isinstance(value, int) and value > 0), None)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a GPU or of the machine."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error) and "alloc" in str(error)
    )
