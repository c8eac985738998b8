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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments

from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.neural.encoding import Sequences
from lm.scorer import ScorerOptions, TextError, Texts
from lm.training.optimizer import build_optimizer
from lm.training.resume import (
    check_same_run,
    digest,
    newest_checkpoint,
    use_one_device,
    write_checkpoint,
)
from lm.training.sequences import IGNORED

REFERENCE = -1  # stands for a list's number where the row is a reference


@dataclass(frozen=True)
class Judged:
    """N-best lists of which it is known how wrong each hypothesis is.

    Attributes:
        texts: N hypotheses with `lists`, numbers from 0 on, then a reference for each list: L
            texts more, with their contexts, if there are any.
        errors: (N,) word errors.
        others: (N,) weighted total of all other columns.
        weight: Of the model's log-prob in the total, above 0.
        utts: L names of the lists' utterances, for messages.
    """

    texts: Texts
    errors: np.ndarray
    others: np.ndarray
    weight: float
    utts: Sequence[str]

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise InputError(
                f"the trained column's weight is {self.weight:g}: a model that does not count "
                "cannot be trained; start from a better one, or leave out the columns that "
                "outdo it"
            )


@dataclass(frozen=True, kw_only=True)
class MWERTraining:
    """How a model is trained on N-best lists.

    Attributes:
        epochs: Passes over the lists.
        learning_rate: Peak of AdamW's, reached by a linear warm-up, with cosine decay to zero.
        warmup: Share of the steps that warm up.
        weight_decay: Of AdamW.
        reference_weight: Of a reference's cross entropy (nats) beside its list's expected errors.
        batch_tokens: Tokens of one optimiser step, padding counted in; a longer list is one step.
        checks: How often in an epoch the held-out lists are looked at; the model is kept as it was
            when their expected errors were fewest.
        precision: `float32` or `bfloat16` (autocast; weights stay float32).
        save_dtype: Of the finished checkpoint, `float32` or `float16`.
        seed: Of the order of the lists.
    """

    epochs: float = 2.0
    learning_rate: float = 1e-4
    warmup: float = 0.1
    weight_decay: float = 0.0
    reference_weight: float = 0.01
    batch_tokens: int = 8192
    checks: int = 4
    precision: str = "float32"
    save_dtype: str = "float32"
    seed: int = 1

    def __post_init__(self) -> None:
        if not (self.epochs > 0 and self.learning_rate > 0 and self.checks > 0):
            raise InputError("`epochs`, `learning_rate` and `checks` must be above 0")
        for name, value, valid in (
            ("precision", self.precision, ("float32", "bfloat16")),
            ("save_dtype", self.save_dtype, ("float32", "float16")),
        ):
            if value not in valid:
                raise InputError(f"{name} is {value!r}; choose one of {', '.join(valid)}")


def train_mwer(
    model: str | Path,
    options: ScorerOptions,
    lists: Judged,
    held_out: Judged,
    output: Path,
    settings: MWERTraining,
    resume: bool | None = None,
) -> dict[str, float]:
    """Trains a checkpoint on N-best lists and writes the better model to `output`.

    Args:
        model: Causal language model's checkpoint.
        options: How the model reads texts when it scores.
        lists: To train on.
        held_out: To choose the moment by, of other speakers.
        output: Folder of the finished checkpoint; `output/checkpoints` holds the running ones.
        settings: How it is trained.
        resume: As for `lm.training.causal_lm.train_lm`.

    Returns:
        Expected errors a list on the held-out lists: `expected_before`, `expected` (fewest found);
        `steps`, and `best_step`, 0 if the model only got worse: it is then written as it was.
    """
    last = newest_checkpoint(output / "checkpoints", resume)
    lm = CausalLM.load(model, ScorerOptions(dtype="float32", method="padded"))
    parts = [
        ListBatches(part, _encoded(lm, part, options), settings.batch_tokens)
        for part in (lists, held_out)
    ]
    facts = {"model": str(model), "lists": parts[0].digest(), "held-out lists": parts[1].digest()}
    check_same_run(output / "checkpoints", facts, last is not None)
    trainer = _Trainer(lm.model, parts, settings, output)
    before = trainer.evaluate()["eval_loss"]
    state = {name: value.clone() for name, value in lm.model.state_dict().items()}
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    found = trainer.state.best_metric
    expected = math.inf if found is None else float(found)
    best = int(trainer.state.best_global_step or 0)
    if expected >= before:
        lm.model.load_state_dict(state)
        expected, best = before, 0
    write_checkpoint(lm.model, lm.tokenizer, output, settings.save_dtype)
    return {
        "expected_before": before,
        "expected": expected,
        "steps": float(trainer.args.max_steps),
        "best_step": float(best),
    }


