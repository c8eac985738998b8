"""transformers' training loop as all trainings use it: one device, whole batches, Ctrl-C."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from lm.errors import InputError
from lm.neural.quiet import quiet_transformers
from lm.training.progress import TrainingProgress
from lm.training.resume import Run

LOG = logging.getLogger("secondpass")
Callbacks = Sequence[TrainerCallback]
SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def training_arguments(
    folder: Path,
    batches: int,
    epochs: float,
    learning_rate: float,
    warmup: float,
    precision: str,
    seed: int,
    schedule: str = "cosine",
    **more: Any,
) -> TrainingArguments:
    """Arguments of transformers' Trainer.

    Args:
        folder: Folder of the checkpoints.
        batches: Number of batches in an epoch.
        epochs: Number of passes.
        learning_rate: Highest learning rate.
        warmup: Share of the steps that warm up.
        precision: `float32` or `bfloat16`.
        seed: Random seed.
        schedule: A key of SCHEDULERS.
        **more: What is particular to one training.
    """
    steps = math.ceil(batches * epochs)
    warming = math.ceil(warmup * steps)
    if warming >= steps:
        # The first of these steps has the learning rate 0: with one step, nothing would change.
        warming = steps - 1
        LOG.warning(
            f"the warm-up (`warmup` {warmup:g}) covers all {steps:,} steps, so that only the last "
            "one has the full learning rate: lower `warmup`, or train for more `epochs`"
            if steps > 1
            else "the training has one step only, which is made without a warm-up: give more "
            "`epochs`, or smaller batches"
        )
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,  # an item is a batch already
        per_device_eval_batch_size=1,
        learning_rate=learning_rate,
        lr_scheduler_type=SCHEDULERS[schedule],
        warmup_steps=warming,
        use_cpu=not torch.cuda.is_available(),
        bf16=precision == "bfloat16",
        save_total_limit=2,
        seed=seed,
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,  # lm.training.progress has a bar
        **more,
    )
    use_one_device(arguments)
    return arguments


def use_one_device(arguments: TrainingArguments) -> None:
    """Keeps the Trainer from splitting batches among all GPUs: an item is a whole batch."""
    arguments._n_gpu = min(arguments.n_gpu, 1)


class RunTrainer(Trainer):
    """transformers' Trainer for one run: an item of the data is a whole batch."""

    held_out_name = "held-out loss"  # what the loss on held-out data is called

    def __init__(self, run: Run, callbacks: Callbacks, **arguments: Any) -> None:
        """Prepares training.

        Args:
            run: The run, which knows where training starts.
            callbacks: Further callbacks.
            **arguments: As for transformers' Trainer.
        """
        with quiet_transformers():
            super().__init__(data_collator=only_item, callbacks=list(callbacks), **arguments)
        self.first_checkpoint, self.first_step = run.last, run.first_step
        self.progress, self.interrupt = TrainingProgress(self.held_out_name), Interrupt(run.restart)
        self.remove_callback(PrinterCallback)
        self.add_callback(self.progress)
        self.add_callback(self.interrupt)

    def train_run(self) -> float:
        """Trains from the run's newest checkpoint, or from the beginning, to the last step.

        Returns:
            The mean loss of the steps that were made.

        Raises:
            InputError: The loss is no longer a number.
            KeyboardInterrupt: The user pressed Ctrl-C; a checkpoint has been written.
        """
        last = None if self.first_checkpoint is None else str(self.first_checkpoint)
        before = fingerprint(self.model)
        try:
            with quiet_transformers(), self.interrupt.listening():
                result = self.train(resume_from_checkpoint=last)
        finally:
            self.progress.close()
        if self.interrupt.pressed:  # during the evaluation after the last step
            self.interrupt.stop(self.state.global_step)
        if self.first_checkpoint is None and fingerprint(self.model) == before:
            LOG.warning(
                "the training has changed no weight: raise `learning_rate`, or train for more "
                "`epochs`"
            )
        return float(result.training_loss)

    def training_step(self, *batch: Any, **more: Any) -> torch.Tensor:
        """One batch's loss and gradients.

        Raises:
            InputError: The loss is NaN or infinite; no step is made with it.
        """
        loss: torch.Tensor = super().training_step(*batch, **more)
        if not torch.isfinite(loss).all():
            raise self.diverged("loss", float(loss), self.state.global_step + 1)
        return loss

    def diverged(self, what: str, value: float, step: int) -> InputError:
        """The error of a run whose loss is no longer a number, with what helps.

        Args:
            what: What is no number.
            value: Its value.
            step: The step in which it was found, or after which, if it is about held-out data.
        """
        if step > self.first_step + (what == "loss"):
            where = f"in step {step:,} of {self.args.max_steps:,} the {what} is {value}"
            remedy = (
                "the training has diverged and no model was written; lower `learning_rate` (it is "
                f"{self.args.learning_rate:g}) or raise `warmup`, and train again with --restart"
            )
        elif self.first_step:
            where = f"the checkpoint of step {self.first_step:,} gives the {what} {value}"
            remedy = (
                "the training had diverged before; lower `learning_rate` (it is "
                f"{self.args.learning_rate:g}) and train again with --restart"
            )
        else:
            where = f"in step 1, before any weight has changed, the {what} is {value}"
            remedy = "check the model and the data, and use `precision: float32`"
        return InputError(f"{where}: {remedy}")


def fingerprint(model: Any) -> list[float]:
    """A number for each weight matrix that is trained, by which a change is noticed.

    It is summed in float64 without a copy of the weights, which may fill most of a GPU.
    """
    trained = [p.detach() for p in model.parameters() if p.requires_grad]
    return [float(torch.linalg.vector_norm(p, dtype=torch.float64)) for p in trained]


def only_item(items: Sequence[Any]) -> Any:
    """The collator: the Trainer's batch has one item, which is a batch already."""
    return items[0]


class Interrupt(TrainerCallback):
    """Writes a checkpoint after the step in which the user presses Ctrl-C, and then stops."""

    def __init__(self, restart: bool) -> None:
        self.restart = restart
        self.pressed = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Notes Ctrl-C in this block, once; the second one stops at once, as it does elsewhere."""
        # Only the main thread can handle signals; a shell's background job ignores this one.
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        if ignored or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def stop(self, step: int) -> None:
        """Says what was written, and stops."""
        command = "the same command" + (" without --restart" if self.restart else "")
        LOG.warning(
            f"interrupted at step {step:,}; wrote a checkpoint; {command} continues from it"
        )
        raise KeyboardInterrupt

    def _press(self, number: int, frame: Any) -> None:
        self.pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        LOG.warning(
            "a checkpoint will be written after this step; press Ctrl-C again to stop at once"
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if self.pressed:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if self.pressed:
            self.stop(state.global_step)
