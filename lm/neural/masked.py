"""Masked language models: pseudo-log-likelihoods under any AutoModelForMaskedLM.

Salazar et al. 2020, "Masked Language Model Scoring" (ACL): every token is masked in turn and
predicted from all others, and the log-probs are summed. With `within_word`, as Kauf & Ivanova 2023
("A Better Way to Do Masked Language Model Scoring", ACL), the pieces of its word that follow are
masked too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForMaskedLM
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from lm.errors import InputError
from lm.neural.batching import Halving, TextProgress, batches
from lm.neural.masking import Masking, tokens_around
from lm.neural.pretrained import context_length, load_checkpoint
from lm.scorer import Progress, ScorerOptions, Scores, TextError, Texts, parts

# Largest number of logits of a batch, where a model returns them for all positions.
LOGITS_PER_BATCH = 1 << 28
TEXTS_AT_ONCE = 2_000


@dataclass(frozen=True, eq=False)
class MaskedLM:
    """A loaded masked language model.

    Attributes:
        name: hub name or folder that it came from.
        model: transformers' model, in evaluation mode.
        masking: its tokenizer, and what it can read.
        narrow: whether its output layer can be run on the masked positions alone.
        texts_at_once: texts that are masked at once, each as often as it has tokens.
    """

    name: str
    model: Any = field(repr=False)
    masking: Masking = field(repr=False)
    narrow: bool
    texts_at_once: int = field(default=TEXTS_AT_ONCE, repr=False)

    @classmethod
    def load(cls, name: str | Path, options: ScorerOptions | None = None) -> MaskedLM:
        """Loads a checkpoint with its tokenizer; safetensors only, no code from the checkpoint.

        Raises:
            InputError: There is no such checkpoint, it is no masked language model, its tokenizer
                has no mask token, or as `lm.neural.pretrained.load_checkpoint`.
        """
        name = str(name)
        options = options or ScorerOptions()
        model, tokenizer = load_checkpoint(name, AutoModelForMaskedLM, "masked", options)
        if tokenizer.mask_token_id is None:
            raise InputError(f"{name}: its tokenizer has no mask token; name one in its folder")
        context = context_length(model.config)
        if context is not None:
            context = min(context - _unused_positions(model), int(tokenizer.model_max_length))
        size = int(model.get_input_embeddings().weight.shape[0])
        masking = Masking(name, tokenizer, context, tokens_around(tokenizer), size)
        lm = cls(name, model, masking, False)
        return replace(lm, narrow=lm._can_be_narrow())

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer."""
        return self.masking.tokenizer

    def score(
        self,
        batch: Texts | Sequence[str],
        options: ScorerOptions | None = None,
        progress: Progress | None = None,
    ) -> Scores:
        """Pseudo-log-likelihoods of texts, over their own tokens without those around them.

        Earlier texts are read and not scored; if they do not fit, the oldest are left out. A text
        without tokens has 0. The softmax is computed in float32, the sums in float64.

        Args:
            batch: N texts, with or without what was said before.
            options: The settings of scoring.
            progress: Called with the number of texts that were scored since the last call.

        Raises:
            TextError: A text is longer than the model's context, or its score is NaN.
            InputError: The tokenizer does not belong to the model, or a single text does not fit
                into the memory.
        """
        batch = Texts.of(batch)
        options = options or ScorerOptions()
        if options.too_long == "window":
            raise InputError(
                f"{self.name} is a masked model, and these have no windows; remove `too_long`"
            )
        scores = Scores(np.zeros(len(batch)), np.zeros(len(batch), dtype=np.int64))
        lists = np.arange(len(batch)) if batch.lists is None else batch.lists
        for rows in parts(lists, self.texts_at_once):
            chosen = np.arange(len(batch))[rows]
            try:
                found = self._score(batch.chosen(chosen), options, progress)
                self._score_again(batch.chosen(chosen), options, found)
            except TextError as error:
                raise error.moved(chosen) from None
            scores.logprob[rows], scores.tokens[rows] = found.logprob, found.tokens
        return scores

    def _score(self, batch: Texts, options: ScorerOptions, progress: Progress | None) -> Scores:
        """Scores of some texts; NaN where the model gives NaN. See `score`."""
        masked = self.masking.mask(batch, options.within_word)
        tokens = np.bincount(masked.text, minlength=len(batch)).astype(np.int64)
        logprob = np.zeros(len(masked.row))
        reported = TextProgress(progress, masked.text, len(batch))
        if progress is not None:
            progress(int((tokens == 0).sum()))
        order = np.argsort(masked.row, kind="stable")
        first = np.searchsorted(masked.row[order], np.arange(len(masked.ids) + 1))

        def run(part: Sequence[int]) -> None:
            wanted = [order[first[i] : first[i + 1]] for i in part]
            found = self._logprobs(
                [masked.ids[i] for i in part],
                masked.place[list(part)],
                [masked.target[predictions] for predictions in wanted],
            )
            logprob[np.concatenate(wanted)] = found
            reported.done(np.concatenate(wanted))

        limit = options.batch_tokens
        if not self.narrow:
            limit = min(limit, LOGITS_PER_BATCH // self.model.config.get_text_config().vocab_size)
        lengths = np.array([len(ids) for ids in masked.ids], dtype=np.int64)
        read = Halving(run, self.name)
        for part in batches(range(len(masked.ids)), lengths, limit):
            read(part)
        return Scores(np.bincount(masked.text, logprob, len(batch)), tokens)

    def _score_again(self, batch: Texts, options: ScorerOptions, scores: Scores) -> None:
        """Scores texts again in float32 whose score is NaN in half precision."""
        wrong = np.flatnonzero(np.isnan(scores.logprob))
        if not len(wrong):
            return
        half = self.model.dtype != torch.float32
        if half and options.bits is None:
            better = replace(self, model=copy.deepcopy(self.model).float())
            scores.logprob[wrong] = better._score(batch.chosen(wrong), options, None).logprob
        for index in np.flatnonzero(np.isnan(scores.logprob)):
            remedy = (
                "load it in float32"
                if half
                else "its weights are damaged: download or copy them again"
            )
            raise TextError(int(index), batch.texts[index], f"has the score NaN; {remedy}")

    def _logprobs(
        self, ids: Sequence[np.ndarray], place: np.ndarray, targets: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Log-probs of each sequence's targets at its place, one after another."""
        width = max(map(len, ids))
        padded = np.zeros((len(ids), width), dtype=np.int64)
        mask = np.zeros((len(ids), width), dtype=np.int64)
        for row, sequence in enumerate(ids):
            padded[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        with torch.inference_mode():
            logits = self._logits(torch.from_numpy(padded), torch.from_numpy(mask), place)
            logprobs = logits.float().log_softmax(dim=1)
            rows = np.repeat(np.arange(len(ids)), [len(t) for t in targets])
            chosen = logprobs[torch.from_numpy(rows), torch.from_numpy(np.concatenate(targets))]
        found: np.ndarray = chosen.double().cpu().numpy()
        return found

    def _logits(
        self, ids: torch.Tensor, mask: torch.Tensor, place: np.ndarray, narrow: bool | None = None
    ) -> torch.Tensor:
        """Logits (B, V) at one place of each sequence (B, T)."""
        device = self.model.device
        rows = torch.arange(len(ids), device=device)
        places = torch.from_numpy(place).to(device)
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        if self.narrow if narrow is None else narrow:
            with _only(self.model.get_output_embeddings(), rows, places):
                logits: torch.Tensor = self.model(**inputs).logits
            return logits
        return torch.as_tensor(self.model(**inputs).logits[rows, places])

    def _can_be_narrow(self) -> bool:
        """Whether the output layer on masked positions alone gives the model's own logits."""
        size = self.model.get_input_embeddings().weight.shape[0]
        ids = torch.arange(8).reshape(2, 4) % size
        place = np.array([1, 3])
        try:
            with torch.inference_mode():
                whole = self._logits(ids, torch.ones_like(ids), place, False).float()
                part = self._logits(ids, torch.ones_like(ids), place, True).float()
        # Architectures differ in more ways than can be listed; a way that fails is not used.
        except Exception:
            return False
        tolerance = 1e-4 if self.model.dtype == torch.float32 else 0.1
        return whole.shape == part.shape and bool((whole - part).abs().max() <= tolerance)


@dataclass(frozen=True)
class MaskedScorer:
    """A masked language model as a scorer.

    Attributes:
        model: the loaded model.
        options: how it scores.
    """

    model: MaskedLM
    options: ScorerOptions = field(default_factory=ScorerOptions)

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts, see `MaskedLM.score`."""
        return self.model.score(batch, self.options, progress)

    def with_options(self, options: ScorerOptions) -> MaskedScorer:
        """The same model under other settings of scoring."""
        return replace(self, options=options)


def is_masked(name: str) -> bool:
    """Whether a checkpoint is a masked language model, by its configuration."""
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    # The error is reported when the model is loaded.
    except Exception:
        return False
    names = getattr(config, "architectures", None) or []
    if any("ForCausalLM" in n or "LMHead" in n for n in names):
        return False
    if any("ForMaskedLM" in n for n in names):
        return True
    known = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return known and not getattr(config, "is_decoder", False)


@contextmanager
def _only(layer: Any, rows: torch.Tensor, places: torch.Tensor) -> Iterator[None]:
    """Inside this block, a layer gets one place of each sequence instead of all places."""

    def hook(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0][rows, places], *inputs[1:])

    handle = layer.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _unused_positions(model: Any) -> int:
    """Number of positions that no token has: RoBERTa counts from the padding's number."""
    for name, module in model.named_modules():
        if (
            name.endswith("position_embeddings")
            and getattr(module, "padding_idx", None) is not None
        ):
            return int(module.padding_idx) + 1
    return 0
