"""Discriminative training of a causal language model on N-best lists: minimum word error rate.

A list's expected errors are Σ P(h) · errors(h), with P the softmax of the weighted totals, the
model's own log-prob among them (Prabhavalkar et al. 2018, "Minimum Word Error Rate Training for
Attention-based Sequence-to-Sequence Models", ICASSP; for language models in rescoring Hori et al.
2016, "Minimum word error training of long short-term memory recurrent neural network language
models", ICASSP). The cross entropy of the references keeps the model a language model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.neural.encoding import Sequences
from lm.scorer import ScorerOptions, TextError
from lm.training.loop import Callbacks, RunTrainer, training_arguments
from lm.training.nbest_batches import REFERENCE, Judged, ListBatches
from lm.training.optimizer import build_optimizer
from lm.training.resume import Ingredients, Run, weights_digest
from lm.training.sequences import IGNORED
from lm.training.settings import MWERTraining


def train_mwer(
    model: str | Path,
    options: ScorerOptions,
    lists: Judged,
    held_out: Judged,
    output: Path,
    settings: MWERTraining,
    resume: bool | None = None,
    callbacks: Callbacks = (),
) -> dict[str, float]:
    """Trains a model on N-best lists and writes the better model to `output`.

    Args:
        model: Causal language model, a hub name or a folder.
        options: How the model reads texts when it scores.
        lists: N-best lists to train on.
        held_out: N-best lists of other speakers, on which the best step is chosen.
        output: Folder of the finished model. While training runs, it holds `checkpoints`.
        settings: How the model is trained.
        resume: As for `lm.training.causal_lm.train_lm`.
        callbacks: Callbacks of transformers' Trainer.

    Returns:
        Expected errors per list on the held-out N-best lists: `expected_before` and `expected`
        (the fewest that were found); `steps`, `first_step` (above 0 where a run was continued)
        and `best_step`, 0 if the model only became worse: it is then written as it was. For a
        model that is complete already, the figures that were recorded with it.

    Raises:
        InputError: A text is too long, there is no checkpoint to continue from, the output folder
            is from another run, or the training diverges.
        KeyboardInterrupt: The user pressed Ctrl-C; a checkpoint has been written.
    """
    run = Run(output, resume)
    lm = CausalLM.load(model, ScorerOptions(dtype="float32", method="padded"))
    parts = [
        ListBatches(part, _encoded(lm, part, options), settings.batch_tokens)
        for part in (lists, held_out)
    ]
    contents = {
        "model": weights_digest(lm.model),
        "lists to train on": parts[0].digest(),
        "held-out lists": parts[1].digest(),
    }
    # A command's settings have more fields, which say where model and lists come from.
    own = MWERTraining(**{f.name: getattr(settings, f.name) for f in fields(MWERTraining)})
    ingredients = Ingredients.of(own, contents)
    recorded = run.begin(ingredients)
    if recorded is not None:
        return recorded
    trainer = _Trainer(lm.model, parts, settings, run, callbacks)
    before = trainer.evaluate()["eval_loss"]
    if not math.isfinite(before):
        raise InputError(
            f"{model}: the expected errors of the held-out lists are {before} before training; "
            "check the model's weights"
        )
    state = {name: value.clone() for name, value in lm.model.state_dict().items()}
    trainer.train_run()
    found = trainer.state.best_metric
    expected = math.inf if found is None else float(found)
    best = int(trainer.state.best_global_step or 0)
    if expected >= before:
        lm.model.load_state_dict(state)
        expected, best = before, 0
    figures = {
        "expected_before": float(before),
        "expected": float(expected),
        "steps": float(trainer.args.max_steps),
        "first_step": float(run.first_step),
        "best_step": float(best),
    }
    run.finish(lm.model, [lm.tokenizer], settings.save_dtype, ingredients, figures)
    return figures


def expected_errors(
    logprob: torch.Tensor,
    others: torch.Tensor,
    errors: torch.Tensor,
    lists: torch.Tensor,
    weight: float,
) -> torch.Tensor:
    """Expected word errors of each list.

    Args:
        logprob: (N,) log-probs of the model.
        others: (N,) weighted totals of all other columns; -inf is an impossible hypothesis.
        errors: (N,) word errors.
        lists: (N,) numbers of the N-best lists, from 0.
        weight: Weight of the log-prob.

    Returns:
        (L,) Σ P(h) · errors(h).
    """
    totals = others + weight * logprob
    count = int(lists.max()) + 1
    highest = totals.new_full((count,), -torch.inf).scatter_reduce(
        0, lists, totals.detach(), "amax", include_self=True
    )
    # In a list without a possible hypothesis, all have the same probability.
    shifted = torch.where(
        torch.isneginf(highest)[lists], torch.zeros_like(totals), totals - highest[lists]
    )
    mass = shifted.exp()
    norm = mass.new_zeros(count).index_add(0, lists, mass)
    return mass.new_zeros(count).index_add(0, lists, mass * errors) / norm


class _Trainer(RunTrainer):
    """transformers' training loop with expected errors as the loss."""

    held_out_name = "expected errors of a held-out list"

    def __init__(
        self,
        model: Any,
        parts: Sequence[ListBatches],
        settings: MWERTraining,
        run: Run,
        callbacks: Callbacks,
    ) -> None:
        lists, held_out = parts
        every = max(1, math.ceil(len(lists) / settings.checks))
        self.settings, self.lists, self.held_out = settings, lists, held_out
        arguments = training_arguments(
            run.folder,
            len(lists),
            settings.epochs,
            settings.learning_rate,
            settings.warmup,
            settings.precision,
            settings.seed,
            max_grad_norm=1.0,
            logging_steps=every,
            eval_strategy="steps",
            eval_steps=every,
            save_steps=every,
            load_best_model_at_end=True,
            prediction_loss_only=True,
            label_names=["errors"],
        )
        super().__init__(
            run,
            callbacks,
            model=model,
            args=arguments,
            train_dataset=lists,
            eval_dataset=held_out,
            optimizers=(
                build_optimizer(model, "adamw", settings.learning_rate, settings.weight_decay),
                None,
            ),
        )

    def evaluate(self, *data: Any, **more: Any) -> dict[str, float]:
        """Expected errors on the held-out lists.

        Raises:
            InputError: They are no number after training has begun.
        """
        found: dict[str, float] = super().evaluate(*data, **more)
        if self.state.global_step and not math.isfinite(found["eval_loss"]):
            raise self.diverged(self.held_out_name, found["eval_loss"], self.state.global_step)
        return found

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Expected errors over the mean number of lists in a batch, so that batches add up."""
        data = self.lists if model.training else self.held_out
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).logits
        targets = inputs["labels"][:, 1:]
        nats = cross_entropy(
            logits[:, :-1].float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
        ).sum(dim=1)
        reference = inputs["list"] == REFERENCE
        expected = expected_errors(
            -nats[~reference],
            inputs["others"][~reference],
            inputs["errors"][~reference],
            inputs["list"][~reference],
            data.judged.weight,
        )
        loss = expected.sum()
        if model.training:
            loss = loss + self.settings.reference_weight * nats[reference].sum()
        loss = loss / (data.lists / len(data))
        return (loss, {"loss": loss}) if return_outputs else loss


def _encoded(lm: CausalLM, lists: Judged, options: ScorerOptions) -> Sequences:
    """Token ids of all texts; a text that is too long for one window is an error."""
    try:
        return lm.encoder.encode(lists.texts, replace(options, too_long="error"))
    except TextError as error:
        assert lists.texts.lists is not None
        utt = lists.utts[int(lists.texts.lists[error.index])]
        raise InputError(
            f"utterance {utt}: {error.reason} (training does not read texts in windows; leave the "
            "utterance out)"
        ) from error
