"""Ways in which a training run ends early."""

from __future__ import annotations

import signal
from typing import Any

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
