"""Training texts as token ids: read, tokenised, put into sequences and padded batches."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lm.errors import InputError
from lm.text.loss import TextLoss
from lm.text.normalisers import normaliser
from lm.text.prose import read_text

BOS, EOS = "<s>", "</s>"
BYTES = 256
IGNORED = -100  # the label that transformers' losses leave out
LINES_AT_ONCE = 10_000


@dataclass(frozen=True)
class Encoded:
    """Texts as sequences of token ids.

    Attributes:
        sequences: int32 arrays, each from BOS to EOS.
        words: Number of words in the sequences.
        lines: Number of lines in the sequences; each line has an EOS.
        too_long: Number of lines that are longer than a sequence may be; they were cut or left
            out.
    """

    sequences: list[np.ndarray]
    words: int
    lines: int
    too_long: int

    @property
    def tokens(self) -> int:
        """Tokens that are predicted: all but each sequence's BOS."""
        return sum(len(sequence) - 1 for sequence in self.sequences)


def read_lines(path: str | Path, normalise: str) -> Iterator[str]:
    """Normalised, non-empty lines of a text file, composed (NFC, Unicode Standard Annex #15).

    Raises:
        InputError: The file cannot be read, there is no such normaliser, or it removes most
            letters of the text.
    """
    clean = normaliser(normalise)
    loss = TextLoss.of(clean)
    for line in read_text(path):
        composed = unicodedata.normalize("NFC", line)
        text = clean(composed)
        loss.add(composed, text)
        if text:
            yield text
    loss.check(str(path))


def train_tokenizer(lines: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text can be encoded, nothing is unknown.

    A text's first word gets the same leading space as the others, so that a word has one
    encoding in every place.

    Raises:
        InputError: The vocabulary is too small for all bytes, BOS and EOS.
    """
    least = BYTES + 2
    if vocab_size < least:
        raise InputError(
            f"`vocab_size` is {vocab_size}, but {BYTES} bytes, BOS and EOS need a vocabulary of at "
            f"least {least}"
        )
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


def encode(
    tokenizer: PreTrainedTokenizerBase,
    lines: Iterator[str],
    max_tokens: int,
    running: bool = False,
    cut: bool = True,
) -> Encoded:
    """Sequences of token ids, from BOS (EOS where there is no BOS) to EOS.

    Args:
        tokenizer: Tokenizer of the model.
        lines: Normalised texts.
        max_tokens: Largest number of tokens in a sequence, BOS and EOS included.
        running: Whether a sequence holds as many consecutive lines as fit, with EOS between them.
            No line is continued in the next sequence.
        cut: Whether longer lines are cut. Otherwise they are left out, because the words of a line
            that is cut have no perplexity.

    Raises:
        InputError: The tokenizer has no EOS.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    end = tokenizer.eos_token_id
    if start is None or end is None:
        raise InputError("the tokenizer has no EOS token; choose another checkpoint")
    sequences: list[np.ndarray] = []
    words = count = too_long = 0
    sequence = [start]
    while chunk := list(islice(lines, LINES_AT_ONCE)):
        encoded = tokenizer(chunk, add_special_tokens=False, verbose=False)["input_ids"]
        for line, ids in zip(chunk, encoded, strict=True):
            if len(ids) > max_tokens - 2:
                too_long += 1
                if not cut:
                    continue
                ids = ids[: max_tokens - 2]
            words += len(line.split())
            count += 1
            if len(sequence) > 1 and (not running or len(sequence) + len(ids) >= max_tokens):
                sequences.append(np.array(sequence, dtype=np.int32))
                sequence = [start]
            sequence += [*ids, end]
    if len(sequence) > 1:
        sequences.append(np.array(sequence, dtype=np.int32))
    return Encoded(sequences, words, count, too_long)


class TokenBatches(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Sequences as padded batches of about equal length; one item is one whole batch."""

    def __init__(
        self,
        sequences: list[np.ndarray],
        batch_tokens: int,
        pad: int,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed)
        lengths = np.array([len(s) for s in sequences])
        # Sequences of equal length are in random order.
        order = np.argsort(lengths + rng.random(len(lengths)), kind="stable")
        self.sequences = sequences
        self.pad = pad
        self.batches: list[np.ndarray] = []
        start = 0
        while start < len(order):
            # Lengths ascend, so the last sequence of a batch is its longest.
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
