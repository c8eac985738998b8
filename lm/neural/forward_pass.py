"""A causal model as two parts: what reads tokens, and what turns its states into log-probs.

Log-probs are computed only where a token is predicted, some rows at a time, so that no array of
all tokens times the vocabulary exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.activations import FastGELUActivation, NewGELUActivation

from lm.neural.pretrained import context_length
from lm.neural.token_tree import Tree, prefix_trees

# The softmax runs in float32 over this many logits at a time.
LOGITS_PER_SOFTMAX = 1 << 23
# What tells how a model can be read: tokens; a tree's nodes at most, its root and its branches.
PROBE = 12
PROBE_NODES, ROOT, BRANCH = 200, 4, 7
HALF_NOISE = 0.1  # nats that two ways to compute a text differ by in half precision, at the least
# The names that configurations give to the number of tokens that some layers look back.
WINDOW_NAMES = ("sliding_window", "attention_chunk_size", "window_size")


@dataclass(frozen=True, eq=False)
class Reader:
    """A loaded model that reads batches of trees or of padded sequences.

    Attributes:
        model: transformers' causal language model, in evaluation mode.
        split: Whether its body and its output layer can be called apart; else it gives all logits.
        trees: Whether it reads token trees.
        window: Tokens that it attends to, where that is limited: a deeper tree is beyond it.
    """

    model: Any
    split: bool
    trees: bool
    window: int | None

    @classmethod
    def of(cls, model: Any) -> Reader:
        """Finds out, with a few tokens, in which ways a model can be read."""
        _fuse(model)
        split = _can_be_split(model)
        whole = cls(model, split, False, _window(model.config))
        return cls(model, split, _reads_trees(whole), whole.window)

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
            B arrays float64, whatever the model's precision gives.
        """
        # On the right, no token sees padding, so its id is of no account; and positions count
        # from the start as they are.
        rows = _stacked([sequence[:-1].astype(np.int64) for sequence in ids])
        lengths = np.array([len(sequence) - 1 for sequence in ids])
        mask = np.arange(rows.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            states = self._states(self._to(rows), attention_mask=self._to(mask.astype(np.int64)))
            scored = mask & (np.arange(rows.shape[1]) >= np.asarray(first)[:, None] - 1)
            row, column = scored.nonzero()
            target = np.concatenate([ids[b][first[b] :] for b in range(len(ids))])
            logprob = self._logprobs(states, row * rows.shape[1] + column, target)
        return np.split(logprob, np.cumsum(scored.sum(axis=1))[:-1])

    def forest(self, trees: Sequence[Tree], prefix: Any = None) -> list[np.ndarray]:
        """Log-probs of each tree's predictions.

        Args:
            trees: B trees.
            prefix: What `prefix` gave, if there are tokens that go before all trees.

        Returns:
            B arrays (e,) float64, whatever the model's precision gives.
        """
        token = _stacked([tree.token for tree in trees])
        depth = _stacked([tree.depth for tree in trees])
        width = token.shape[1]
        # Padding is its own descendant, so that every token sees one.
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
            # Added to the attention's scores: not all implementations read booleans.
            mask = torch.zeros(
                (len(trees), 1, width, before + width),
                dtype=self.model.dtype,
                device=self.model.device,
            )
            mask[:, 0, :, before:].masked_fill_(~seen, torch.finfo(self.model.dtype).min)
            states = self._states(
                self._to(token),
                attention_mask=mask,
                position_ids=self._to(depth),
                past_key_values=cache,
            )
            source = np.concatenate([tree.source + width * b for b, tree in enumerate(trees)])
            target = np.concatenate([tree.target for tree in trees])
            logprob = self._logprobs(states, source, target)
        return np.split(logprob, np.cumsum([len(tree.source) for tree in trees])[:-1])

    def prefix(self, ids: np.ndarray) -> Any:
        """Keys and values of tokens that all trees begin with."""
        cache = DynamicCache()
        with torch.inference_mode():
            self._states(self._to(ids[None].astype(np.int64)), past_key_values=cache)
        return cache

    def _to(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.model.device)

    def _states(self, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """States (B, T, d) before the output layer, or logits (B, T, V) if that is not apart."""
        cached = inputs.get("past_key_values") is not None
        inputs = {name: value for name, value in inputs.items() if value is not None}
        if self.split:
            output = self.model.base_model(input_ids=ids, use_cache=cached, **inputs)
            states: torch.Tensor = output.last_hidden_state
        else:
            states = self.model(input_ids=ids, use_cache=cached, **inputs).logits
        # A model that is spread over devices leaves them on its last.
        return states.to(self.model.device)

    def _logprobs(self, states: torch.Tensor, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Log-probs (e,) float64 of targets, predicted by rows of the flattened states."""
        flat = states.flatten(0, 1)
        rows, edges = np.unique(source, return_inverse=True)
        # Predictions of one row lie side by side only where sources ascend.
        order = np.argsort(edges, kind="stable")
        edges, targets = self._to(edges[order]), self._to(target[order].astype(np.int64))
        where = self._to(rows)
        logprob = torch.empty(len(target), dtype=torch.float64, device=flat.device)
        step = max(1, LOGITS_PER_SOFTMAX // self.vocabulary_size)
        bounds = torch.searchsorted(edges, torch.arange(0, len(rows) + step, step).to(flat.device))
        for chunk, begin in enumerate(range(0, len(rows), step)):
            low, high = int(bounds[chunk]), int(bounds[chunk + 1])
            logits = self._logits(flat[where[begin : begin + step]]).float().to(flat.device)
            normaliser = logits.logsumexp(dim=1)
            row = edges[low:high] - begin
            logprob[low:high] = logits[row, targets[low:high]] - normaliser[row]
        found = np.empty(len(target))
        found[order] = logprob.cpu().numpy()
        return found

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (c, V) of states (c, d)."""
        if not self.split:
            return states
        logits: torch.Tensor = self.model.get_output_embeddings()(states)
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of different lengths as one array, zeros on the right."""
    stacked = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for i, row in enumerate(rows):
        stacked[i, : len(row)] = row
    return stacked


def _expanded(cache: Any, rows: int) -> Any:
    """A cache of one row for several, which leaves the first as it is."""
    copied = DynamicCache()
    for number, layer in enumerate(cache.layers):
        copied.update(
            layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number
        )
    return copied


def _fuse(model: Any) -> None:
    """Takes torch's own GELU for the ones written out in steps: the same function, faster."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation | FastGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))


def _window(config: Any) -> int | None:
    """How many tokens a model attends to at most, by its configuration."""
    text = config.get_text_config()
    if not getattr(text, "use_sliding_window", True):
        return None
    found = [getattr(text, name, None) for name in WINDOW_NAMES]
    return min(
        (int(value) for value in found if isinstance(value, int) and value > 0), default=None
    )


def _tokens(model: Any, count: int) -> np.ndarray:
    """Some token ids, different from each other where the vocabulary has so many."""
    size = int(model.get_input_embeddings().weight.shape[0])
    return np.resize(np.random.default_rng(0).permutation(size), count).astype(np.int32)


def _can_be_split(model: Any) -> bool:
    """Whether the output layer on the body's states gives the model's own logits.

    Both are the same operations on arrays of the same shape, so they agree to the last digits, in
    half precision too; what a model does to its logits afterwards may be small.
    """
    if model.base_model is model or model.get_output_embeddings() is None:
        return False
    apart = Reader(model, True, False, None)
    ids = apart._to(_tokens(model, PROBE)[None].astype(np.int64))
    try:
        with torch.inference_mode():
            whole = model(input_ids=ids, use_cache=False).logits[0].float()
            parts = apart._logits(apart._states(ids)[0]).float().to(whole.device)
            limit = 1e-4 * float(whole.abs().max())
            return whole.shape == parts.shape and bool((whole - parts).abs().max() <= limit)
    # Architectures differ in more ways than can be listed; whatever fails is not used.
    except Exception:
        return False


def _reads_trees(reader: Reader) -> bool:
    """Whether a tree, with and without tokens before it, gives what its sequences give.

    The last branches lie far from the root that they share: a model that counts its input's places
    instead of positions (ALiBi) is most wrong there.
    """
    limits = (reader.window, context_length(reader.model.config), PROBE_NODES)
    room = min(limit for limit in limits if limit is not None)
    length = max(2, min(BRANCH, (room - ROOT) // 2))
    branches = max(2, (room - ROOT) // length)
    tokens = _tokens(reader.model, ROOT + branches * (length + 1))
    root, rest = tokens[:ROOT], tokens[ROOT:].reshape(branches, length + 1)
    ids = [np.concatenate([root, branch]) for branch in rest]
    # One shares more than the root.
    ids[1] = np.concatenate([ids[0][: ROOT + 1], ids[1][ROOT + 1 :]])
    first = np.full(branches, ROOT + length - 1)
    try:
        alone = np.concatenate(
            [reader.padded([row], [begin]) for row, begin in zip(ids, first, strict=True)]
        )
        noise = np.abs(reader.padded(ids, first.tolist()) - alone)
        limit = 1e-3 * max(1.0, float(np.abs(alone).max()) / 10)
        if reader.model.dtype != torch.float32:
            limit = max(HALF_NOISE, 3 * float(noise.max()))
        for skipped in (0, 1):
            (tree,) = prefix_trees(ids, first, skipped, len(tokens))
            prefix = reader.prefix(root[:skipped]) if skipped else None
            (logprob,) = reader.forest([tree], prefix)
            found = np.bincount(tree.owner, logprob[tree.used], minlength=len(ids))
            if not np.abs(found - alone).max() <= limit:
                return False
    # As above: a model that rejects such a mask says so in its own way.
    except Exception:
        return False
    return True
