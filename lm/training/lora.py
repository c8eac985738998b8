"""Low-rank adaptation of a model, by peft: few weights are trained, and merged when done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lm.errors import InputError
from lm.neural.pretrained import needs


@dataclass(frozen=True)
class LoRA:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685).

    Attributes:
        rank: Of the matrices that are added.
        alpha: What is added is scaled by alpha / rank.
        dropout: Of their input, in training.
        targets: Endings of the names of the linear layers that get one; by default all but the
            output layer.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"LoRA of rank {self.rank}: use at least 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"LoRA with dropout {self.dropout}: use at least 0 and less than 1")


def adapted(model: Any, lora: LoRA, seed: int) -> Any:
    """The model with low-rank matrices, which alone are trained.

    Args:
        model: transformers' causal language model.
        lora: What to add.
        seed: Of their initial values.

    Raises:
        InputError: peft is not installed, or no layer has such a name.
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
        return get_peft_model(model, config)
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"LoRA does not fit this model ({reason}); change `targets`") from error
