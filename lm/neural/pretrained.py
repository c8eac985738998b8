"""Checkpoints of language models: found, loaded and checked, with clear errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
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
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise InputError(f"{name}: there is no such folder; give the folder of a checkpoint")
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
        ) from error
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
