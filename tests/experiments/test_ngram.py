"""`secondpass ngram` from texts: what it writes, and what it says of bad input."""

from __future__ import annotations

import lzma
from itertools import pairwise
from pathlib import Path

import kenlm
import numpy as np
import pytest

from experiments.cli import main
from lm.estimation.backoff_tables import read_model
from lm.estimation.counted_text import most_frequent, read_corpus
from lm.estimation.entropy_pruning import prune
from lm.estimation.kneser_ney import estimate
from lm.ngram.arpa import Arpa
from lm.ngram.arpa_reader import read_arpa
from tests.support.arpas import write_lines, zipf_lines


def _same(ours: Arpa, theirs: Arpa, tolerance: float = 1e-6) -> bool:
    """Whether two models are equal, up to the digits of an ARPA file."""
    return list(ours.vocabulary) == list(theirs.vocabulary) and all(
        np.array_equal(a.words, b.words)
        and np.allclose(a.logprob, b.logprob, rtol=1e-6, atol=tolerance)
        and np.allclose(a.backoff, b.backoff, rtol=1e-6, atol=tolerance)
        for a, b in zip(ours.sections, theirs.sections, strict=True)
    )


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A small text in upper case."""
    return write_lines(tmp_path / "text.txt", [line.upper() for line in zipf_lines()])


def test_options_reach_the_model(tmp_path: Path, text: Path) -> None:
    words = write_lines(tmp_path / "words.txt", ["W1 W2", "W3 w4"])
    output = tmp_path / "lm.arpa"
    command = ["-o", str(output), "--order", "3"]
    corpus = read_corpus([text])
    weighted = read_corpus([text, text], weights=[3, 1])
    for options, expected in [
        ([], estimate(corpus, 3)),
        (["--prune", "0", "0", "1"], estimate(corpus, 3, [0, 0, 1])),
        (["--vocabulary", str(words)], estimate(corpus, 3, allowed={"W1", "W2", "W3"})),
        (["--vocabulary-size", "9"], estimate(corpus, 3, allowed=most_frequent(corpus, 9))),
        (["--entropy-prune", "1e-4"], prune(estimate(corpus, 3), 1e-4)),
        (
            ["--discount-fallback", "--weights", "3", "1"],
            estimate(weighted, 3, discount_fallback=True),
        ),
    ]:
        texts = [str(text)] * (2 if "--weights" in options else 1)
        assert main(["ngram", *texts, *command, *options]) == 0, options
        assert _same(read_arpa(output), expected), options


def test_every_format_has_the_same_model(tmp_path: Path, text: Path) -> None:
    expected = estimate(read_corpus([text]), 3)
    packed = tmp_path / "text.xz"
    packed.write_bytes(lzma.compress(text.read_bytes()))
    for source in (text, packed):
        for name in ("lm.arpa", "lm.arpa.gz", "lm.ngram"):
            output = tmp_path / name
            assert main(["ngram", str(source), "-o", str(output), "--order", "3"]) == 0
            assert _same(read_model(output), expected)
    assert (tmp_path / "lm.arpa.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert kenlm.Model(str(tmp_path / "lm.arpa")).order == 3


@pytest.mark.parametrize("order", [1, 4, 6])
def test_models_are_converted(tmp_path: Path, text: Path, order: int) -> None:
    names = ["a.arpa", "b.ngram", "c.arpa.gz", "d.ngram", "e.arpa"]
    paths = [str(tmp_path / name) for name in names]
    options = ["--order", str(order), "--discount-fallback"]
    assert main(["ngram", str(text), "-o", paths[0], *options]) == 0
    for source, output in pairwise(paths):
        assert main(["ngram", "--models", source, "-o", output]) == 0
    assert Path(paths[0]).read_bytes() == Path(paths[-1]).read_bytes()


def test_quantised_models_are_smaller(tmp_path: Path, text: Path) -> None:
    sizes = []
    for name, options in [("a.ngram", []), ("b.ngram", ["--quantise"])]:
        output = tmp_path / name
        assert main(["ngram", str(text), "-o", str(output), "--order", "4", *options]) == 0
        sizes.append(output.stat().st_size)
    assert sizes[1] < sizes[0]
    exact, rough = read_model(tmp_path / "a.ngram"), read_model(tmp_path / "b.ngram")
    assert not _same(exact, rough) and _same(exact, rough, 0.1)


def test_what_it_reports(tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev = write_lines(tmp_path / "dev.txt", ["w1 w2", "w1 unseen"])
    words = write_lines(tmp_path / "words.txt", ["W1", "W2", "ABSENT"])
    output = tmp_path / "lm.arpa"
    options = ["--order", "2", "--heldout", str(dev), "--vocabulary", str(words)]
    upper = ["--normaliser", "librispeech"]  # drops digits
    assert main(["ngram", str(text), "-o", str(output), *options]) == 0
    said = capsys.readouterr().err
    assert "1 of the 3 listed words are not in the text" in said
    assert "perplexity" in said and "4 unknown left out" in said
    assert "2-grams:" in said and f"wrote {output}" in said
    dev.write_text("W1 W2\nW1 UNSEEN\n")
    assert main(["ngram", str(text), "-o", str(output), *options]) == 0
    scores = [
        s for line in ("W1 W2", "W1 UNSEEN") for s in kenlm.Model(str(output)).full_scores(line)
    ]
    value = 10 ** -np.mean([log10 for log10, _, oov in scores if not oov])
    assert f"perplexity {value:.2f} on 5 held-out words, 1 unknown" in capsys.readouterr().err
    assert main(["ngram", str(text), "-o", str(output), "--order", "1", *upper]) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--order is missing"),
        (["--order", "0"], "order 0"),
        (["--order", "2", "--prune", "0", "1", "2"], "3 values"),
        (["--order", "2", "--prune", "1", "0"], "do not fall"),
        (["--order", "2", "--prune", "999999"], "leaves no word"),
        (["--order", "2", "--weights", "1", "2"], "2 weights for 1 texts"),
        (["--order", "2", "--weights", "0.5"], "--models"),
        (["--order", "2", "--vocabulary", "WORDS", "--vocabulary-size", "3"], "give one"),
        (["--order", "2", "--vocabulary-size", "0"], "1 or more"),
        (["--order", "2", "--vocabulary", "WORDS"], "none of the vocabulary's words"),
        (["--order", "2", "--vocabulary", "gone.txt"], "gone.txt"),
        (["--order", "2", "--memory", "lots"], "800M or 4G"),
        (["--order", "2", "--memory", "10M"], "too little"),
        (["--order", "2", "--temp-folder", "/no/such"], "no such folder"),
        (["--order", "2", "--mix-weights", "1"], "--mix-weights is for"),
        (["--order", "2", "--entropy-prune", "nan"], "--entropy-prune nan"),
        (["--order", "2", "--quantise"], "LM.ngram"),
        (["--order", "2", "--heldout", "gone.txt"], "gone.txt"),
        (["--order", "2", "--models", "a.arpa"], "either texts"),
        (["BINARY", "--order", "3"], "binary.txt, line 1: not text (a zero byte)"),
        (["EMPTY", "--order", "3"], "no words in"),
        (["FOLDER", "--order", "3"], "cannot be read"),
        (["gone.txt", "--order", "3"], "gone.txt"),
        (["--order", "2", "--normaliser", "upperr"], "names no normaliser"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "empty.txt").write_text("\n\n")
    files = {
        "WORDS": str(write_lines(tmp_path / "words.txt", ["nothing", "of", "it"])),
        "BINARY": str(tmp_path / "binary.txt"),
        "EMPTY": str(tmp_path / "empty.txt"),
        "FOLDER": str(tmp_path),
    }
    given = [files.get(option, option) for option in options]
    texts = [] if options and not options[0].startswith("-") else [str(text)]
    output = tmp_path / "lm.arpa"
    assert main(["ngram", *texts, *given, "-o", str(output)]) == 2
    assert says in capsys.readouterr().err
    assert not output.exists()


def test_bad_places_are_named(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ngram", str(text), "-o", str(tmp_path), "--order", "2"]) == 2
    assert f"{tmp_path}: this is a folder" in capsys.readouterr().err
    assert main(["ngram", "-o", str(tmp_path / "lm.arpa")]) == 2
    assert "either texts" in capsys.readouterr().err
    doubled = ["ngram", str(text), str(text), "-o", str(tmp_path / "lm.arpa"), "--order", "3"]
    assert main(doubled) == 2  # no n-gram occurs once
    assert "--discount-fallback" in capsys.readouterr().err
