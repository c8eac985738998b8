"""Causal language models: the log-prob of whole texts under any AutoModelForCausalLM."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from lm.errors import InputError
from lm.neural.batching import Halving, TextProgress, batches
from lm.neural.encoding import Encoder, Sequences
from lm.neural.forward_pass import Reader
from lm.neural.pretrained import context_length, load_checkpoint, out_of_memory
from lm.neural.probes import reader_of, usable_cache
from lm.neural.token_tree import Tree, best_width, merged_tree, prefix_trees, rows_of, shared_prefix
from lm.scorer import Progress, ScorerOptions, Scores, TextError, Texts

# Some models return all logits of a batch, (tokens, V): with a vocabulary of 256,000 these would
# take more memory than the model.
LOGITS_PER_BATCH = 1 << 28
# A common prefix of all sequences is read once for all batches if it has this length or more.
LONG_PREFIX = 16
PROBE_LENGTH = 8


@dataclass(frozen=True, eq=False)
class CausalLM:
    """A loaded causal language model.

    Attributes:
        name: hub name or folder that it came from.
        reader: the model.
        encoder: its tokenizer, and what it can read.
        batch_logits: logits of one batch, where the model returns all of them.
        tree_width: nodes of a token tree; by default the number that is fastest for the texts.
    """

    name: str
    reader: Reader = field(repr=False)
    encoder: Encoder = field(repr=False)
    batch_logits: int = field(default=LOGITS_PER_BATCH, repr=False)
    tree_width: int | None = field(default=None, repr=False)

    @property
    def model(self) -> Any:
        """transformers' model."""
        return self.reader.model

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer."""
        return self.encoder.tokenizer

    @classmethod
    def load(cls, name: str | Path, options: ScorerOptions | None = None) -> CausalLM:
        """Loads a checkpoint with its tokenizer; safetensors only, no code from the checkpoint.

        Args:
            name: Hub name or local folder.
            options: Device, dtype, device map and bits.

        Raises:
            InputError: There is no such checkpoint, it has no tokenizer, it is no causal language
                model, weights are missing, or device or dtype are unknown.
        """
        name = str(name)
        options = options or ScorerOptions()
        model, tokenizer = load_checkpoint(name, AutoModelForCausalLM, "causal", options)
        _check_causal(name, model)
        reader = reader_of(model)
        if not reader.trees and options.method == "tree":
            warnings.warn(
                f"{name}: {type(model).__name__} cannot read several hypotheses as one tree; they "
                "are scored one by one, in padded batches",
                stacklevel=2,
            )
        context = context_length(model.config)
        return cls(name, reader, Encoder(name, tokenizer, context, reader.vocabulary_size))

    def score(
        self,
        batch: Texts | Sequence[str],
        options: ScorerOptions | None = None,
        progress: Progress | None = None,
    ) -> Scores:
        """Log-probs of texts: sums of the natural-log probabilities of their tokens.

        A text is taken as it is, without a space before it. It starts after the tokenizer's BOS
        token, or after EOS if there is no BOS; this token is not scored, and neither is what was
        said before. Characters that look like a special token are scored as characters. A text
        without tokens has the log-prob 0, or that of EOS.

        The softmax is computed in float32, the sums in float64. If half precision gives no finite
        number, the text is scored again in float32.

        Args:
            batch: N texts, with or without what was said before.
            options: The settings of scoring.
            progress: Called with the number of texts that were scored since the last call.

        Raises:
            TextError: A text is longer than the model's context, or its log-prob is NaN.
            InputError: The tokenizer lacks the tokens needed, does not belong to the model, or a
                single text does not fit into the memory.
        """
        batch = Texts.of(batch)
        options = options or ScorerOptions()
        sequences = self.encoder.encode(batch, options)
        lengths = np.array([len(ids) for ids in sequences.ids], dtype=np.int64)
        counts = lengths - sequences.first
        tokens = np.bincount(sequences.text, counts, len(batch)).astype(np.int64)
        logprob = np.zeros(len(lengths))
        todo = np.flatnonzero(counts > 0)
        reported = TextProgress(progress, sequences.text, len(batch))
        reported.done(np.flatnonzero(counts == 0))
        deep = self.reader.window is not None and lengths - 1 > self.reader.window
        if self.reader.trees and options.method == "tree":
            flat = todo[~np.broadcast_to(deep, lengths.shape)[todo]]
            self._score_trees(sequences, flat, batch.lists, options, logprob, reported)
            todo = np.setdiff1d(todo, flat)
        self._score_padded(self.reader, sequences, todo, options.batch_tokens, logprob, reported)
        self._score_again(batch, sequences, options, logprob)
        return Scores(np.bincount(sequences.text, logprob, len(batch)), tokens)

    def _score_trees(
        self,
        sequences: Sequences,
        chosen: np.ndarray,
        lists: np.ndarray | None,
        options: ScorerOptions,
        logprob: np.ndarray,
        reported: TextProgress,
    ) -> None:
        """Fills in the log-probs of the chosen sequences, by token trees."""
        if not len(chosen):
            return
        ids = [sequences.ids[i] for i in chosen]
        first = sequences.first[chosen]
        cache: Any = None
        skipped = 0
        if options.history == "exact" or lists is None:
            skipped = max(0, min(shared_prefix(ids), int(first.min())) - 1)
            cache = self._cached(ids[0][:skipped]) if skipped >= LONG_PREFIX else None
            skipped = 0 if cache is None else skipped
            trees = list(prefix_trees(ids, first, skipped, self._width(ids, skipped)))
        else:
            trees = []
            of = lists[sequences.text[chosen]]
            for rows in np.split(np.arange(len(chosen)), np.flatnonzero(np.diff(of)) + 1):
                part_ids = [ids[i] for i in rows]
                merged = [merged_tree(part_ids, first[rows], options.history)]
                if not self._holds(merged[0], sequences.text[chosen[rows]]):
                    merged = list(prefix_trees(part_ids, first[rows], 0, self._width(part_ids, 0)))
                trees += [tree.of(rows) for tree in merged]

        def run(part: Sequence[Tree]) -> None:
            for tree, found in zip(part, self.reader.forest(part, cache), strict=True):
                np.add.at(logprob, chosen[tree.owner], found[tree.used])
                reported.done(chosen[np.unique(tree.owner)])

        def smaller(tree: Tree) -> list[Tree]:
            owners = np.unique(tree.owner)
            if len(owners) == 1:
                return []
            part_ids = [ids[i] for i in owners]
            halves = prefix_trees(part_ids, first[owners], skipped, max(1, len(tree) // 2))
            return [half.of(owners) for half in halves]

        limit = self._limit(options.batch_tokens)
        read = Halving(run, self.name, smaller)
        for rows in rows_of(trees, limit, min(self._width(ids, skipped), limit)):
            read(rows)

    def _cached(self, prefix: np.ndarray) -> Any:
        """Keys and values of a common prefix; None if they do not fit into the memory."""
        try:
            return self.reader.prefix(prefix)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return None

    def _holds(self, merged: Tree, texts: np.ndarray) -> bool:
        """Whether a merged tree can be read and gives the right scores.

        A path that joins a longer one may become deeper than the model can read; and the windows
        of a text that is too long do not begin with the same context.
        """
        limits = (self.reader.window, self.encoder.context)
        room = min((limit for limit in limits if limit is not None), default=len(merged) + 1)
        within = self.reader.window is None or len(merged) <= self.reader.window
        return within and int(merged.depth.max()) < room and len(np.unique(texts)) == len(texts)

    def _width(self, ids: Sequence[np.ndarray], skipped: int) -> int:
        """Nodes of a tree, within the model's window.

        Some models count a window in places of the input and not in positions. So a node must not
        be further from its ancestors than the window.
        """
        lengths = np.array([len(sequence) - 1 - skipped for sequence in ids])
        width = self.tree_width or best_width(lengths, self.reader.hidden)
        window = self.reader.window
        return width if window is None else max(1, min(width, window - skipped))

    def _score_padded(
        self,
        reader: Reader,
        sequences: Sequences,
        chosen: np.ndarray,
        batch_tokens: int,
        logprob: np.ndarray,
        reported: TextProgress | None = None,
    ) -> None:
        """Fills in the log-probs of the chosen sequences, each in a row of its own."""

        def run(part: Sequence[int]) -> None:
            logprob[list(part)] = reader.padded(
                [sequences.ids[i] for i in part], sequences.first[list(part)].tolist()
            )
            if reported is not None:
                reported.done(np.array(part))

        lengths = np.array([len(sequences.ids[i]) - 1 for i in chosen], dtype=np.int64)
        read = Halving(run, self.name)
        for part in batches(chosen.tolist(), lengths, self._limit(batch_tokens)):
            read(part)

    def _score_again(
        self, batch: Texts, sequences: Sequences, options: ScorerOptions, logprob: np.ndarray
    ) -> None:
        """Scores texts again where half precision or another text made a score infinite or NaN."""
        doubtful = np.flatnonzero(~np.isfinite(logprob))
        if not len(doubtful):
            return
        reader, half = self.reader, self.reader.model.dtype != torch.float32
        if half and options.bits is None:
            reader = self._in_float32 or reader
            if reader is not self.reader:
                self._score_padded(reader, sequences, doubtful, options.batch_tokens, logprob)
        for i in doubtful[np.isnan(logprob[doubtful]) | np.isposinf(logprob[doubtful])]:
            # The text is read alone: NaN at a padded position spreads to the text, as 0 · NaN is
            # NaN.
            logprob[i] = reader.padded([sequences.ids[i]], [int(sequences.first[i])])[0]
            if np.isnan(logprob[i]) or np.isposinf(logprob[i]):
                remedy = (
                    "load it in float32"
                    if half
                    else "its weights are damaged: download or copy them again"
                )
                text = int(sequences.text[i])
                raise TextError(
                    text,
                    batch.texts[text],
                    f"has the log-prob {logprob[i]} under {self.name}; {remedy}",
                )

    @cached_property
    def cache_name(self) -> str | None:
        """The argument with the model's cache, by which it continues from what it has read.

        None if it must read everything again for every new token; then the user is warned.
        """
        found = usable_cache(self.model)
        if found is None:
            warnings.warn(
                f"{self.name}: {type(self.model).__name__} cannot continue from what it has read "
                "with this version of transformers; it reads everything again for every token, "
                "which is slower",
                stacklevel=2,
            )
        return found

    @cached_property
    def _in_float32(self) -> Reader | None:
        """The model in float32; None if it does not fit into the memory."""
        try:
            # This is a copy: to convert the model and back would round buffers that are in float32.
            return reader_of(copy.deepcopy(self.reader.model).float())
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return None

    def _limit(self, batch_tokens: int) -> int:
        """Number of tokens of one batch."""
        if self.reader.split:
            return batch_tokens
        return min(batch_tokens, self.batch_logits // self.reader.vocabulary_size)


@dataclass(frozen=True)
class CausalScorer:
    """A causal language model as a scorer.

    Attributes:
        model: the loaded model.
        options: how it scores.
    """

    model: CausalLM
    options: ScorerOptions = field(default_factory=ScorerOptions)

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts, see `CausalLM.score`."""
        return self.model.score(batch, self.options, progress)

    def with_options(self, options: ScorerOptions) -> CausalScorer:
        """The same model under other settings of scoring."""
        return replace(self, options=options)


def _check_causal(name: str, model: Any) -> None:
    """Makes sure that a token's prediction does not depend on later tokens.

    transformers loads BERT and similar models as causal models too; their scores would be excellent
    and wrong.

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
            f"{name}: {type(model).__name__} lets a token see later tokens, so it is not a "
            "causal language model (perhaps a masked one?); give a causal one"
        )
