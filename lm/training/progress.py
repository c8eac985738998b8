"""What training prints: a progress bar, the loss, and figures on held-out data."""

from __future__ import annotations

import logging
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

LOG = logging.getLogger("secondpass")
# Names of transformers' figures of training, and how they are printed.
TRAINING = {"loss": "loss {:.4f}", "learning_rate": "learning rate {:.2e}"}


class TrainingProgress(TrainerCallback):
    """Prints progress in the words of this project, instead of transformers' own."""

    def __init__(self, held_out: str = "held-out loss") -> None:
        """Prepares the bar.

        Args:
            held_out: What the loss on held-out data is called.
        """
        self.texts = TRAINING | {
            "eval_loss": held_out + " {:.4f}",
            "eval_wer": "held-out WER {:.2%}",
        }
        self.bar: tqdm[Any] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="train",
            unit="step",
            dynamic_ncols=True,
            leave=False,
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Prints a line of training figures, or of figures on held-out data."""
        found = [
            text.format(float(value))
            for name, text in self.texts.items()
            if (value := (logs or {}).get(name)) is not None
        ]
        if found:
            with tqdm.external_write_mode():  # the bar makes room for the line
                step = f"step {state.global_step:,} of {state.max_steps:,}"
                LOG.info(f"{step if state.max_steps else 'before training'}: {', '.join(found)}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bar, if there is one."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
