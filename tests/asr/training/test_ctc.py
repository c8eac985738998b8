"""Training of acoustic models: what it learns, writes, resumes and refuses."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModelForCTC, AutoProcessor

from asr.acoustic import CTCModel
from asr.corpus import read_corpus
from asr.training.augment import change_signal, mask_features
from asr.training.ctc import CTCTrainer, load_or_create, train_acoustic
from asr.training.settings import AcousticTraining, Augmentation
from asr.training.speech_batches import SpeechBatches
from experiments.cli import main
from experiments.comparison.config import load_config
from lm.errors import InputError
from tests.support.data import PROJECT
from tests.support.training import CtrlC, Killed, KilledBefore

RATE = 16_000
TEXTS = {"first": "A CAB", "second": "BAD"}
LETTER_SECONDS = 0.25
TINY = {
    "model_type": "parakeet_ctc",
    "encoder_config": {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 96,
        "subsampling_factor": 4,
        "subsampling_conv_channels": 8,
        "scale_input": False,
        "dropout": 0.0,
        "layerdrop": 0.0,
        "activation_dropout": 0.0,
        "attention_dropout": 0.0,
    },
}
PLAIN = Augmentation(time_masks=0.0, mel_masks=0)


def spell(text: str) -> np.ndarray:
    """Audio whose pitch spells the text: one tone a letter, quiet between words."""
    time = np.arange(int(LETTER_SECONDS * RATE)) / RATE
    window = np.hanning(len(time))
    tones = [
        window * (0.0 if c == " " else 0.3) * np.sin(2 * np.pi * (300 + 500 * (ord(c) - 65)) * time)
        for c in text
    ]
    noise = np.random.default_rng(len(text)).standard_normal(len(text) * len(time))
    return (np.concatenate(tones) + 0.001 * noise).astype(np.float32)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two utterances, spelled in tones."""
    with (tmp_path / "train.jsonl").open("w", encoding="utf-8") as lines:
        for name, text in TEXTS.items():
            signal = spell(text)
            soundfile.write(tmp_path / f"{name}.flac", signal, RATE)
            entry = {
                "audio_filepath": f"{name}.flac",
                "duration": len(signal) / RATE,
                "text": text.lower(),
            }
            lines.write(json.dumps(entry) + "\n")
    return tmp_path / "train.jsonl"


@pytest.fixture
def settings(tmp_path: Path, manifest: Path) -> AcousticTraining:
    return AcousticTraining(
        output=str(tmp_path / "model"),
        train=(str(manifest),),
        normaliser="librispeech",
        architecture=TINY,
        batch_seconds=10.0,
        epochs=3,
        learning_rate=3e-3,
        schedule="constant",
        augmentation=PLAIN,
        save_steps=2,
    )


@pytest.mark.slow
def test_learns_two_utterances(settings: AcousticTraining, manifest: Path) -> None:
    """Loss near zero, greedy text equal to the reference, through the file that was saved."""
    figures = train_acoustic(
        replace(settings, epochs=90, valid=str(manifest), save_steps=45, save_dtype="float16")
    )
    assert figures["steps"] == 90
    assert figures["valid_wer"] == 0.0
    assert figures["valid_loss"] < 1.0 < figures["loss"]

    model = CTCModel.load(settings.output)
    for utterance in read_corpus(manifest):
        assert model.transcribe(utterance.audio_filepath) == TEXTS[utterance.id]
    assert model.frame_seconds == pytest.approx(0.04)


def test_saved_folder_is_an_ordinary_checkpoint(settings: AcousticTraining) -> None:
    train_acoustic(replace(settings, epochs=1, save_dtype="float16"))
    model = AutoModelForCTC.from_pretrained(settings.output, dtype="auto")
    assert type(model).__name__ == "ParakeetForCTC"
    assert model.dtype == torch.float16
    processor = AutoProcessor.from_pretrained(settings.output)
    assert processor.feature_extractor.hop_length == 160
    ids = processor.tokenizer("A CAB")["input_ids"]
    assert processor.tokenizer.decode(ids, group_tokens=False) == "A CAB"
    assert list(Path(settings.output).glob("*.safetensors"))


