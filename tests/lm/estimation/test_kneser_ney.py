"""Kneser-Ney estimation: against KenLM's lmplz, a plain-dictionary version, and properties."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import kenlm
import numpy as np
import pytest

from lm.errors import InputError
from lm.estimation.counted_text import read_corpus, read_lines
from lm.estimation.external_sort import Workspace
from lm.estimation.kneser_ney import estimate
from lm.estimation.smoothing import discounts_of
from lm.ngram.arpa import Arpa, Section, write_arpa
from lm.ngram.arpa_reader import read_arpa
from tests.support.arpas import write_lines, zipf_lines
from tests.support.data import PROJECT

Gram = tuple[str, ...]


def _by_words(model: Arpa, section: Section) -> dict[Gram, tuple[float, float]]:
    """n-gram -> (log10 probability, log10 back-off weight)."""
    grams = (tuple(model.vocabulary[i] for i in words) for words in section.words.tolist())
    values = zip(section.logprob.tolist(), section.backoff.tolist(), strict=True)
    return dict(zip(grams, values, strict=True))


def _assert_equal(ours: Arpa, theirs: Arpa, tolerance: float) -> None:
    assert ours.order == theirs.order
    for a, b in zip(ours.sections, theirs.sections, strict=True):
        mine, other = _by_words(ours, a), _by_words(theirs, b)
        assert mine.keys() == other.keys()
        values = np.array([[mine[gram], other[gram]] for gram in mine])
        np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def zipf_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text with an empty sentence."""
    return write_lines(tmp_path_factory.mktemp("zipf") / "text.txt", zipf_lines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prune"),
    [
        ("o2", [0]),
        ("o3", [0]),
        ("o5", [0]),
        ("o4-prune0011", [0, 0, 1]),
        ("o4-prune0011", [0, 0, 1, 1]),
        ("o3-prune012", [0, 1, 2]),
    ],
)
def test_equals_lmplz(shared_data: Path, name: str, prune: list[int]) -> None:
    folder = shared_data / "lmplz-reference"
    ours = estimate(read_corpus([folder / "text.txt.gz"]), int(name[1]), prune)
    _assert_equal(ours, read_arpa(folder / f"{name}.arpa.gz"), 2e-6)


def test_perplexity_equals_lmplzs(shared_data: Path, tmp_path: Path) -> None:
    """Perplexity on other text through KenLM, to four digits."""
    folder = shared_data / "lmplz-reference"
    held = read_lines(shared_data / "text" / "librispeech-train-clean-100.txt.xz")[:500]
    paths = [tmp_path / "ours.arpa", tmp_path / "theirs.arpa"]
    write_arpa(estimate(read_corpus([folder / "text.txt.gz"]), 4, [0, 0, 1, 1]), paths[0])
    paths[1].write_bytes(gzip.decompress((folder / "o4-prune0011.arpa.gz").read_bytes()))
    perplexities = []
    for path in paths:
        model = kenlm.Model(str(path))
        log10 = sum(model.score(line) for line in held)
        perplexities.append(10 ** (-log10 / sum(len(line.split()) + 1 for line in held)))
    assert perplexities[0] == pytest.approx(perplexities[1], rel=1e-5)


def _plain_kneser_ney(
    path: Path, order: int, prune: Sequence[int], allowed: set[str] | None
) -> list[dict[Gram, float]]:
    """Probabilities by Chen and Goodman's formulas, n-gram by n-gram, with dictionaries."""
    sentences = [["<s>", *line.split(), "</s>"] for line in path.read_text().split("\n")[:-1]]
    raw: list[Counter[Gram]] = [
        Counter(tuple(s[i : i + k]) for s in sentences for i in range(len(s) - k + 1))
        for k in range(1, order + 1)
    ]
    raw[0]["<unk>",] = raw[0]["<s>",] = 0
    special = {("<unk>",), ("<s>",), ("</s>",)}
    probabilities: list[dict[Gram, float]] = []
    for k in range(1, order + 1):
        left: dict[Gram, set[str]] = defaultdict(set)
        for gram in raw[k] if k < order else ():
            left[gram[1:]].add(gram[0])
        adjusted = {
            gram: count if k == order or gram[0] == "<s>" else len(left[gram])
            for gram, count in raw[k - 1].items()
        }
        n = Counter(adjusted.values())
        y = n[1] / max(1, n[1] + 2 * n[2])
        d = [0.0, 0.5, 1.0, 1.5]  # the fallback
        if n[1] and n[2] and n[3]:
            given = [0.0, *(j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3))]
            d = given if min(given) >= 0 else d
        kept = {
            gram
            for gram in adjusted
            if (raw[k - 1][gram] > prune[k - 1] or gram in special)
            and (allowed is None or all(w in allowed or (w,) in special for w in gram))
        }
        total: Counter[Gram] = Counter()
        held_back: dict[Gram, float] = defaultdict(float)
        for gram, count in adjusted.items():
            total[gram[:-1]] += count
            held_back[gram[:-1]] += d[min(count, 3)] if gram in kept else count
        table = {}
        for gram in kept:
            context, count = gram[:-1], adjusted[gram]
            lower = probabilities[-1][gram[1:]] if k > 1 else 1 / (len(kept) - 1)
            discounted = (count - d[min(count, 3)]) / total[context]
            table[gram] = discounted + held_back[context] / total[context] * lower
        if k == 1:
            table["<s>",] = 1.0
        probabilities.append(table)
    return probabilities


