"""Training of causal language models: a new model, or one that is fine-tuned.

A line of text is one sequence from BOS to EOS, as a hypothesis is when it is scored. With
`running`, a sequence holds consecutive lines, as when a hypothesis is scored in its context.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.neural.pretrained import context_length
from lm.scorer import ScorerOptions
from lm.training.architecture import new_config
from lm.training.loop import Callbacks, RunTrainer, training_arguments
from lm.training.lora import adapted
from lm.training.optimizer import build_optimizer
from lm.training.resume import Ingredients, Run, digest, weights_digest
from lm.training.sequences import (
    IGNORED,
    Encoded,
    TokenBatches,
    encode,
    read_lines,
    train_tokenizer,
)
from lm.training.settings import LMTraining

LOG = logging.getLogger("secondpass")
TOKENIZER_LINES = 400_000  # BPE merges do not change much beyond this
# A loss this many times that of the model before, or of guessing, is that of a failed training.
FAILED = 2.0


def train_lm(
    settings: LMTraining, resume: bool | None = None, callbacks: Callbacks = ()
) -> dict[str, float]:
    """Trains a causal LM and writes it to `settings.output`.

    Args:
        settings: What to train on, and how.
        resume: None continues from the newest checkpoint of an interrupted run, if there is one;
            True demands one; False trains from the beginning and replaces what is there.
        callbacks: Callbacks of transformers' Trainer.

    Returns:
        `loss` (nats a token, of the steps that were made), `steps`, `first_step` (above 0 where a
        run was continued) and `cut_lines` (lines longer than `max_tokens`). Where `valid` is
        given, also `valid_loss` (nats a token), `valid_word_perplexity` (per word and sentence
        end), `valid_words` and `valid_left_out` (lines that are too long); when fine-tuning, the
        first two also for the model before, under names that end in `_before`. For a model that
        is complete already, the figures that were recorded with it.

    Raises:
        InputError: A text is missing or empty, a setting is wrong, there is no checkpoint to
            continue from, the output folder is from another run, or the training diverges.
        KeyboardInterrupt: The user pressed Ctrl-C; a checkpoint has been written.
    """
    run = Run(settings.output, resume)
    model, tokenizer = load_or_create(settings)
    held_out = None if settings.valid is None else _held_out(tokenizer, settings)
    texts = [_training_text(tokenizer, path, settings) for path in settings.texts]
    sequences = [sequence for text in texts for sequence in text.sequences]
    contents = {
        "texts": _digest(sequences),
        "valid": None if held_out is None else _digest(held_out.sequences),
        "model": None if settings.model is None else weights_digest(model),
    }
    ingredients = Ingredients.of(settings, contents, apart=["output"])
    recorded = run.begin(ingredients)
    if recorded is not None:
        return recorded
    figures: dict[str, float] = {"cut_lines": float(sum(text.too_long for text in texts))}
    if held_out is not None and settings.model is not None:
        before = perplexity(model, held_out, settings.batch_tokens, tokenizer.eos_token_id)
        if not math.isfinite(before["valid_loss"]):
            raise InputError(
                f"{settings.model}: its held-out loss is {before['valid_loss']} before training; "
                "check the model's weights"
            )
        figures |= {f"{name}_before": value for name, value in before.items()}
    if settings.lora is not None:
        model = adapted(model, settings.lora, settings.seed)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    batches = TokenBatches(sequences, settings.batch_tokens, pad, settings.seed)
    trainer = _trainer(model, batches, settings, run, callbacks)
    loss = trainer.train_run()
    if run.first_step < trainer.args.max_steps:
        figures["loss"] = loss
    figures |= {"steps": float(trainer.args.max_steps), "first_step": float(run.first_step)}
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    if settings.lora is not None:
        trained = trained.merge_and_unload()
    if held_out is not None:
        figures |= perplexity(trained, held_out, settings.batch_tokens, tokenizer.eos_token_id)
        figures |= {
            "valid_words": float(held_out.words),
            "valid_left_out": float(held_out.too_long),
        }
    _check_learned(figures, int(trained.config.get_text_config().vocab_size), trainer)
    run.finish(trained, [tokenizer], settings.save_dtype, ingredients, figures)
    return figures


def load_or_create(settings: LMTraining) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model and the tokenizer that training starts from.

    Raises:
        InputError: There is no such checkpoint or architecture, or the model's context or
            vocabulary is too small.
    """
    if settings.model is not None:
        # `padded`, because training reads no trees of hypotheses, which not every model can.
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
            f"`max_tokens` is {settings.max_tokens}, but the model reads at most "
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
    """A new model's configuration.

    Raises:
        InputError: There is no such architecture, it has no such setting, or its vocabulary is
            smaller than the tokenizer's.
    """
    values = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "vocab_size": len(tokenizer),
    }
    config = new_config(architecture, values)
    if config.vocab_size < len(tokenizer):
        raise InputError(
            f"`architecture.vocab_size` is {config.vocab_size}, but the tokenizer has "
            f"{len(tokenizer)} tokens; leave it out"
        )
    return config


