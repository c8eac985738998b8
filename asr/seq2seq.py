"""Encoder-decoder acoustic models: log-probs of texts given audio, by AutoModelForSpeechSeq2Seq."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForSpeechSeq2Seq
from transformers.modeling_outputs import BaseModelOutput

from asr.audio import RATE
from lm.errors import InputError
from lm.neural.control_tokens import ControlTokens
from lm.neural.pretrained import load_checkpoint
from lm.scorer import ScorerOptions, TextError
from lm.text.loss import TextLoss, vocabulary_loss

LOGITS_PER_BATCH = 1 << 26  # Whisper's V is 51,865
# Model types that were trained on texts that begin with a space.
SPACE_FIRST = ("whisper",)


@dataclass(frozen=True)
class Seq2SeqScorer:
    """A loaded model that scores the texts of one utterance; an audio scorer.

    Attributes:
        model: transformers' model, in evaluation mode.
        features: transformers' feature extractor.
        tokenizer: transformers' tokenizer.
        prompt: Ids that the decoder reads first; they are not scored.
        name: Hub name or folder.
        most: Largest number of ids that the decoder can read, the prompt included; None if not
            known.
        logits_per_batch: Largest number of logits (B, T, V) that are computed at once.
    """

    model: Any = field(repr=False)
    features: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    prompt: tuple[int, ...]
    name: str
    most: int | None
    logits_per_batch: int = LOGITS_PER_BATCH

    @cached_property
    def loss(self) -> TextLoss:
        """The letters of all texts so far, and those that are unknown to the tokenizer."""
        remedy = "Use a --normaliser to the model's spelling, or another model"
        return vocabulary_loss(self.tokenizer, f"the tokenizer of {self.name}", remedy)

    @classmethod
    def load(
        cls,
        name: str | Path,
        device: str | None = None,
        dtype: str | None = None,
        language: str = "en",
    ) -> Seq2SeqScorer:
        """Loads a checkpoint; safetensors only, no code from the checkpoint.

        Args:
            name: Hub name or local folder; a model for 16 kHz.
            device: torch device; by default the GPU if there is one.
            dtype: `float32`, `float16` or `bfloat16`; by default float16 on a GPU, else float32.
            language: Language that a multilingual Whisper writes.

        Raises:
            InputError: There is no such checkpoint, it is not an encoder-decoder model of speech,
                or the device, dtype or language is unknown.
        """
        name = str(name)
        options = ScorerOptions(device=device, dtype=dtype)
        model, tokenizer = load_checkpoint(
            name, AutoModelForSpeechSeq2Seq, "encoder-decoder speech", options
        )
        try:
            features = AutoFeatureExtractor.from_pretrained(name)
        # The library raises all kinds of errors for a broken folder.
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"{name}: the feature extractor cannot be loaded ({reason}); the folder needs "
                "preprocessor_config.json"
            ) from error
        config = model.config
        if not config.is_encoder_decoder or features.sampling_rate != RATE:
            raise InputError(
                f"{name}: {type(model).__name__} for {features.sampling_rate} Hz cannot be used; "
                f"use an encoder-decoder model for {RATE} Hz, such as Whisper"
            )
        if getattr(model.generation_config, "is_multilingual", False):
            try:
                tokenizer.set_prefix_tokens(language=language, task="transcribe")
            except ValueError as error:
                raise InputError(f"{name}: {str(error)[:200]}") from error
        start = config.decoder_start_token_id
        marks = [i for i in tokenizer("")["input_ids"] if i != tokenizer.eos_token_id]
        prompt = (start, *marks[marks[:1] == [start] :])
        most = getattr(config, "max_target_positions", None) or getattr(
            config, "max_position_embeddings", None
        )
        return cls(model, features, tokenizer, prompt, name, most)

    def __call__(self, texts: Sequence[str], signal: np.ndarray, /) -> np.ndarray:
        """Log-probs of texts given the audio, the end of the text included.

        The encoder runs once; the decoder scores the hypotheses in padded batches.

        Args:
            texts: N texts, spelled as the model writes them.
            signal: (samples,) float32 at 16 kHz, no longer than the model's input.

        Returns:
            (N,) float64, natural log.

        Raises:
            InputError: The audio or a text is too long for the model.
        """
        if not texts:
            return np.zeros(0)
        for text in texts:
            self.loss.add(text)
        self.loss.warn("hypotheses")
        replies = self._encode(texts)
        heard = self._hear(signal)
        found = np.zeros(len(texts))
        longest = len(self.prompt) + max(map(len, replies))
        rows = max(1, self.logits_per_batch // (longest * self.model.config.vocab_size))
        for first in range(0, len(replies), rows):
            batch = slice(first, first + rows)
            found[batch] = self._score(heard, replies[batch])
        return found

    @cached_property
    def controls(self) -> ControlTokens:
        """The tokenizer's control tokens, which in Whisper are times as well."""
        return ControlTokens.of(self.tokenizer)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids that are scored, the end included; special tokens in a text are taken as letters."""
        space = " " if self.model.config.model_type in SPACE_FIRST else ""
        spaced = [f"{space}{text}" if text else "" for text in texts]
        encoded = self.controls.encode(spaced)
        replies = [[*ids, self.tokenizer.eos_token_id] for ids in encoded]
        for index, reply in enumerate(replies):
            read = len(self.prompt) + len(reply) - 1
            if self.most is not None and read > self.most:
                raise TextError(
                    index,
                    texts[index],
                    f"is {read} tokens with the prompt, and {self.name} can read {self.most}; "
                    "remove the utterance, or cut it",
                )
        return replies

    @torch.inference_mode()
    def _hear(self, signal: np.ndarray) -> torch.Tensor:
        """The encoder's states of one utterance, (1, S, D)."""
        limit = getattr(self.features, "n_samples", None)
        if limit is not None and len(signal) > limit:
            raise InputError(
                f"the utterance has {len(signal) / RATE:.1f} s of audio, and {self.name} takes "
                f"{limit / RATE:.0f} s at once; cut the utterance"
            )
        batch = self.features(signal, sampling_rate=RATE, return_tensors="pt")
        inputs = batch[self.model.main_input_name].to(self.model.device, self.model.dtype)
        states: torch.Tensor = self.model.get_encoder()(inputs)[0]
        return states

    @torch.inference_mode()
    def _score(self, heard: torch.Tensor, replies: Sequence[list[int]]) -> np.ndarray:
        """Log-probs (B,) of B replies."""
        first, longest = len(self.prompt), max(map(len, replies))
        ids = torch.zeros((len(replies), first + longest), dtype=torch.long)
        scored = torch.zeros(ids.shape, dtype=torch.bool)
        for row, reply in enumerate(replies):
            # Padding is on the right, where it has no influence on the tokens before it.
            ids[row, : first + len(reply)] = torch.tensor([*self.prompt, *reply])
            scored[row, first : first + len(reply)] = True
        ids, scored = ids.to(heard.device), scored.to(heard.device)
        states = BaseModelOutput(last_hidden_state=heard.expand(len(replies), -1, -1))
        output = self.model(encoder_outputs=states, decoder_input_ids=ids[:, :-1], use_cache=False)
        logits = output.logits[:, first - 1 :].float()  # (B, longest, V)
        chosen = logits.gather(2, ids[:, first:, None])[..., 0]
        logprobs = (chosen - logits.logsumexp(dim=2)).double()
        sums: np.ndarray = logprobs.masked_fill(~scored[:, first:], 0.0).sum(dim=1).cpu().numpy()
        return sums
