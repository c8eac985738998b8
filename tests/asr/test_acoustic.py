"""Acoustic models: every family loads by the same call, and a batch changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    HubertConfig,
    HubertForCTC,
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetProcessor,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMForCTC,
)

from asr import CTCModel
from asr.corpus import Utterance
from asr.emissions import Emissions
from asr.emit import emit
from asr.greedy import greedy
from asr.vocabulary import Vocabulary
from experiments.cli import main
from lm.errors import InputError
from tests.support.checkpoints import tiny_wav2vec2, wav2vec2_tokenizer

RATE = 16_000
SIZES = {
    "vocab_size": 32,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
}
WAVE = {
    **SIZES,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


def save(model: Any, folder: Path) -> None:
    """Writes a model whose biases and norms are not the zeros and ones of a fresh one.

    Zeros would hide padding that reaches speech through a bias.
    """
    with torch.no_grad():
        for values in (*model.parameters(), *model.buffers()):
            if values.ndim == 1 and values.is_floating_point():
                values += 0.1 * torch.rand_like(values)
    model.save_pretrained(folder)


def of_wave(model: Any, config: Any, mask: bool, **settings: Any) -> Callable[[Path], None]:
    """Writes a checkpoint of a family that reads the waveform."""

    def write(folder: Path) -> None:
        torch.manual_seed(0)
        save(model(config(**WAVE, **settings)), folder)
        Wav2Vec2FeatureExtractor(return_attention_mask=mask).save_pretrained(folder)
        wav2vec2_tokenizer(folder).save_pretrained(folder)

    return write


def write_bert(folder: Path) -> None:
    """wav2vec2-BERT: log-mel frames of 20 ms."""
    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(**SIZES, feature_projection_input_dim=160)
    save(Wav2Vec2BertForCTC(config), folder)
    SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80).save_pretrained(folder)
    wav2vec2_tokenizer(folder).save_pretrained(folder)


def write_parakeet(folder: Path) -> None:
    """Parakeet-CTC: log-mel, eightfold subsampling, SentencePiece-like labels, blank last."""
    torch.manual_seed(0)
    pieces = ["<unk>", "▁", "▁the", "▁a", "s", "t", "ing", "▁sea", "e"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")
    encoder = {k: v for k, v in SIZES.items() if k not in ("vocab_size", "pad_token_id")}
    config = ParakeetCTCConfig(
        vocab_size=len(pieces) + 1,
        pad_token_id=len(pieces),
        encoder_config={**encoder, "subsampling_conv_channels": 8},
    )
    save(ParakeetForCTC(config), folder)
    # As published: one processor_config.json that holds the feature extractor.
    ParakeetProcessor(ParakeetFeatureExtractor(), fast).save_pretrained(folder)


def write_small_parakeet(folder: Path) -> None:
    """Parakeet-CTC with letters for labels, fourfold subsampling and a step of 8 ms."""
    torch.manual_seed(0)
    encoder = {k: v for k, v in SIZES.items() if k not in ("vocab_size", "pad_token_id")}
    small = {"subsampling_factor": 4, "subsampling_conv_channels": 8, "num_mel_bins": 20}
    config = ParakeetCTCConfig(vocab_size=32, pad_token_id=0, encoder_config={**encoder, **small})
    save(ParakeetForCTC(config), folder)
    ParakeetFeatureExtractor(feature_size=20, hop_length=128).save_pretrained(folder)
    wav2vec2_tokenizer(folder).save_pretrained(folder)


FAMILIES: dict[str, tuple[Callable[[Path], None], bool, float]] = {
    # name: how to write it, whether lengths may mix, seconds a frame
    "wav2vec2-group": (of_wave(Wav2Vec2ForCTC, Wav2Vec2Config, False), False, 0.02),
    "wav2vec2-layer": (of_wave(Wav2Vec2ForCTC, Wav2Vec2Config, True, **LAYER_NORM), True, 0.02),
    "hubert-group": (of_wave(HubertForCTC, HubertConfig, False), False, 0.02),
    "hubert-layer": (of_wave(HubertForCTC, HubertConfig, True, **LAYER_NORM), True, 0.02),
    "wavlm-group": (of_wave(WavLMForCTC, WavLMConfig, False), False, 0.02),
    "wavlm-layer": (of_wave(WavLMForCTC, WavLMConfig, True, **LAYER_NORM), True, 0.02),
    "data2vec-audio": (of_wave(Data2VecAudioForCTC, Data2VecAudioConfig, True), False, 0.02),
    "wav2vec2-conformer": (
        of_wave(Wav2Vec2ConformerForCTC, Wav2Vec2ConformerConfig, True),
        False,
        0.02,
    ),
    "wav2vec2-bert": (write_bert, True, 0.02),
    "parakeet": (write_parakeet, True, 0.08),
    "parakeet-letters": (write_small_parakeet, True, 0.032),
}


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    samples = round(seconds * RATE)
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_loads_and_a_batch_gives_what_one_at_a_time_gives(
    family: str, tmp_path: Path
) -> None:
    write, mixes, frame_seconds = FAMILIES[family]
    write(tmp_path)
    model = CTCModel.load(tmp_path)
    assert model.rate == RATE
    assert model.frame_seconds == pytest.approx(frame_seconds, rel=1e-9)
    assert model.mixes_lengths == mixes
    lengths = (0.7, 1.31, 2.0, 0.7, 2.0)
    utterances, signals = [], {}
    for i, seconds in enumerate(lengths):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, noise(seconds, i), RATE, subtype="FLOAT")
        utterances.append(Utterance(str(i), path))
        signals[str(i)] = noise(seconds, i)
    found = dict(emit(model, utterances, batch_seconds=20.0))
    assert set(found) == set(signals)
    for utt, log_probs in found.items():
        alone = model.log_probs([signals[utt]])[0]
        assert isinstance(log_probs, np.ndarray)
        assert log_probs.shape == alone.shape
        assert log_probs.dtype == np.float32
        assert np.abs(log_probs - alone).max() < 1e-4
        assert np.allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-5)
        assert len(log_probs) == pytest.approx(len(signals[utt]) / RATE / frame_seconds, abs=2)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if not family[1]])
def test_padding_would_leak_into_families_that_do_not_mix_lengths(
    family: str, tmp_path: Path
) -> None:
    FAMILIES[family][0](tmp_path)
    model = CTCModel.load(tmp_path)
    short, long = noise(0.7), noise(2.0, 1)
    alone = model.log_probs([short])[0]
    assert np.abs(model.log_probs([short, long])[0] - alone).max() < 1e-4
    mixing = replace(model, mixes_lengths=True)
    assert np.abs(mixing.log_probs([short, long])[0] - alone).max() > 1e-4


def test_log_probs_are_the_models_own(tmp_path: Path) -> None:
    tiny_wav2vec2(tmp_path)
    signal = noise(1.0)
    ours = CTCModel.load(tmp_path).log_probs([signal])[0]
    features = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    values = features(signal, sampling_rate=RATE, return_tensors="pt").input_values
    with torch.inference_mode():
        logits = Wav2Vec2ForCTC.from_pretrained(tmp_path).eval()(values).logits[0]
    assert np.abs(ours - torch.log_softmax(logits, -1).numpy()).max() < 1e-5


@pytest.mark.parametrize(("family", "batches"), [("wav2vec2-group", [2, 3]), ("parakeet", [5])])
def test_what_is_batched_together(family: str, batches: list[int], tmp_path: Path) -> None:
    FAMILIES[family][0](tmp_path)
    model = CTCModel.load(tmp_path)
    utterances = []
    for i, seconds in enumerate((1.0, 2.0, 1.0, 2.0, 1.0)):
        soundfile.write(tmp_path / f"{i}.wav", noise(seconds, i), RATE)
        utterances.append(Utterance(str(i), tmp_path / f"{i}.wav"))
    seen: list[int] = []
    model.model.register_forward_hook(lambda _, __, out: seen.append(len(out.logits)))
    assert len(dict(emit(model, utterances, batch_seconds=10.0))) == 5
    assert seen == batches
    seen.clear()
    list(emit(model, utterances, batch_seconds=2.5))
    assert max(seen) <= 2
    assert sum(seen) == 5


def test_half_precision(tmp_path: Path) -> None:
    write_small_parakeet(tmp_path)
    half = CTCModel.load(tmp_path, dtype="bfloat16")
    assert half.model.dtype == torch.bfloat16
    found = half.log_probs([noise(1.0)])[0]
    assert found.dtype == np.float32
    assert np.allclose(np.logaddexp.reduce(found, axis=1), 0, atol=1e-5)
    assert np.abs(found - CTCModel.load(tmp_path).log_probs([noise(1.0)])[0]).max() < 0.1


@pytest.mark.parametrize("family", ["wav2vec2-layer", "wav2vec2-bert", "parakeet-letters"])
def test_bad_audio_does_not_lose_the_others(family: str, tmp_path: Path) -> None:
    FAMILIES[family][0](tmp_path)
    model = CTCModel.load(tmp_path)
    for name, samples in (
        ("good", noise(1.0)),
        ("silent", np.zeros(RATE)),
        ("short", noise(0.01)),
        ("tiny", noise(0.001)),
        ("empty", noise(0.0)),
        ("nan", np.full(RATE, np.nan)),
    ):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no audio")
    names = ("short", "tiny", "empty", "nan", "text", "missing", "good", "silent")
    corpus = [Utterance(name, tmp_path / f"{name}.wav") for name in names]
    corpus.append(Utterance("rate", tmp_path / "good.wav", sample_rate=8_000))
    found = dict(emit(model, corpus))
    assert set(found) == {*names, "rate"}
    for name in ("good", "silent"):
        log_probs = found.pop(name)
        assert isinstance(log_probs, np.ndarray)
        assert np.isfinite(log_probs).all()
    for name, error in found.items():
        assert isinstance(error, InputError)
        assert str(error).startswith(f"utterance {name}: {tmp_path}")
        assert "\n" not in str(error)
    assert "8000 Hz, the file has 16000 Hz" in str(found["rate"])
    assert "too short" in str(found["short"])


def test_transcribe_takes_files_and_arrays_of_any_rate(tmp_path: Path) -> None:
    model = CTCModel.load(tiny_wav2vec2(tmp_path / "model"))
    signal = noise(2.0)
    soundfile.write(tmp_path / "a.wav", signal, RATE, subtype="FLOAT")
    expected = greedy(model.log_probs([signal])[0], model.vocabulary)[0]
    assert expected
    assert model.transcribe(tmp_path / "a.wav") == expected
    assert model.transcribe(signal) == expected
    assert isinstance(model.transcribe(signal.astype(np.float64), rate=8_000), str)
    for wrong in (noise(1.0).reshape(2, -1), np.zeros(0, np.float32), np.zeros(9, np.int16)):
        with pytest.raises(InputError):
            model.transcribe(wrong)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tiny_wav2vec2(tmp_path / "model"))
    (tmp_path / "in").mkdir()
    for i in range(2):
        soundfile.write(tmp_path / "in" / f"{i}.wav", noise(1.0, i), RATE, subtype="FLOAT")
    emissions = tmp_path / "emissions"
    command = ["emit", str(tmp_path / "in"), "--model", model, "-o", str(emissions)]
    assert main([*command, "--save-dtype", "float32"]) == 0
    written = Emissions.open(emissions)
    assert sorted(written.ids) == ["0", "1"]
    loaded = CTCModel.load(model)
    assert np.abs(written["1"] - loaded.log_probs([noise(1.0, 1)])[0]).max() < 1e-4
    (tmp_path / "in" / "bad.wav").write_text("no audio")
    assert main(command) == 1
    assert "utterance bad: " in capsys.readouterr().err
    assert sorted(Emissions.open(emissions).ids) == ["0", "1"]
    assert main(["emit", str(tmp_path / "in"), "--model", str(tmp_path), "-o", model]) == 2

    file = tmp_path / "in" / "1.wav"
    assert main(["transcribe", str(file), "--model", model]) == 0
    assert capsys.readouterr().out.strip() == loaded.transcribe(file)
    assert main(["transcribe", str(file), str(tmp_path / "x.wav"), "--model", model]) == 1


def test_an_output_that_is_not_a_number_is_an_error_and_no_empty_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_wav2vec2(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.bias"][5] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    soundfile.write(tmp_path / "a.wav", noise(1.0), RATE)
    capsys.readouterr()
    command = ["transcribe", str(tmp_path / "a.wav"), "--model", str(folder)]
    assert main([*command, "--dtype", "float32"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "a.wav: the model's output is not a number" in printed.err
    with pytest.raises(InputError, match="not a number"):
        CTCModel.load(folder).transcribe(noise(1.0))


def test_greedy_takes_no_frame_without_a_number() -> None:
    vocabulary = Vocabulary.from_labels(["_", "|", "A", "<s>"], blank=0, special=[3])
    log_probs = np.log(np.full((3, 4), 0.25))
    for value in (np.nan, np.inf):
        wrong = log_probs.copy()
        wrong[1, 2] = value
        with pytest.raises(InputError, match=r"frame 1 contain NaN or \+inf"):
            greedy(wrong, vocabulary)
    wrong = log_probs.copy()
    wrong[2, :3] = -np.inf
    with pytest.raises(InputError, match="frame 2 only special labels"):
        greedy(wrong, vocabulary)


def test_greedy_collapses_repeats_and_leaves_special_labels_out() -> None:
    vocabulary = Vocabulary.from_labels(["_", "|", "A", "B", "<s>"], blank=0, special=[4])
    best = [0, 2, 2, 0, 2, 1, 4, 3, 3, 1, 1]
    probabilities = np.full((len(best), 5), 0.05)
    probabilities[np.arange(len(best)), best] = 0.8
    text, score = greedy(np.log(probabilities), vocabulary)
    assert text == "AA B"
    # The frame whose best label is <s> goes through the blank instead.
    assert score == pytest.approx((len(best) - 1) * np.log(0.8) + np.log(0.05))


def test_vocabularies() -> None:
    assert Vocabulary.from_labels(["", " ", "a"], 0).kind == "characters"
    pieces = Vocabulary.from_labels(["▁the", "s", "▁a", "<b>"], 3)
    assert pieces.kind == "pieces"
    assert pieces.text([0, 1, 3, 2]) == "thes a"
    with pytest.raises(InputError, match="twice"):
        Vocabulary.from_labels(["_", "|", "A", "A"], 0)
    with pytest.raises(InputError, match="no word delimiter"):
        Vocabulary.from_labels(["_", "A", "B"], 0)
    with pytest.raises(InputError, match="blank is column 7"):
        Vocabulary.from_labels(["_", "|", "A"], 7)
