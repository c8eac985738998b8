"""Decoding of whole folders: order, failures, workers, columns, the command."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr.decode import Decoded, decode, decode_with
from asr.emissions import Emissions, EmissionsMeta, EmissionsWriter
from asr.nbest import Hypothesis, read_nbest
from asr.options import DecoderOptions
from asr.vocabulary import Vocabulary
from experiments.cli import main
from lm.errors import InputError, SecondpassError
from tests.support.enumeration import certain, random_log_probs

CHARACTERS = Vocabulary.from_labels(["<pad>", "<s>", "|", "A", "B"], blank=0, special=[1])
INSTALLED = all(map(importlib.util.find_spec, ("kenlm", "pyctcdecode")))
REFERENCE = pytest.param("pyctcdecode", marks=pytest.mark.skipif(not INSTALLED, reason="no kenlm"))
SEARCHES = pytest.mark.parametrize("decoder", ["beam", REFERENCE])


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trigram model of words of the letters A and B."""
    folder = tmp_path_factory.mktemp("lm")
    text = folder / "text.txt"
    text.write_text("A B A\nAB A\nB AB\nBA BA A\nA A B\nABBA A B\n" * 2)
    path = folder / "lm.arpa"
    command = ["ngram", str(text), "-o", str(path), "--order", "3", "--discount-fallback"]
    assert main(command) == 0
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, np.ndarray]], Path]:
    """Writes emissions of CHARACTERS."""

    def write(utterances: dict[str, np.ndarray]) -> Path:
        meta = EmissionsMeta(CHARACTERS, 0.02, "test", "float32")
        with EmissionsWriter(tmp_path / "emissions", meta) as writer:
            for utt, log_probs in utterances.items():
                writer.add(utt, log_probs)
        return tmp_path / "emissions"

    return write


@pytest.fixture
def utterances() -> dict[str, np.ndarray]:
    """22 that can be decoded; the third has no frames, the ninth no text."""
    found = {f"u {23 - i}": random_log_probs(5 + i, CHARACTERS, i) for i in range(24)}
    found["u 21"] = np.zeros((0, 5), np.float32)
    found["u 15"] = np.full((3, 5), -np.inf, np.float32)
    return found


@SEARCHES
def test_results_do_not_depend_on_the_number_of_workers(
    folder: Callable[[dict[str, np.ndarray]], Path],
    utterances: dict[str, np.ndarray],
    arpa: Path,
    decoder: str,
) -> None:
    emissions = Emissions.open(folder(utterances))
    options = DecoderOptions(decoder=decoder, lm=str(arpa), beam_width=10, nbest=5)
    one, three = (list(decode(emissions, options, workers)) for workers in (1, 3))
    assert one == three
    assert [found.utt for found in one] == list(utterances)
    failures = {found.utt: found.reason for found in one if found.hypotheses is None}
    assert set(failures) == {"u 21", "u 15"}
    assert "utterance u 21: its emissions have no frames" in failures["u 21"]
    assert "utterance u 15: in frame 0" in failures["u 15"]
    assert [found.frames for found in one if found.hypotheses][:2] == [5, 6]


class Dying:
    """A decoder whose process the system kills."""

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        assert multiprocessing.parent_process() is not None
        os.kill(os.getpid(), signal.SIGKILL)
        return []


def test_a_killed_process_ends_the_run_and_does_not_hang_it(
    folder: Callable[[dict[str, np.ndarray]], Path],
    utterances: dict[str, np.ndarray],
) -> None:
    emissions = Emissions.open(folder(utterances))
    with pytest.raises(SecondpassError, match="a worker process was killed"):
        list(decode_with(Dying(), emissions, workers=2))


def test_greedy_is_a_decoder_too(folder: Callable[[dict[str, np.ndarray]], Path]) -> None:
    utterances = {
        "a": certain(CHARACTERS, {"A": 1.0}, {"|": 1.0}, {"B": 0.5}),
        "b": certain(CHARACTERS, {"<pad>": 1.0}),
    }
    emissions = Emissions.open(folder(utterances))
    with pytest.warns(UserWarning, match="not normalised"):
        first, second = decode(emissions, DecoderOptions(decoder="greedy"), workers=1)
    assert first.hypotheses and first.hypotheses[0].text == "A B"
    assert second == Decoded("b", [Hypothesis("", pytest.approx(0, abs=1e-5))], frames=1)


@SEARCHES
def test_the_command_decodes_and_lists_failures(
    folder: Callable[[dict[str, np.ndarray]], Path],
    utterances: dict[str, np.ndarray],
    arpa: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    decoder: str,
) -> None:
    out = tmp_path / "n.parquet"
    emissions = folder(utterances)
    command = ["decode", str(emissions), "--lm", str(arpa), "-o", str(out), "--decoder", decoder]
    options = ["--beam-width", "12", "--nbest", "4", "--alpha", "0.3", "--workers", "1"]
    assert main([*command, *options]) == 1
    printed = capsys.readouterr().err
    assert "utterance u 21" in printed and "utterance u 15" in printed
    assert "utterances/s, real-time factor" in printed
    table = read_nbest(out)
    settings = DecoderOptions(decoder=decoder, lm=str(arpa), beam_width=12, nbest=4, alpha=0.3)
    expected = [
        (found.utt, rank, h.text, h.acoustic, h.ngram, h.oov)
        for found in decode(Emissions.open(emissions), settings)
        for rank, h in enumerate(found.hypotheses or [], 1)
    ]
    columns = ["utt", "rank", "text", "acoustic", "ngram", "oov"]
    assert list(table[columns].itertuples(index=False, name=None)) == expected
    assert table["rank"].max() == 4
    assert ("word_starts" in table) == (decoder == "beam")


