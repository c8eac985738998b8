"""Language-model training: it learns, resumes, and writes checkpoints that score texts."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments.cli import main
from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.training.causal_lm import train_lm
from lm.training.optimizer import MuonWithAdamW
from lm.training.sequences import TokenBatches, encode, train_tokenizer
from lm.training.settings import LMTraining, LoRA
from tests.support.training import Killed, KilledBefore

TEXTS = ["the cat sat on the mat", "no one knew the way home", "she sent the mail by sea"]
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}


@pytest.fixture
def settings(tmp_path: Path) -> LMTraining:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS * 20) + "\n")
    return LMTraining(
        output=str(tmp_path / "lm"),
        texts=(str(text),),
        valid=str(text),
        architecture=ARCHITECTURE,
        vocab_size=300,
        batch_tokens=128,
        epochs=30,
        learning_rate=5e-3,
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_the_text_and_the_checkpoint_scores_it(
    settings: LMTraining, optimizer: str
) -> None:
    figures = train_lm(replace(settings, optimizer=optimizer, save_dtype="float16"))
    assert figures["valid_word_perplexity"] < 6
    model = CausalLM.load(settings.output)
    known, other = model.score([TEXTS[0], "mat the on sat cat the"]).logprob
    assert known > other + 5
    # The held-out figures agree with the scorer's for the same text, sentence ends included.
    scores = model.score(TEXTS)
    words = sum(len(text.split()) + 1 for text in TEXTS)
    expected = math.exp(-scores.logprob.sum() / words)
    assert figures["valid_word_perplexity"] == pytest.approx(expected, rel=0.02)
    stored = AutoModelForCausalLM.from_pretrained(settings.output)
    assert next(stored.parameters()).dtype == torch.float16


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_continued_run_gives_what_a_run_without_a_break_gives(
    settings: LMTraining, optimizer: str
) -> None:
    settings = replace(settings, optimizer=optimizer, epochs=4, save_steps=8, warmup=0.2)
    whole = train_lm(replace(settings, output=settings.output + "-whole"))
    with pytest.raises(Killed):
        train_lm(settings, callbacks=[KilledBefore(13)])
    assert not (Path(settings.output) / "config.json").exists()
    again = train_lm(settings, resume=True)
    assert (whole["first_step"], again["first_step"]) == (0, 8)
    assert again["steps"] == whole["steps"] > 13
    assert again["valid_loss"] == pytest.approx(whole["valid_loss"], rel=1e-5)


@pytest.mark.slow
def test_fine_tuning_starts_from_the_checkpoint(settings: LMTraining, tmp_path: Path) -> None:
    base = train_lm(settings)
    tuned = replace(
        settings,
        output=str(tmp_path / "tuned"),
        model=settings.output,
        architecture={},
        learning_rate=1e-6,
        epochs=0.1,
    )
    figures = train_lm(tuned)
    for name in ("valid_loss", "valid_word_perplexity"):
        assert figures[f"{name}_before"] == pytest.approx(base[name], rel=1e-4)
        assert f"{name}_before" not in base
    one, two = (CausalLM.load(p).score(TEXTS).logprob for p in (settings.output, tuned.output))
    assert np.allclose(one, two, atol=0.05)


def test_words_have_one_encoding_in_every_place() -> None:
    tokenizer = train_tokenizer(iter(TEXTS * 5), 300)
    first = tokenizer("sea cat", add_special_tokens=False)["input_ids"]
    second = tokenizer("cat sea", add_special_tokens=False)["input_ids"]
    assert sorted(first) == sorted(second)
    odd = "naïve – 漢字"
    assert tokenizer.decode(tokenizer(odd, add_special_tokens=False)["input_ids"]).strip() == odd


def test_batches_hold_every_line_once_within_the_limit() -> None:
    rng = np.random.default_rng(0)
    sequences = [np.full(n, i) for i, n in enumerate(rng.integers(3, 40, 500))]
    batches = TokenBatches(sequences, 200, pad=0, seed=1)
    seen = np.concatenate(batches.batches)
    assert sorted(seen) == list(range(500))
    for i in range(len(batches)):
        batch = batches[i]
        assert batch["input_ids"].numel() <= 200
        assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()


def test_muon_takes_hidden_matrices_and_shares_the_learning_rate(settings: LMTraining) -> None:
    train_lm(replace(settings, epochs=0.5))
    model = AutoModelForCausalLM.from_pretrained(settings.output)
    optimizer = MuonWithAdamW(model, 1e-3, 0.1)
    muon = {id(p) for g in optimizer.muon.param_groups for p in g["params"]}
    embeddings = id(model.get_input_embeddings().weight)
    assert embeddings not in muon
    assert all((id(p) in muon) == (p.ndim == 2 and id(p) != embeddings) for p in model.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    assert optimizer.adamw.param_groups[0]["lr"] == 0.5
    assert AutoTokenizer.from_pretrained(settings.output).eos_token == "</s>"


def encode_lines(lines: list[str], max_tokens: int, **options: bool) -> Any:
    """Lines under a tokenizer of bytes: a token a character, and one for the space before."""
    tokenizer = train_tokenizer(iter(["x"]), 258)
    return tokenizer, encode(tokenizer, iter(lines), max_tokens, **options)


@pytest.mark.parametrize("max_tokens", [14, 15, 16, 30, 1000])
def test_running_text_keeps_lines_whole_and_in_order(max_tokens: int) -> None:
    rng = np.random.default_rng(max_tokens)
    lines = [" ".join("abcdefghijkl"[: n // 2]) for n in rng.integers(2, 14, 300)]
    tokenizer, found = encode_lines(lines, max_tokens, running=True)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert found.lines == len(lines) and found.too_long == 0
    assert found.words == sum(len(line.split()) for line in lines)
    read: list[str] = []
    for sequence in found.sequences:
        assert len(sequence) <= max_tokens
        assert sequence[0] == start and sequence[-1] == end and (sequence[1:] != start).all()
        text = tokenizer.decode(sequence[1:-1]).split(tokenizer.eos_token)
        read += [line.strip() for line in text]
    assert read == lines
    # No sequence could have taken the first line of the next.
    for one, two in itertools.pairwise(found.sequences):
        assert len(one) + (two == end).argmax() > max_tokens
    assert found.tokens == sum(len(line) + 2 for line in lines)


def test_lines_that_are_too_long_are_cut_or_left_out() -> None:
    lines = ["a b c", "d" * 30, "e"]
    for running in (False, True):
        tokenizer, found = encode_lines(lines, 12, running=running)
        text = "".join(tokenizer.decode(sequence) for sequence in found.sequences)
        assert found.too_long == 1 and found.lines == 3 and text.count("d") == 9
        _, found = encode_lines(lines, 12, running=running, cut=False)
        assert (found.too_long, found.lines, found.words) == (1, 2, 4)
    assert len(found.sequences) == 1  # the lines before and after it are in one sequence


@pytest.mark.slow
def test_perplexity_of_running_text_is_that_of_lines_in_context(
    settings: LMTraining, tmp_path: Path
) -> None:
    figures = train_lm(replace(settings, running=True, max_tokens=64, epochs=4))
    model = CausalLM.load(settings.output)
    lines = Path(settings.texts[0]).read_text().split("\n")[:-1]
    found = encode(model.tokenizer, iter(lines), 64, running=True)
    loss = tokens = 0.0
    with torch.inference_mode():
        for sequence in found.sequences:  # one at a time, by transformers' own loss
            ids = torch.tensor(sequence[None].astype(np.int64))
            loss += float(model.model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
            tokens += ids.shape[1] - 1
    assert figures["valid_loss"] == pytest.approx(loss / tokens, rel=1e-4)
    words = sum(len(line.split()) + 1 for line in lines)
    assert figures["valid_word_perplexity"] == pytest.approx(math.exp(loss / words), rel=1e-3)


@pytest.mark.parametrize("save_steps", [1000, pytest.param(3, marks=pytest.mark.slow)])
def test_lora_is_merged_into_an_ordinary_checkpoint(
    settings: LMTraining, tmp_path: Path, save_steps: int
) -> None:
    pytest.importorskip("peft", reason="needs the extra `lora`: pip install secondpass[lora]")
    train_lm(settings)
    new = tmp_path / "new.txt"
    new.write_text("home by the sea\nthe mail sat on the mat\n" * 20)
    tuned = replace(
        settings,
        output=str(tmp_path / "tuned"),
        texts=(str(new),),
        valid=str(new),
        model=settings.output,
        architecture={},
        lora=LoRA(rank=4),
        optimizer="adamw",
        epochs=20,
        learning_rate=1e-2,
        save_steps=save_steps,
    )
    figures = train_lm(tuned)
    assert figures["valid_word_perplexity"] < figures["valid_word_perplexity_before"] / 2
    base, model = (
        AutoModelForCausalLM.from_pretrained(path) for path in (settings.output, tuned.output)
    )
    assert {n: p.shape for n, p in base.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }
    # Only linear layers differ, by matrices of the rank.
    for (name, one), two in zip(base.named_parameters(), model.parameters(), strict=True):
        changed = torch.linalg.matrix_rank((two - one).detach(), rtol=1e-3) if one.ndim == 2 else 0
        assert changed == (4 if "proj" in name else 0), name
    texts = new.read_text().split("\n")[:2]
    logprob = CausalLM.load(tuned.output).score(texts).logprob.sum()
    words = sum(len(text.split()) + 1 for text in texts)
    assert figures["valid_word_perplexity"] == pytest.approx(math.exp(-logprob / words), rel=1e-3)
    if save_steps == 3:
        again_in = replace(tuned, output=str(tmp_path / "again"))
        with pytest.raises(Killed):
            train_lm(again_in, callbacks=[KilledBefore(11)])
        assert train_lm(again_in, resume=True)["first_step"] == 9
        again = CausalLM.load(again_in.output).score(texts).logprob.sum()
        assert again == pytest.approx(logprob, rel=1e-4)


@pytest.mark.slow
def test_command_prints_figures_and_what_was_cut(
    settings: LMTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "long.txt"
    text.write_text("\n".join([*TEXTS, "far " * 50]) + "\n")
    config = tmp_path / "lm.yaml"
    values = {"output": settings.output, "texts": [str(text)], "valid": str(text), "epochs": 1}
    values |= {"architecture": ARCHITECTURE, "vocab_size": 300, "max_tokens": 40}
    config.write_text(yaml.safe_dump(values))
    assert main(["train-lm", str(config), "--resume"]) == 2
    assert "there is no checkpoint to continue from" in capsys.readouterr().err
    assert main(["train-lm", str(config)]) == 0
    printed = capsys.readouterr()
    assert "valid_word_perplexity: " in printed.out and "valid_words: 18" in printed.out
    assert "1 lines are longer than max_tokens and were cut" in printed.err
    assert "1 held-out lines are longer" in printed.err
    for options in ([], ["--resume"]):
        assert main(["train-lm", str(config), *options]) == 0
        again = capsys.readouterr()
        assert again.out == printed.out
        assert "this model is complete and was trained with the same settings" in again.err
    assert main(["train-lm", str(config), "epochs=2"]) == 2
    assert "`epochs` was 1.0 and is 2.0" in capsys.readouterr().err
    assert main(["train-lm", str(config), "epochs=2", "--restart"]) == 0
    assert "steps: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": ()}, "names no file"),
        ({"model": "x"}, "not both"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"texts": ("missing.txt",)}, r"missing\.txt"),
        ({"valid": "missing.txt"}, r"missing\.txt"),
        ({"valid": "EMPTY"}, r"empty\.txt: no text is left.*validate on"),
        ({"texts": ("EMPTY",), "vocab_size": 258}, r"empty\.txt: no text is left.*train on"),
        ({"valid": "BINARY"}, r"binary\.txt, line 1: not UTF-8 \(byte 0xFF after 'the cat'\)"),
        ({"vocab_size": 100}, "`vocab_size` is 100, but.*at least 258"),
        ({"max_tokens": 200}, "`max_tokens` is 200, but the model reads at most 128"),
        ({"max_tokens": 2}, "`max_tokens` is 2; use"),
        ({"epochs": 0.0}, "must be above 0"),
        ({"warmup": 5.0}, "`warmup` is 5.0; use a share"),
        ({"architecture": {**ARCHITECTURE, "model_type": "lama"}}, "no such `architecture`"),
        (
            {"architecture": {**ARCHITECTURE, "hiden_size": 8}},
            "nearest one is `architecture.hidden_size`",
        ),
        ({"architecture": {**ARCHITECTURE, "vocab_size": 9}}, "leave it out"),
        ({"lora": LoRA()}, "give the `model`"),
        ({"lora": LoRA(), "model": "x", "architecture": {}}, "optimizer: adamw"),
        ({"model": "./none-such/model", "architecture": {}}, "none-such/model"),
    ],
)
def test_wrong_settings(
    settings: LMTraining, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    names = {"EMPTY": tmp_path / "empty.txt", "BINARY": tmp_path / "binary.txt"}
    names["EMPTY"].write_text(" \n\n".strip(" "))
    names["BINARY"].write_bytes(b"the cat\xff\xfe\n")
    change = {
        key: str(names.get(value, value)) if isinstance(value, str) else value
        for key, value in change.items()
    }
    if change.get("texts") == ("EMPTY",):
        change["texts"] = (str(names["EMPTY"]),)
    with pytest.raises(InputError, match=message):
        train_lm(replace(settings, **change))
    assert not (Path(settings.output) / "config.json").exists()


def test_the_longest_possible_sequences_can_be_trained_on(settings: LMTraining) -> None:
    assert train_lm(replace(settings, running=True, max_tokens=64, epochs=0.5))["cut_lines"] == 0


@pytest.mark.slow
def test_other_settings_or_data_are_refused(settings: LMTraining, tmp_path: Path) -> None:
    settings = replace(settings, epochs=2)
    figures = train_lm(settings)
    assert train_lm(settings) == figures
    before = CausalLM.load(settings.output).score(TEXTS).logprob
    text = tmp_path / "other.txt"
    text.write_text("quite another text\n" * 20)
    other = str(text)
    deeper = {**ARCHITECTURE, "num_hidden_layers": 3}
    changes: list[tuple[dict[str, Any], str]] = [
        ({"texts": (other,)}, "the content of `texts` has changed"),
        ({"valid": other}, "the content of `valid` has changed"),
        ({"architecture": deeper}, "`architecture` was .* and is .*"),
        ({"learning_rate": 1e-3}, "`learning_rate` was 0.005 and is 0.001"),
    ]
    for change, message in changes:
        for resume in (None, True):
            with pytest.raises(InputError, match=f"{message}.*another `output`.*--restart"):
                train_lm(replace(settings, **change), resume)
    np.testing.assert_array_equal(CausalLM.load(settings.output).score(TEXTS).logprob, before)
    # The same text under another name is the same text.
    copied = tmp_path / "copy.txt"
    copied.write_bytes(Path(settings.texts[0]).read_bytes())
    assert train_lm(replace(settings, texts=(str(copied),))) == figures
    restarted = train_lm(replace(settings, learning_rate=1e-3), resume=False)
    assert restarted["first_step"] == 0 and restarted["valid_loss"] != figures["valid_loss"]


@pytest.mark.slow
def test_another_model_to_start_from_is_refused(settings: LMTraining, tmp_path: Path) -> None:
    start = replace(settings, epochs=1)
    train_lm(start)
    tuned = replace(
        start, output=str(tmp_path / "tuned"), model=start.output, architecture={}, epochs=0.5
    )
    train_lm(tuned)
    train_lm(replace(start, seed=2), resume=False)  # other weights in the same folder
    with pytest.raises(InputError, match="the content of `model` has changed"):
        train_lm(tuned)


def test_muon_leaves_an_untied_output_layer_to_adamw(settings: LMTraining) -> None:
    untied = {**ARCHITECTURE, "tie_word_embeddings": False}
    train_lm(replace(settings, architecture=untied, epochs=0.5))
    model = AutoModelForCausalLM.from_pretrained(settings.output)
    muon = {id(p) for g in MuonWithAdamW(model, 1e-3, 0.1).muon.param_groups for p in g["params"]}
    assert id(model.get_output_embeddings().weight) not in muon and muon
