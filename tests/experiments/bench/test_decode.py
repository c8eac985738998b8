"""The decoding benchmark: emissions are like real ones, decoders are called correctly."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asr.corpus import read_corpus
from asr.evaluation.wer import ErrorRate, word_errors
from asr.greedy import greedy
from experiments.bench import decode
from experiments.bench.decoders.flashlight import NEVER, without_repeats
from experiments.bench.decoders.interface import NARROW, WIDE, Fusion, Peer, Width, words_of
from experiments.bench.decoders.peers import OURS, OURS_LABELS, PEERS
from experiments.bench.decoders.synthetic_emissions import CHANNELS, Channel, Units, synthesise
from experiments.bench.decoders.tasks import (
    DEMO,
    PIECES,
    Sounds,
    evenly,
    librispeech,
    librispeech_pieces,
    made_of,
)
from experiments.bench.decoders.timing import Entry, Figures, accuracy, on_all_cores, race
from experiments.bench.first_call import STEPS, first_calls
from experiments.bench.report import ratios_to_ours, scaling_rows
from experiments.cli import main
from lm.errors import InputError

CLEAR = Channel(noise=0.05, certainty=12.0, leak=-12.0, repeats=0.0)
LASTING = Channel(noise=0.05, certainty=12.0, leak=-12.0, repeats=1.0)
FUSION = Fusion(str(DEMO / "lm.arpa.gz"), beta=1.0)


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """The demo's test sentences of which its n-gram model knows all words."""
    texts = [u.text or "" for u in read_corpus(DEMO / "test.jsonl")]
    known = set(words_of(FUSION.lm))
    return [text for text in texts if set(text.split()) <= known]


@pytest.fixture(scope="module")
def units(sentences: list[str]) -> dict[str, Units]:
    """Both kinds of vocabulary."""
    return {"characters": Units.characters(), "pieces": Units.pieces(sentences, 200)}


def hear(units: Units, sentence: str, channel: Channel, frames: int = 400) -> np.ndarray:
    """A sentence's emissions."""
    return synthesise(
        units.spell(sentence), units.vocabulary, channel, frames, np.random.default_rng(5)
    )


def peer(name: str) -> Peer:
    """A decoder by its name; the test is skipped where it cannot run."""
    found = next(p for p in PEERS if p.name == name)
    reason = found.missing()
    if reason:
        pytest.skip(reason)
    return found


@pytest.mark.parametrize("kind", ["characters", "pieces"])
def test_spelling_gives_the_sentence_back(
    units: dict[str, Units], sentences: list[str], kind: str
) -> None:
    for sentence in [*sentences, "'TIS ALL O'CLOCK ZZZ"]:
        ids = units[kind].spell(sentence)
        assert units[kind].vocabulary.text(ids) == sentence


def test_pieces_have_the_given_size_and_no_bare_word_start(units: dict[str, Units]) -> None:
    labels = units["pieces"].vocabulary.labels
    assert len(labels) == len(set(labels)) == 200
    assert "▁" not in labels
    assert max(map(len, labels)) > 3


def test_other_characters_are_an_error(units: dict[str, Units]) -> None:
    with pytest.raises(InputError, match="É"):
        units["pieces"].spell("CAFÉ")


@pytest.mark.parametrize("kind", ["characters", "pieces"])
@pytest.mark.parametrize("channel", ["peaky", "middle", "noisy"])
def test_log_probs_are_normalised_and_the_same_for_the_same_seed(
    units: dict[str, Units], sentences: list[str], kind: str, channel: str
) -> None:
    heard = [hear(units[kind], sentences[0], CHANNELS[kind][channel]) for _ in range(2)]
    assert heard[0].shape == (400, len(units[kind].vocabulary.labels))
    assert heard[0].dtype == np.float32
    np.testing.assert_array_equal(heard[0], heard[1])
    np.testing.assert_allclose(np.exp(heard[0].astype(float)).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["characters", "pieces"])
def test_a_clear_sound_is_heard_right(
    units: dict[str, Units], sentences: list[str], kind: str
) -> None:
    for channel, sentence in itertools.product((CLEAR, LASTING), sentences[:20]):
        heard = hear(units[kind], sentence, channel)
        assert greedy(heard, units[kind].vocabulary)[0] == sentence


def test_equal_letters_have_a_blank_between_them_when_there_is_no_room_to_spare() -> None:
    units = Units.characters()
    ids = units.spell("BEE ALL")
    least = len(ids) + 2  # EE, LL
    heard = hear(units, "BEE ALL", CLEAR, least)
    assert greedy(heard, units.vocabulary)[0] == "BEE ALL"
    with pytest.raises(InputError, match=f"need {least} frames"):
        hear(units, "BEE ALL", CLEAR, least - 1)


