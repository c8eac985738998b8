"""The demo's synthetic speech: reproducible, in the voices that it names, within its size."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments.demo.espeak import Job, spoken_form, synthesise, synthesise_all
from experiments.demo.synthesise import cast_demo, cast_training, main, read_sentences
from experiments.demo.training_text import cut, mix, normalise, word_runs
from experiments.demo.training_text import main as text_main
from experiments.demo.voices import ACCENTS, DEV_VOICES, TEST_VOICES, TRAIN_VOICES, Voice
from lm.errors import InputError, SecondpassError
from tests.support.data import PROJECT

speaks = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="needs espeakng-loader (pip install espeakng-loader)",
)
TEXT = "please ask my sister to bring three jars of honey"
VOICE = Voice("en-us", "m3")


@speaks
def test_same_samples_whatever_was_spoken_before_and_however_many_speak_at_a_time() -> None:
    alone = synthesise(TEXT, VOICE, 7)
    jobs = [Job(f"{TEXT} {n}", VOICE, n) for n in ("one", "two", "three")] + [Job(TEXT, VOICE, 7)]
    jobs = [job._replace(seed=7) for job in jobs]
    one = list(synthesise_all(jobs, processes=1))
    three = list(synthesise_all(iter(jobs), processes=3))
    assert np.array_equal(one[-1], alone)
    assert [a.tobytes() for a in one] == [b.tobytes() for b in three]
    assert len({a.tobytes() for a in one}) == len(jobs)


@speaks
def test_seed_changes_samples_but_hardly_the_length() -> None:
    rough = Voice("en", "f2")  # a variant whose voice varies at random
    first, second = synthesise(TEXT, rough, 1), synthesise(TEXT, rough, 2)
    assert not np.array_equal(first, second)
    assert abs(len(first) - len(second)) < 0.05 * len(first)


@speaks
def test_signal_is_speech_at_16_khz() -> None:
    samples = synthesise(TEXT, VOICE, 1)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert np.abs(samples).max() <= 1
    # The variant's file says 80 to 122 Hz: at a wrong sample rate this would be 38 % off.
    assert 80 < fundamental(samples) < 122
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / 16000)
    assert power[(hertz > 80) & (hertz < 4000)].sum() > 0.9 * power.sum()


@speaks
def test_rate_and_pitch_have_their_effect() -> None:
    slow = synthesise(TEXT, Voice("en-us", "m3", rate=130), 1)
    fast = synthesise(TEXT, Voice("en-us", "m3", rate=200), 1)
    assert len(slow) / len(fast) == pytest.approx(200 / 130, rel=0.15)
    low = fundamental(synthesise(TEXT, Voice("en-us", "m3", pitch=20), 1))
    high = fundamental(synthesise(TEXT, Voice("en-us", "m3", pitch=80), 1))
    woman = fundamental(synthesise(TEXT, Voice("en-us", "f2"), 1))
    assert 60 < low < high < woman < 350


def fundamental(samples: np.ndarray) -> float:
    """Median pitch in Hz by the autocorrelation of loud frames of 50 ms."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 800)[::400]
    loud = frames[(frames**2).mean(axis=1) > (samples**2).mean()]
    found = []
    for frame in loud:
        correlation = np.correlate(frame, frame, "full")[799:]
        found.append(16000 / (np.argmax(correlation[45:270]) + 45))
    return float(np.median(found))


@speaks
@pytest.mark.slow
def test_every_voice_exists_and_differs_from_all_others() -> None:
    voices = [*DEV_VOICES, *TEST_VOICES, *TRAIN_VOICES]
    plain = [Voice(v.accent, v.variant) for v in voices] + [Voice(a, "m3") for a in ACCENTS[1:]]
    spoken = list(synthesise_all([Job(TEXT, voice, 1) for voice in plain], processes=2))
    assert len({samples.tobytes() for samples in spoken}) == len({v.name for v in plain})


@speaks
@pytest.mark.parametrize("variant", ["xyz", "m99", ""])
def test_unknown_variant_is_an_error_although_espeak_accepts_it(variant: str) -> None:
    with pytest.raises(SecondpassError, match="has no voice"):
        synthesise(TEXT, Voice("en", variant), 1)


def test_impossible_voices_are_errors() -> None:
    with pytest.raises(InputError, match=r"unknown accent 'en-gb'.*en-gb-x-rp"):
        Voice("en-gb", "m1")  # espeak-ng knows no such name and would keep the voice before
    with pytest.raises(InputError, match="500"):
        Voice("en", "m1", rate=500)
    with pytest.raises(InputError, match="pitch 100"):
        Voice("en", "m1", pitch=100)


