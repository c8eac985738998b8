"""Ways in which a training run ends early, or badly."""

from __future__ import annotations

import signal
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Killed(Exception):
    """What a process that is killed leaves undone."""


class KilledBefore(TrainerCallback):
    """Ends training before a step, without a word to it, as if the process were killed."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if state.global_step + 1 == self.step:
            raise Killed


class CtrlC(TrainerCallback):
    """Presses Ctrl-C in a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if state.global_step + 1 == self.step:
            signal.raise_signal(signal.SIGINT)


class NaNAfter(TrainerCallback):
    """Makes all weights NaN after a step, as an update that is too large does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if state.global_step == self.step:
            for value in more["model"].parameters():
                value.data.fill_(torch.nan)