def test_all_columns_of_the_beam_decoder(
    folder: Callable[[dict[str, np.ndarray]], Path], arpa: Path, tmp_path: Path
) -> None:
    emissions = folder({str(i): random_log_probs(12, CHARACTERS, i) for i in range(3)})
    out = tmp_path / "n.parquet"
    lms = ["--lm", str(arpa), "--more-lms", str(arpa), "--lm-weights", "1", "--lm-weights", "0.5"]
    options = ["--hotwords", "A B=2.5", "--hotwords", "AB=1", "--exact", "--no-lookahead"]
    assert main(["decode", str(emissions), "-o", str(out), *lms, *options]) == 0
    table = read_nbest(out)
    assert (table["ngram"] == table["ngram2"]).all()
    assert (table["ctc"] >= table["acoustic"] - 1e-6).all()
    bonus = [
        (" " + t.replace(" ", "  ") + " ").count(" A  B ") * 2.5 + t.split().count("AB")
        for t in table["text"]
    ]
    assert table["hotwords"].tolist() == pytest.approx(bonus)
    for row in table.itertuples():
        assert len(row.word_starts) == len(row.word_ends) == row.words
        edges = [t for pair in zip(row.word_starts, row.word_ends, strict=True) for t in pair]
        assert edges == sorted(edges)
        assert all(0 <= t <= 12 * 0.02 + 1e-6 for t in edges)


def test_emissions_that_are_not_log_probs(
    folder: Callable[[dict[str, np.ndarray]], Path],
) -> None:
    good = random_log_probs(6, CHARACTERS, 1)
    infinite = good.copy()
    infinite[2, 3] = np.inf
    emissions = Emissions.open(
        folder({"good": good, "logits": good + 3, "probs": np.exp(good), "inf": infinite})
    )
    with pytest.warns(UserWarning, match="not normalised") as warned:
        found = {each.utt: each for each in decode(emissions, DecoderOptions(), workers=1)}
    assert len(warned) == 1
    texts = [h.text for h in found["good"].hypotheses or []]
    assert [h.text for h in found["logits"].hypotheses or []] == texts
    assert "probabilities; take their natural log" in found["probs"].reason
    assert "NaN or +inf" in found["inf"].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decoder", "greedy", "--lm", "x.arpa"], "greedy decoder takes no language model"),
        (["--nbest", "0"], "must be at least 1"),
        (["--beam-prune-logp", "10"], "must not be above 0"),
        (["--lm", "nowhere.arpa"], "nowhere.arpa"),
        (["--more-lms", "x.arpa"], "needs a first n-gram model"),
        (["--lm", "x", "--lm-weights", "1", "--lm-weights", "2"], "for 1 n-gram models"),
        (["--lm-unit", "label", "--decoder", "pyctcdecode"], "needs decoder `beam`"),
        (["--alpha", "nan"], "`alpha` is nan; give a finite number"),
        (["--beam-prune-logp", "nan"], "must be numbers, not -6.0 and nan"),
        (["--lm", "x", "--lm-weights", "0.5", "--mixture", "linear"], "must add up to 1"),
        (["--alpha", "-1"], "alpha -1.0 must not be negative"),
        (["--unknown", "1"], "must not be above 0"),
        (["--hotwords", "A"], "write PHRASE=WEIGHT"),
        (["--hotwords", "A=1", "--decoder", "pyctcdecode"], "needs decoder `beam`"),
        (["--lm-unit", "letter"], "is not one of word, label"),
        (["--workers", "0"], "use 1 or more"),
    ],
)
def test_bad_options_are_reported(
    folder: Callable[[dict[str, np.ndarray]], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    emissions = folder({"a": random_log_probs(5, CHARACTERS, 0)})
    out = tmp_path / "n.parquet"
    assert main(["decode", str(emissions), "-o", str(out), *options]) == 2
    printed = capsys.readouterr().err.strip()
    assert message in printed and "Traceback" not in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ({}, "no utterances in it; run `secondpass emit` again"),
        ({"a": np.zeros((0, 5), np.float32)}, "not one utterance could be decoded: utterance a"),
    ],
)
def test_no_decoded_utterance_is_an_error(
    folder: Callable[[dict[str, np.ndarray]], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    utterances: dict[str, np.ndarray],
    message: str,
) -> None:
    out = tmp_path / "n.parquet"
    assert main(["decode", str(folder(utterances)), "-o", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("hidden", ["kenlm", "pyctcdecode"])
def test_without_pyctcdecode_or_kenlm_the_other_decoders_work(
    folder: Callable[[dict[str, np.ndarray]], Path], arpa: Path, tmp_path: Path, hidden: str
) -> None:
    emissions = folder({"a": random_log_probs(5, CHARACTERS, 0)})
    script = f"import sys; sys.modules[{hidden!r}] = None; from experiments.cli import main; "
    results = {}
    for decoder in ("greedy", "beam", "pyctcdecode"):
        out = tmp_path / f"{decoder}.parquet"
        lm = [] if decoder == "greedy" else ["--lm", str(arpa)]
        command = ["decode", str(emissions), "--decoder", decoder, *lm, "-o", str(out)]
        results[decoder] = subprocess.run(
            [sys.executable, "-c", f"{script}sys.exit(main({command!r}))"],
            capture_output=True,
            text=True,
        )
    assert [found.returncode for found in results.values()] == [0, 0, 2]
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == [
        "beam.parquet",
        "greedy.parquet",
    ]
    message = results["pyctcdecode"].stderr
    assert f"`pyctcdecode` is not available, because the package {hidden} cannot be" in message
    assert "pip install" in message and "Traceback" not in message


def test_an_unknown_decoder_is_reported() -> None:
    with pytest.raises(InputError, match="'best' is not one of beam, greedy, pyctcdecode"):
        DecoderOptions(decoder="best")