@pytest.mark.parametrize(
    ("order", "prune", "limited"),
    [
        (1, [0], False),
        (1, [3], False),
        (2, [0, 0], False),
        (3, [0, 0, 0], False),
        (3, [0, 1, 3], False),
        (3, [2, 4, 4], False),
        (3, [0, 0, 1], True),
        (4, [0, 0, 0, 0], False),
        (5, [0, 0, 0, 1, 1], False),
        (6, [0, 0, 0, 0, 1, 1], True),
        (4, [0, 0, 1, 1], True),
    ],
)
def test_equals_the_formulas(zipf_text: Path, order: int, prune: list[int], limited: bool) -> None:
    allowed = {f"w{i}" for i in range(0, 120, 3)} | {"never-seen"} if limited else None
    ours = estimate(read_corpus([zipf_text]), order, prune, allowed, discount_fallback=True)
    theirs = _plain_kneser_ney(zipf_text, order, prune, allowed)
    assert ours.order == order
    for section, expected in zip(ours.sections, theirs, strict=True):
        mine = _by_words(ours, section)
        assert mine.keys() == expected.keys()
        for gram, (logprob, _) in mine.items():
            assert 10**logprob == pytest.approx(expected[gram], rel=1e-5), gram


@pytest.mark.slow
@pytest.mark.parametrize("order", [4, 5, 6])
def test_keys_of_several_numbers(tmp_path: Path, order: int) -> None:
    """A vocabulary that takes 17 bits a word: three words to a 64-bit number, so two numbers."""
    rare = [f"rare{i}" for i in range(66_000)]
    lines = [
        *(" ".join(rare[i : i + 11]) for i in range(0, len(rare), 11)),
        *zipf_lines(800, 90, seed=2),
    ]
    path = write_lines(tmp_path / "text.txt", lines)
    prune = [0, 0, 1, 1, 1, 1][:order]
    ours = estimate(read_corpus([path]), order, prune, discount_fallback=True)
    theirs = _plain_kneser_ney(path, order, prune, None)
    for section, expected in zip(ours.sections, theirs, strict=True):
        mine = _by_words(ours, section)
        assert mine.keys() == expected.keys()
        for gram, (logprob, _) in mine.items():
            assert abs(10**logprob / expected[gram] - 1) < 1e-5, gram


@pytest.mark.parametrize(
    ("order", "prune", "limited"),
    [(2, [0], False), (3, [0], False), (4, [0, 1, 2, 2], False), (3, [1, 1, 2], True)],
)
def test_every_context_sums_to_one(
    tmp_path: Path, zipf_text: Path, order: int, prune: list[int], limited: bool
) -> None:
    """Through a file and KenLM, also for contexts that were never seen."""
    allowed = {f"w{i}" for i in range(0, 120, 2)} if limited else None
    path = tmp_path / "lm.arpa"
    write_arpa(estimate(read_corpus([zipf_text]), order, prune, allowed), path)
    model = kenlm.Model(str(path))
    predicted = [word for word in read_arpa(path).vocabulary if word != "<s>"]
    draw = random.Random(1)
    inner = [word for word in predicted if word != "</s>"]
    contexts = [[word] for word in inner] + [draw.choices(inner, k=3) for _ in range(200)]
    for context in contexts:
        text = " ".join(context)
        before = model.score(text, bos=True, eos=False)
        after = [model.score(f"{text} {word}", bos=True, eos=False) for word in predicted]
        assert sum(10 ** (log10 - before) for log10 in after) == pytest.approx(1.0, abs=1e-4), text


def test_discounts_by_hand() -> None:
    y = 60 / 100
    expected = [0, 1 - 2 * y * 20 / 60, 2 - 3 * y * 9 / 20, 3 - 4 * y * 4 / 9]
    np.testing.assert_allclose(discounts_of(np.array([0, 60, 20, 9, 4, 7]), 2), expected)


def test_bad_settings_are_named(zipf_text: Path) -> None:
    corpus = read_corpus([zipf_text])
    for order, prune, allowed, says in [
        (0, [0], None, "order 0"),
        (3, [0, 1, 0], None, "do not fall"),
        (3, [-1], None, "0 or more"),
        (2, [0, 0, 0], None, "3 values"),
        (3, [9999], None, "leaves no word"),
        (2, [0], {"absent"}, "none of the vocabulary's words"),
    ]:
        with pytest.raises(InputError, match=says):
            estimate(corpus, order, prune, allowed)


