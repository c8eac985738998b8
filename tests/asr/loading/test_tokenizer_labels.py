"""Labels are read from tokenizers so that texts are those of the tokenizers' own decoding."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Wav2Vec2CTCTokenizer

from asr.beam import BeamDecoder
from asr.decode import DecoderOptions
from asr.forward import full_sums
from asr.greedy import greedy
from asr.loading.checkpoint import blank_of
from asr.pyctcdecode_beam import PyctcdecodeBeam
from asr.vocabulary import Vocabulary
from lm.errors import InputError

SENTENCES = ["the cat sat on the mat", "naïve café — 東京 🙂", "it's the dog's mat", "你好 世界"]


def ctc(folder: Path, labels: Sequence[str], **settings: Any) -> Wav2Vec2CTCTokenizer:
    """A tokenizer of characters, with `<pad>` and `<unk>` before the labels."""
    whole = ["<pad>", "<unk>", *labels]
    (folder / "vocab.json").write_text(json.dumps({label: i for i, label in enumerate(whole)}))
    none: dict[str, Any] = {"bos_token": None, "eos_token": None}
    return Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **none, **settings)


def fast(backend: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer of a backend, whose first label is `<pad>` and whose second is `<unk>`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", bos_token=None
    )


def pieces(labels: Sequence[str], decoder: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of pieces."""
    vocabulary = {piece: i for i, piece in enumerate(["<pad>", "<unk>", *labels])}
    model = models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
    backend = Tokenizer(model)
    backend.decoder = decoder
    return fast(backend)


def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level BPE, as GPT-2's."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<pad>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES * 5, trainer)
    return fast(backend)


def word_pieces(cleanup: bool = False) -> PreTrainedTokenizerFast:
    """WordPiece, as BERT's."""
    labels = ["<pad>", "<unk>", "t", "##h", "##e", "##t", "the", "cat", "|", "##s", "'", "s"]
    backend = Tokenizer(models.WordPiece({x: i for i, x in enumerate(labels)}, unk_token="<unk>"))
    backend.decoder = decoders.WordPiece(cleanup=cleanup)
    return fast(backend)


def read(tokenizer: Any) -> Vocabulary:
    return Vocabulary.from_tokenizer(tokenizer, len(tokenizer), 0)


def labels_of_llama() -> list[str]:
    return ["▁the", "▁", "▁c", "a", "t", "好", *(f"<0x{byte:02X}>" for byte in range(256))]


def llama_decoder() -> Any:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])


SETTINGS: dict[str, tuple[Sequence[str], Mapping[str, Any]]] = {
    "usual": (["|", *"abc'"], {}),
    "a space": ([" ", *"abc"], {"word_delimiter_token": " "}),
    "an underscore": (["_", *"abc|"], {"word_delimiter_token": "_"}),
    "a name": (["<space>", *"abc"], {"word_delimiter_token": "<space>"}),
    "another sign": (["|", *"abc"], {"replace_word_delimiter_char": "-"}),
    "nothing between": (["|", *"你好世界"], {"replace_word_delimiter_char": ""}),
    "lower case": (["|", *"ABCÄİẞ"], {"do_lower_case": True}),
    "lower case, underscore": (
        ["_", *"ABC"],
        {"do_lower_case": True, "word_delimiter_token": "_"},
    ),
    "long labels": (["|", "sch", "aː", *"abc"], {}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_characters_are_decoded_as_by_their_tokenizer(name: str, tmp_path: Path) -> None:
    labels, settings = SETTINGS[name]
    tokenizer = ctc(tmp_path, labels, **settings)
    vocabulary = read(tokenizer)
    rng = np.random.default_rng(0)
    for _ in range(100):
        best = rng.choice([0, *range(2, len(tokenizer))], size=20)
        log_probs = np.full((20, len(tokenizer)), -9.0, np.float32)
        log_probs[np.arange(20), best] = 0.0
        assert greedy(log_probs, vocabulary)[0] == " ".join(tokenizer.decode(best).split())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("usual", "ab c"), ("an underscore", "ab c"), ("another sign", "ab-c")],
)
def test_words_are_neither_glued_nor_cut(name: str, expected: str, tmp_path: Path) -> None:
    labels, settings = SETTINGS[name]
    vocabulary = read(ctc(tmp_path, labels, **settings))
    ids = [vocabulary.labels.index(x) for x in "ab"]
    delimiter = 2
    text = vocabulary.text([*ids, delimiter, vocabulary.labels.index("c")])
    assert text == expected
    log_probs = np.full((4, len(vocabulary.labels)), -9.0, np.float32)
    for frame, label in enumerate([*ids, delimiter, vocabulary.labels.index("c")]):
        log_probs[frame, label] = -0.01
    assert BeamDecoder.build(vocabulary, DecoderOptions()).decode(log_probs)[0].text == expected


