"""Low-rank adaptation of a model, by peft: few weights are trained, and merged when done."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from lm.errors import InputError
from lm.neural.pretrained import needs
from lm.training.settings import LoRA


def adapted(model: Any, lora: LoRA, seed: int) -> Any:
    """The model with low-rank matrices, which alone are trained.

    Args:
        model: transformers' causal language model.
        lora: What to add.
        seed: Random seed for the matrices' initial values.

    Raises:
        InputError: peft is not installed, or no layer has a name of `targets`.
    """
    needs("peft", "lora")
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
    )
    try:
        with warnings.catch_warnings():
            # peft calls what transformers has renamed, which the user cannot change.
            warnings.simplefilter("ignore", FutureWarning)
            return get_peft_model(model, config)
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"LoRA does not fit this model ({reason}); change `targets`") from error
