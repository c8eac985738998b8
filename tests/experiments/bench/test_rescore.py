"""The benchmark of rescoring: ways agree, counts are right, tables have all rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from asr.nbest import check_nbest
from experiments.bench import rescore
from experiments.bench.decoders.tasks import DEMO
from experiments.bench.rescore import Round, race_rows, summed_up
from experiments.bench.rescoring.lists import LISTS, Lists, random_gpt2
from experiments.bench.rescoring.merged_histories import SOURCES, quality_rows
from experiments.bench.rescoring.ways import WAYS, Measured, measure, unique_prefixes
from lm.errors import InputError
from lm.scorer import ScorerOptions, Texts

EXACT = ("one", "padded", "own-padded", "tree", "cold")
PEAK = """
import numpy as np
from experiments.bench.rescoring.ways import _peak_memory
large = np.ones(50_000_000)
del large
peak = _peak_memory("cpu")
before = peak()
small = np.ones(20_000_000)
print(before, peak())
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def lists(work: Path) -> Lists:
    """A few lists of what the package brings."""
    return LISTS["bundled"](2, work)


@pytest.fixture(scope="module")
def model(work: Path, lists: Lists) -> str:
    return str(random_gpt2(lists, work, tiny=True))


@pytest.fixture(scope="module")
def texts(lists: Lists) -> Texts:
    """Ten of each list."""
    table = lists.table[lists.table["rank"] <= 10]
    return Texts(list(table["text"].str.lower()), None, np.repeat([0, 1], 10))


@pytest.fixture(scope="module")
def losses(model: str, texts: Texts) -> np.ndarray:
    """Log-probs as transformers' own loss gives them, text by text."""
    tokenizer, network = (c.from_pretrained(model) for c in (AutoTokenizer, AutoModelForCausalLM))
    found = []
    for text in texts.texts:
        ids = tokenizer(tokenizer.bos_token + text + tokenizer.eos_token, return_tensors="pt")
        ids = ids["input_ids"]
        with torch.no_grad():
            found.append(-network(ids, labels=ids).loss.item() * (ids.shape[1] - 1))
    return np.array(found)


def run(way: str, texts: Texts, model: str, folder: Path) -> Measured:
    return measure(way, texts, model, ScorerOptions(device="cpu"), folder / "scores.sqlite")


@pytest.mark.parametrize("way", EXACT)
def test_exact_ways_give_what_transformers_gives(
    way: str, texts: Texts, model: str, losses: np.ndarray, tmp_path: Path
) -> None:
    found = run(way, texts, model, tmp_path)
    np.testing.assert_allclose(found.logprob, losses, atol=1e-3)
    assert found.seconds > 0 and found.peak > 0 and found.speed > 0
    network = AutoModelForCausalLM.from_pretrained(model)
    assert found.parameters == network.num_parameters()


