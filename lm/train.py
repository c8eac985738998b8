"""Training of causal language models: from a configuration, or fine-tuned from a checkpoint.

A line of text is one sequence from BOS to EOS, as a hypothesis is when it is scored; or, with
`running`, the lines that come before it go before it, as when a hypothesis is scored in context.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from lm.errors import InputError
from lm.text import normaliser, open_text

BOS, EOS, UNKNOWN = "<s>", "</s>", "<unk>"
IGNORED = -100  # the label that transformers' losses leave out
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
TOKENIZER_LINES = 400_000  # BPE merges do not change much beyond this


@dataclass(frozen=True)
class LMTraining:
    """Settings of `secondpass train-lm`.

    Attributes:
        output: Folder of the finished checkpoint; `output/checkpoints` holds the running ones.
        texts: Training texts, one sentence a line; plain, .gz, .bz2 or .xz. A file that is named
            twice is read twice.
        valid: Held-out text for the perplexity, one sentence a line.
        normaliser: Applied to every line (see `lm.text`).
        model: Checkpoint to fine-tune (hub name or folder); None trains from scratch.
        architecture: Keyword arguments of transformers' AutoConfig when there is no `model`,
            `model_type` among them.
        vocab_size: Size of the byte-level BPE vocabulary trained from the texts.
        max_tokens: Longer sequences are cut here.
        running: Whether a sequence holds as many consecutive lines as fit, each ended by EOS, so
            that the model learns from what was said before; else a sequence is one line.
        batch_tokens: Tokens of one optimiser step, padding counted in.
        epochs: Passes over the texts.
        learning_rate: Peak, reached by a linear warm-up.
        schedule: What follows the warm-up: `cosine` or `linear` decay to zero, or `constant` for
            a run whose checkpoint another run will start from.
        warmup: Share of the steps that warm up.
        weight_decay: Of all matrices.
        optimizer: `muon` (matrices by Muon, the rest by AdamW) or `adamw`.
        precision: `float32` or `bfloat16` (autocast; weights stay float32).
        compile: Whether to run through torch.compile (needs a C++ compiler on CPU).
        save_dtype: Of the finished checkpoint, `float32` or `float16`.
        save_steps: Optimiser steps between checkpoints.
        seed: Of initialisation and shuffling.
    """

    output: str
    texts: tuple[str, ...]
    valid: str | None = None
    normaliser: str = "none"
    model: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    vocab_size: int = 6000
    max_tokens: int = 96
    running: bool = False
    batch_tokens: int = 8192
    epochs: float = 1.0
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    warmup: float = 0.02
    weight_decay: float = 0.1
    optimizer: str = "muon"
    precision: str = "float32"
    compile: bool = False
    save_dtype: str = "float32"
    save_steps: int = 500
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.texts:
            raise InputError("train-lm: `texts` names no file")
        if (self.model is None) != bool(self.architecture):
            raise InputError(
                "train-lm: give either `model` (fine-tune) or `architecture`, not both"
            )
        for name, value, valid in (
            ("schedule", self.schedule, tuple(SCHEDULES)),
            ("optimizer", self.optimizer, ("muon", "adamw")),
            ("precision", self.precision, ("float32", "bfloat16")),
            ("save_dtype", self.save_dtype, ("float32", "float16")),
        ):
            if value not in valid:
                raise InputError(f"train-lm: {name} is {value!r}; choose one of {', '.join(valid)}")


def read_lines(path: str | Path, normalise: str) -> Iterator[str]:
    """Normalised, non-empty lines of a text file."""
    clean = normaliser(normalise)
    with open_text(path) as lines:
        for line in lines:
            text = clean(line.rstrip("\n"))
            if text:
                yield text


def train_tokenizer(lines: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text can be encoded, nothing is unknown.

    A text's first word gets the same leading space as the others, so that a word has one
    encoding wherever it stands.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS)


class TokenBatches(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Lines as padded batches of about equal length; one item is one whole batch."""

    def __init__(
        self,
        sequences: list[np.ndarray],
        batch_tokens: int,
        pad: int,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed)
        lengths = np.array([len(s) for s in sequences])
        # Equal lengths meet in random company: the jitter keeps the order within a length random.
        order = np.argsort(lengths + rng.random(len(lengths)), kind="stable")
        self.sequences = sequences
        self.pad = pad
        self.batches: list[np.ndarray] = []
        start = 0
        while start < len(order):
            # Sorted ascending: the batch's last line is its longest.
            end = start + 1
            while end < len(order) and (end + 1 - start) * lengths[order[end]] <= batch_tokens:
                end += 1
            self.batches.append(order[start:end])
            start = end

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One batch: `input_ids`, `attention_mask` and `labels`, each (B, T)."""
        rows = [self.sequences[i] for i in self.batches[index]]
        width = max(len(row) for row in rows)
        ids = np.full((len(rows), width), self.pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        labels = np.where(mask == 1, ids, IGNORED)
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "labels": torch.from_numpy(labels),
        }


def encode(
    tokenizer: PreTrainedTokenizerBase,
    lines: Iterator[str],
    max_tokens: int,
    running: bool = False,
) -> tuple[list[np.ndarray], int, int]:
    """Sequences of token ids, from BOS to EOS, with the number of words and of lines.

    Args:
        tokenizer: Theirs.
        lines: Texts.
        max_tokens: Most tokens of a sequence; longer lines are cut.
        running: Whether a sequence holds as many consecutive lines as fit, with EOS between them.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    end = tokenizer.eos_token_id
    if start is None or end is None:
        raise InputError("train-lm: the tokenizer has no EOS token; choose another checkpoint")
    sequences: list[np.ndarray] = []
    words = count = 0
    sequence = [start]
    while chunk := list(islice(lines, 10_000)):
        words += sum(len(line.split()) for line in chunk)
        count += len(chunk)
        for ids in tokenizer(chunk, add_special_tokens=False)["input_ids"]:
            ids = ids[: max_tokens - 2]
            if len(sequence) > 1 and (not running or len(sequence) + len(ids) >= max_tokens):
                sequences.append(np.array(sequence, dtype=np.int32))
                sequence = [start]
            sequence += [*ids, end]
    if len(sequence) > 1:
        sequences.append(np.array(sequence, dtype=np.int32))
    return sequences, words, count


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for embeddings and vectors.

    Muon's updates are scaled to the root mean square of AdamW's (Liu et al. 2025,
    arXiv:2502.16982), so both share one learning rate.
    """

    def __init__(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> None:
        embeddings = {
            id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in [m.weight]
        }
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


def build_optimizer(model: torch.nn.Module, settings: LMTraining) -> torch.optim.Optimizer:
    """The optimiser that the settings name."""
    if settings.optimizer == "muon":
        return MuonWithAdamW(model, settings.learning_rate, settings.weight_decay)
    return torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=settings.weight_decay,
    )


def load_or_create(settings: LMTraining) -> tuple[torch.nn.Module, PreTrainedTokenizerBase]:
    """The model and the tokenizer that training starts from."""
    if settings.model is not None:
        tokenizer = AutoTokenizer.from_pretrained(settings.model)
        model = AutoModelForCausalLM.from_pretrained(
            settings.model, dtype=torch.float32, use_safetensors=True
        )
        return model, tokenizer
    lines = (
        line
        for path in dict.fromkeys(settings.texts)
        for _, line in zip(
            range(TOKENIZER_LINES), read_lines(path, settings.normaliser), strict=False
        )
    )
    tokenizer = train_tokenizer(lines, settings.vocab_size)
    config = AutoConfig.for_model(
        **{
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "vocab_size": len(tokenizer),
            **settings.architecture,
        }
    )
    torch.manual_seed(settings.seed)
    return AutoModelForCausalLM.from_config(config), tokenizer


def train_lm(settings: LMTraining, resume: bool = True) -> dict[str, float]:
    """Trains a causal LM and writes its checkpoint to `settings.output`.

    Args:
        settings: What to train on, and how.
        resume: Whether to go on from the newest checkpoint of an interrupted run.

    Returns:
        `loss` (nats a token) and, where `valid` is given, `valid_loss` (nats a token),
        `valid_word_perplexity` (per word and sentence end) and the counts behind it.

    Raises:
        InputError: A text is missing or empty, or a setting is wrong.
    """
    output = Path(settings.output)
    model, tokenizer = load_or_create(settings)
    sequences: list[np.ndarray] = []
    for path in settings.texts:
        lines = read_lines(path, settings.normaliser)
        found, _, _ = encode(tokenizer, lines, settings.max_tokens, settings.running)
        if not found:
            raise InputError(f"{path}: no text left after normalising; nothing to train on")
        sequences.extend(found)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    batches = TokenBatches(sequences, settings.batch_tokens, pad, settings.seed)
    steps = math.ceil(len(batches) * settings.epochs)

    arguments = TrainingArguments(
        output_dir=str(output / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=1,  # an item is a batch already
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=math.ceil(settings.warmup * steps),
        max_grad_norm=1.0,
        use_cpu=not torch.cuda.is_available(),
        bf16=settings.precision == "bfloat16",
        torch_compile=settings.compile,
        logging_steps=50,
        save_steps=settings.save_steps,
        save_total_limit=2,
        seed=settings.seed,
        report_to=[],
        dataloader_num_workers=0,
        remove_unused_columns=False,
    )
    optimizer = build_optimizer(model, settings)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        data_collator=lambda items: items[0],
        optimizers=(optimizer, None),
    )
    folder = output / "checkpoints"
    last = get_last_checkpoint(str(folder)) if resume and folder.is_dir() else None
    result = trainer.train(resume_from_checkpoint=last)
    figures = {"loss": float(result.training_loss), "steps": float(steps)}

    trained = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    if settings.valid is not None:
        figures |= perplexity(trained, tokenizer, settings)
    trained.to(getattr(torch, settings.save_dtype)).save_pretrained(output)
    tokenizer.save_pretrained(output)
    return figures


@torch.inference_mode()
def perplexity(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, settings: LMTraining
) -> dict[str, float]:
    """Held-out loss of a model on `settings.valid`, per token and per word."""
    assert settings.valid is not None
    lines = read_lines(settings.valid, settings.normaliser)
    sequences, words, count = encode(tokenizer, lines, settings.max_tokens, settings.running)
    batches = TokenBatches(sequences, settings.batch_tokens, tokenizer.eos_token_id, seed=0)
    model.eval()
    device = next(model.parameters()).device
    nats = 0.0
    for i in range(len(batches)):
        batch = {name: value.to(device) for name, value in batches[i].items()}
        tokens = int((batch["labels"][:, 1:] != IGNORED).sum())
        nats += float(model(**batch).loss) * tokens
    tokens = sum(len(s) - 1 for s in sequences)
    return {
        "valid_loss": nats / tokens,
        "valid_word_perplexity": math.exp(nats / (words + count)),
        "valid_words": float(words),
    }