class ListBatches(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Whole lists with their references as padded batches; one item is one batch.

    Attributes:
        lists: L, their number.
        batches: Lists of each batch, of about equal length.
    """

    def __init__(self, judged: Judged, sequences: Sequences, batch_tokens: int) -> None:
        numbers = judged.texts.lists
        assert numbers is not None and len(sequences.ids) == len(judged.texts)
        self.judged, self.sequences = judged, sequences
        count = len(judged.errors)
        self.lists = len(judged.texts) - count
        self.rows = [
            np.append(rows, count + number)
            for number, rows in enumerate(np.split(np.arange(count), _starts(numbers[:count])))
        ]
        width = np.array([max(len(sequences.ids[i]) for i in rows) for rows in self.rows])
        order = np.argsort(width, kind="stable")
        self.batches: list[list[int]] = [[]]
        for number in order:
            chosen = [*self.batches[-1], int(number)]
            tokens = sum(len(self.rows[i]) for i in chosen) * width[number]
            if tokens > batch_tokens and self.batches[-1]:
                self.batches.append([])
            self.batches[-1].append(int(number))

    def __len__(self) -> int:
        return len(self.batches)

    def digest(self) -> str:
        """A hash of the lists and of what is known of them."""
        known = (self.judged.errors, self.judged.others, np.array([self.judged.weight]))
        return digest([*self.sequences.ids, *known])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One batch: `input_ids`, `attention_mask`, `labels` (B, T), others (B,).

        `list` is the list in the batch or REFERENCE; `errors` and `others` are 0 for references.
        """
        chosen = self.batches[index]
        rows = np.concatenate([self.rows[i] for i in chosen])
        ids = [self.sequences.ids[i] for i in rows]
        width = max(map(len, ids))
        padded = np.zeros((len(ids), width), dtype=np.int64)
        labels = np.full((len(ids), width), IGNORED, dtype=np.int64)
        mask = np.zeros((len(ids), width), dtype=np.int64)
        for i, sequence in enumerate(ids):
            padded[i, : len(sequence)], mask[i, : len(sequence)] = sequence, 1
            first = self.sequences.first[rows[i]]
            labels[i, first : len(sequence)] = sequence[first:]
        numbers = np.concatenate(
            [[*[place] * (len(self.rows[i]) - 1), REFERENCE] for place, i in enumerate(chosen)]
        )
        known = rows < len(self.judged.errors)
        errors, others = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
        errors[known] = self.judged.errors[rows[known]]
        others[known] = self.judged.others[rows[known]]
        arrays: dict[str, np.ndarray] = {
            "input_ids": padded,
            "attention_mask": mask,
            "labels": labels,
        }
        arrays |= {"list": numbers.astype(np.int64), "errors": errors, "others": others}
        return {name: torch.from_numpy(values) for name, values in arrays.items()}


def expected_errors(
    logprob: torch.Tensor,
    others: torch.Tensor,
    errors: torch.Tensor,
    lists: torch.Tensor,
    weight: float,
) -> torch.Tensor:
    """Expected word errors of each list.

    Args:
        logprob: (N,) the model's.
        others: (N,) weighted totals of what else counts; -inf is an impossible hypothesis.
        errors: (N,) word errors.
        lists: (N,) numbers of the lists, from 0.
        weight: Of the log-prob.

    Returns:
        (L,) Σ P(h) · errors(h).
    """
    totals = others + weight * logprob
    count = int(lists.max()) + 1
    highest = totals.new_full((count,), -torch.inf).scatter_reduce(
        0, lists, totals.detach(), "amax", include_self=True
    )
    # A list without a possible hypothesis has them all alike.
    shifted = torch.where(
        torch.isneginf(highest)[lists], torch.zeros_like(totals), totals - highest[lists]
    )
    mass = shifted.exp()
    norm = mass.new_zeros(count).index_add(0, lists, mass)
    return mass.new_zeros(count).index_add(0, lists, mass * errors) / norm


class _Trainer(Trainer):
    """transformers' training loop with expected errors as the loss."""

    def __init__(
        self, model: Any, parts: Sequence[ListBatches], settings: MWERTraining, output: Path
    ) -> None:
        lists, held_out = parts
        steps = math.ceil(len(lists) * settings.epochs)
        every = max(1, math.ceil(len(lists) / settings.checks))
        self.settings, self.lists, self.held_out = settings, lists, held_out
        arguments = TrainingArguments(
            output_dir=str(output / "checkpoints"),
            max_steps=steps,
            per_device_train_batch_size=1,  # an item is a batch already
            per_device_eval_batch_size=1,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=math.ceil(settings.warmup * steps),
            max_grad_norm=1.0,
            use_cpu=not torch.cuda.is_available(),
            bf16=settings.precision == "bfloat16",
            logging_steps=every,
            eval_strategy="steps",
            eval_steps=every,
            save_steps=every,
            save_total_limit=2,
            load_best_model_at_end=True,
            prediction_loss_only=True,
            label_names=["errors"],
            seed=settings.seed,
            report_to=[],
            remove_unused_columns=False,
        )
        use_one_device(arguments)
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=lists,
            eval_dataset=held_out,
            data_collator=lambda items: items[0],
            optimizers=(
                build_optimizer(model, "adamw", settings.learning_rate, settings.weight_decay),
                None,
            ),
        )

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
    """Token ids of all texts; one that would be read in windows is an error."""
    try:
        return lm.encoder.encode(lists.texts, replace(options, too_long="error"))
    except TextError as error:
        assert lists.texts.lists is not None
        utt = lists.utts[int(lists.texts.lists[error.index])]
        raise InputError(
            f"utterance {utt}: {error.reason} (training reads no windows: leave it out)"
        ) from error


def _starts(numbers: np.ndarray) -> np.ndarray:
    """Where each list but the first begins."""
    return np.flatnonzero(np.diff(numbers)) + 1
