"""One way of scoring N-best lists, in its own process: time, tokens and memory.

python -m experiments.bench.rescoring.ways WAY --lists NBEST.parquet --model FOLDER -o OUT.npz
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm.cache import CachedScorer
from lm.cache_file import ScoreCache
from lm.scorer import Progress, Scorer, ScorerOptions, Scores, Texts

MERGED = (16, 8, 4, 2)
WAYS = {
    "one": "one at a time",
    "padded": "padded batches",
    "own-padded": "padded batches, ours",
    "tree": "prefix tree",
    **{f"merged-{k}": f"merged histories, k = {k}" for k in MERGED},
    "cold": "prefix tree, cold cache",
    "warm": "prefix tree, warm cache",
}
BATCH_TOKENS = 4096
WARM_UP = 20  # texts that are scored first, without timing
PRODUCT = {"cpu": 2048, "cuda": 8192}  # rows and columns of the large matrix product
IGNORED = -100


@dataclass
class Plain:
    """A checkpoint as transformers loads it, which scores in the usual way.

    Attributes:
        model: The causal language model.
        tokenizer: Its tokenizer.
        whole_batches: Whether texts are scored in padded batches; otherwise one at a time.
    """

    model: Any
    tokenizer: Any
    whole_batches: bool

    @classmethod
    def load(cls, name: str, options: ScorerOptions, whole_batches: bool) -> Plain:
        """Loads the checkpoint."""
        from transformers import AutoModelForCausalLM

        from lm.neural.pretrained import load_checkpoint

        model, tokenizer = load_checkpoint(name, AutoModelForCausalLM, "causal", options)[:2]
        return cls(model, tokenizer, whole_batches)

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores from BOS to EOS, in padded batches sorted by length or one text at a time."""
        start, stop = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        texts = list(Texts.of(batch).texts)
        encoded = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        rows = [[start, *ids, stop] for ids in encoded]
        logprob = np.zeros(len(rows))
        for chosen in self._batches([len(row) - 1 for row in rows]):
            logprob[chosen] = self._batch([rows[i] for i in chosen])
        return Scores(logprob, np.array([len(row) - 1 for row in rows]))

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Batches of texts with about the same length, as numbers of the texts."""
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        while order:
            rows = max(1, BATCH_TOKENS // lengths[order[0]]) if self.whole_batches else 1
            yield order[:rows]
            order = order[rows:]

    def _batch(self, rows: list[list[int]]) -> np.ndarray:
        """Log-probs (B,) of sequences that are padded on the right, with one softmax."""
        import torch

        longest = max(map(len, rows))
        ids = torch.zeros((len(rows), longest), dtype=torch.int64)
        targets = torch.full((len(rows), longest - 1), IGNORED)
        mask = torch.zeros((len(rows), longest - 1), dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            targets[i, : len(row) - 1] = torch.tensor(row[1:])
            mask[i, : len(row) - 1] = 1
        device = self.model.device
        with torch.inference_mode():
            logits = self.model(
                input_ids=ids[:, :-1].to(device),
                attention_mask=mask.to(device) if len(rows) > 1 else None,
                use_cache=False,
            ).logits
            losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(),
                targets.flatten().to(device),
                ignore_index=IGNORED,
                reduction="none",
            )
            found: np.ndarray = -losses.view(len(rows), -1).double().sum(dim=1).cpu().numpy()
        return found


@dataclass
class Counted:
    """Number of tokens that a model has read.

    Attributes:
        tokens: Number of positions of its input, including padding.
    """

    tokens: int = 0

    def watch(self, model: Any) -> None:
        """Starts to count the tokens that this model reads."""

        def count(module: Any, inputs: Any, keywords: dict[str, Any]) -> None:
            ids = keywords["input_ids"] if "input_ids" in keywords else inputs[0]
            self.tokens += ids.numel()

        model.base_model.register_forward_pre_hook(count, with_kwargs=True)


@dataclass
class Measured:
    """Measurements of one way.

    Attributes:
        seconds: Time of scoring, including the tokenizer, without loading.
        tokens: Number of positions that the model has read.
        peak: Most memory of the process, or of the GPU, while scoring; bytes.
        speed: Floating point operations a second in a large matrix product; 0 if not measured.
        threads: Number of torch's threads.
        parameters: Number of the model's parameters; 0 if it was not loaded.
        unique: Number of tokens in the prefix tree of the lists.
        logprob: Scores (N,), natural log.
    """

    seconds: float
    tokens: int
    peak: int
    speed: float = 0.0
    threads: int = 0
    parameters: int = 0
    unique: int = 0
    logprob: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def write(self, path: Path) -> None:
        """Writes all measurements."""
        np.savez(path, **vars(self))

    @classmethod
    def read(cls, path: Path) -> Measured:
        """Reads what `write` wrote."""
        with np.load(path) as found:
            return cls(**{name: v if v.ndim else v.item() for name, v in found.items()})


def load(way: str, model: str, options: ScorerOptions) -> Scorer:
    """The scorer of a way, without a cache."""
    from lm.neural.causal import CausalLM, CausalScorer

    if way in ("one", "padded"):
        return Plain.load(model, options, way == "padded")
    if way == "own-padded":
        options = _with(options, method="padded")
    elif way.startswith("merged-"):
        options = _with(options, history=int(way.removeprefix("merged-")))
    return CausalScorer(CausalLM.load(model, options), options)


def _with(options: ScorerOptions, **settings: Any) -> ScorerOptions:
    return ScorerOptions(**(vars(options) | settings))


def measure(way: str, texts: Texts, model: str, options: ScorerOptions, cache: Path) -> Measured:
    """Scores all texts once, after a few texts that warm up the model.

    Args:
        way: One of `WAYS`.
        texts: All texts.
        model: Folder of the model.
        options: Device, dtype and batch size.
        cache: File of cached scores; a cold cache must have no score, a warm cache must have all.
    """
    if way == "warm":
        return _timed(CachedScorer(_no_model, model, ScoreCache.open(cache)), texts, Counted())
    scorer: Any = load(way, model, options)
    network = scorer.model.model if hasattr(scorer.model, "reader") else scorer.model
    scorer.score(texts.chosen(range(min(WARM_UP, len(texts)))))
    counted = Counted()
    counted.watch(network)
    if way == "cold":
        cached = CachedScorer(lambda: scorer, model, ScoreCache.open(cache))
        found = _timed(cached, texts, counted, network.device.type)
    else:
        found = _timed(scorer, texts, counted, network.device.type)
    found.speed, found.threads = product_speed(network)
    found.parameters = sum(weights.numel() for weights in network.parameters())
    if hasattr(scorer.model, "encoder"):
        found.unique = unique_prefixes(scorer.model.encoder.encode(texts, options).ids)
    return found


def _no_model() -> Scorer:
    raise RuntimeError("a text is not in the warm cache")


def _timed(scorer: Scorer, texts: Texts, counted: Counted, device: str = "cpu") -> Measured:
    """One pass over all texts."""
    peak = _peak_memory(device)
    start = time.perf_counter()
    scores = scorer.score(texts)
    seconds = time.perf_counter() - start
    return Measured(seconds, counted.tokens, peak(), logprob=scores.logprob)


def _peak_memory(device: str) -> Callable[[], int]:
    """Resets the peak; returns a function that gives the peak since then, bytes."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return lambda: int(torch.cuda.max_memory_allocated())
    # Linux only. Where this is not allowed, the peak includes loading.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return resident_peak


