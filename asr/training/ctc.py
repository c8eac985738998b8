"""Training of acoustic models with CTC: a new model, or one that is fine-tuned.

The loss is the sum over a batch's utterances of -log p(y | x), Graves et al. (ICML 2006), divided
by the number of utterances, so that the learning rate does not depend on the batch's size.
"""

from __future__ import annotations

import difflib
import json
import logging
import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModelForCTC,
    AutoTokenizer,
    ParakeetFeatureExtractor,
    Wav2Vec2CTCTokenizer,
)

from asr.acoustic import mask_of, vocabulary_of
from asr.evaluation.wer import ErrorRate, word_errors
from asr.greedy import greedy
from asr.training.settings import AcousticTraining
from asr.training.speech_batches import (
    IGNORED,
    SpeechBatches,
    alignable,
    check_spelled,
    corpus_digest,
    read_training,
)
from asr.vocabulary import Vocabulary
from lm.errors import InputError
from lm.neural.pretrained import check_folder, what_it_is
from lm.neural.quiet import quiet_transformers
from lm.training.architecture import new_config
from lm.training.loop import Callbacks, RunTrainer, training_arguments
from lm.training.resume import Ingredients, Run, weights_digest

LOG = logging.getLogger("secondpass")
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
PAD, DELIMITER, UNKNOWN = "<pad>", "|", "<unk>"


def train_acoustic(
    settings: AcousticTraining, resume: bool | None = None, callbacks: Callbacks = ()
) -> dict[str, float]:
    """Trains an acoustic model and writes it to `settings.output`.

    Args:
        settings: What to train on, and how.
        resume: None continues from the newest checkpoint of an interrupted run, if there is one;
            True demands one; False trains from the beginning and replaces what is there.
        callbacks: Callbacks of transformers' Trainer.

    Returns:
        `loss` (nats an utterance, of the steps that were made), `steps`, `first_step` (above 0
        where a run was continued), `left_out` (utterances with more letters than CTC can fit into
        their frames) and, where `valid` is given, `valid_wer` (a fraction, greedy) and
        `valid_loss` of the checkpoint that is kept. For a model that is complete already, the
        figures that were recorded with it.

    Raises:
        InputError: Data are missing or wrong, a reference cannot be spelled, there is no
            checkpoint to continue from, the output folder is from another run, or the training
            diverges.
        KeyboardInterrupt: The user pressed Ctrl-C; a checkpoint has been written.
    """
    run = Run(settings.output, resume)
    found = [u for path in settings.train for u in read_training(path, settings.normaliser)]
    held_out = None
    if settings.valid is not None:
        held_out = read_training(settings.valid, settings.normaliser)
    model, features, tokenizer = load_or_create(settings, [u.text or "" for u in found])
    vocabulary = _labels_of(model, tokenizer, settings.model or "the new model")
    check_spelled([*found, *(held_out or ())], tokenizer)
    contents = {
        "train": corpus_digest(found),
        "valid": None if held_out is None else corpus_digest(held_out),
        "model": None if settings.model is None else weights_digest(model),
    }
    ingredients = Ingredients.of(settings, contents, apart=["output", "workers"])
    recorded = run.begin(ingredients)
    if recorded is not None:
        return recorded
    kept = alignable(found, model, features, tokenizer, max(settings.augmentation.speeds))
    left_out = len(found) - len(kept)
    if left_out:
        LOG.warning(
            f"{left_out} of {len(found)} utterances have more letters than CTC can fit into their "
            "frames and are left out"
        )
    batches = SpeechBatches(kept, features, tokenizer, settings, augment=True)
    batches.visits = run.first_step  # the augmentation continues where it was
    valid = None
    if held_out is not None:
        valid = SpeechBatches(held_out, features, tokenizer, settings, augment=False)
    trainer = _trainer(model, vocabulary, batches, valid, settings, run, callbacks)
    loss = trainer.train_run()
    figures = {"loss": loss} if run.first_step < trainer.args.max_steps else {}
    figures |= {
        "steps": float(trainer.args.max_steps),
        "first_step": float(run.first_step),
        "left_out": float(left_out),
    }
    if valid is not None:
        last = greedy_figures(model, valid, vocabulary)
        if math.isnan(last["loss"]):
            raise trainer.diverged("held-out loss", last["loss"], trainer.args.max_steps)
        figures |= {f"valid_{name}": value for name, value in last.items()}
    run.finish(model, [features, tokenizer], settings.save_dtype, ingredients, figures)
    return figures


def load_or_create(settings: AcousticTraining, texts: Iterable[str] = ()) -> tuple[Any, Any, Any]:
    """Model, feature extractor and tokenizer that training starts from.

    Args:
        settings: What to train on, and how.
        texts: The references; the labels of a new model are their characters.

    Raises:
        InputError: There is no such model or architecture, or the feature extractor has no such
            setting.
    """
    torch.manual_seed(settings.seed)  # of all weights, or of a head that a model to tune lacks
    if settings.model is None:
        tokenizer: Any = character_tokenizer(texts)
        values = {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "ctc_loss_reduction": "sum",
            "ctc_zero_infinity": True,
        }
        config = new_config(settings.architecture, values)
        _check_features(ParakeetFeatureExtractor(), settings.features)
        features = ParakeetFeatureExtractor(**settings.features)
        return AutoModelForCTC.from_config(config), features, tokenizer
    name = settings.model
    check_folder(name)
    try:
        with quiet_transformers():
            model = AutoModelForCTC.from_pretrained(
                name,
                dtype=torch.float32,
                use_safetensors=True,
                ctc_loss_reduction="sum",
                # One utterance without an alignment would make all weights NaN.
                ctc_zero_infinity=True,
            )
            original = AutoFeatureExtractor.from_pretrained(name)
            features = AutoFeatureExtractor.from_pretrained(name, **settings.features)
            tokenizer = AutoTokenizer.from_pretrained(name)
    # A damaged folder can make transformers raise anything.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(
            f"{name}: no acoustic model to fine-tune can be loaded from it ({reason}); give a hub "
            "name, or a folder with config.json, model.safetensors, preprocessor_config.json and a "
            f"tokenizer{what_it_is(name)}"
        ) from error
    _check_features(original, settings.features)
    return model, features, tokenizer