def test_sets_of_voices_are_disjoint() -> None:
    sets = [TRAIN_VOICES, DEV_VOICES, TEST_VOICES]
    for voices in sets:
        assert len({voice.name for voice in voices}) == len(voices)
    variants = Counter(v for voices in sets for v in {voice.variant for voice in voices})
    assert set(variants.values()) == {1}
    assert len(TRAIN_VOICES) >= 60 and {v.accent for v in TRAIN_VOICES} == set(ACCENTS)


def test_spelled_a_is_a_letter_and_the_article_stays() -> None:
    assert spoken_form("b a c k") == "b ay c k"
    assert spoken_form("a b e l a") == "ay b e l ay"
    assert spoken_form("made in the u s a") == "made in the u s ay"
    for text in ("vitamin c a day", "i saw a t v", "a b", "that's a e", "can i have a jar"):
        assert spoken_form(text) == text


@speaks
def test_spelled_letters_sound_like_their_names() -> None:
    spelled, named = (synthesise(t, VOICE, 1) for t in ("b a c k", "bee ay see kay"))
    assert len(spelled) == pytest.approx(len(named), rel=0.25)
    with pytest.raises(SecondpassError, match="no sound"):
        synthesise("", VOICE, 1)


def run_apart(*arguments: str) -> int:
    """Runs the command in a process of its own, as speech of this one must stay reproducible."""
    command = [sys.executable, "-m", "experiments.demo.synthesise", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True).returncode