def resident_peak() -> int:
    """Most memory that this process has had, bytes; 0 if it is not known."""
    with suppress(OSError), open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return 0


def product_speed(network: Any) -> tuple[float, int]:
    """Floating point operations a second in a large matrix product, and torch's threads.

    The product is computed on the model's device and in its precision.
    """
    import torch

    size = PRODUCT.get(network.device.type, 2048)
    left, right = torch.randn(2, size, size, device=network.device).to(network.dtype)
    best = 0.0
    for _ in range(6):
        start = time.perf_counter()
        (left @ right)[0, 0].item()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best, torch.get_num_threads()


def unique_prefixes(ids: Sequence[np.ndarray]) -> int:
    """Least number of tokens to read to predict all tokens but the first of each sequence.

    Args:
        ids: Sequences of token ids.
    """
    rows = sorted(row[:-1].tolist() for row in ids)
    total = 0
    before: list[int] = []
    for row in rows:
        same = 0
        for a, b in zip(before, row, strict=False):
            if a != b:
                break
            same += 1
        total, before = total + len(row) - same, row
    return total


def main() -> None:
    """Runs one way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("way", choices=WAYS)
    for name in ("lists", "model", "cache"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("device", "dtype"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.threads and arguments.way != "warm":
        import torch

        torch.set_num_threads(arguments.threads)
    table = pd.read_parquet(arguments.lists)
    texts = Texts(list(table["text"]), None, pd.factorize(table["utt"])[0])
    options = ScorerOptions(
        device=arguments.device, dtype=arguments.dtype, batch_tokens=BATCH_TOKENS
    )
    found = measure(arguments.way, texts, arguments.model, options, Path(arguments.cache))
    found.write(arguments.output)


if __name__ == "__main__":
    main()
