"""Token trees: every sequence is in them once, and scoring them is scoring the sequences alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    Gemma3TextConfig,
    GPTNeoConfig,
    MistralConfig,
    MptConfig,
    PreTrainedTokenizerFast,
    RecurrentGemmaConfig,
)

from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.neural.forward_pass import Reader
from lm.neural.probes import reader_of, usable_cache
from lm.neural.token_tree import Tree, merged_tree, prefix_trees, shared_prefix
from lm.scorer import ScorerOptions, TextError, Texts
from tests.support.causal_models import CONFIGS, CPU, HIDDEN, SIZE, TEXTS, naive_ids, save_model

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat", "naïve", "東"]
ROTARY = {**HIDDEN, "num_key_value_heads": 2}
MORE: dict[str, Any] = {
    "mistral": lambda **k: MistralConfig(**ROTARY, sliding_window=None, **k),
    "mistral-window": lambda **k: MistralConfig(**ROTARY, sliding_window=12, **k),
    "gemma3": lambda **k: Gemma3TextConfig(**ROTARY, head_dim=8, sliding_window=12, **k),
    "gpt_neo": lambda **k: GPTNeoConfig(
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=12,
        max_position_embeddings=128,
        initializer_range=0.4,
        **k,
    ),
}
ALL = {**CONFIGS, **MORE}
# What sees tokens one by one, or by their distance, cannot read trees.
FLAT = ("bloom", "mamba")
QUICK = ("gpt2", "llama")  # the quick tests take these; the slow ones the rest
TREES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in ALL
    if name not in FLAT
]

sequences = st.lists(
    st.lists(st.integers(0, 3), min_size=2, max_size=9).map(
        lambda ids: np.array([9, *ids], np.int32)
    ),
    min_size=1,
    max_size=12,
)


def spelled(tree: Tree, node: int) -> list[int]:
    """The tokens from a root to a node, found by the ends alone."""
    above = [a for a in range(node + 1) if a <= node < tree.end[a]]
    assert [int(tree.depth[a]) for a in above] == list(
        range(tree.depth[above[0]], tree.depth[node] + 1)
    )
    return [int(tree.token[a]) for a in above]


def check_spelling(tree: Tree, ids: Sequence[np.ndarray], first: np.ndarray, skipped: int) -> None:
    """The predictions of every sequence are its tokens, each after the right ones."""
    for number in np.unique(tree.owner):
        used = tree.used[tree.owner == number]
        sequence = ids[number].tolist()
        assert [int(tree.target[e]) for e in used] == sequence[first[number] :]
        for place, edge in enumerate(used, int(first[number])):
            assert spelled(tree, int(tree.source[edge])) == sequence[skipped:place]


@settings(max_examples=200, deadline=None)
@given(sequences, st.integers(4, 40), st.data())
def test_trees_hold_every_sequence(ids: list[np.ndarray], width: int, data: st.DataObject) -> None:
    first = np.array([data.draw(st.integers(1, len(row) - 1)) for row in ids])
    skipped = data.draw(st.integers(0, max(0, min(shared_prefix(ids), first.min()) - 1)))
    trees = list(prefix_trees(ids, first, skipped, width))
    assert sorted(np.concatenate([np.unique(t.owner) for t in trees])) == list(range(len(ids)))
    for tree in trees:
        check_spelling(tree, ids, first, skipped)
        assert (np.diff(tree.source) >= 0).all()
        assert len(tree) <= max(width, *(len(row) for row in ids))
    (whole,) = prefix_trees(ids, first, skipped, width=10_000)
    prefixes = {tuple(row[: t + 1]) for row in ids for t in range(skipped, len(row) - 1)}
    assert len(whole) == len(prefixes)


@settings(max_examples=200, deadline=None)
@given(sequences, st.integers(1, 4))
def test_merged_histories_take_the_first_context(ids: list[np.ndarray], history: int) -> None:
    tree = merged_tree(ids, np.ones(len(ids), np.int64), history)
    # By the definition, with whole prefixes: who agrees with an earlier one in the last tokens
    # continues from that one's prefix.
    known: dict[object, tuple[int, ...]] = {}
    for number, row in enumerate(ids):
        prefix: tuple[int, ...] = ()
        used = iter(tree.used[tree.owner == number])
        seen: list[tuple[int, ...]] = []
        for t, token in enumerate(row.tolist()):
            if t:
                edge = next(used)
                assert tree.target[edge] == token
                assert tuple(spelled(tree, int(tree.source[edge]))) == prefix
            prefix = (*prefix, token)
            if t >= history and t < len(row) - 1:  # the last is only predicted
                recent = tuple(row[t - history + 1 : t + 1].tolist())
                seen.append(recent)
                prefix = known.setdefault((recent, seen.count(recent)), prefix)
    longest = max(map(len, ids))
    exact = merged_tree(ids, np.ones(len(ids), np.int64), longest)
    check_spelling(exact, ids, np.ones(len(ids), np.int64), 0)


def load(folder: Path, architecture: str, **changes: Any) -> CausalLM:
    """A random model of the architecture, loaded."""
    return CausalLM.load(save_model(folder, architecture, configs=ALL, **changes), CPU)


def random_texts(seed: int, count: int = 14) -> list[str]:
    """Texts that share beginnings, some equal, one empty."""
    rng = np.random.default_rng(seed)
    texts = ["", "the cat"]
    while len(texts) < count:
        base = texts[rng.integers(len(texts))].split()
        kept = base[: rng.integers(len(base) + 1)]
        texts.append(" ".join([*kept, *rng.choice(WORDS, rng.integers(1, 4))]))
    return texts


def alone(lm: CausalLM, before: Sequence[int], text: str, eos: bool) -> float:
    """One text's log-prob by the model's own logits, nothing else in the batch."""
    start, *own = naive_ids(lm, text, eos)
    ids = torch.tensor([[start, *before, *own]])
    with torch.no_grad():
        logprobs = lm.model(input_ids=ids).logits[0].log_softmax(-1)
    places = range(len(before), len(before) + len(own))
    return float(sum(logprobs[p, ids[0, p + 1]] for p in places))


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.filterwarnings("ignore:.*cannot read several hypotheses as one tree")
@pytest.mark.filterwarnings("error:.*is deprecated")
def test_every_model_continues_from_its_cache(tmp_path: Path, architecture: str) -> None:
    lm = load(tmp_path, architecture)
    assert usable_cache(lm.model) is not None
    lm.score(random_texts(1))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", TREES)
def test_a_tree_is_its_sequences_alone(tmp_path: Path, architecture: str, attention: str) -> None:
    lm = load(tmp_path, architecture)
    if architecture not in ("gpt_neo", "gemma2") or attention == "eager":  # all that these have
        lm.model.set_attn_implementation(attention)
        assert lm.model.config._attn_implementation == attention
    lm = replace(lm, reader=reader_of(lm.model))
    assert lm.reader.trees and lm.reader.split
    for seed, eos in ((1, True), (2, False)):
        texts = random_texts(seed)
        expected = [alone(lm, (), text, eos) for text in texts]
        for batch_tokens in (1, 64, 4096):
            found = lm.score(texts, ScorerOptions(eos=eos, batch_tokens=batch_tokens))
            np.testing.assert_allclose(found.logprob, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("architecture", FLAT)
def test_models_that_read_no_trees_are_scored_one_by_one(tmp_path: Path, architecture: str) -> None:
    with pytest.warns(UserWarning, match="cannot read several hypotheses as one tree"):
        lm = load(tmp_path, architecture)
    assert not lm.reader.trees
    texts = random_texts(3)
    expected = [alone(lm, (), text, True) for text in texts]
    np.testing.assert_allclose(lm.score(texts).logprob, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("architecture", ["mistral-window", "gemma3", "gpt_neo"])
def test_texts_longer_than_a_window_are_scored_whole(tmp_path: Path, architecture: str) -> None:
    lm = load(tmp_path, architecture)
    assert lm.reader.window == 12
    texts = [TEXTS[6], "the cat", TEXTS[6] + " again"]
    expected = [alone(lm, (), text, True) for text in texts]
    np.testing.assert_allclose(lm.score(texts).logprob, expected, rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    """A random Llama."""
    return load(tmp_path_factory.mktemp("llama"), "llama")


@pytest.mark.parametrize("method", ["tree", "padded"])
@pytest.mark.parametrize("separator", ["\n", "eos"])
def test_context_is_read_and_not_scored(llama: CausalLM, method: Any, separator: str) -> None:
    texts = random_texts(4, 9)
    contexts = [("a dog ran", "the mat"), (), ("a dog ran",)] * 3
    end = [1] if separator == "eos" else naive_ids(llama, separator, False)[1:]
    expected = []
    for text, context in zip(texts, contexts, strict=True):
        before = [i for c in context for i in [*naive_ids(llama, c, False)[1:], *end]]
        expected.append(alone(llama, before, text, True))
    options = ScorerOptions(method=method, separator=separator)
    found = llama.score(Texts(texts, contexts), options)
    np.testing.assert_allclose(found.logprob, expected, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(found.tokens, llama.score(texts).tokens)


def test_a_long_context_of_all_is_read_once(llama: CausalLM, monkeypatch: Any) -> None:
    texts = random_texts(5)
    prompt = " ".join(WORDS[:8] * 2)
    batch = Texts(texts, [(prompt,)] * len(texts))
    whole = llama.score(batch, ScorerOptions(method="padded"))
    read: list[int] = []
    states = Reader.states

    def counting(self: Reader, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        read.append(ids.numel())
        return states(self, ids, **inputs)

    monkeypatch.setattr(Reader, "states", counting)
    found = replace(llama, tree_width=16).score(batch, ScorerOptions(batch_tokens=32))
    np.testing.assert_allclose(found.logprob, whole.logprob, rtol=0, atol=1e-3)
    # Several batches after the prompt, and fewer tokens than the texts alone.
    assert len(read) > 2
    assert sum(read[1:]) < sum(map(len, llama.encoder.encode(Texts(texts), CPU).ids))


def test_earlier_texts_that_do_not_fit_are_left_out(llama: CausalLM) -> None:
    long = " ".join(["naïve"] * 25)
    found = llama.score(Texts(["the cat"], [(long, "a dog")]))
    expected = llama.score(Texts(["the cat"], [("a dog",)]))
    assert found.logprob[0] == pytest.approx(expected.logprob[0], abs=1e-4)
    room = int(llama.score(["the cat"]).tokens[0])
    few = llama.score(Texts(["the cat"], [("a dog",)]), ScorerOptions(max_tokens=room))
    assert few.logprob[0] == pytest.approx(llama.score(["the cat"]).logprob[0], abs=1e-4)
    with pytest.raises(InputError, match=f"can read {room - 1}"):
        llama.score(["the cat"], ScorerOptions(max_tokens=room - 1))


def test_windows_over_a_long_text(llama: CausalLM) -> None:
    text = " ".join(["the cat sat on 東京"] * 14)
    with pytest.raises(InputError, match="too_long: window"):
        llama.score([text])
    found = llama.score(["a", text], ScorerOptions(too_long="window"))
    ids = np.array(naive_ids(llama, text, True))
    context = 128
    expected, scored = 0.0, 1
    while scored < len(ids):
        stop = min(len(ids), context + 1 if scored == 1 else scored + context // 2)
        begin = max(0, stop - context - 1)
        with torch.no_grad():
            logits = llama.model(input_ids=torch.tensor(ids[None, begin : stop - 1])).logits[0]
        places = torch.arange(scored, stop)
        expected += float(
            logits.log_softmax(-1)[places - 1 - begin, torch.tensor(ids[scored:stop])].sum()
        )
        scored = stop
    assert found.logprob[1] == pytest.approx(expected, abs=1e-3)
    assert found.tokens[1] == len(ids) - 1


def test_merged_histories_of_all_tokens_are_exact(llama: CausalLM) -> None:
    texts = [text for text in dict.fromkeys(random_texts(6, 20)) if text]
    batch = Texts(texts, [("a dog ran",)] * len(texts), np.arange(len(texts)) // 6)
    exact = llama.score(batch)
    merged = llama.score(batch, ScorerOptions(history=100))
    np.testing.assert_allclose(merged.logprob, exact.logprob, rtol=0, atol=1e-3)
    near = llama.score(batch, ScorerOptions(history=1))
    first = [0, 6, 12]  # the first of a list has its own context
    np.testing.assert_allclose(near.logprob[first], exact.logprob[first], rtol=0, atol=1e-3)
    assert np.abs(near.logprob - exact.logprob).max() > 0.01


def test_batches_are_halved_when_memory_runs_out(llama: CausalLM, monkeypatch: Any) -> None:
    texts = random_texts(7, 30)
    expected = llama.score(texts, ScorerOptions(batch_tokens=64)).logprob
    done: list[int] = []
    for name in ("forest", "padded"):
        original = getattr(Reader, name)

        def small(self: Reader, part: Any, *rest: Any, original: Any = original) -> Any:
            if len(part) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return original(self, part, *rest)

        monkeypatch.setattr(Reader, name, small)
    for method in ("tree", "padded"):
        done.clear()
        options = ScorerOptions(method=method)
        found = replace(llama, tree_width=16).score(texts, options, done.append)
        np.testing.assert_allclose(found.logprob, expected, rtol=0, atol=1e-3)
        assert sum(done) == len(texts)
    monkeypatch.setattr(Reader, "forest", out_of_memory)
    with pytest.raises(InputError, match="a single text does not fit into the memory"):
        llama.score(texts)


def out_of_memory(*_: Any) -> None:
    """The error of torch when the memory of the machine runs out."""
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def test_settings_that_contradict() -> None:
    for settings_, says in (
        ({"history": 0}, "at least 1"),
        ({"history": 4, "method": "padded"}, "needs `method: tree`"),
        ({"device": "cpu", "device_map": "auto"}, "give one"),
    ):
        with pytest.raises(InputError, match=says):
            ScorerOptions(**settings_)


def test_a_model_with_a_head_that_cannot_be_apart_gives_the_same(llama: CausalLM) -> None:
    texts = random_texts(8)
    whole = replace(llama, reader=replace(llama.reader, split=False))
    np.testing.assert_allclose(
        whole.score(texts).logprob, llama.score(texts).logprob, rtol=0, atol=1e-3
    )


UNSUITABLE: dict[str, Any] = {
    # Counts places of the input and not positions (ALiBi), little at a small distance.
    "mpt": lambda **k: MptConfig(
        d_model=256, n_heads=4, n_layers=2, max_seq_len=512, initializer_range=0.1, **k
    ),
    # Bends its logits by a setting of a name of its own.
    "recurrent_gemma": lambda **k: RecurrentGemmaConfig(
        num_hidden_layers=3, hidden_size=32, intermediate_size=48, num_attention_heads=4,
        num_key_value_heads=1, lru_width=32, head_dim=8, attention_window_size=64, **k,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*cannot read several hypotheses")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("architecture", UNSUITABLE)
def test_what_is_unsuitable_is_found_out_in_half_precision_too(
    tmp_path: Path, architecture: str, dtype: str
) -> None:
    folder = save_model(tmp_path, architecture, configs=UNSUITABLE)
    lm = CausalLM.load(folder, replace(CPU, dtype=dtype))
    assert not lm.reader.trees
    assert lm.reader.split == (architecture == "mpt")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox", "gemma2"])
def test_trees_are_read_in_half_precision_too(
    tmp_path: Path, architecture: str, dtype: str
) -> None:
    lm = CausalLM.load(save_model(tmp_path, architecture), replace(CPU, dtype=dtype))
    assert lm.reader.trees and lm.reader.split


def test_merged_paths_deeper_than_the_context_are_scored_exactly(tmp_path: Path) -> None:
    config = {"small": lambda **k: CONFIGS["gpt2"](**k)}
    lm = CausalLM.load(save_model(tmp_path, "small", configs=config), CPU)
    lm.model.config.n_positions = 16
    lm = replace(lm, encoder=replace(lm.encoder, context=16))
    texts = ["qwxyzjkcat mats", "qcat matszzzzzz"]
    batch = Texts(texts, None, np.array([0, 0]))
    exact = lm.score(batch, CPU).logprob
    np.testing.assert_allclose(lm.score(batch, replace(CPU, history=2)).logprob, exact, atol=1e-3)


@pytest.mark.parametrize("history", ["exact", 3])
def test_a_list_is_scored_in_one_context(llama: CausalLM, history: Any) -> None:
    """What does not fit beside the longest text is left out for all texts; the prompt stays."""
    texts = ["ab", "abcdefgh", "abc"]
    said = ("xyz", "uvw")
    options = ScorerOptions(max_tokens=20, history=history, device="cpu")
    batch = Texts(texts, [said] * 3, np.zeros(3, dtype=np.int64), ("PROM",))
    encoded = llama.encoder.encode(batch, options)
    before = {
        sequence[:begin].tobytes()
        for sequence, begin in zip(encoded.ids, encoded.first, strict=True)
    }
    assert len(before) == 1
    start = llama.tokenizer.decode(encoded.ids[0][1 : encoded.first[0]])
    assert start.split() == ["PROM", "uvw"]
    reference = llama.score(
        Texts(["PROM\nuvw\n" + text for text in texts]), replace(CPU, method="padded")
    )
    alone = llama.score(Texts(["PROM\nuvw\n"]), replace(CPU, eos=False)).logprob
    if history == "exact":
        np.testing.assert_allclose(
            llama.score(batch, options).logprob, reference.logprob - alone, atol=1e-3
        )


def test_letters_that_the_tokenizer_leaves_out_are_an_error(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<s>", "</s>"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=SIZE, special_tokens=special, show_progress=False)
    )
    folder = save_model(tmp_path, "gpt2")
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    made.save_pretrained(folder)
    lm = CausalLM.load(folder, CPU)
    assert np.isfinite(lm.score(["the cat sat", "the cat, sat!"]).logprob).all()
    with pytest.raises(TextError, match=r"^text 1: 'the Ω sat' has 'Ω', which .* leaves out"):
        lm.score(["the cat", "the Ω sat"])
    with pytest.raises(TextError, match=r"^text 0: .*'Ω'"):
        lm.score(Texts(["the cat"], [("Ω",)]))


def test_a_row_that_does_not_fit_is_read_in_smaller_trees(
    llama: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = random_texts(3, 60)
    expected = llama.score(texts).logprob
    original, sizes = Reader.forest, []

    def small(self: Reader, trees: Sequence[Tree], prefix: Any = None) -> list[np.ndarray]:
        sizes.append(len(trees) * max(map(len, trees)))
        if sizes[-1] > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, trees, prefix)

    monkeypatch.setattr(Reader, "forest", small)
    np.testing.assert_allclose(llama.score(texts).logprob, expected, rtol=0, atol=1e-3)
    assert max(sizes) > 60
    monkeypatch.setattr(Reader, "prefix", out_of_memory)
    long = ["the cat sat on the mat and the dog ran on the mat " + text for text in texts]
    monkeypatch.setattr(Reader, "forest", original)
    expected = llama.score(long, replace(CPU, method="padded")).logprob
    np.testing.assert_allclose(llama.score(long).logprob, expected, rtol=0, atol=1e-3)