@pytest.mark.slow
def test_tokens_are_those_that_the_model_reads(texts: Texts, model: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    lengths = [len(tokenizer(text)["input_ids"]) + 1 for text in texts.texts]  # with BOS
    tokens = {way: run(way, texts, model, tmp_path).tokens for way in (*EXACT, "merged-2")}
    unique = run("tree", texts, model, tmp_path).unique
    assert tokens["one"] == sum(lengths)
    assert sum(lengths) <= tokens["padded"] <= max(lengths) * len(lengths)
    assert unique <= tokens["tree"] == tokens["cold"] < sum(lengths)
    assert tokens["merged-2"] < unique


def test_a_warm_cache_needs_no_model(texts: Texts, model: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not in the warm cache"):
        run("warm", texts, model, tmp_path)
    cold = run("cold", texts, model, tmp_path)
    warm = run("warm", texts, model, tmp_path)
    np.testing.assert_array_equal(warm.logprob, cold.logprob)
    assert warm.tokens == 0 and warm.parameters == 0


def test_unique_prefixes_are_those_of_a_set() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        ids = [rng.integers(0, 3, rng.integers(2, 9)) for _ in range(rng.integers(1, 20))]
        every = {tuple(row[:stop]) for row in ids for stop in range(1, len(row))}
        assert unique_prefixes(ids) == len(every)


def test_the_peak_is_that_since_it_was_reset() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < 400_000_000
    assert 140_000_000 < after - before < 180_000_000


def test_lists_are_whole_and_have_references(lists: Lists) -> None:
    check_nbest(lists.table, "bundled")
    assert list(lists.table["utt"].unique()) == list(lists.references)
    assert (lists.table.groupby("utt").size() > 50).all()
    assert lists.sample(1).table["utt"].nunique() == 1
    assert len(lists.sample(0).table) == len(lists.table)


def test_lists_of_librispeech(shared_data: Path, work: Path) -> None:
    found = LISTS["librispeech"](7, work)
    check_nbest(found.table, found.name)
    assert found.table["utt"].nunique() == len(found.references) == 7


def test_rows_of_the_table() -> None:
    padded = Measured(20.0, 3000, 5_000_000, 1e9, 1, 1_000_000, 500, np.array([-1.0, -2, -3, -4]))
    tree = Measured(4.0, 800, 4_000_000, 2e9, 1, 1_000_000, 500, np.array([-1.0, -2.5, -3, -4]))
    alone = Measured(5.0, 600, 3_000_000, 1e9, 1, 1_000_000, 0, np.array([-1.0, -3.0]))
    every, some = np.arange(4), np.array([0, 2])
    rounds = {"one": Round(alone, some), "padded": Round(padded, every), "tree": Round(tree, every)}
    # The floor is 500 tokens, 2 operations of a million parameters, at 2e9 a second: 0.5 s.
    assert race_rows(rounds, 4) == [
        ["one at a time", "2 of 4", "0.4", "2.00", "1,200", "5", "3", ""],
        ["padded batches", "all", "0.2", "1.00", "3,000", "2", "5", "0.0e+00"],
        ["prefix tree", "all", "1.0", "5.00", "800", "12", "4", "0.0e+00"],
    ]
    wrong = {**rounds, "one": Round(alone, np.array([0, 1]))}
    assert [row[-1] for row in race_rows(wrong, 4)] == ["", "1.0e+00", "5.0e-01"]


def test_rounds_are_summed_up_by_the_median() -> None:
    found = summed_up([Measured(s, 1, p, v) for s, p, v in ((3, 1, 5), (1, 9, 2), (2, 1, 1))])
    assert (found.seconds, found.peak, found.speed) == (2, 9, 5)


def test_measurements_are_written_and_read_back(tmp_path: Path) -> None:
    measured = Measured(1.5, 2, 3, 4.0, 1, 5, 6, np.array([-np.inf, -1.0]))
    measured.write(tmp_path / "m.npz")
    found = Measured.read(tmp_path / "m.npz")
    np.testing.assert_array_equal(found.logprob, measured.logprob)
    assert vars(found) | {"logprob": 0} == vars(measured) | {"logprob": 0}


def test_quality_is_relative_to_exact_scores(work: Path) -> None:
    dev, test = SOURCES["bundled"](2, work)
    assert not set(dev.references) & set(test.references)
    title, rows = quality_rows(dev, test, str(DEMO / "lm"), {"device": "cpu"})
    assert [row[0] for row in rows] == ["exact", "16", "8", "4", "2"]
    assert rows[0][2:4] == ["+0.000", "0.00"] and rows[0][-1] == "1.00"
    tokens = [int(row[4].replace(",", "")) for row in rows]
    assert tokens == sorted(tokens, reverse=True) and tokens[0] > 2 * tokens[-1]
    assert "llm" in title and "demo/lm" in title


@pytest.mark.slow
def test_quick_run(work: Path, tmp_path: Path) -> None:
    """End to end, each way in its own process."""
    markdown = tmp_path / "rescore.md"
    given = ["--quick", "--markdown", str(markdown), "--work", str(work), "--device", "cpu"]
    assert rescore.main(given) == 0
    lines = markdown.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    found = {row[0]: row for row in rows if row[0] in WAYS.values()}
    assert list(found) == list(WAYS.values())
    assert all(float(found[WAYS[way]][-1]) < 1e-3 for way in (*EXACT[1:], "warm"))
    assert float(found["prefix tree"][3]) > 1
    assert found["prefix tree, warm cache"][4] == "0"


@pytest.mark.parametrize("given", [["--utterances", "0"], ["--rounds", "0"], ["--alone", "0"]])
def test_wrong_arguments(given: list[str]) -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        rescore.main(["--quick", *given])


def test_missing_lists_are_skipped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECONDPASS_DATA", str(tmp_path))
    assert rescore.main(["--lists", "librispeech", "--quality", "librispeech"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "librispeech: skipped" in shown and "librispeech: WER skipped" in shown