def test_confusions_are_with_near_letters() -> None:
    """Of a noisy B, P (the same but for the voice) is likelier than S."""
    units = Units.characters()
    labels = units.vocabulary.labels
    found = []
    for seed in range(200):
        heard = synthesise(
            units.spell("B"), units.vocabulary, Channel(0.6, 5.0, -9.0), 3,
            np.random.default_rng(seed),
        )  # fmt: skip
        frame = heard[heard[:, units.vocabulary.blank].argmin()]
        found.append(frame[labels.index("P")] - frame[labels.index("S")])
    assert np.mean(found) > 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["characters", "pieces"])
def test_greedy_wer_of_the_channels(shared_data: Path, kind: str) -> None:
    """About 5, 15 and 30 % on LibriSpeech sentences, as the channels promise."""
    units = Units.characters() if kind == "characters" else librispeech_pieces()
    assert len(units.vocabulary.labels) == {"characters": 29, "pieces": PIECES}[kind]
    task = made_of(kind, units, librispeech(60), Fusion(""))
    for channel, (low, high) in {
        "peaky": (0.03, 0.08),
        "middle": (0.11, 0.19),
        "noisy": (0.25, 0.36),
    }.items():
        sounds = task.sets[channel]
        counted = [
            word_errors(reference, greedy(log_probs, units.vocabulary)[0])
            for log_probs, reference in zip(sounds.log_probs, sounds.references, strict=True)
        ]
        assert low < sum(counted, ErrorRate()).rate < high
        assert sounds.seconds == 600


