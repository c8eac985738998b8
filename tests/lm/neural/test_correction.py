"""Generative correction, against plain forward passes and transformers' own generation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.utils.generic import ModelOutput

from asr.nbest import Hypothesis, build_nbest, check_nbest, read_nbest, write_nbest
from experiments.cli import main
from lm.combine import one_best, total
from lm.errors import InputError
from lm.neural.causal import CausalLM, CausalScorer
from lm.neural.chat import PROMPT, ChatEncoder
from lm.neural.correction import answer_of, cleaned, correct_freely, load_corrector, with_answers
from lm.rescore import rescore
from lm.scorer import ScorerOptions

LISTS = {
    "u1": ["the cat sat on the mat", "the cat sat on a mat", "a cat sad on the mat"],
    "u2": ["a dog", "the dog", ""],
    "u3": ["the <|end|> cat", "it's 5 o'clock 東京"],
}
# The forms that templates have: marks around each turn, another turn's end than EOS, a space
# before the answer and after it, a block of thought before it, the last turn left open.
TEMPLATES = {
    "chatml": "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}",
    "inst": "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} "
    "[/INST]{% else %} {{ m.content | trim }} </s>{% endif %}{% endfor %}",
    "thinks": "{% for m in messages %}<|start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
    "open": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}",
}
END = {"chatml": "<|end|>", "inst": "</s>", "thinks": "<|end|>", "open": "</s>"}
HIDDEN: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 700,
    "initializer_range": 0.4,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
ARCHITECTURES: dict[str, Any] = {
    "llama": lambda size: LlamaConfig(vocab_size=size, **HIDDEN),
    "qwen2": lambda size: Qwen2Config(vocab_size=size, **HIDDEN),
    "mistral": lambda size: MistralConfig(vocab_size=size, sliding_window=32, **HIDDEN),
    "mamba": lambda size: MambaConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, state_size=4, initializer_range=0.4
    ),
}


def save_model(folder: Path, architecture: str = "llama", template: str | None = "chatml") -> Path:
    """A random checkpoint with a byte-level tokenizer and a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([PROMPT, *LISTS["u1"]] * 9, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|start|>", "<|end|>"],
    )
    made.chat_template = None if template is None else TEMPLATES[template]
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture](len(made)))
    # What checkpoints of instruction models say, and greedy search must not heed.
    model.generation_config.repetition_penalty = 1.3
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def load(folder: Path, **settings: Any) -> CausalLM:
    """Loads a model like the command, on the CPU."""
    return load_corrector(folder, ScorerOptions(device="cpu"), **settings)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a template."""
    return save_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def table() -> pd.DataFrame:
    """The lists, with word times and tokens of another model."""
    lists = {
        utt: [Hypothesis(text, -1.0 - i, -2.0, 1, times=([0], [2])) for i, text in enumerate(texts)]
        for utt, texts in LISTS.items()
    }
    made = build_nbest(lists, 0.02, times=True)
    return made.assign(lm=-3.0, **{"lm.tokens": 4})


def shown(texts: list[str], prompt: str = PROMPT) -> str:
    """The question as a model should get it."""
    numbered = "\n".join(f"{i}. {text}" for i, text in enumerate(texts, 1))
    return prompt.replace("{count}", str(len(texts))).replace("{hypotheses}", numbered)


def by_forward(model: CausalLM, template: str, texts: list[str], reply: str) -> tuple[float, int]:
    """One reply alone: the whole conversation as text, tokenised and read in one go."""
    tokenizer, network = model.encoder.tokenizer, model.reader.model
    messages = [{"role": "user", "content": shown(texts)}]
    settings: dict[str, Any] = {"tokenize": False, "enable_thinking": False}
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **settings)
    answered = [*messages, {"role": "assistant", "content": reply}]
    whole = tokenizer.apply_chat_template(answered, add_generation_prompt=False, **settings)
    assert whole.startswith(asked)
    if END[template] in whole[len(asked) :]:
        whole = whole[: whole.rindex(END[template])] + END[template]
    else:
        whole = whole.rstrip("\n") + END[template]
    first = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
    ids = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logprobs = network(input_ids=ids).logits[0, :-1].log_softmax(-1)
    chosen = logprobs.gather(1, ids[0, 1:, None])[first - 1 :, 0]
    return float(chosen.double().sum()), len(chosen)


@pytest.mark.parametrize(
    ("architecture", "template"),
    [
        *(("llama", template) for template in TEMPLATES),
        *((name, "chatml") for name in ("qwen2", "mistral", "mamba")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*cannot read several hypotheses as one tree")
def test_constrained_equals_the_whole_forward(
    tmp_path: Path, table: pd.DataFrame, architecture: str, template: str
) -> None:
    model = load(save_model(tmp_path, architecture, template))
    plain = table[table["utt"] != "u3"]
    scored = rescore(plain, CausalScorer(model), "chat")
    expected = [
        by_forward(model, template, LISTS[utt], text)
        for utt, text in zip(plain["utt"], plain["text"], strict=True)
    ]
    np.testing.assert_allclose(scored["chat"], [e[0] for e in expected], rtol=0, atol=1e-3)
    assert scored["chat.tokens"].tolist() == [e[1] for e in expected]
    check_nbest(scored, "table")


def test_batches_make_no_difference(llama: Path, table: pd.DataFrame) -> None:
    model = load(llama)
    whole = rescore(table, CausalScorer(model), "chat")["chat"]
    for size in (1, 300, 100_000):
        for method in ("tree", "padded"):
            options = ScorerOptions(batch_tokens=size, method=method)  # type: ignore[arg-type]
            found = rescore(table, CausalScorer(model, options), "chat")["chat"]
            np.testing.assert_allclose(found, whole, rtol=0, atol=1e-3)
    shuffled = table.sample(frac=1, random_state=2)
    found = rescore(shuffled, CausalScorer(model), "chat")["chat"].sort_index()
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-3)


def test_what_looks_special_in_a_hypothesis_is_characters(llama: Path) -> None:
    encoder = load(llama).encoder
    assert isinstance(encoder, ChatEncoder)
    end = encoder.tokenizer.convert_tokens_to_ids("<|end|>")
    ids = encoder.prompt_ids(LISTS["u3"])
    assert ids.count(end) == 1
    text = encoder.tokenizer.decode(ids)
    assert text.count("<|end|>") == 2
    assert shown(LISTS["u3"]) in text


def test_the_list_is_cut_and_the_prompt_can_be_replaced(llama: Path) -> None:
    encoder = load(llama, prompt="{count} of them:\n{hypotheses}\n{x}", most=2).encoder
    assert isinstance(encoder, ChatEncoder)
    text = encoder.tokenizer.decode(encoder.prompt_ids(["b {count}", "a  a", "c"]))
    assert "user\n2 of them:\n1. b {count}\n2. a a\n{x}<|end|>" in text
    with pytest.raises(InputError, match=r"no \{hypotheses\}"):
        load(llama, prompt="correct this")
    with pytest.raises(InputError, match="show at least 1"):
        load(llama, most=0)


def test_no_template(tmp_path: Path, table: pd.DataFrame) -> None:
    folder = save_model(tmp_path, template=None)
    with pytest.raises(InputError, match=r"has no chat template.*\(--plain\)"):
        load(folder)
    model = load(folder, plain=True)
    scored = rescore(table, CausalScorer(model), "chat")
    tokenizer, network = model.encoder.tokenizer, model.reader.model
    asked = "<s>" + shown(LISTS["u2"]) + "\n\nTranscription:"
    first = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
    ids = torch.tensor([tokenizer(asked + " the dog\n", add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logprobs = network(input_ids=ids).logits[0, :-1].log_softmax(-1)
    expected = logprobs.gather(1, ids[0, 1:, None])[first - 1 :].sum()
    row = scored[(scored["utt"] == "u2") & (scored["text"] == "the dog")].iloc[0]
    assert row["chat"] == pytest.approx(float(expected), abs=1e-3)
    assert row["chat.tokens"] == ids.shape[1] - first


def test_a_template_that_fails(tmp_path: Path) -> None:
    folder = save_model(tmp_path)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no user turns') }}")
    with pytest.raises(InputError, match=r"takes no question and answer \(no user turns\)"):
        load(folder)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "mamba"])
@pytest.mark.filterwarnings("ignore:.*cannot read several hypotheses as one tree")
def test_free_equals_transformers_generation(tmp_path: Path, architecture: str) -> None:
    model = load(save_model(tmp_path, architecture))
    encoder, network = model.encoder, model.reader.model
    assert isinstance(encoder, ChatEncoder)
    for texts in LISTS.values():
        prompt, most = encoder.question(texts)
        longest = max(len(encoder.tokenizer(text)["input_ids"]) for text in texts)
        assert most == int(1.5 * longest) + 16
        ids = torch.tensor([prompt])
        generated = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            repetition_penalty=1.0,
            max_new_tokens=most,
            eos_token_id=[1, encoder.end],
            pad_token_id=1,
        )[0, len(prompt) :]
        expected = encoder.tokenizer.decode(generated, skip_special_tokens=True)
        found = answer_of(model, prompt, most)
        assert found == answer_of(model, prompt, most)
        assert expected.startswith(found)
        assert found == expected or "\n" in found


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.filterwarnings("ignore:.*cannot read several hypotheses as one tree")
def test_free_equals_reading_everything_again(tmp_path: Path, architecture: str) -> None:
    model = load(save_model(tmp_path, architecture))
    encoder, network = model.encoder, model.reader.model
    assert isinstance(encoder, ChatEncoder)
    for texts in LISTS.values():
        prompt, most = encoder.question(texts)
        ids, text = list(prompt), ""
        while len(ids) < len(prompt) + most and "\n" not in text.lstrip():
            with torch.no_grad():
                logits = network(input_ids=torch.tensor([ids]), use_cache=False).logits
            token = int(logits[0, -1].argmax())
            if token in (1, encoder.end):
                break
            ids.append(token)
            text = encoder.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)
        assert answer_of(model, prompt, most) == text
        assert len(ids) > len(prompt) + 5


@pytest.mark.filterwarnings("ignore:.*cannot read several hypotheses as one tree")
def test_a_cache_that_is_not_heeded_is_not_used(tmp_path: Path) -> None:
    model = load(save_model(tmp_path, "mamba"))
    assert isinstance(model.encoder, ChatEncoder)
    prompt, most = model.encoder.question(LISTS["u1"])
    expected = answer_of(model, prompt, most)

    class Forgetful(MambaForCausalLM):
        """Takes a cache, as some versions of transformers do, and reads as if it were empty."""

        def forward(self, input_ids: Any, cache: Any = None, use_cache: bool = False) -> Any:
            output = super().forward(input_ids=input_ids, use_cache=False)
            return ModelOutput(logits=output.logits, cache=("nothing",) if use_cache else None)

    network = Forgetful(model.reader.model.config).eval()
    network.load_state_dict(model.reader.model.state_dict())
    forgetful = replace(model, reader=replace(model.reader, model=network))
    with pytest.warns(UserWarning, match="Forgetful cannot continue from what it has read"):
        assert answer_of(forgetful, prompt, most) == expected


@pytest.mark.slow
def test_free_answers_lead_their_lists(llama: Path, table: pd.DataFrame) -> None:
    model = load(llama)
    done: list[int] = []
    found = correct_freely(table, model, progress=done.append)
    again = correct_freely(table, model)
    pd.testing.assert_frame_equal(found.table, again.table)
    assert sum(done) == len(table)
    check_nbest(found.table, "table")
    assert set(found.new) <= set(found.changed)
    for utt, texts in LISTS.items():
        listed = found.table.loc[found.table["utt"] == utt, "text"].tolist()
        encoder = model.encoder
        assert isinstance(encoder, ChatEncoder)
        answer = cleaned(answer_of(model, *encoder.question(texts)))
        if utt in found.rejected:
            assert listed == texts
        else:
            assert listed == [answer, *(text for text in texts if text != answer)]
    # A random model writes answers that are in no list.
    assert found.new
    none = correct_freely(table, model, guard=0.1)
    assert none.rejected == tuple(LISTS) and not none.changed
    pd.testing.assert_frame_equal(none.table, table)
    with pytest.raises(InputError, match="guard of -1"):
        correct_freely(table, model, guard=-1)


def test_rows_of_answers(table: pd.DataFrame) -> None:
    found = with_answers(table, {"u1": "a cat sat", "u2": "", "u3": LISTS["u3"][0]})
    check_nbest(found, "table")
    texts = found.groupby("utt", sort=False)["text"].agg(list).to_dict()
    assert texts == {
        "u1": ["a cat sat", *LISTS["u1"]],
        "u2": ["", "a dog", "the dog"],
        "u3": LISTS["u3"],
    }
    new = found.iloc[0]
    assert new[["acoustic", "ngram", "lm"]].tolist() == [-math.inf] * 3
    assert (new["rank"], new["words"], new["oov"], new["lm.tokens"]) == (1, 3, 0, 0)
    assert len(new["word_starts"]) == 0
    kept = found[found["acoustic"] > -math.inf].set_index(["utt", "text"]).drop(columns="rank")
    before = table.set_index(["utt", "text"]).drop(columns="rank")
    pd.testing.assert_frame_equal(kept, before.loc[kept.index])
    # The answer wins by its rank, and not in a weighted sum before it has been scored.
    assert one_best(found)["u1"] == "a cat sat"
    assert one_best(found, {"acoustic": 1.0, "lm": 0.5})["u1"] == LISTS["u1"][0]
    assert total(found, {"words": 1.0})[0] == 3


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("the cat", "the cat"),
        ("\n\n  the   cat \nor not", "the cat"),
        ('"the cat"', "the cat"),
        ("“the cat”\n", "the cat"),
        ("2. the cat", "the cat"),
        ("it's the dogs'", "it's the dogs'"),
        ('"the" cat', '"the" cat'),
        ("", ""),
        ('"', '"'),
    ],
)
def test_cleaned(answer: str, expected: str) -> None:
    assert cleaned(answer) == expected


def test_prompt_longer_than_the_context(llama: Path, table: pd.DataFrame) -> None:
    model = load(llama, most=100)
    long = [" ".join(["the cat sat"] * 20) + f" {i}" for i in range(9)]
    more = build_nbest({"u1": [Hypothesis("a", 0.0)], "u9": [Hypothesis(t, -1.0) for t in long]})
    message = r"prompt of [\d,]+ tokens and a reply of \d+, and .* can read 700; show fewer"
    with pytest.raises(InputError, match=rf"^utterance u9, rank 1: 'the cat .* {message}"):
        rescore(more, CausalScorer(model), "chat")
    with pytest.raises(InputError, match=f"^utterance u9 has a {message}"):
        correct_freely(more, model)


@pytest.mark.filterwarnings("ignore:.*cannot read several hypotheses as one tree")
def test_nan_names_the_utterance(tmp_path: Path, table: pd.DataFrame) -> None:
    folder = save_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = load(folder)
    with pytest.raises(InputError, match=r"^utterance u1, rank 1: 'the cat.* log-prob nan"):
        rescore(table, CausalScorer(model), "chat")
    with pytest.raises(InputError, match=r"^utterance u1 makes .* give NaN; use --dtype"):
        correct_freely(table, model)


@pytest.mark.slow
def test_command(llama: Path, table: pd.DataFrame, tmp_path: Path, capsys: Any) -> None:
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    write_nbest(table, source)
    command = ["correct", str(source), "--model", str(llama), "--device", "cpu", "-o", str(output)]
    assert main([*command, "--name", "chat", "--normaliser", "lower"]) == 0
    scored = read_nbest(output)
    expected = rescore(table, CausalScorer(load(llama)), "chat", "lower")
    np.testing.assert_allclose(scored["chat"], expected["chat"], rtol=0, atol=1e-4)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Which one?\n{hypotheses}\n")
    options = ["--free", "--answer-normaliser", "lower", "--prompt", str(prompt)]
    assert main([*command, *options]) == 0
    model = load(llama, prompt="Which one?\n{hypotheses}")
    free = correct_freely(table, model, answer_normaliser="lower")
    pd.testing.assert_frame_equal(read_nbest(output), free.table)
    capsys.readouterr()
    assert main([*command, "--free", "--guard", "0.1"]) == 0
    assert "3 were rejected, so that the first pass's best was kept" in capsys.readouterr().err
    for wrong, reason in (
        (["--guard", "0.1"], "need --free"),
        (["--prompt", str(tmp_path / "none.txt")], "the prompt cannot be read"),
        (["--name", "lm"], "column 'lm' exists"),
    ):
        assert main([*command, *wrong]) == 2
        assert reason in capsys.readouterr().err
