"""Scores of texts from emissions and from audio: against enumeration, the decoder and the loss."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from asr.acoustic_rescore import (
    CTCScorer,
    rescore_audio,
    rescore_ctc,
    rescore_with_audio,
    rescore_with_emissions,
)
from asr.corpus import Utterance, write_manifest
from asr.decode import decode
from asr.emissions import Emissions, EmissionsMeta, EmissionsWriter
from asr.nbest import Hypothesis, build_nbest, check_nbest
from asr.options import DecoderOptions
from asr.seq2seq import Seq2SeqScorer
from lm.errors import InputError, SecondpassError
from lm.scorer import TextError
from lm.training.causal_lm import train_tokenizer
from tests.support.enumeration import LETTERS, enumerated, random_log_probs

FRAMES = (3, 5, 4, 2)


def nbest(lists: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Lists of texts without meaningful scores."""
    return build_nbest(
        {utt: [Hypothesis(t, -float(i)) for i, t in enumerate(ts)] for utt, ts in lists.items()}
    )


@pytest.fixture
def heard() -> dict[str, np.ndarray]:
    """Log-probs by utterance."""
    return {f"u{i}": random_log_probs(n, LETTERS, seed=i) for i, n in enumerate(FRAMES)}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Mapping[str, np.ndarray]], Path]:
    """Writes emissions of LETTERS."""

    def write(utterances: Mapping[str, np.ndarray]) -> Path:
        folder = tmp_path / "emissions"
        with EmissionsWriter(folder, EmissionsMeta(LETTERS, 0.02, "test", "float32")) as writer:
            for utt, log_probs in utterances.items():
                writer.add(utt, log_probs)
        return folder

    return write


Written = Callable[[Mapping[str, np.ndarray]], Path]


