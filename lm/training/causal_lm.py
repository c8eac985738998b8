"""Training of causal language models: from a configuration, or fine-tuned from a checkpoint.

A line of text is one sequence from BOS to EOS, as a hypothesis is when it is scored; or, with
`running`, the lines that come before it go before it, as when a hypothesis is scored in context.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.neural.pretrained import context_length
from lm.scorer import ScorerOptions
from lm.training.lora import LoRA, adapted
from lm.training.optimizer import build_optimizer
from lm.training.resume import (
    check_same_run,
    digest,
    newest_checkpoint,
    use_one_device,
    write_checkpoint,
)
from lm.training.sequences import (
    IGNORED,
    Encoded,
    TokenBatches,
    encode,
    read_lines,
    train_tokenizer,
)

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
        normaliser: Applied to every line (see `lm.text.normalisers`).
        model: Checkpoint to fine-tune (hub name or folder); None trains from scratch.
        lora: Fine-tunes with low-rank matrices only; they are merged into the checkpoint.
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
        weight_decay: Of the hidden matrices; with `adamw`, of all weights.
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
    lora: LoRA | None = None
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
        if self.lora is not None and self.model is None:
            raise InputError("train-lm: `lora` fine-tunes; give the `model` that it adapts")
        if self.lora is not None and self.optimizer == "muon":
            # Muon makes all directions of an update equally long: no thing for thin matrices.
            raise InputError("train-lm: `lora` is trained by AdamW; set `optimizer: adamw`")
        for name, value, valid in (
            ("schedule", self.schedule, tuple(SCHEDULES)),
            ("optimizer", self.optimizer, ("muon", "adamw")),
            ("precision", self.precision, ("float32", "bfloat16")),
            ("save_dtype", self.save_dtype, ("float32", "float16")),
        ):
            if value not in valid:
                raise InputError(f"train-lm: {name} is {value!r}; choose one of {', '.join(valid)}")
        for name, number, least in (
            ("max_tokens", self.max_tokens, 3),  # BOS, a token, EOS
            ("batch_tokens", self.batch_tokens, 1),
            ("save_steps", self.save_steps, 1),
        ):
            if number < least:
                raise InputError(f"train-lm: {name} is {number}; use at least {least}")
        if not (self.epochs > 0 and self.learning_rate > 0):
            raise InputError("train-lm: `epochs` and `learning_rate` must be above 0")


def train_lm(settings: LMTraining, resume: bool | None = None) -> dict[str, float]:
    """Trains a causal LM and writes its checkpoint to `settings.output`.

    Args:
        settings: What to train on, and how.
        resume: None goes on from the newest checkpoint of an interrupted run, if there is one;
            True demands one; False removes what is there and starts anew.

    Returns:
        `loss` (nats a token, of the steps made), `steps`, `first_step` (above 0 where a run
        went on) and `cut_lines` (longer than `max_tokens`). Where `valid` is given, also
        `valid_loss` (nats a token), `valid_word_perplexity` (per word and sentence end),
        `valid_words` and `valid_left_out` (lines that are too long); when fine-tuning, the first
        two also for the model before, under names that end in `_before`.

    Raises:
        InputError: A text is missing or empty, a setting is wrong, or there is no checkpoint to
            go on from.
    """
    output = Path(settings.output)
    last = newest_checkpoint(output / "checkpoints", resume)
    model, tokenizer = load_or_create(settings)
    held_out = None if settings.valid is None else _held_out(tokenizer, settings)
    texts = [_training_text(tokenizer, path, settings) for path in settings.texts]
    figures: dict[str, float] = {"cut_lines": float(sum(text.too_long for text in texts))}
    if held_out is not None and settings.model is not None:
        before = perplexity(model, held_out, settings.batch_tokens, tokenizer.eos_token_id)
        figures |= {f"{name}_before": value for name, value in before.items()}
    if settings.lora is not None:
        model = adapted(model, settings.lora, settings.seed)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    sequences = [sequence for text in texts for sequence in text.sequences]
    facts = {
        "texts": digest(sequences),
        "model": settings.model or dict(settings.architecture),
        "lora": None if settings.lora is None else asdict(settings.lora),
    }
    check_same_run(output / "checkpoints", facts, last is not None)
    batches = TokenBatches(sequences, settings.batch_tokens, pad, settings.seed)
    trainer = _trainer(model, batches, settings)
    result = trainer.train(resume_from_checkpoint=None if last is None else str(last))
    first_step = 0 if last is None else int(last.name.rpartition("-")[2])
    if first_step < trainer.args.max_steps:
        figures["loss"] = float(result.training_loss)
    figures |= {"steps": float(trainer.args.max_steps), "first_step": float(first_step)}
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    if settings.lora is not None:
        trained = trained.merge_and_unload()
    if held_out is not None:
        figures |= perplexity(trained, held_out, settings.batch_tokens, tokenizer.eos_token_id)
        figures |= {
            "valid_words": float(held_out.words),
            "valid_left_out": float(held_out.too_long),
        }
    write_checkpoint(trained, tokenizer, output, settings.save_dtype)
    return figures


def load_or_create(settings: LMTraining) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model and the tokenizer that training starts from.

    Raises:
        InputError: There is no such checkpoint or architecture, or the model's context or
            vocabulary is too small.
    """
    if settings.model is not None:
        # No trees are read here, so whether it can is not asked.
        found = CausalLM.load(settings.model, ScorerOptions(dtype="float32", method="padded"))
        model, tokenizer = found.model, found.tokenizer
    else:
        tokenizer = _new_tokenizer(settings)
        config = _new_config(tokenizer, settings.architecture)
        torch.manual_seed(settings.seed)
        model = AutoModelForCausalLM.from_config(config)
    context = context_length(model.config)
    if context is not None and settings.max_tokens > context:
        raise InputError(
            f"train-lm: `max_tokens` is {settings.max_tokens}, but the model reads at most "
            f"{context} tokens; lower it"
            + ("" if settings.model else ", or raise the architecture's max_position_embeddings")
        )
    return model, tokenizer


