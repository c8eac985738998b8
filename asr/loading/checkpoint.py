"""CTC checkpoints: found, read and checked, with clear errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

from lm.errors import InputError
from lm.neural.pretrained import check_folder, what_it_is
from lm.neural.quiet import quiet_transformers

# Weights that are used in pre-training only; published checkpoints often do not have them.
NOT_NEEDED = ("masked_spec_embed",)


def read_checkpoint(name: str) -> tuple[Any, Any, Any]:
    """A checkpoint's model (float32), feature extractor and tokenizer.

    Raises:
        InputError: There is no such checkpoint, a part of it is missing, or it has no CTC head.
    """
    check_folder(name)
    try:
        with quiet_transformers():  # missing weights are reported below
            model, info = AutoModelForCTC.from_pretrained(
                name,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below too
            )
            features = AutoFeatureExtractor.from_pretrained(name)
            tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # the library raises all kinds of errors for a broken folder
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(
            f"{name}: this CTC checkpoint cannot be loaded; it needs config.json, "
            "model.safetensors, preprocessor_config.json and the files of a tokenizer "
            f"({reason}){what_it_is(name)}"
        ) from error
    mismatched = [str(key[0]) for key in info["mismatched_keys"]]
    if mismatched:
        raise InputError(
            f"{name}: the shapes of the weights are not those of config.json "
            f"({_first(mismatched)}); the two files do not belong together"
        )
    missing = sorted(k for k in info["missing_keys"] if not k.endswith(NOT_NEEDED))
    if missing:
        raise InputError(
            f"{name}: the checkpoint has no CTC head, or other weights are missing "
            f"({_first(missing)}); "
            "fine-tune it with `secondpass train-acoustic` first"
        )
    return model, features, tokenizer


def _first(names: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def blank_of(config: Any, tokenizer: Any) -> int:
    """The column of the CTC blank.

    `blank_token_id` of the config comes first. Without it, the blank is the padding, which
    transformers' losses and tokenizers both take for it.

    Raises:
        InputError: Neither the config nor the tokenizer has one, or they have different ones.
    """
    size = int(config.vocab_size)
    explicit = getattr(config, "blank_token_id", None)
    if explicit is not None:
        return int(explicit)
    pad, own = config.pad_token_id, tokenizer.pad_token_id
    if pad is None and own is None:
        raise InputError(
            "config.json has no `pad_token_id`, which is the CTC blank, and the tokenizer has no "
            "padding; add `blank_token_id` to config.json"
        )
    if pad is not None and not 0 <= pad < size:
        raise InputError(f"blank is column {pad}, but the model has {size} outputs")
    # Padding that was added for batches of texts has no column.
    if own is None or not 0 <= own < size:
        return int(own if pad is None else pad)
    if pad is not None and pad != own:
        names = [tokenizer.convert_ids_to_tokens(int(i)) for i in (pad, own)]
        raise InputError(
            f"the CTC blank is not clear: config.json has `pad_token_id` {pad} (label "
            f"{names[0]!r}), the tokenizer's padding is {own} ({names[1]!r}); put the right one "
            "into config.json as `blank_token_id`"
        )
    return int(own)