def test_lower_case_is_that_of_the_tokenizer(tmp_path: Path) -> None:
    vocabulary = read(ctc(tmp_path, ["|", "A", "B"], do_lower_case=True))
    assert vocabulary.labels == ("<pad>", "<unk>", "|", "a", "b")
    assert vocabulary.text([3, 2, 4]) == "a b"


def test_a_delimiter_that_writes_nothing_is_for_greedy_decoding_only(tmp_path: Path) -> None:
    vocabulary = read(ctc(tmp_path, ["|", *"你好"], replace_word_delimiter_char=""))
    log_probs = np.log(np.full((3, 5), 0.2, np.float32))
    log_probs[[0, 1, 2], [3, 2, 3]] = -0.1
    assert greedy(log_probs, vocabulary)[0] == "你你"
    for build in (BeamDecoder.build, PyctcdecodeBeam.build):
        with pytest.raises(InputError, match=r"label 2 of the vocabulary is empty.*greedy"):
            build(vocabulary, DecoderOptions())


def test_a_final_sigma_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower case of label 'Σ' depends"):
        read(ctc(tmp_path, ["|", "Σ", "Α"], do_lower_case=True))


KINDS = {
    "bytes": lambda: pieces(labels_of_llama(), llama_decoder()),
    "byte-level": byte_level,
    "word pieces": word_pieces,
    "metaspace": lambda: pieces(["▁the", "▁", "c", "▁at"], decoders.Metaspace()),
    "another space": lambda: pieces(["_the", "_", "c", "_at"], decoders.Metaspace("_")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_decoded_as_by_their_tokenizer(kind: str) -> None:
    tokenizer = KINDS[kind]()
    vocabulary = read(tokenizer)
    whole = [i for i, x in enumerate(vocabulary.labels) if "<" not in x and i > 1]
    starts = [i for i in whole if vocabulary.labels[i].startswith("▁")]
    rng = np.random.default_rng(1)
    for _ in range(200):
        ids = [int(rng.choice(starts)), *rng.choice(whole, size=9).tolist()]
        assert vocabulary.text(ids) == " ".join(tokenizer.decode(ids).split())


@pytest.mark.parametrize("kind", ["bytes", "byte-level"])
def test_bytes_make_characters(kind: str) -> None:
    tokenizer = KINDS[kind]()
    vocabulary = read(tokenizer)
    rng = np.random.default_rng(2)
    for _ in range(100):
        points = rng.integers(0xA1, 0x1F000, 4)
        text = "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
        if kind == "bytes":
            ids = [vocabulary.labels.index(f"<0x{byte:02X}>") for byte in text.encode()]
        else:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert vocabulary.text(ids) == " ".join(tokenizer.decode(ids).split())
        assert vocabulary.text(ids) == " ".join(text.split())
    broken = [vocabulary.labels.index("<0xE4>"), vocabulary.labels.index("<0xBD>")]
    assert vocabulary.text(broken) == "\ufffd"


def test_greedy_beam_and_exact_scores_of_bytes() -> None:
    vocabulary = read(pieces(labels_of_llama(), llama_decoder()))
    labels = [*(f"<0x{byte:02X}>" for byte in "你".encode()), "好", "▁the"]
    log_probs = np.full((5, len(vocabulary.labels)), -12.0, np.float32)
    for frame, label in enumerate(labels):
        log_probs[frame, vocabulary.labels.index(label)] = -0.01
    assert greedy(log_probs, vocabulary)[0] == "你好 the"
    found = BeamDecoder.build(vocabulary, DecoderOptions(beam_width=100)).decode(log_probs)
    assert found[0].text == "你好 the"
    assert len({hypothesis.text for hypothesis in found}) == len(found)
    # "好" is a label, and three bytes; the sum is over both spellings.
    short = log_probs[:3].copy()
    sums = full_sums(short, vocabulary, ["你", "好", "à"])
    assert sums[0] == pytest.approx(-0.03, abs=1e-3)
    assert np.isfinite(sums[1])
    assert BeamDecoder.build(
        vocabulary, DecoderOptions(hotwords={"你": 5.0}, beam_width=100)
    ).decode(log_probs)[0].more == {"hotwords": 5.0}
    with pytest.raises(InputError, match=r"bytes \(such as <0xC3>\).*`beam` or `greedy`"):
        PyctcdecodeBeam.build(vocabulary, DecoderOptions())


def test_a_language_model_finds_words_that_bytes_spell(tmp_path: Path) -> None:
    vocabulary = read(pieces(labels_of_llama(), llama_decoder()))
    words = ["你", "位", "the"]
    counts = f"\\data\\\nngram 1={len(words) + 3}\n\n\\1-grams:\n"
    lines = [f"-1 {word}" for word in ("<s>", "</s>", "<unk>")]
    lines += [f"{-3 if word == '位' else -0.5} {word}" for word in words]
    (tmp_path / "lm.arpa").write_text(counts + "\n".join(lines) + "\n\n\\end\\\n", encoding="utf-8")
    log_probs = np.full((3, len(vocabulary.labels)), -20.0, np.float32)
    # 你 is E4 BD A0 and 位 is E4 BD 8D; the audio prefers the latter a little.
    for frame, (byte, value) in enumerate((("E4", -0.01), ("BD", -0.01), ("A0", -0.8))):
        log_probs[frame, vocabulary.labels.index(f"<0x{byte}>")] = value
    log_probs[2, vocabulary.labels.index("<0x8D>")] = -0.6
    lm = str(tmp_path / "lm.arpa")
    first, second = (
        BeamDecoder.build(vocabulary, options).decode(log_probs)[0]
        for options in (DecoderOptions(), DecoderOptions(lm=lm, alpha=1.0))
    )
    assert (first.text, second.text) == ("位", "你")
    assert second.oov == 0


def test_broken_characters_give_one_hypothesis() -> None:
    vocabulary = read(pieces(labels_of_llama(), llama_decoder()))
    log_probs = np.full((2, len(vocabulary.labels)), -20.0, np.float32)
    log_probs[0, [vocabulary.labels.index(f"<0x{byte}>") for byte in ("E4", "E5", "E6")]] = -1.1
    log_probs[1, vocabulary.labels.index("a")] = -0.01
    found = BeamDecoder.build(vocabulary, DecoderOptions()).decode(log_probs)
    texts = [hypothesis.text for hypothesis in found]
    assert texts[0] == "\ufffda"
    assert len(set(texts)) == len(texts)
    scores = [hypothesis.acoustic for hypothesis in found]
    assert scores == sorted(scores, reverse=True)


def test_word_pieces_are_words() -> None:
    vocabulary = read(word_pieces())
    ids = [vocabulary.labels.index(x) for x in ("▁t", "h", "e", "▁cat")]
    assert vocabulary.text(ids) == "the cat"
    log_probs = np.full((4, len(vocabulary.labels)), -9.0, np.float32)
    log_probs[np.arange(4), ids] = -0.01
    assert BeamDecoder.build(vocabulary, DecoderOptions()).decode(log_probs)[0].text == "the cat"


def test_moved_punctuation_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "secondpass"):
        read(word_pieces())
        assert not caplog.records
        read(word_pieces(cleanup=True))
    assert "removes the spaces before punctuation" in caplog.text


def test_a_tokenizer_with_ways_of_its_own_is_refused() -> None:
    suffixed = pieces(["the</w>", "c", "at</w>", "▁x"], decoders.BPEDecoder())
    with pytest.raises(InputError, match=r"writes '.+' where its labels spell '.+'; tokenizers"):
        read(suffixed)


def config(**values: Any) -> Any:
    return SimpleNamespace(**{"vocab_size": 6, "pad_token_id": None, **values})


def test_the_blank(tmp_path: Path) -> None:
    tokenizer = ctc(tmp_path, ["|", *"abc"])
    assert blank_of(config(pad_token_id=0), tokenizer) == 0
    assert blank_of(config(), tokenizer) == 0
    assert blank_of(config(pad_token_id=0, blank_token_id=5), tokenizer) == 5
    assert blank_of(config(pad_token_id=0, blank_token_id=None), tokenizer) == 0
    with pytest.raises(InputError, match=r"`pad_token_id` 3 \(label 'a'\).*is 0 \('<pad>'\)"):
        blank_of(config(pad_token_id=3), tokenizer)
    none = SimpleNamespace(pad_token_id=None)
    assert blank_of(config(pad_token_id=4), none) == 4
    with pytest.raises(InputError, match=r"no `pad_token_id`.*add `blank_token_id`"):
        blank_of(config(), none)
    # Padding that was added for batches of texts has no column.
    assert blank_of(config(pad_token_id=4), SimpleNamespace(pad_token_id=6)) == 4