@pytest.mark.parametrize("workers", [1, 3, None])
def test_ctc_equals_enumeration(
    heard: dict[str, np.ndarray], written: Written, workers: int | None
) -> None:
    texts = ["a b", "b", "", "ab a", "x"]
    table = nbest(dict.fromkeys(heard, texts))
    # Rows of the lists mixed, as tables of others may be.
    table = table.sample(frac=1, random_state=1, ignore_index=True)
    done: list[int] = []
    found = rescore_ctc(table, written(heard), workers=workers, progress=done.append)
    expected = {utt: enumerated(log_probs, LETTERS) for utt, log_probs in heard.items()}
    wanted = [
        expected[utt].get(text, -math.inf)
        for utt, text in zip(table["utt"], table["text"], strict=True)
    ]
    np.testing.assert_allclose(found.table["ctc"], wanted, rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(found.table.drop(columns="ctc"), table)
    assert not found.failures and sum(done) == len(table)


def test_ctc_equals_the_decoders_own(heard: dict[str, np.ndarray], written: Written) -> None:
    emissions = Emissions.open(written(heard))
    lists = {
        d.utt: d.hypotheses
        for d in decode(emissions, DecoderOptions(exact=True, nbest=8), workers=1)
        if d.hypotheses is not None
    }
    table = build_nbest(lists, more=["ctc"])
    with pytest.raises(InputError, match="column 'ctc' exists"):
        rescore_ctc(table, emissions.folder)
    again = rescore_ctc(table, emissions.folder, overwrite=True).table
    np.testing.assert_allclose(again["ctc"], table["ctc"], rtol=0, atol=1e-12)


def test_letters_that_no_label_spells_are_reported(
    heard: dict[str, np.ndarray], written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    found = rescore_ctc(nbest(dict.fromkeys(heard, ("a b", "a c"))), written(heard)).table
    assert np.isneginf(found["ctc"][found["text"] == "a c"]).all()
    assert "loses 1 of 4 letters and digits (c), with them 1 whole word, for example: 'a c'" in (
        caplog.text
    )


def test_ctc_of_other_spelling(heard: dict[str, np.ndarray], written: Written) -> None:
    folder = written(heard)
    table = nbest(
        dict.fromkeys(
            heard,
            (
                "A B!",
                "A, B",
                "B",
            ),
        )
    )
    with pytest.raises(InputError, match="the labels are 'ab', the first text is 'A B!'"):
        rescore_ctc(table, folder)
    found = rescore_ctc(table, folder, normaliser="lower").table
    plain = rescore_ctc(
        nbest(
            dict.fromkeys(
                heard,
                (
                    "a b",
                    "b",
                ),
            )
        ),
        folder,
    ).table
    texts = found["text"].replace({"A B!": "a b", "A, B": "a b", "B": "b"})
    known = plain.set_index(["utt", "text"])["ctc"]
    wanted = [known[utt, text] for utt, text in zip(found["utt"], texts, strict=True)]
    np.testing.assert_array_equal(found["ctc"], wanted)


def per_frame(texts: Sequence[str], log_probs: np.ndarray) -> np.ndarray:
    """A scorer of two lines."""
    return np.array([-len(text) / len(log_probs) for text in texts])


def test_any_function_is_a_scorer(heard: dict[str, np.ndarray], written: Written) -> None:
    table = nbest(
        dict.fromkeys(
            heard,
            (
                "a",
                "a b",
            ),
        )
    )
    table["mine.tokens"] = 7
    emissions = Emissions.open(written(heard))
    found = rescore_with_emissions(table, emissions, per_frame, "mine").table
    np.testing.assert_allclose(
        found["mine"], [-len(t) / n for n, t in product(FRAMES, ["a", "a b"])]
    )
    assert "mine.tokens" not in found
    check_nbest(found, "table")


def test_a_bad_utterance_leaves_the_others(heard: dict[str, np.ndarray], written: Written) -> None:
    heard["u1"] = np.zeros((0, len(LETTERS.labels)), np.float32)
    heard["u2"] = np.full_like(heard["u2"], 0.25)
    emissions = Emissions.open(written(heard))
    table = nbest(
        dict.fromkeys(
            [*heard, "elsewhere"],
            (
                "a",
                "b",
            ),
        )
    )

    def moody(texts: Sequence[str], log_probs: np.ndarray) -> np.ndarray:
        if len(log_probs) == FRAMES[3]:
            raise SecondpassError("not this one")
        return per_frame(texts, log_probs)

    found = rescore_with_emissions(table, emissions, moody, "mine")
    assert found.table["utt"].unique().tolist() == ["u0"]
    assert found.failures["u1"] == "utterance u1: its emissions have no frames"
    assert "are probabilities" in found.failures["u2"]
    assert found.failures["u3"] == "utterance u3: not this one"
    assert "no emissions of utterance 'elsewhere'" in found.failures["elsewhere"]
    with pytest.raises(InputError, match=r"not one of 1 utterances .* utterance elsewhere: "):
        rescore_with_emissions(nbest({"elsewhere": ["a"]}), emissions, per_frame, "mine")
    with pytest.raises(InputError, match=r"scorer failed \(TypeError: .*one natural log for each"):
        rescore_with_emissions(nbest({"u0": ["a"]}), emissions, lambda texts: texts, "mine")


@pytest.mark.parametrize(
    ("gives", "reason"),
    [
        ([math.nan, 0.0], "returned nan"),
        ([math.inf, 0.0], "returned inf"),
        ([0.0], r"shape \(1,\) for 2"),
    ],
)
def test_wrong_scores_of_a_scorer(
    heard: dict[str, np.ndarray], written: Written, gives: list[float], reason: str
) -> None:
    table = nbest(
        dict.fromkeys(
            heard,
            (
                "a",
                "b",
            ),
        )
    )
    with pytest.raises(InputError, match=f"utterance u0: the scorer .*{reason}"):
        rescore_with_emissions(
            table, Emissions.open(written(heard)), lambda t, e: np.array(gives), "mine"
        )


def test_wrong_settings(heard: dict[str, np.ndarray], written: Written) -> None:
    emissions = Emissions.open(written(heard))
    table = nbest(dict.fromkeys(heard, ("a",)))
    with pytest.raises(InputError, match="0 workers"):
        rescore_with_emissions(table, emissions, CTCScorer(LETTERS), "ctc", workers=0)
    with pytest.raises(InputError, match="'words' is no score"):
        rescore_with_emissions(table, emissions, CTCScorer(LETTERS), "words")
    with pytest.raises(InputError, match="names no normaliser"):
        rescore_with_emissions(table, emissions, CTCScorer(LETTERS), "ctc", "upside-down")


TEXTS = ["the cat sat on the mat", "the cat", "", "a dog <|notimestamps|> ran", "THE CAT sat"]
MARKS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|notimestamps|>",
)


def tiny_whisper(folder: Path, multilingual: bool = False) -> Path:
    """A random Whisper of a few thousand weights, which hears a second."""
    trained = json.loads(train_tokenizer(iter(TEXTS * 5), 300).backend_tokenizer.to_str())
    merges = [tuple(pair) for pair in trained["model"]["merges"]]
    tokenizer = WhisperTokenizer(vocab=trained["model"]["vocab"], merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS[1:])})
    start, end = tokenizer.convert_tokens_to_ids([MARKS[1], MARKS[0]])
    torch.manual_seed(1)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=8,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50,
        max_target_positions=40,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        init_std=0.5,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(is_multilingual=multilingual, eos_token_id=end)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that knows English only."""
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


def signal(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise at 16 kHz."""
    return np.random.default_rng(seed).normal(size=round(seconds * 16000)).astype(np.float32) * 0.1