def same_weights(one: str, two: str) -> bool:
    """Whether two models have the same weights, up to rounding."""
    first, second = (AutoModelForCTC.from_pretrained(path).state_dict() for path in (one, two))
    return all(torch.allclose(second[n], w, rtol=1e-5, atol=1e-6) for n, w in first.items())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_continued_run_gives_what_a_run_without_a_break_gives(
    settings: AcousticTraining, manifest: Path, workers: int
) -> None:
    """The augmentation included, which is another one in every step."""
    changes = Augmentation((0.9, 1.1), noise=0.5, gain_db=3.0)
    settings = replace(settings, augmentation=changes, epochs=6, valid=str(manifest))
    whole = replace(settings, output=settings.output + "-whole")
    expected = train_acoustic(whole)
    with pytest.raises(Killed):  # after step 4 of 6, with the checkpoint of step 2 or 4
        train_acoustic(replace(settings, workers=workers), callbacks=[KilledBefore(4)])
    with pytest.raises(KeyboardInterrupt):
        train_acoustic(replace(settings, workers=workers), callbacks=[CtrlC(5)])
    figures = train_acoustic(settings, resume=True)
    assert (figures["first_step"], figures["steps"]) == (5, 6)
    if workers == 0:
        assert same_weights(whole.output, settings.output)
        assert figures["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-5)


def test_a_second_run_is_the_same_or_is_refused(settings: AcousticTraining, manifest: Path) -> None:
    settings = replace(settings, epochs=1)
    figures = train_acoustic(settings)
    weights = (Path(settings.output) / "model.safetensors").read_bytes()
    # How audio is loaded and where the manifest is do not matter.
    copied = manifest.parent / "copy.jsonl"
    copied.write_bytes(manifest.read_bytes())
    assert train_acoustic(replace(settings, workers=1, train=(str(copied),))) == figures
    changed = replace(settings.augmentation, noise=0.5)
    with pytest.raises(InputError, match=r'`augmentation` was .*"noise": 0.0.* and is .*0.5'):
        train_acoustic(replace(settings, augmentation=changed))
    with pytest.raises(InputError, match=r"`epochs` was 1 and is 2.*another `output`.*--restart"):
        train_acoustic(replace(settings, epochs=2))
    signal = np.append(spell(TEXTS["first"]), np.zeros(100, np.float32))
    soundfile.write(manifest.parent / "first.flac", signal, RATE)
    with pytest.raises(InputError, match="the content of `train` has changed"):
        train_acoustic(settings)
    assert (Path(settings.output) / "model.safetensors").read_bytes() == weights
    assert train_acoustic(replace(settings, epochs=2), resume=False)["steps"] == 2


def test_fine_tunes_a_checkpoint_with_other_features(settings: AcousticTraining) -> None:
    """From a saved folder, with a shorter hop: the weights change from there, in a new folder."""
    train_acoustic(replace(settings, epochs=1))
    tuned = replace(
        settings,
        output=settings.output + "-tuned",
        model=settings.output,
        architecture={},
        features={"hop_length": 125},
        learning_rate=1e-5,
        epochs=3,
    )
    train_acoustic(tuned)
    before = AutoModelForCTC.from_pretrained(settings.output).state_dict()
    after = AutoModelForCTC.from_pretrained(tuned.output).state_dict()
    moved = [(after[n] - w).abs().max().item() for n, w in before.items() if w.is_floating_point()]
    weights = [m for n, m in zip(before, moved, strict=False) if "norm" not in n]
    assert 0 < max(weights) < 1e-2
    assert CTCModel.load(tuned.output).frame_seconds == pytest.approx(4 * 125 / RATE)


def test_loss_is_the_mean_over_utterances_of_all_alignments(settings: AcousticTraining) -> None:
    """-log p(y|x) by brute force over every path of 4 frames, averaged over utterances."""
    model, _, tokenizer = load_or_create(settings)
    model.eval()
    labels = torch.tensor([[5, 5], [3, -100]])
    inputs = torch.randn(2, 16, 80, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 16, dtype=torch.bool)
    batch = {"input_features": inputs, "attention_mask": mask, "labels": labels}
    trainer = object.__new__(CTCTrainer)  # the loss needs none of what __init__ prepares
    with torch.no_grad():
        found = float(trainer.compute_loss(model, batch))
        log_probs = (
            model(input_features=inputs, attention_mask=mask).logits.log_softmax(-1).double()
        )
    blank = tokenizer.pad_token_id
    losses = []
    for row, target in zip(log_probs, ([5, 5], [3]), strict=True):
        total = 0.0
        # Only the blank and the target's own label can be on a path that collapses to it.
        for path in itertools.product({blank, *target}, repeat=len(row)):
            if [k for k, _ in itertools.groupby(path) if k != blank] == target:
                total += math.exp(sum(float(row[t, k]) for t, k in enumerate(path)))
        losses.append(-math.log(total))
    assert len(log_probs[0]) == 4
    assert found == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_batches_hold_every_utterance_once(settings: AcousticTraining, manifest: Path) -> None:
    """Batches stay within their seconds, padding included, and lose nothing."""
    first = read_corpus(manifest)[0]
    rng = np.random.default_rng(0)
    many = [
        replace(first, id=str(i), duration=float(seconds))
        for i, seconds in enumerate(rng.uniform(0.5, 9.0, 200))
    ]
    batches = SpeechBatches(many, None, None, settings, augment=False)
    assert sorted(np.concatenate(batches.batches)) == list(range(200))
    real = padded = 0.0
    for chosen in batches.batches:
        lengths = [many[i].duration or 0.0 for i in chosen]
        assert len(chosen) == 1 or len(chosen) * max(lengths) <= settings.batch_seconds
        real, padded = real + sum(lengths), padded + len(lengths) * max(lengths)
    assert real / padded > 0.85


def test_an_utterance_that_ctc_cannot_align_is_left_out(
    settings: AcousticTraining, manifest: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """25 frames a second: one second holds 13 times the same letter, and no 14th."""
    lines = manifest.read_text().splitlines()
    soundfile.write(manifest.parent / "long.flac", np.zeros(RATE, np.float32), RATE)
    for text in ("a" * 13, "a" * 14):
        entry = {"audio_filepath": "long.flac", "duration": 1.0, "id": text, "text": text}
        lines.append(json.dumps(entry))
    manifest.write_text("\n".join(lines) + "\n")
    assert train_acoustic(replace(settings, epochs=1))["left_out"] == 1
    assert "1 of 4 utterances have more letters" in caplog.text


def respelled(manifest: Path, text: str) -> None:
    """Gives every utterance of a manifest another reference."""
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(line | {"text": text}) + "\n" for line in lines))


