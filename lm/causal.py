"""Causal language models: the log-prob of whole texts under any AutoModelForCausalLM."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm.errors import InputError
from lm.rescore import Progress, Scores, TextError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# The names that configurations give to the number of positions; none of them: no limit is known.
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
# Logits of a batch are (tokens, V): with a vocabulary of 256,000 they would outgrow the model.
LOGITS_PER_BATCH = 1 << 28
# The softmax runs in float32 over this many logits at a time, so that no second copy of all exists.
LOGITS_PER_SOFTMAX = 1 << 24
PROBE_LENGTH = 8


@dataclass(frozen=True, eq=False)
class CausalLM:
    """A loaded causal language model.

    Attributes:
        name: hub name or folder that it came from.
        model: transformers' model, in evaluation mode.
        tokenizer: its tokenizer.
        device: where it runs.
        dtype: what it computes in.
        context: most tokens that it can read at once, the start token counted in; None if any.
        vocabulary_size: V, number of token ids that it knows.
    """

    name: str
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    device: torch.device
    dtype: torch.dtype
    context: int | None
    vocabulary_size: int

    @classmethod
    def load(
        cls, name: str | Path, device: str | None = None, dtype: str | None = None
    ) -> CausalLM:
        """Loads a checkpoint with its tokenizer; safetensors only, no code from the checkpoint.

        Args:
            name: Hub name or local folder.
            device: torch device; by default the GPU if there is one.
            dtype: `float32`, `float16` or `bfloat16`; by default float16 on a GPU, else float32.

        Raises:
            InputError: There is no such checkpoint, it has no tokenizer, it is no causal language
                model, weights are missing, or device or dtype are unknown.
        """
        name = str(name)
        where = usable_device(device)
        if dtype is not None and dtype not in DTYPES:
            raise InputError(f"dtype {dtype!r}: use one of {', '.join(DTYPES)}")
        kind = DTYPES[dtype or ("float16" if where.type == "cuda" else "float32")]
        if Path(name).is_absolute() and not Path(name).is_dir():
            raise InputError(f"{name}: there is no such folder; give a checkpoint's")
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=kind,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        # Checkpoints can be damaged in more ways than transformers has kinds of exceptions.
        except Exception as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise InputError(
                f"{name}: no causal language model can be loaded from it ({reason}); give a hub "
                "name or a folder with config.json, model.safetensors and a tokenizer"
            ) from error
        model, found = loaded
        # transformers would fill these with random numbers and go on.
        absent = sorted({*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])})
        if absent:
            raise InputError(
                f"{name}: {len(absent)} weights of {type(model).__name__} are missing or have "
                f"another shape ({absent[0]}, …): it is no whole causal language model; give one"
            )
        model = model.to(where).eval()
        _check_causal(name, model)
        size = int(model.get_input_embeddings().weight.shape[0])
        return cls(name, model, tokenizer, where, kind, _context(model.config), size)

    def score(
        self,
        texts: Sequence[str],
        eos: bool = True,
        batch_tokens: int = 4096,
        progress: Progress | None = None,
    ) -> Scores:
        """Log-probs of texts: sums of the natural-log probabilities of their tokens.

        A text is taken as it is, without a space before it, and starts after the tokenizer's BOS
        token, or after EOS where it has no BOS; that token itself is not scored. What looks like
        a special token in a text is scored as the characters that it is made of. A text of no
        tokens has the log-prob 0, or that of EOS.

        The softmax is in float32, the sums in float64. Where half precision gives no finite
        number, the text is scored again in float32.

        Args:
            texts: N texts.
            eos: Whether the end of the sentence, the tokenizer's EOS token, is scored too.
            batch_tokens: Tokens of one batch, padding counted in; a longer text is its own batch.
            progress: Told how many more texts have been scored.

        Raises:
            TextError: A text is longer than the model's context, or its log-prob is NaN.
            InputError: The tokenizer lacks the tokens needed, does not belong to the model, or a
                batch does not fit into the memory.
        """
        if batch_tokens < 1:
            raise InputError(f"batch of {batch_tokens} tokens: use at least 1")
        sequences = self._encode(texts, eos)
        tokens = np.array([len(sequence) - 1 for sequence in sequences], dtype=np.int64)
        logprob = np.zeros(len(texts))
        if progress is not None:
            progress(int((tokens == 0).sum()))
        limit = min(batch_tokens, LOGITS_PER_BATCH // self.vocabulary_size)
        for batch in _batches(tokens, limit):
            logprob[batch] = self._score_batch(self.model, [sequences[i] for i in batch])
            if progress is not None:
                progress(len(batch))
        half = self.dtype != torch.float32
        doubtful = np.flatnonzero(~np.isfinite(logprob))
        if len(doubtful) and half:
            # A copy: back and forth in place would round buffers that are kept in float32.
            precise = copy.deepcopy(self.model).float()
            for batch in _batches(tokens, limit, doubtful):
                logprob[batch] = self._score_batch(precise, [sequences[i] for i in batch])
        else:
            precise = self.model
        for index in np.flatnonzero(np.isnan(logprob) | np.isposinf(logprob)):
            # Alone, because NaN at a padded position reaches the text before it: 0 · NaN is NaN.
            logprob[index] = self._score_batch(precise, [sequences[index]])[0]
            if np.isnan(logprob[index]) or np.isposinf(logprob[index]):
                remedy = "load it in float32" if half else "its weights are damaged: get them again"
                raise TextError(
                    int(index),
                    texts[index],
                    f"has the log-prob {logprob[index]} under {self.name}; {remedy}",
                )
        return Scores(logprob, tokens)

    def _encode(self, texts: Sequence[str], eos: bool) -> list[list[int]]:
        """Token ids from the start token to the last that is scored."""
        tokenizer = self.tokenizer
        start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        if end is None and (eos or start is None):
            wanted = "no EOS token to score: do without it" if eos else "neither BOS nor EOS token"
            raise InputError(f"{self.name}: its tokenizer has {wanted}, or name one in its folder")
        start = end if start is None else start
        if not texts:
            return []
        # Special tokens are added here and not by the tokenizer: some add them, some do not.
        encoded = tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        for index, ids in enumerate(encoded):
            if not special.isdisjoint(ids):
                encoded[index] = self._without_special(index, texts[index], ids, special)
        sequences = [[start, *ids, end] if eos else [start, *ids] for ids in encoded]
        for index, sequence in enumerate(sequences):
            if self.context is not None and len(sequence) - 1 > self.context:
                raise TextError(
                    index,
                    texts[index],
                    f"has {len(sequence) - 1:,} tokens, and {self.name} can read {self.context:,}"
                    "; shorten it, or use a model of longer context",
                )
            if max(sequence) >= self.vocabulary_size:
                raise InputError(
                    f"{self.name}: its tokenizer gives token {max(sequence)}, and the model knows "
                    f"{self.vocabulary_size}: they do not belong together"
                )
        return sequences

    def _without_special(
        self, index: int, text: str, ids: list[int], special: set[int]
    ) -> list[int]:
        """The ids, unknown in place of special: a unigram tokenizer has "</s>" among its pieces."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None:
            raise TextError(
                index,
                text,
                f"spells a special token of {self.name}, whose tokenizer has no unknown token to "
                "take its place; remove it from the text",
            )
        return [unknown if token in special else token for token in ids]

    def _score_batch(self, model: Any, sequences: list[list[int]]) -> np.ndarray:
        """Log-probs (B,) of B sequences, whatever the model's precision gives."""
        longest = max(map(len, sequences))
        # On the right, no token sees padding, so its id is of no account; and positions count
        # from the start as they are.
        padded = torch.zeros((len(sequences), longest), dtype=torch.long)
        mask = torch.zeros((len(sequences), longest), dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = True
        padded, mask = padded.to(self.device), mask.to(self.device)
        try:
            with torch.inference_mode():
                output = model(
                    input_ids=padded[:, :-1],
                    attention_mask=mask[:, 1:].long(),
                    use_cache=False,
                )
                logprobs = _token_logprobs(output.logits, padded[:, 1:], mask[:, 1:])
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{self.name}: a batch of {len(sequences)} × {longest - 1} tokens does not fit "
                "into the GPU's memory; use smaller batches (--batch-tokens)"
            ) from error
        sums: np.ndarray = logprobs.sum(dim=1).cpu().numpy()
        return sums