@speaks
def test_a_process_that_has_spoken_is_refused() -> None:
    program = (
        "from experiments.demo.espeak import Espeak, synthesise; "
        "from experiments.demo.voices import Voice; "
        "v = Voice('en', 'f2'); Espeak().speak('hello', v, 1); synthesise('hello', v, 1)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True)
    assert done.returncode == 1 and b"SecondpassError: reproducible speech needs" in done.stderr


def sentences(count: int) -> str:
    rows = [
        f"{split}-{n:03d}\tcommand\t{split}\ttell me story {'abcdefgh'[n % 8]} please"
        for split in ("dev", "test")
        for n in range(count)
    ]
    return "id\tkind\tsplit\ttext\n" + "".join(f"{row}\n" for row in rows)


def test_cast_is_balanced_and_independent_of_order(tmp_path: Path) -> None:
    path = tmp_path / "sentences.tsv"
    path.write_text(sentences(162))
    read = read_sentences(path)
    cast = cast_demo(read, "test")
    names = Counter(voice.name for voice, _ in cast)
    assert set(names.values()) == {27} and set(names) == {v.name for v in TEST_VOICES}
    noises = Counter(json.dumps(row.get("noise") and row["tags"]["snr"]) for _, row in cast)
    assert noises["null"] == 54 and noises['"5 dB"'] == noises['"10 dB"'] == noises['"20 dB"'] == 36
    assert {row["id"]: row for _, row in cast_demo(read[::-1], "test")} == {
        row["id"]: row for _, row in cast
    }


@speaks
def test_demo_command_writes_small_opus_and_manifests(tmp_path: Path) -> None:
    tsv = tmp_path / "sentences.tsv"
    tsv.write_text(sentences(6))
    assert main(["demo", "--sentences", str(tsv), "-o", str(tmp_path), "--processes", "2"]) == 0
    seconds, size = 0.0, 0
    for split in ("dev", "test"):
        rows = [json.loads(line) for line in (tmp_path / f"{split}.jsonl").read_text().splitlines()]
        assert [row["id"] for row in rows] == [f"{split}-{n:03d}" for n in range(6)]
        for row in rows:
            path = tmp_path / row["audio_filepath"]
            samples, rate = soundfile.read(path)
            assert rate == 16000 and len(samples) == pytest.approx(16000 * row["duration"], abs=1)
            assert row["text"].isupper() and np.abs(samples).max() > 0.05
            seconds, size = seconds + row["duration"], size + path.stat().st_size
    assert size / 12 < 5000 and 8 * size / seconds < 25_000  # bit/s, headers of short files and all


@speaks
def test_train_command_holds_out_lines_and_repeats(tmp_path: Path) -> None:
    words = ("red", "green", "blue", "black", "white")
    lines = [f"{a} {b} {c}" for a in words for b in words for c in words]
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{line}\n" for line in [*lines, "too short"]))
    options = ["train", str(text), "--hours", "0.06", "--seed", "3", "--format", "wav", "-o"]
    for name in ("one", "two"):
        assert run_apart(*options, str(tmp_path / name)) == 0
    rows = {}
    for split in ("train", "valid"):
        one, two = (
            [json.loads(x) for x in (tmp_path / n / f"{split}.jsonl").read_text().splitlines()]
            for n in ("one", "two")
        )
        rows[split] = one
        strip = [{k: v for k, v in row.items() if k != "duration"} for row in one]
        assert strip == [{k: v for k, v in row.items() if k != "duration"} for row in two]
    held_out = {row["text"] for row in rows["valid"]}
    assert len(rows["train"]) > len(lines)  # so the lines were begun again
    assert len(held_out) == len(rows["valid"]) == 2
    assert held_out.isdisjoint(row["text"] for row in rows["train"])
    every = [*rows["train"], *rows["valid"]]
    assert sum(row["duration"] for row in every) == pytest.approx(0.06 * 3600, abs=3)
    info = soundfile.info(tmp_path / "one" / every[0]["audio_filepath"])
    assert (info.samplerate, info.subtype, info.channels) == (16000, "PCM_16", 1)
    assert 0.4 < sum("noise" in row for row in every) / len(every) < 0.6
    assert run_apart(*options, str(tmp_path / "one")) == 2  # never over an older corpus


def test_training_speakers_are_training_voices() -> None:
    drawn = cast_training(["a b c d"], 1, 0.5)
    names = {next(drawn)[2].name for _ in range(500)}
    assert names <= {voice.name for voice in TRAIN_VOICES} and len(names) > 55


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id\tkind\ttext\n", "must have the columns"),
        ("id\tkind\tsplit\ttext\na\tk\tdev\tHello\n", ":2: write the text"),
        ("id\tkind\tsplit\ttext\na\tk\tdev\thi\na\tk\tdev\tho\n", ":3: id a occurs twice"),
        ("id\tkind\tsplit\ttext\na\tk\ttrain\thi\n", "unknown split 'train'; write dev or test"),
        ("id\tkind\tsplit\ttext\na\tk\tdev\n", "3 values, but the header has 4 columns"),
    ],
)
def test_wrong_sentences_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "s.tsv"
    path.write_text(content)
    assert main(["demo", "--sentences", str(path), "-o", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and str(path) in error and error.count("\n") == 1


def test_wrong_training_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.txt"
    path.write_text("this is right\nthis 1 is not\n")
    assert main(["train", str(path), "-o", str(tmp_path / "out")]) == 2
    assert f"{path}:2:" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none"), "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_normalise_and_cut() -> None:
    assert (
        normalise("“I can’t,” said Mr. Smith - ‘not now!’") == "i can't said mister smith not now"
    )
    assert normalise("In 1842 he left.") is None
    assert normalise("CHAPTER two") is None
    assert normalise("A fiancée came.") is None
    pieces = cut(" ".join(str(n) for n in range(200)), random.Random(1))
    assert " ".join(pieces).split() == [str(n) for n in range(len(" ".join(pieces).split()))]
    assert all(3 <= len(piece.split()) <= 25 for piece in pieces)


def test_mix_keeps_shares_and_leaves_out_demo_sentences(tmp_path: Path) -> None:
    assistant = [f"please play the song called {a}{b}" for a in "abcdefgh" for b in "stuvwxyz"]
    demo = "go and please play the song called as now"
    novels = [f"Then came {a}{b} home. She was very glad!" for a in "abcdefgh" for b in "stuvwxyz"]
    read = [f"HE SAW {a}{b} AGAIN" for a in "ABCDEFGH" for b in "STUVWXYZ"]
    lines = mix(assistant, read, novels, 100, 1, [demo])
    assert lines == mix(assistant, read, novels, 100, 1, [demo])
    assert sum(line.startswith("please play") for line in lines) == 45
    assert sum(line.startswith(("then came", "she was", "he saw")) for line in lines) == 47
    forbidden = word_runs(demo)
    assert all(forbidden.isdisjoint(word_runs(line)) for line in lines)
    many = mix(assistant, read, novels, 1000, 1, [demo])
    assert "please play the song called at" in many and "please play the song called as" not in many
    for name, content in (("a", assistant), ("u", read), ("n", novels)):
        (tmp_path / name).write_text("\n".join(content))
    command = f"--utterances {tmp_path}/u --novels {tmp_path}/n --lines 50 -o {tmp_path}/out"
    assert text_main(["--assistant", f"{tmp_path}/a", *command.split()]) == 0
    assert len((tmp_path / "out").read_text().splitlines()) == 50
    assert text_main(["--assistant", f"{tmp_path}/none", *command.split()]) == 2