def _new_tokenizer(settings: LMTraining) -> PreTrainedTokenizerBase:
    lines = (
        line
        for path in dict.fromkeys(settings.texts)
        for line in islice(read_lines(path, settings.normaliser), TOKENIZER_LINES)
    )
    return train_tokenizer(lines, settings.vocab_size)


def _new_config(tokenizer: PreTrainedTokenizerBase, architecture: Mapping[str, Any]) -> Any:
    """A model's configuration; a name that it does not know is an error.

    Raises:
        InputError: There is no such architecture, it has no such setting, or its vocabulary is
            smaller than the tokenizer's.
    """
    values = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "vocab_size": len(tokenizer),
        **architecture,
    }
    try:
        known = AutoConfig.for_model(str(architecture.get("model_type")))
        config = AutoConfig.for_model(**values)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"train-lm: no such `architecture` ({reason}); change it") from error
    for name in architecture:
        if not hasattr(known, name):
            near = difflib.get_close_matches(name, known.to_dict(), n=1, cutoff=0.0)
            raise InputError(
                f"train-lm: `architecture.{name}` is no setting of {known.model_type}; the nearest "
                f"is {near[0]}"
            )
    if values["vocab_size"] < len(tokenizer):
        raise InputError(
            f"train-lm: `architecture.vocab_size` is {values['vocab_size']}, but the tokenizer has "
            f"{len(tokenizer)} tokens; leave it out"
        )
    return config


def _training_text(tokenizer: PreTrainedTokenizerBase, path: str, settings: LMTraining) -> Encoded:
    lines = read_lines(path, settings.normaliser)
    found = encode(tokenizer, lines, settings.max_tokens, settings.running)
    if not found.sequences:
        raise InputError(f"{path}: no text left after normalising; nothing to train on")
    return found


def _held_out(tokenizer: PreTrainedTokenizerBase, settings: LMTraining) -> Encoded:
    assert settings.valid is not None
    lines = read_lines(settings.valid, settings.normaliser)
    found = encode(tokenizer, lines, settings.max_tokens, settings.running, cut=False)
    if not found.sequences:
        reason = "every line is too long" if found.too_long else "no text left after normalising"
        raise InputError(
            f"{settings.valid}: {reason}; give another text to validate on, or leave `valid` out"
        )
    return found


def _trainer(model: Any, batches: TokenBatches, settings: LMTraining) -> Trainer:
    """transformers' training loop."""
    steps = math.ceil(len(batches) * settings.epochs)
    arguments = TrainingArguments(
        output_dir=str(Path(settings.output) / "checkpoints"),
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
    use_one_device(arguments)
    optimizer = build_optimizer(
        model, settings.optimizer, settings.learning_rate, settings.weight_decay
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        data_collator=lambda items: items[0],
        optimizers=(optimizer, None),
    )


@torch.inference_mode()
def perplexity(model: Any, text: Encoded, batch_tokens: int, pad: int) -> dict[str, float]:
    """Loss of a model on held-out text.

    Args:
        model: transformers' causal language model.
        text: At least one sequence.
        batch_tokens: Of one batch, padding counted in.
        pad: Token id of the padding.

    Returns:
        `valid_loss`, nats a token, and `valid_word_perplexity`, per word and sentence end, so that
        models of different tokens can be compared.
    """
    batches = TokenBatches(text.sequences, batch_tokens, pad, seed=0)
    model.eval()
    device = next(model.parameters()).device
    nats = 0.0
    for i in range(len(batches)):
        batch = {name: value.to(device) for name, value in batches[i].items()}
        tokens = int((batch["labels"][:, 1:] != IGNORED).sum())
        nats += float(model(**batch).loss) * tokens
    return {
        "valid_loss": nats / text.tokens,
        "valid_word_perplexity": math.exp(nats / (text.words + text.lines)),
    }
