"""What normalisers remove is counted: nothing, a part with a warning, or an error."""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from asr.hypothesis import Hypothesis
from asr.nbest import build_nbest, read_nbest, write_nbest
from experiments.cli import main
from experiments.comparison.counting import Counting
from experiments.comparison.references import References
from lm.errors import InputError
from lm.estimation.counted_text import read_corpus
from lm.rescore import load_scorer
from lm.scorer import ScorerOptions
from lm.text.letters import is_letter, letters_of
from lm.text.loss import TextLoss, normalised, vocabulary_loss
from lm.text.normalisers import NORMALISERS, Normaliser, normaliser
from lm.training.sequences import read_lines

# The same number of words each, none of them shared with another text.
SCRIPTS = {
    "chinese": ("今天 天气 很 好", "明天 下雨 不 好"),
    "russian": ("привет мир", "пока мир"),
    "arabic": ("مرحبا يا عالم", "وداعا يا عالم"),
    "hindi": ("नमस्ते दुनिया", "अलविदा दुनिया"),
    "thai": ("สวัสดี ชาวโลก", "ลาก่อน ชาวโลก"),
    "digits": ("555 1234", "555 9876"),
}


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="secondpass")


@given(st.text())
def test_lost_letters_of_any_text_are_counted(text: str) -> None:
    """A letter is in the result, or it is counted as lost, whatever the normaliser."""
    for name in ("unicode", "librispeech", "lower", "sentence", "whisper", "none", "lower+stop"):
        clean = normaliser(name)
        loss = TextLoss.of(clean)
        result = clean(text)
        loss.add(text, result)
        assert loss.letters == len(letters_of(text))
        if letters_of(text) and not letters_of(result):
            assert loss.problem() is not None
            with pytest.raises(InputError, match=f"`{name.replace('+', '[+]')}`"):
                loss.check("text")
        if name in ("unicode", "none"):
            assert loss.lost == 0


@given(st.text())
def test_unicode_keeps_every_letter_and_mark(text: str) -> None:
    """The letters are those of the standard's folding, and what is left is settled."""
    clean = normaliser("unicode")
    result = clean(text)
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    assert letters_of(result) == letters_of(folded)
    assert all(unicodedata.category(c)[0] in "LNM" or c in " '·׳״" for c in result)
    assert "  " not in result
    assert result == result.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L’homme — «ÉTÉ», naïve!", "l'homme été naïve"),
        ("cafe\u0301 CAFÉ", "café café"),
        ("Straße STRASSE ﬁn", "strasse strasse fin"),
        ("我们，去公园。", "我们 去公园"),
        ("ＡＢＣ １２３", "abc 123"),
        ("नमस्ते, दुनिया!", "नमस्ते दुनिया"),
        ("'tis the boys' ‘house’ don`t", "tis the boys house don't"),
        ("call 555-1234", "call 555 1234"),
        ("co\u00adoperate \ufeffme", "cooperate me"),
        ("... — ' ¨", ""),
    ],
)
def test_unicode_spelling(text: str, expected: str) -> None:
    assert normaliser("unicode")(text) == expected
    assert normaliser("unicode")(expected) == expected


