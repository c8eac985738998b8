"""A causal model as two parts: the body reads tokens, the output layer makes log-probs.

Log-probs are computed only where a token is predicted, some rows at a time, so that no array of
all tokens times the vocabulary exists.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from lm.neural.token_tree import Tree

LOGITS_PER_SOFTMAX = 1 << 23
# The names of the argument with the cache of the tokens that a model has read: `cache` since
# transformers 5.24; before, `past_key_values`, or `cache_params` in state-space models.
CACHE_NAMES = ("cache", "past_key_values", "cache_params")


@dataclass(frozen=True, eq=False)
class Reader:
    """A loaded model that reads batches of trees or of padded sequences.

    Attributes:
        model: transformers' causal language model, in evaluation mode.
        split: Whether its body and its output layer can be called separately; otherwise the model
            returns all logits.
        trees: Whether it reads token trees.
        window: Number of tokens to which it attends, if that is limited; it cannot read a deeper
            tree.
        softmax_logits: Number of logits over which the softmax runs at a time, in float32.
    """

    model: Any
    split: bool
    trees: bool
    window: int | None
    softmax_logits: int = LOGITS_PER_SOFTMAX

    @property
    def vocabulary_size(self) -> int:
        """V, number of token ids."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def hidden(self) -> int:
        """d, the width of the embeddings."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    def padded(self, ids: Sequence[np.ndarray], first: Sequence[int]) -> np.ndarray:
        """Log-probs of sequences, (B,) float64; see `padded_tokens`."""
        return np.array([tokens.sum() for tokens in self.padded_tokens(ids, first)])

    def padded_tokens(self, ids: Sequence[np.ndarray], first: Sequence[int]) -> list[np.ndarray]:
        """Log-probs of the scored tokens of sequences, each in a row of its own.

        Args:
            ids: B sequences of token ids.
            first: B indices, at least 1, of the first token that is scored.

        Returns:
            B float64 arrays; not finite where the model's precision is too low.
        """
        # Padding is on the right: no token sees it, so its id does not matter, and positions are
        # counted from the start.
        rows = _stacked([sequence[:-1].astype(np.int64) for sequence in ids])
        lengths = np.array([len(sequence) - 1 for sequence in ids])
        mask = np.arange(rows.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            states = self.states(self._to(rows), attention_mask=self._to(mask.astype(np.int64)))
            scored = mask & (np.arange(rows.shape[1]) >= np.asarray(first)[:, None] - 1)
            row, column = scored.nonzero()
            target = np.concatenate([ids[b][first[b] :] for b in range(len(ids))])
            logprob = self._logprobs(states, row * rows.shape[1] + column, target)
        return np.split(logprob, np.cumsum(scored.sum(axis=1))[:-1])

    def forest(self, trees: Sequence[Tree], prefix: Any = None) -> list[np.ndarray]:
        """Log-probs of each tree's predictions.

        Args:
            trees: B trees.
            prefix: Result of the method `prefix`, if there are tokens before all trees.

        Returns:
            B float64 arrays (e,); not finite where the model's precision is too low.
        """
        token = _stacked([tree.token for tree in trees])
        depth = _stacked([tree.depth for tree in trees])
        width = token.shape[1]
        # Padding is its own descendant, so that every token sees at least one token.
        end = np.tile(np.arange(1, width + 1), (len(trees), 1))
        for row, tree in enumerate(trees):
            end[row, : len(tree)] = tree.end
        with torch.inference_mode():
            place = torch.arange(width, device=self.model.device)
            ends = self._to(end)
            # Token i sees token j if i is one of j's descendants: (B, i, j).
            seen = (place[:, None] >= place) & (place[:, None] < ends[:, None, :])
            cache, before = None, 0
            if prefix is not None:
                cache, before = _expanded(prefix, len(trees)), prefix.get_seq_length()
            # The mask is added to the attention's scores: not all implementations take booleans.
            mask = torch.zeros(
                (len(trees), 1, width, before + width),
                dtype=self.model.dtype,
                device=self.model.device,
            )
            mask[:, 0, :, before:].masked_fill_(~seen, torch.finfo(self.model.dtype).min)
            states = self.states(
                self._to(token),
                attention_mask=mask,
                position_ids=self._to(depth),
                cache=cache,
            )
            source = np.concatenate([tree.source + width * b for b, tree in enumerate(trees)])
            target = np.concatenate([tree.target for tree in trees])
            logprob = self._logprobs(states, source, target)
        return np.split(logprob, np.cumsum([len(tree.source) for tree in trees])[:-1])

    def prefix(self, ids: np.ndarray) -> Any:
        """Keys and values of tokens that all trees begin with."""
        cache = DynamicCache()
        with torch.inference_mode():
            self.states(self._to(ids[None].astype(np.int64)), cache=cache)
        return cache

    def _to(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.model.device)

    def states(self, ids: torch.Tensor, cache: Any = None, **inputs: Any) -> torch.Tensor:
        """States (B, T, d) before the output layer, or logits (B, T, V) where they are one."""
        network = self.model.base_model if self.split else self.model
        if cache is not None:
            name = cache_argument(network)
            if name is None:
                raise TypeError(f"{type(network).__name__} takes no cache")
            inputs[name] = cache
        output = network(input_ids=ids, use_cache=cache is not None, **inputs)
        states: torch.Tensor = output.last_hidden_state if self.split else output.logits
        # If a model is spread over devices, its states are on the last device.
        return states.to(self.model.device)

    def _logprobs(self, states: torch.Tensor, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Log-probs (e,) float64 of targets, predicted by rows of the flattened states."""
        flat = states.flatten(0, 1)
        rows, edges = np.unique(source, return_inverse=True)
        # Predictions of one row are next to each other only where sources ascend.
        order = np.argsort(edges, kind="stable")
        edges, targets = self._to(edges[order]), self._to(target[order].astype(np.int64))
        where = self._to(rows)
        logprob = torch.empty(len(target), dtype=torch.float64, device=flat.device)
        step = max(1, self.softmax_logits // self.vocabulary_size)
        bounds = torch.searchsorted(edges, torch.arange(0, len(rows) + step, step).to(flat.device))
        for chunk, begin in enumerate(range(0, len(rows), step)):
            low, high = int(bounds[chunk]), int(bounds[chunk + 1])
            logits = self.logits(flat[where[begin : begin + step]]).float().to(flat.device)
            normaliser = logits.logsumexp(dim=1)
            row = edges[low:high] - begin
            logprob[low:high] = logits[row, targets[low:high]] - normaliser[row]
        found = np.empty(len(target))
        found[order] = logprob.cpu().numpy()
        return found

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (c, V) of states (c, d)."""
        if not self.split:
            return states
        logits: torch.Tensor = self.model.get_output_embeddings()(states)
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)


def cache_argument(network: Any) -> str | None:
    """The argument with a model's cache; the output has the cache under the same name.

    Some models ignore an argument with another name. They would read new tokens as if there was
    nothing before them.

    Returns:
        None for a model that has no cache, or has another name for it.
    """
    taken = inspect.signature(network.forward).parameters
    return next((name for name in CACHE_NAMES if name in taken), None)


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of different lengths as one array, zeros on the right."""
    stacked = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for i, row in enumerate(rows):
        stacked[i, : len(row)] = row
    return stacked


def _expanded(cache: Any, rows: int) -> Any:
    """A copy of a cache of one row for several rows."""
    copied = DynamicCache()
    for number, layer in enumerate(cache.layers):
        copied.update(
            layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number
        )
    return copied