def usable_device(device: str | None) -> torch.device:
    """The torch device of that name, or the best there is.

    Raises:
        InputError: There is no such device here.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    # Depending on the build, torch raises either where a kind of device is not there.
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} cannot be used here; use cpu, or leave it out"
        ) from error


def _batches(
    lengths: np.ndarray, limit: int, indices: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Indices of texts of similar length, longest first, at most `limit` tokens with padding.

    Longest first: memory that runs out does so at once. Texts of no tokens are left out.
    """
    chosen = np.arange(len(lengths)) if indices is None else indices
    order = chosen[np.argsort(-lengths[chosen], kind="stable")]
    order = order[lengths[order] > 0]
    first = 0
    while first < len(order):
        rows = max(1, limit // int(lengths[order[first]]))
        yield order[first : first + rows]
        first += rows


def _token_logprobs(
    logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Natural-log probability of each target, float64.

    Args:
        logits: (B, T, V), any precision.
        targets: (B, T) token ids.
        mask: (B, T) which of them count.

    Returns:
        (B, T) float64, 0 where the mask is off.
    """
    logprobs = torch.zeros(targets.shape, dtype=torch.float64, device=targets.device)
    rows, columns = mask.nonzero(as_tuple=True)
    step = max(1, LOGITS_PER_SOFTMAX // logits.shape[-1])
    for first in range(0, len(rows), step):
        row, column = rows[first : first + step], columns[first : first + step]
        chunk = logits[row, column].float()  # (step, V)
        chosen = chunk.gather(1, targets[row, column][:, None])[:, 0]
        logprobs[row, column] = (chosen - chunk.logsumexp(dim=1)).double()
    return logprobs


def _context(config: Any) -> int | None:
    """Number of tokens that a model of this configuration can read, None if not limited."""
    text = config.get_text_config()
    found = (getattr(text, name, None) for name in CONTEXT_NAMES)
    return next((int(value) for value in found if isinstance(value, int) and value > 0), None)


def _check_causal(name: str, model: Any) -> None:
    """Makes sure that a token's prediction does not depend on later tokens.

    transformers loads BERT and its like as causal models, too; their scores would look excellent.

    Raises:
        InputError: It does.
    """
    size = int(model.get_input_embeddings().weight.shape[0])
    tokens = torch.arange(2 * PROBE_LENGTH).reshape(2, PROBE_LENGTH) % size
    tokens[1, 0] = tokens[0, 0]
    with torch.inference_mode():
        logits = model(input_ids=tokens.to(model.device), use_cache=False).logits[:, 0].float()
    difference = (logits[0] - logits[1]).abs().max().item()
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    if difference > tolerance * logits.abs().max().item():
        raise InputError(
            f"{name}: {type(model).__name__} lets a token see those after it, so it is no causal "
            "language model (a masked one?); give one that is"
        )