def _training_text(tokenizer: PreTrainedTokenizerBase, path: str, settings: LMTraining) -> Encoded:
    lines = read_lines(path, settings.normaliser)
    found = encode(tokenizer, lines, settings.max_tokens, settings.running)
    if not found.sequences:
        raise InputError(
            f"{path}: no text is left after normalising; give another text to train on"
        )
    return found


def _digest(sequences: list[np.ndarray]) -> str:
    return digest(sequence.tobytes() for sequence in sequences)


def _held_out(tokenizer: PreTrainedTokenizerBase, settings: LMTraining) -> Encoded:
    assert settings.valid is not None
    lines = read_lines(settings.valid, settings.normaliser)
    found = encode(tokenizer, lines, settings.max_tokens, settings.running, cut=False)
    if not found.sequences:
        reason = "every line is too long" if found.too_long else "no text is left after normalising"
        raise InputError(
            f"{settings.valid}: {reason}; give another text to validate on, or leave `valid` out"
        )
    return found


def _trainer(
    model: Any, batches: TokenBatches, settings: LMTraining, run: Run, callbacks: Callbacks
) -> RunTrainer:
    """transformers' training loop."""
    arguments = training_arguments(
        run.folder,
        len(batches),
        settings.epochs,
        settings.learning_rate,
        settings.warmup,
        settings.precision,
        settings.seed,
        settings.schedule,
        max_grad_norm=1.0,
        torch_compile=settings.compile,
        logging_steps=50,
        save_steps=settings.save_steps,
    )
    optimizer = build_optimizer(
        model, settings.optimizer, settings.learning_rate, settings.weight_decay
    )
    return RunTrainer(
        run,
        callbacks,
        model=model,
        args=arguments,
        train_dataset=batches,
        optimizers=(optimizer, None),
    )


def _check_learned(figures: Mapping[str, float], vocabulary_size: int, trainer: RunTrainer) -> None:
    """Makes sure that the model predicts better than it did, or than a guess among all tokens.

    A model that is worse is a warning. One whose loss has doubled has diverged, although the loss
    is a number.

    Args:
        figures: The figures of the run.
        vocabulary_size: V, number of tokens.
        trainer: The trainer of the run.

    Raises:
        InputError: The training has diverged.
    """
    guess = math.log(vocabulary_size)
    before = figures.get("valid_loss_before")
    limit = max(guess, before or 0.0)
    for what, name in (("held-out loss", "valid_loss"), ("mean loss", "loss")):
        if not figures.get(name, 0.0) <= FAILED * limit:
            raise trainer.diverged(what, figures[name], trainer.args.max_steps)
    found = figures.get("valid_loss", 0.0)
    if found > (guess if before is None else before):
        compared = "guessing gives" if before is None else "it was before"
        LOG.warning(
            f"the held-out loss is {found:.4f}, and {compared} "
            f"{guess if before is None else before:.4f}: the model has become worse, or has not "
            "learnt yet; change `learning_rate` or `epochs`"
        )


@torch.inference_mode()
def perplexity(model: Any, text: Encoded, batch_tokens: int, pad: int) -> dict[str, float]:
    """Loss of a model on held-out text.

    Args:
        model: transformers' causal language model.
        text: At least one sequence.
        batch_tokens: Largest number of tokens in a batch, padding included.
        pad: Token id of the padding.

    Returns:
        `valid_loss` (nats a token) and `valid_word_perplexity`. The latter is per word and sentence
        end, so that models with different tokenizers can be compared.
    """
    batches = TokenBatches(text.sequences, batch_tokens, pad, seed=0)
    model.eval()
    device = next(model.parameters()).device
    nats = 0.0
    for i in range(len(batches)):
        batch = {name: value.to(device) for name, value in batches[i].items()}
        tokens = int((batch["labels"][:, 1:] != IGNORED).sum())
        nats += float(model(**batch).loss) * tokens
    by_word = nats / (text.words + text.lines)
    return {
        "valid_loss": nats / text.tokens,
        # Above the largest exponent it is infinite as a float64, and exp would raise an error.
        "valid_word_perplexity": math.exp(by_word) if by_word < 700 else by_word * math.inf,
    }