def test_references_that_are_lost_are_refused(settings: AcousticTraining, manifest: Path) -> None:
    """By the normaliser, or by the labels of a model that is fine-tuned."""
    respelled(manifest, "привет")
    with pytest.raises(InputError, match="`librispeech` loses 12 of 12 letters"):
        train_acoustic(settings)
    assert not Path(settings.output).exists()


def test_a_new_model_gets_the_letters_of_its_references(
    settings: AcousticTraining, manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a model that is fine-tuned says which letters it lacks."""
    respelled(manifest, "да нет 7")
    train_acoustic(replace(settings, normaliser="unicode", epochs=1))
    vocabulary = CTCModel.load(settings.output, device="cpu").vocabulary
    assert sorted(vocabulary.labels) == sorted(["<pad>", "|", *"адент7", "<unk>"])
    tuned = replace(
        settings,
        model=settings.output,
        architecture={},
        output=str(tmp_path / "tuned"),
        normaliser="unicode",
        epochs=1,
    )
    respelled(manifest, "да нет 78")
    train_acoustic(tuned)
    lost = "references: the tokenizer of the acoustic model loses 2 of 14 letters and digits (8)"
    assert any(lost in message for message in caplog.messages)
    respelled(manifest, "ДА НЕТ")
    with pytest.raises(InputError, match=r"10 of 10 letters.*another case: set `normaliser: unico"):
        train_acoustic(replace(tuned, normaliser="none", output=str(tmp_path / "none")))


def test_without_an_utterance_that_can_be_aligned(
    settings: AcousticTraining, manifest: Path
) -> None:
    respelled(manifest, "ab" * 90)
    with pytest.raises(InputError, match="no utterance has enough output frames"):
        train_acoustic(settings)
    manifest.write_text("")
    with pytest.raises(InputError, match=r"train.jsonl: (there are )?no utterances"):
        train_acoustic(settings)


def test_noise_and_speed_are_as_asked() -> None:
    rng = np.random.default_rng(0)
    signal = np.sin(np.arange(RATE) * 0.3).astype(np.float32)
    noisy = change_signal(signal, RATE, replace(PLAIN, noise=1.0, snr_db=(7.0, 7.0)), rng)
    snr = 10 * math.log10(np.mean(signal**2) / np.mean((noisy - signal) ** 2))
    assert snr == pytest.approx(7.0, abs=0.01)
    faster = change_signal(signal, RATE, replace(PLAIN, speeds=(1.25,)), rng)
    assert len(faster) == RATE / 1.25
    louder = change_signal(signal, RATE, replace(PLAIN, gain_db=6.0), rng)
    ratio = louder[signal != 0] / signal[signal != 0]
    assert np.ptp(ratio) < 1e-5 and abs(20 * math.log10(ratio[0])) <= 6.0


def test_masks_cover_the_expected_share() -> None:
    """Poisson number of uniform widths: mean masked share, up to overlaps, is rate x width / 2."""
    features = torch.ones(400, 1000, 80)
    settings = Augmentation(time_masks=0.5, time_width=0.4, mel_masks=0)
    mask_features(features, 10.0, settings, np.random.default_rng(0))
    masked = float((features == 0).float().mean())
    assert masked == pytest.approx(1 - math.exp(-0.5 * 0.4 / 2), abs=0.01)
    features = torch.ones(400, 10, 80)
    mask_features(features, 0.1, Augmentation(time_masks=0, mel_masks=1), np.random.default_rng(0))
    assert float((features == 0).float().mean()) == pytest.approx(10 / 80, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("architecture={}", "give either `model`"),
        ("precision=float8", "`precision` is 'float8'"),
        ("epochs=0", "must be above 0"),
        ("augmentation.snr_db=[9,3]", "give the lowest and the highest"),
        ("augmentation.noise=2", "`augmentation.noise` is 2.0; use a share"),
        ("train=[]", "names no manifest"),
        ("architecture.encoder_config.hiden_size=1", "`architecture.encoder_config.hidden_size`"),
        ("architecture.model_type=parakeet", "there is no such `architecture`"),
        ("features.hop_lenght=125", "the nearest one is `hop_length`"),
        ("model=/none/such architecture={}", "there is no such folder"),
        ("learing_rate=1", "nearest valid one is `learning_rate`"),
        ("train=[nothing.jsonl]", "nothing.jsonl: no such manifest"),
    ],
)
def test_wrong_settings_are_one_line(
    change: str,
    message: str,
    tmp_path: Path,
    manifest: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(
            {"output": str(tmp_path / "out"), "train": [str(manifest)], "architecture": TINY}
        )
    )
    assert main(["train-acoustic", str(config), *change.split()]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_missing_text_or_duration_is_named(settings: AcousticTraining, manifest: Path) -> None:
    entry = json.loads(manifest.read_text().splitlines()[0])
    for key in ("text", "duration"):
        manifest.write_text(json.dumps({k: v for k, v in entry.items() if k != key}) + "\n")
        with pytest.raises(InputError, match=f"utterance first.*`{key}`"):
            train_acoustic(settings)


def test_configs_of_the_project_are_valid(tmp_path: Path) -> None:
    folder = PROJECT / "experiments" / "configs"
    names = sorted(path.name for path in folder.glob("train-*-acoustic*.yaml"))
    assert len(names) == 4
    for name in names:
        settings = load_config(AcousticTraining, folder / name, [f"output={tmp_path}"])
        if settings.architecture:
            model, features, _ = load_or_create(settings)
            assert features.hop_length == settings.features.get("hop_length", 160)
            assert sum(p.numel() for p in model.parameters()) * 2 < 9e6  # bytes, float16
