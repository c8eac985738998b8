"""Tests with a few tokens of what a model can do: read trees, be split, continue from a cache.

The models of transformers differ in more ways than their configurations say, and from version to
version. So a faster way is used only if it gives the same numbers as the plain way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers.activations import FastGELUActivation, NewGELUActivation

from lm.neural.forward_pass import Reader, cache_argument
from lm.neural.pretrained import context_length
from lm.neural.token_tree import prefix_trees

# Number of tokens of a plain test; largest number of nodes of a tree, and the lengths of its root
# and its branches.
PROBE = 12
PROBE_NODES, ROOT, BRANCH = 200, 4, 7
CONTINUED = 3  # tokens that are read one by one from a cache
HALF_NOISE = 0.1  # nats by which two ways to compute a text may always differ in half precision
# The names in configurations of the number of tokens that some layers look back.
WINDOW_NAMES = ("sliding_window", "attention_chunk_size", "window_size")


def reader_of(model: Any) -> Reader:
    """A model with the ways in which it can be read, which are tested with a few tokens."""
    _fuse(model)
    split = _can_be_split(model)
    whole = Reader(model, split, False, _window(model.config))
    return Reader(model, split, _reads_trees(whole), whole.window)


def usable_cache(model: Any) -> str | None:
    """The argument with a model's cache, by which it continues from what it has read.

    Returns:
        None if the model has no cache, or gives other numbers with its cache than without.
    """
    name = cache_argument(model)
    return name if name is not None and _continues(model, name) else None


def _fuse(model: Any) -> None:
    """Replaces GELUs that are written in several steps by torch's own, which is faster."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation | FastGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))


def _window(config: Any) -> int | None:
    """The number of tokens to which a model attends at most, by its configuration."""
    text = config.get_text_config()
    if not getattr(text, "use_sliding_window", True):
        return None
    found = [getattr(text, name, None) for name in WINDOW_NAMES]
    return min(
        (int(value) for value in found if isinstance(value, int) and value > 0), default=None
    )


def _tokens(model: Any, count: int) -> np.ndarray:
    """Some token ids, all different if the vocabulary is large enough."""
    size = int(model.get_input_embeddings().weight.shape[0])
    return np.resize(np.random.default_rng(0).permutation(size), count).astype(np.int32)


def _can_be_split(model: Any) -> bool:
    """Whether the output layer on the body's states gives the model's own logits.

    Both are the same operations on arrays of the same shape, so they agree to the last digits, also
    in half precision. Some models change their logits afterwards, perhaps by little.
    """
    if model.base_model is model or model.get_output_embeddings() is None:
        return False
    apart = Reader(model, True, False, None)
    ids = _input(model, _tokens(model, PROBE))
    try:
        with torch.inference_mode():
            whole = model(input_ids=ids, use_cache=False).logits[0].float()
            parts = apart.logits(apart.states(ids)[0]).float().to(whole.device)
            limit = 1e-4 * float(whole.abs().max())
            return whole.shape == parts.shape and bool((whole - parts).abs().max() <= limit)
    # Architectures differ in more ways than can be listed; a way that fails is not used.
    except Exception:
        return False


def _reads_trees(reader: Reader) -> bool:
    """Whether a tree, with and without tokens before it, gives the scores of its sequences.

    The last branches are far from their common root: a model that uses places of the input instead
    of positions (ALiBi) is most wrong there.
    """
    limits = (reader.window, context_length(reader.model.config), PROBE_NODES)
    room = min(limit for limit in limits if limit is not None)
    length = max(2, min(BRANCH, (room - ROOT) // 2))
    branches = max(2, (room - ROOT) // length)
    tokens = _tokens(reader.model, ROOT + branches * (length + 1))
    root, rest = tokens[:ROOT], tokens[ROOT:].reshape(branches, length + 1)
    ids = [np.concatenate([root, branch]) for branch in rest]
    # One sequence shares more than the root.
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
    # As above: models reject such a mask with different errors.
    except Exception:
        return False
    return True


def _continues(model: Any, name: str) -> bool:
    """Whether tokens that are read one by one, from a cache, get the logits of the whole text."""
    tokens = _tokens(model, PROBE)
    try:
        with torch.inference_mode():
            whole = _log_softmax(model(input_ids=_input(model, tokens), use_cache=False))
            parts, cache = [], None
            for part in np.split(tokens, range(PROBE - CONTINUED, PROBE)):
                output = model(input_ids=_input(model, part), use_cache=True, **{name: cache})
                cache = output[name]
                parts.append(_log_softmax(output))
            apart = (whole - torch.cat(parts)).abs().max()
            limit = 1e-3 * max(1.0, float(whole.abs().max()) / 10)
            if model.dtype != torch.float32:
                limit = max(HALF_NOISE, 10 * limit)
            # A model that gives NaN does so with and without a cache.
            return not bool(apart > limit)
    # As above: models without such a cache raise different errors.
    except Exception:
        return False


def _input(model: Any, tokens: np.ndarray) -> torch.Tensor:
    """One text as a model's input, (1, T)."""
    return torch.from_numpy(tokens[None].astype(np.int64)).to(model.device)


def _log_softmax(output: Any) -> torch.Tensor:
    """Log-probs (T, V) of the first text."""
    found: torch.Tensor = output.logits[0].float().log_softmax(-1)
    return found