@pytest.mark.parametrize("script", SCRIPTS)
def test_errors_are_counted_in_every_script(script: str, tmp_path: Path) -> None:
    reference, hypothesis = SCRIPTS[script]
    words = reference.split()
    wrong = sum(a != b for a, b in zip(words, hypothesis.split(), strict=True))
    (tmp_path / "refs").write_text(f"u {reference}\n", encoding="utf-8")
    lists = build_nbest({"u": [Hypothesis(hypothesis, -1.0, 0.0, 0, 0)]})
    write_nbest(lists, tmp_path / "n.parquet")
    command = ["score", str(tmp_path / "n.parquet"), "--refs", str(tmp_path / "refs")]
    out = tmp_path / "out"
    assert main([*command, "--out", str(out)]) == 0
    systems = pd.read_parquet(out / "systems.parquet")
    assert systems["wer"].tolist() == [wrong / len(words)]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_normaliser_that_leaves_nothing_is_refused(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command that passes text through one; no command writes anything."""
    reference, hypothesis = SCRIPTS[script]
    lists, refs, text = tmp_path / "n.parquet", tmp_path / "refs", tmp_path / "text.txt"
    refs.write_text(f"u {reference}\n", encoding="utf-8")
    text.write_text(f"{reference}\n", encoding="utf-8")
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"audio_filepath": "a.wav", "text": reference}))
    write_nbest(build_nbest({"u": [Hypothesis(hypothesis, -1.0, 0.0, 0, 0)]}), lists)
    arpa = tmp_path / "lm.arpa"
    assert main(["ngram", str(text), "-o", str(arpa), "--order", "1", "--discount-fallback"]) == 0
    out = tmp_path / "out"
    wanted = ["--normaliser", "librispeech", "-o", str(out)]
    refused = [
        ["score", str(lists), "--refs", str(refs), "--normaliser", "librispeech"],
        ["tune", str(lists), "--refs", str(refs), "--columns", "acoustic,words", *wanted],
        ["rescore", str(lists), "--model", str(arpa), "--name", "x", *wanted],
        ["prepare-text", str(text), *wanted],
        ["prepare-text", str(manifest), *wanted],
        ["ngram", str(text), "--order", "1", *wanted],
    ]
    for command in refused:
        capsys.readouterr()
        assert main(command) == 2, command
        message = capsys.readouterr().err
        assert "`librispeech` leaves nothing" in message or "`librispeech` loses" in message
        assert "`unicode` keeps the letters and digits of every script" in message
        assert not out.exists()
    assert main(["rescore", str(lists), "--model", str(arpa), "--name", "x", "-o", str(out)]) == 0
    assert read_nbest(out)["x.tokens"].tolist() == [1 + len(hypothesis.split())]


@pytest.mark.parametrize("script", ["chinese", "digits"])
def test_a_comparison_in_another_script(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second hypothesis is right, and its score says so."""
    reference, wrong = SCRIPTS[script]
    utts = [f"u{number}" for number in range(4)]
    (tmp_path / "refs").write_text("".join(f"{u} {reference}\n" for u in utts), encoding="utf-8")
    pair = [Hypothesis(wrong, -1.0, -9.0, 0, 0), Hypothesis(reference, -2.0, -1.0, 0, 0)]
    write_nbest(build_nbest(dict.fromkeys(utts, pair)), tmp_path / "n.parquet")
    split = {
        "nbest": str(tmp_path / "n.parquet"),
        "format": "parquet",
        "references": str(tmp_path / "refs"),
    }
    config = {
        "name": script,
        "splits": {"dev": split, "test": split},
        "dev": ["dev"],
        "systems": {
            "first": {"lists": "imported"},
            "second": {"lists": "imported", "columns": ["acoustic", "ngram"]},
        },
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config), encoding="utf-8")
    out = tmp_path / "out"
    command = ["compare", str(tmp_path / "c.yaml"), "--out", str(out)]
    assert main(command) == 0
    systems = pd.read_parquet(out / "systems.parquet")
    on_test = systems[systems["split"] == "test"].set_index("system")["wer"]
    assert on_test["first"] > 0
    assert on_test["second"] == 0
    assert systems["signature"].str.contains("wer unicode").all()
    capsys.readouterr()
    assert main([*command, "normaliser=librispeech"]) == 2
    assert "references: the normaliser `librispeech`" in capsys.readouterr().err