def _labels_of(model: Any, tokenizer: Any, name: str) -> Vocabulary:
    """The vocabulary of a model, which the loss and greedy decoding share.

    Raises:
        InputError: Model and tokenizer do not belong together, or have different blanks.
    """
    config = model.config
    vocabulary = vocabulary_of(config, tokenizer, name)
    if not hasattr(type(config), "blank_token_id"):
        config.pad_token_id = vocabulary.blank  # most losses take the padding for the blank
    return vocabulary


def _check_features(extractor: Any, changes: Mapping[str, Any]) -> None:
    """Makes sure that a feature extractor has the settings that are to be changed."""
    for name in changes:
        if name not in (known := extractor.to_dict()):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise InputError(
                f"`features.{name}` is no setting of "
                f"{type(extractor).__name__}; the nearest one is `{near}`"
            )


def character_tokenizer(texts: Iterable[str]) -> Wav2Vec2CTCTokenizer:
    """A tokenizer of characters and a word delimiter; `<pad>` (id 0) is the CTC blank.

    Its characters are A to Z and the apostrophe if the texts have no others, so that the labels
    of English models do not depend on a text's size; else they are those of the texts.
    """
    found = {c for c in set().union(*texts) if c != DELIMITER and not c.isspace()}
    labels = [PAD, DELIMITER, *(CHARACTERS if found <= set(CHARACTERS) else sorted(found)), UNKNOWN]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.json"
        vocabulary.write_text(json.dumps({label: i for i, label in enumerate(labels)}))
        return Wav2Vec2CTCTokenizer(
            str(vocabulary),
            pad_token=PAD,
            unk_token=UNKNOWN,
            bos_token=None,
            eos_token=None,
            word_delimiter_token=DELIMITER,
        )


class CTCTrainer(RunTrainer):
    """transformers' Trainer with a loss that is summed over utterances."""

    def __init__(self, vocabulary: Vocabulary, run: Run, callbacks: Callbacks, **more: Any) -> None:
        """Prepares training, see `RunTrainer`; the vocabulary is for greedy decoding."""
        super().__init__(run, callbacks, **more)
        self.vocabulary = vocabulary

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The summed CTC loss of a batch, divided by its number of utterances."""
        outputs = model(**inputs)
        loss = outputs.loss / len(inputs["labels"])
        return (loss, outputs) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Loss (mean over utterances) and greedy word error rate (all errors by all words).

        Raises:
            InputError: The model's output is not a number.
        """
        batches: Any = eval_dataset or self.eval_dataset
        figures = greedy_figures(self.model, batches, self.vocabulary)
        if math.isnan(figures["loss"]):
            raise self.diverged("held-out loss", figures["loss"], self.state.global_step)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


def _trainer(
    model: Any,
    vocabulary: Vocabulary,
    batches: SpeechBatches,
    valid: SpeechBatches | None,
    settings: AcousticTraining,
    run: Run,
    callbacks: Callbacks,
) -> CTCTrainer:
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
        weight_decay=settings.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=5.0,
        logging_steps=25,
        save_steps=settings.save_steps,
        eval_strategy="no" if valid is None else "steps",
        eval_steps=settings.save_steps,
        load_best_model_at_end=valid is not None,
        metric_for_best_model="wer",
        greater_is_better=False,
        dataloader_num_workers=settings.workers,
    )
    return CTCTrainer(
        vocabulary,
        run,
        callbacks,
        model=model,
        args=arguments,
        train_dataset=batches,
        eval_dataset=valid,
    )


@torch.inference_mode()
def greedy_figures(model: Any, batches: SpeechBatches, vocabulary: Vocabulary) -> dict[str, float]:
    """`loss` (nats an utterance) and `wer` (a fraction) of the best paths of held-out data.

    If the model's output is not a number, the loss is NaN, and all words are wrong.
    """
    model.eval()
    errors, loss = ErrorRate(), 0.0
    for index in range(len(batches)):
        batch = {name: value.to(model.device) for name, value in batches[index].items()}
        outputs = model(**batch)
        if not torch.isfinite(outputs.logits).all():
            return {"wer": 1.0, "loss": math.nan}
        loss += float(outputs.loss)
        masks = batch[mask_of(batch)].cpu()
        logits, labels = outputs.logits.float().cpu(), batch["labels"].cpu()
        for row, ids, mask in zip(logits, labels, masks, strict=True):
            frames = math.ceil(len(row) * float(mask.sum()) / mask.shape[-1])
            hypothesis = greedy(row[:frames].numpy(), vocabulary)[0]
            reference = batches.tokenizer.decode(ids[ids != IGNORED], group_tokens=False)
            errors += word_errors(reference, hypothesis)
    return {"wer": errors.rate, "loss": loss / len(batches.utterances)}
