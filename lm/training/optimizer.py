"""Optimisers of language-model training."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for everything else.

    Everything else is embeddings, output layer and vectors; they have no weight decay.

    Muon's updates are scaled to the root mean square of AdamW's updates (Liu et al. 2025,
    arXiv:2502.16982), so that one learning rate suits both.
    """

    def __init__(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> None:
        ends = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
        output = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
        embeddings = {id(m.weight) for m in [*ends, output] if m is not None}
        trained = [p for p in model.parameters() if p.requires_grad]
        hidden = [p for p in trained if p.ndim == 2 and id(p) not in embeddings]
        others = [p for p in trained if p.ndim != 2 or id(p) in embeddings]
        self.muon = torch.optim.Muon(
            hidden, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.adamw = torch.optim.AdamW(
            others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0
        )
        super().__init__(trained, {"lr": learning_rate})
        # The same dictionaries: a scheduler that sets a learning rate here sets it there.
        self.param_groups = self.muon.param_groups + self.adamw.param_groups

    def step(self, closure: Any = None) -> Any:
        loss = None if closure is None else closure()
        self.muon.step()
        self.adamw.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.muon.zero_grad(set_to_none)
        self.adamw.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = self.muon.param_groups + self.adamw.param_groups


def build_optimizer(
    model: torch.nn.Module, name: str, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimiser for the weights of a model that are trained.

    Args:
        model: Model to train.
        name: `muon` or `adamw`.
        learning_rate: Learning rate, before a schedule changes it.
        weight_decay: Weight decay; `muon` applies it to the hidden matrices alone.
    """
    if name == "muon":
        return MuonWithAdamW(model, learning_rate, weight_decay)
    return torch.optim.AdamW(
        # In the model's order: checkpoints know parameters by their place.
        [p for p in model.parameters() if p.requires_grad],
        lr=learning_rate,
        betas=(0.9, 0.95),
        weight_decay=weight_decay,
    )