@pytest.fixture(scope="module")
def fusions(
    units: dict[str, Units], sentences: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Fusion]:
    """The demo's n-gram model, and one of labels for each kind of vocabulary."""
    folder = tmp_path_factory.mktemp("labels")
    found = {}
    for kind, spelling in units.items():
        text, lm = folder / f"{kind}.txt", folder / f"{kind}.arpa"
        text.write_text("".join(" ".join(spelling.spelled(s)) + "\n" for s in sentences))
        command = ["ngram", str(text), "-o", str(lm), "--order", "3", "--discount-fallback"]
        assert main(command) == 0
        found[kind] = replace(FUSION, label_lm=str(lm))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("width", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize(("name", "kind"), [(p.name, kind) for p in PEERS for kind in p.kinds])
def test_every_decoder_recognises_a_clear_sound(
    units: dict[str, Units],
    fusions: dict[str, Fusion],
    sentences: list[str],
    width: Width,
    name: str,
    kind: str,
) -> None:
    search = peer(name).load(units[kind], fusions[kind])(width, 20)
    for sentence in sentences[:10]:
        texts = search.texts(search.run(hear(units[kind], sentence, CLEAR)))
        assert texts[0] == sentence


@pytest.mark.slow
def test_a_wide_search_has_longer_lists(units: dict[str, Units], sentences: list[str]) -> None:
    heard = hear(units["characters"], sentences[0], CHANNELS["characters"]["middle"])
    for name in ("pyctcdecode", "flashlight lexicon"):
        searches = peer(name).load(units["characters"], FUSION)
        narrow, wide = (s.texts(s.run(heard)) for s in (searches(NARROW, 64), searches(WIDE, 64)))
        assert len(narrow) < len(wide) <= 64


@pytest.mark.slow
def test_repeated_pieces_break_the_lexicon_search_unless_corrected(
    units: dict[str, Units], sentences: list[str]
) -> None:
    found = {}
    for name in ("flashlight lexicon", "flashlight lexicon, corrected"):
        search = peer(name).load(units["pieces"], FUSION)(WIDE, 100)
        found[name] = [
            search.texts(search.run(hear(units["pieces"], s, LASTING)))[:1] == [s]
            for s in sentences[:10]
        ]
    assert not any(found["flashlight lexicon"])
    assert all(found["flashlight lexicon, corrected"])


def test_without_repeats_each_label_keeps_its_first_frame() -> None:
    likely = [1, 1, 1, 0, 1, 2, 2]
    log_probs = np.full((7, 3), -5.0, np.float32)
    log_probs[range(7), likely] = -0.1
    changed = without_repeats(log_probs, blank=0)
    assert changed.argmax(axis=1).tolist() == [1, 0, 0, 0, 1, 2, 0]
    assert (changed[[1, 2, 6], [1, 1, 2]] == NEVER).all()
    np.testing.assert_array_equal(changed[[0, 3, 4, 5]], log_probs[[0, 3, 4, 5]])


class Fixed:
    """A search that finds one text, and counts its calls."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.calls = 0

    def run(self, log_probs: np.ndarray) -> str:
        self.calls += 1
        return self.text

    def texts(self, found: str) -> list[str]:
        return [found]


@pytest.mark.slow
def test_all_entries_get_the_same_utterances_and_rounds() -> None:
    searches = [Fixed("A B"), Fixed("A C")]
    rival = Peer("fixed", lambda units, fusion: lambda width, beam: searches[0], threads=True)
    entries = [Entry(rival, WIDE, 8, search) for search in searches]
    sounds = Sounds([np.zeros((4, 3), np.float32)] * 3, ["A B"] * 3, 0.24)
    figures = race(entries, sounds, 2, lambda entry: entry is entries[0], warm=False)
    assert [done.wer.errors for done in figures] == [0, 3]
    assert figures[0].all_cores > 0 and np.isnan(figures[1].all_cores)
    assert searches[1].calls == 2 * 3
    assert all(done.seconds > 0 and done.distinct == 1 for done in figures)


def test_processes_are_used_for_decoders_that_hold_the_lock(units: dict[str, Units]) -> None:
    decoder = peer("pyctcdecode")
    search = decoder.load(units["characters"], FUSION)(NARROW, 8)
    sounds = Sounds(
        [hear(units["characters"], "TURN IT OFF", CLEAR)] * 2, ["TURN IT OFF"] * 2, 16.0
    )
    assert on_all_cores(Entry(decoder, NARROW, 8, search), sounds, 10.0) > 0


def test_accuracy_counts_different_texts_and_the_best() -> None:
    lists = [["A  B", "A B ", "A C"], []]
    first, best, distinct = accuracy(lists, ["A C", "D"])
    assert (first.errors, best.errors, distinct) == (2, 1, 1.0)
    assert first.ref_words == 3


@pytest.mark.slow
def test_first_calls_are_measured_in_new_processes() -> None:
    heard = hear(Units.characters(), "TURN IT OFF", CLEAR, 60)
    found = first_calls(FUSION.lm, heard)
    assert list(found) == ["nothing cached", "cached"]
    for times in found.values():
        assert list(times) == [*STEPS, "process"]
        assert min(times.values()) > 0
        assert times["process"] > sum(times[step] for step in STEPS)


def test_rows_of_scaling_are_relative_to_the_first() -> None:
    assert scaling_rows({16: 0.002, 64: 0.009})[1] == ["64", "9.00", "4", "4.50"]


def test_ratios_are_to_ours_at_the_same_settings() -> None:
    words, labels = (next(p for p in PEERS if p.name == name) for name in (OURS, OURS_LABELS))
    rival = next(p for p in PEERS if p.name == "flashlight free")
    entries = [
        Entry(rival, WIDE, 8, Fixed("A")),
        Entry(rival, NARROW, 8, Fixed("A")),
        Entry(words, WIDE, 8, Fixed("A")),
        Entry(labels, WIDE, 8, Fixed("A")),
    ]
    none = ErrorRate()
    figures = [Figures(seconds, 0, 0, none, none, 1) for seconds in (6.0, 6.0, 3.0, 2.0)]
    ratios = ratios_to_ours(entries, figures)
    assert ratios[0] == 3 and np.isnan(ratios[1]) and ratios[2:] == [1, 1]


def test_evenly_spaced_items() -> None:
    assert evenly(range(10), 3) == [0, 3, 6]
    assert evenly("AB", 3) == ["A", "B"]


@pytest.mark.slow
def test_quick_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """End to end on what the package brings: each decoder that is there has its rows."""
    report = tmp_path / "decode.md"
    assert decode.main(["--quick", "--markdown", str(report), "--work", str(tmp_path)]) == 0
    text = report.read_text(encoding="utf-8")
    for decoder in PEERS:
        if decoder.missing():
            assert decoder.missing() in text
        elif "characters" in decoder.kinds and not decoder.labels:
            rows = [line for line in text.splitlines() if line.startswith(f"| {decoder.name} |")]
            assert len(rows) == 3 * (2 if decoder.widens else 1)
            assert all(0 <= float(row.split("|")[8]) < 60 for row in rows)
    assert "bundled, noisy" in capsys.readouterr().out


def test_missing_inputs_are_skipped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECONDPASS_DATA", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    assert decode.main(["--only", "an4", "characters", "--decoders", "greedy"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "an4: skipped" in shown and "characters: skipped" in shown
    assert "README" in shown


@pytest.mark.parametrize("given", [["--beams", "0"], ["--decoders", "nemo"]])
def test_wrong_arguments(given: list[str]) -> None:
    with pytest.raises(InputError):
        decode.main(["--quick", *given])