def test_text_without_discounts_needs_the_fallback(tmp_path: Path) -> None:
    corpus = read_corpus([write_lines(tmp_path / "text.txt", ["a b c", "a b d"])])
    with pytest.raises(InputError, match=r"no 1-gram has adjusted count 3.*--discount-fallback"):
        estimate(corpus, 3)
    path = tmp_path / "lm.arpa"
    write_arpa(estimate(corpus, 3, discount_fallback=True), path)
    unigrams = _by_words(read_arpa(path), read_arpa(path).sections[0])
    # a, b, c, d are seen after one word each, </s> after two: (1 - 0.5)/6 and (2 - 1)/6, and
    # (4 * 0.5 + 1)/6 is spread over the five and <unk>.
    assert 10 ** unigrams["<unk>",][0] == pytest.approx(3 / 6 / 6, rel=1e-5)
    assert 10 ** unigrams["a",][0] == pytest.approx(0.5 / 6 + 3 / 36, rel=1e-5)
    assert 10 ** unigrams["</s>",][0] == pytest.approx(1 / 6 + 3 / 36, rel=1e-5)
    assert kenlm.Model(str(path)).score("a b c") < 0


@pytest.mark.slow
def test_same_model_whatever_the_memory(zipf_text: Path, tmp_path: Path) -> None:
    """Many runs on disk give the same bits as none."""
    path = write_lines(tmp_path / "text.txt", zipf_lines(25_000, 3000, seed=8))
    for order, prune in [(1, [0]), (3, [0]), (5, [0, 0, 1, 1])]:
        models = []
        for memory in (1 << 30, 1 << 20):
            workspace = Workspace(memory, tmp_path)
            corpus = read_corpus([path, zipf_text], weights=[1, 2], workspace=workspace)
            models.append(estimate(corpus, order, prune, workspace=workspace))
        assert models[0].vocabulary == models[1].vocabulary
        for a, b in zip(models[0].sections, models[1].sections, strict=True):
            assert np.array_equal(a.words, b.words)
            assert np.array_equal(a.logprob, b.logprob)
            assert np.array_equal(a.backoff, b.backoff)
            assert order == 1 or len(a) > 100
        assert isinstance(corpus.tokens.array(), np.memmap)
        assert isinstance(models[1].sections[-1].words, np.memmap) == (order == 3)
    assert [file.name for file in tmp_path.iterdir()] == ["text.txt"]


PEAK = """
import re, sys
from lm.estimation.counted_text import read_corpus, read_lines
from lm.estimation.kneser_ney import estimate
from lm.estimation.external_sort import Workspace

def peak(path):
    workspace = Workspace(int(sys.argv[3]))
    corpus = read_corpus([path], workspace=workspace)
    estimate(corpus, 4, [0, 0, 1], discount_fallback=True, workspace=workspace)
    # Not getrusage, whose peak begins with that of the process that started this one.
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\\s*(\\d+)", file.read())[1])

print(-peak(sys.argv[1]) + peak(sys.argv[2]))
"""


@pytest.mark.slow
def test_memory_is_bounded(tmp_path: Path) -> None:
    """5 M words in 32 MB and some blocks of rows; in a process each, as peaks never fall."""
    draws = np.minimum(np.random.default_rng(0).zipf(1.2, (500_000, 10)), 20_000).tolist()
    text = write_lines(tmp_path / "text.txt", [" ".join(map(str, words)) for words in draws])
    short = write_lines(tmp_path / "short.txt", [" ".join(map(str, w)) for w in draws[:500]])
    grown = []
    for memory in (32 << 20, 4 << 30):
        command = [sys.executable, "-c", PEAK, str(short), str(text), str(memory)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
        grown.append(int(done.stdout) * 1024)
    assert grown[0] < 160 << 20
    assert grown[1] > 2 * grown[0]


def test_n_grams_come_in_order_of_their_words(zipf_text: Path) -> None:
    for section in estimate(read_corpus([zipf_text]), 4, [0, 0, 1]).sections:
        grams = list(map(tuple, section.words.tolist()))
        assert grams == sorted(set(grams))


def test_a_weight_is_repetition(tmp_path: Path, zipf_text: Path) -> None:
    """Bit for bit the model of the text that is given three times."""
    other = write_lines(tmp_path / "text.txt", [f"w{i % 7} w{i % 11} v{i % 13}" for i in range(30)])
    weighted = read_corpus([zipf_text, other], weights=[1, 3])
    repeated = read_corpus([zipf_text, other, other, other])
    assert (weighted.words, weighted.sentences) == (repeated.words, repeated.sentences)
    a, b = (estimate(c, 4, [0, 0, 1], discount_fallback=True) for c in (weighted, repeated))
    assert a.vocabulary == b.vocabulary
    for mine, theirs in zip(a.sections, b.sections, strict=True):
        assert np.array_equal(mine.words, theirs.words)
        assert np.array_equal(mine.logprob, theirs.logprob)
        assert np.array_equal(mine.backoff, theirs.backoff)