def test_a_part_that_is_lost_is_a_warning_with_examples(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["call 555 now", "the café is open", "good morning everyone"]
    spelled = normalised(texts, normaliser("librispeech"), "references")
    assert list(spelled.values()) == ["CALL NOW", "THE CAFE IS OPEN", "GOOD MORNING EVERYONE"]
    assert caplog.messages == [
        "references: the normaliser `librispeech` loses 3 of 42 letters and digits (5), with "
        "them 1 whole word, for example: 'call 555 now' becomes 'CALL NOW'. Choose another "
        "normaliser: `unicode` keeps the letters and digits of every script, `none` changes nothing"
    ]
    caplog.clear()
    normalised(texts, normaliser("unicode"), "references")
    normalised(texts[1:], normaliser("librispeech"), "references")
    assert not caplog.messages


def test_texts_without_letters_lose_nothing() -> None:
    normalised(["", "...", "-- !"], normaliser("librispeech"), "references")


def test_brackets_that_whisper_removes_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The letters are ones that it can spell: what is lost are whole texts."""
    normalised(["[laughter]", "so it goes"], normaliser("whisper"), "references")
    assert "leaves nothing of 1 of 2 texts, for example: '[laughter]' becomes ''" in caplog.text
    with pytest.raises(InputError, match="leaves nothing of 2 of 2 texts"):
        normalised(["[laughter]", "(cough)"], normaliser("whisper"), "references")


def test_hypotheses_are_watched_over_all_their_tables(caplog: pytest.LogCaptureFixture) -> None:
    """One later text that is lost is no reason to stop; it is reported once."""
    references = References({"u": "good morning"}, Counting(normaliser("librispeech")))
    first = build_nbest({"u": [Hypothesis("good morning", -1.0, 0.0, 0, 0)]})
    late = build_nbest({"u": [Hypothesis("555", -1.0, 0.0, 0, 0)]})
    references.counts(first)
    references.counts(late)
    references.counts(build_nbest({"u": [Hypothesis("777", -1.0, 0.0, 0, 0)]}))
    assert [m.split(":")[0] for m in caplog.messages] == ["hypotheses"]
    fresh = References({"u": "good morning"}, Counting(normaliser("librispeech")))
    with pytest.raises(InputError, match="hypotheses: the normaliser `librispeech`"):
        fresh.counts(late)


def test_words_are_composed_when_text_is_read(tmp_path: Path) -> None:
    """The same word in two Unicode forms is one word of a language model."""
    path = tmp_path / "text.txt"
    path.write_text("cafe\u0301 café\n", encoding="utf-8")
    assert read_corpus([path]).vocabulary[3:] == ["café"]
    assert list(read_lines(path, "none")) == ["café café"]
    assert main(["prepare-text", str(path), "-o", str(tmp_path / "lines")]) == 0
    assert (tmp_path / "lines").read_text(encoding="utf-8") == "café café\n"


def test_a_mark_at_the_start_of_a_file_is_no_part_of_a_word(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffthe cat\n".encode())
    assert read_corpus([path]).vocabulary[3:] == ["the", "cat"]
    assert list(read_lines(path, "none")) == ["the cat"]


def test_letters_and_marks() -> None:
    assert all(map(is_letter, "aéжक天5²ًि"))
    assert not any(map(is_letter, " .'-\u0301\ufe0f\u20ac_"))


def test_every_normaliser_has_its_name() -> None:
    for name in NORMALISERS:
        assert normaliser(name).name == name
    assert normaliser("lower+stop").name == "lower+stop"
    assert isinstance(normaliser("lower+stop"), Normaliser)


def unigram_tokenizer(texts: list[str], **names: str) -> PreTrainedTokenizerFast:
    """A tokenizer that takes letters that it never saw for `<unk>`."""
    tokenizer = Tokenizer(models.Unigram())
    special = ["<s>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts * 20, trainer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **names}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_letters_that_a_language_model_does_not_know(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown tokens say nothing about a text: some are a warning, most are an error."""
    tokenizer = unigram_tokenizer(["the cat sat", "the dog ran"], mask_token="<mask>")
    sizes = {"vocab_size": len(tokenizer), "num_hidden_layers": 1, "hidden_size": 16}
    torch.manual_seed(1)
    if kind == "causal":
        network = GPT2LMHeadModel(
            GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)
        )
    else:
        network = BertForMaskedLM(BertConfig(**sizes, num_attention_heads=2, intermediate_size=16))
    network.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    options = ScorerOptions(device="cpu", eos=kind == "causal")
    caplog.clear()
    load_scorer(tmp_path / "lm", options).score(["the cat sat", "the dog ran"])
    assert not [m for m in caplog.messages if "letters and digits" in m]
    scorer = load_scorer(tmp_path / "lm", options)
    for _ in range(2):
        scorer.score(["the cat sat", "the dog 7 ran"])
    (found,) = [m for m in caplog.messages if "letters and digits" in m]
    assert "loses 1 of 19 letters and digits (7), with them 1 whole word" in found
    with pytest.raises(InputError, match="Use a normaliser to the model's spelling"):
        load_scorer(tmp_path / "lm", options).score(["кошка", "собака"])


@pytest.mark.parametrize(("lower", "lost"), [(False, 6), (True, 3)])
def test_letters_of_a_vocabulary_of_whole_words(lower: bool, lost: int) -> None:
    """No such vocabulary has single letters, yet it spells words."""
    words = {word: number for number, word in enumerate(["<unk>", "the", "cat"])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if lower:
        backend.normalizer = normalizers.Lowercase()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    loss = vocabulary_loss(tokenizer, "the tokenizer", "Use another")
    loss.add("the cat")
    assert loss.problem() is None
    loss.add("THE zoo")
    assert (loss.letters, loss.lost) == (12, lost)