def by_loss(
    scorer: Seq2SeqScorer, text: str, audio: np.ndarray, marks: Sequence[str] = ()
) -> float:
    """One text alone, by the loss that transformers trains with."""
    tokenizer, model = scorer.tokenizer, scorer.model
    said = tokenizer(
        f" {text}" if text else "", add_special_tokens=False, split_special_tokens=True
    )
    prompt = tokenizer.convert_tokens_to_ids([MARKS[1], *marks, MARKS[-1]])
    ids = [*prompt, *said["input_ids"], tokenizer.eos_token_id]
    features = scorer.features(audio, sampling_rate=16000, return_tensors="pt").input_features
    with torch.no_grad():
        loss = model(
            input_features=features,
            decoder_input_ids=torch.tensor([ids[:-1]]),
            labels=torch.tensor([[*([-100] * (len(prompt) - 1)), *ids[len(prompt) :]]]),
        ).loss
    return -float(loss) * (len(ids) - len(prompt))


@pytest.mark.parametrize("limit", [1 << 26, 1])
def test_whisper_agrees_with_the_loss(whisper: Path, limit: int) -> None:
    scorer = replace(Seq2SeqScorer.load(whisper, device="cpu"), logits_per_batch=limit)
    audio = signal(0.7)
    expected = [by_loss(scorer, text, audio) for text in TEXTS]
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(scorer(TEXTS, audio), expected, rtol=0, atol=1e-3)
    assert len(scorer([], audio)) == 0
    assert not np.allclose(scorer(TEXTS, signal(0.7, seed=1)), expected, atol=1e-3)


def test_multilingual_whisper_writes_the_language_that_was_asked_for(tmp_path: Path) -> None:
    folder, audio = tiny_whisper(tmp_path, multilingual=True), signal(0.7)
    for language in ("en", "sv"):
        scorer = Seq2SeqScorer.load(folder, "cpu", language=language)
        marks = (f"<|{language}|>", "<|transcribe|>")
        expected = [by_loss(scorer, text, audio, marks) for text in TEXTS]
        np.testing.assert_allclose(scorer(TEXTS, audio), expected, rtol=0, atol=1e-3)
    with pytest.raises(InputError, match="Unsupported language: xx"):
        Seq2SeqScorer.load(folder, "cpu", language="xx")


def test_whisper_says_what_is_too_long(whisper: Path) -> None:
    scorer = Seq2SeqScorer.load(whisper, device="cpu")
    with pytest.raises(InputError, match=r"1\.5 s of audio, and .* takes 1 s at once"):
        scorer(["the cat"], signal(1.5))
    with pytest.raises(TextError, match=r"^text 1: 'zzz.*' is 42 tokens .* can read 40;"):
        scorer(["the cat", "z" * 39], signal(0.5))


def test_audio_of_a_manifest(whisper: Path, tmp_path: Path) -> None:
    utterances = []
    for i, seconds in enumerate((0.5, 0.8, 1.4)):
        path = tmp_path / f"u{i}.wav"
        soundfile.write(path, signal(seconds, seed=i), 16000, subtype="FLOAT")
        utterances.append(Utterance(f"u{i}", path))
    write_manifest(utterances, tmp_path / "manifest.jsonl")
    table = nbest({"u1": TEXTS[:2], "u0": TEXTS, "u2": TEXTS, "u9": TEXTS})
    found = rescore_audio(table, tmp_path / "manifest.jsonl", str(whisper), "whisper", device="cpu")
    scorer = Seq2SeqScorer.load(whisper, device="cpu")
    expected = [*scorer(TEXTS[:2], signal(0.8, 1)), *scorer(TEXTS, signal(0.5, 0))]
    np.testing.assert_allclose(found.table["whisper"], expected, rtol=0, atol=1e-4)
    assert "1.4 s of audio" in found.failures["u2"]
    assert found.failures["u9"] == "utterance u9: the manifest does not have this utterance"
    with pytest.raises(InputError, match="not one of 1 utterances"):
        rescore_with_audio(nbest({"u9": TEXTS}), utterances, scorer, "whisper")


def test_no_speech_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        Seq2SeqScorer.load(tmp_path / "missing", device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no encoder-decoder speech language model"):
        Seq2SeqScorer.load(tmp_path / "empty", device="cpu")
