"""Training on N-best lists: the loss, the batches, the parts by speaker, and the command."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import TrainerCallback

from asr.nbest import write_nbest
from experiments.cli import main
from experiments.comparison.rescorer_lists import by_speaker
from experiments.train_rescorer import verdict
from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.scorer import Texts
from lm.training.minimum_wer import expected_errors, train_mwer
from lm.training.nbest_batches import REFERENCE, Judged, ListBatches
from lm.training.settings import MWERTraining
from tests.support.causal_models import CPU, save_model
from tests.support.training import CtrlC, Killed, KilledBefore


def test_expected_errors_and_their_gradient() -> None:
    rng = np.random.default_rng(0)
    sizes = [1, 4, 2, 7]
    lists = torch.from_numpy(np.repeat(np.arange(4), sizes))
    others = torch.from_numpy(rng.normal(size=14) * 5 - 1000)
    others[2] = -torch.inf  # impossible
    others[5:7] = -torch.inf  # a list without a possible hypothesis: all alike
    errors = torch.from_numpy(rng.integers(0, 6, 14).astype(float))
    logprob = torch.from_numpy(rng.normal(size=14) * 3 - 50).requires_grad_()
    found = expected_errors(logprob, others, errors, lists, 0.7)
    scores = logprob.detach()
    expected = []
    for number, size in enumerate(sizes):
        rows = slice(sum(sizes[:number]), sum(sizes[:number]) + size)
        total = np.array(
            [float(o) + 0.7 * float(s) for o, s in zip(others[rows], scores[rows], strict=True)]
        )
        mass = np.exp(total - total.max()) if np.isfinite(total).any() else np.ones(size)
        expected.append(float((mass / mass.sum() * errors[rows].numpy()).sum()))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12)
    # Prabhavalkar et al. 2018: d/ds E = w · P(h) (errors(h) - E).
    found.sum().backward()
    assert logprob.grad is not None and torch.isfinite(logprob.grad).all()
    rows = slice(7, 14)
    total = (others + 0.7 * logprob).detach().numpy()[rows]
    share = np.exp(total - total.max()) / np.exp(total - total.max()).sum()
    by_hand = 0.7 * share * (errors.numpy()[rows] - expected[3])
    np.testing.assert_allclose(logprob.grad.numpy()[rows], by_hand, rtol=1e-9, atol=1e-12)


def test_batches_hold_whole_lists_with_their_references(tmp_path: Path) -> None:
    lm = CausalLM.load(save_model(tmp_path / "model", "llama"))
    rng = np.random.default_rng(1)
    words = ["the", "cat", "dog", "a"]
    sizes = rng.integers(1, 6, 30)
    texts = [" ".join(rng.choice(words, rng.integers(0, 9))) for _ in range(sizes.sum() + 30)]
    owner = np.append(np.repeat(np.arange(30), sizes), np.arange(30))
    said = [(f"the {'dog ' * (number % 3)}".strip(),) for number in owner]
    count = int(sizes.sum())
    judged = Judged(
        Texts(texts, said, owner), np.arange(count), np.arange(count) / 7, 0.5, ["u"] * 30
    )
    batches = ListBatches(judged, lm.encoder.encode(judged.texts, CPU), 200)
    assert batches.lists == 30 and sorted(itertools.chain(*batches.batches)) == list(range(30))
    reference = lm.score(judged.texts, CPU).logprob
    seen = []
    for i in range(len(batches)):
        item = batches[i]
        assert item["input_ids"].numel() <= 200 or len(batches.batches[i]) == 1
        with torch.inference_mode():
            logits = lm.model(item["input_ids"], attention_mask=item["attention_mask"]).logits
        nats = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), item["labels"][:, 1:], reduction="none"
        ).sum(1)
        for row, place in enumerate(item["list"].tolist()):
            if place == REFERENCE:
                number = batches.batches[i][len([p for p in item["list"][:row] if p == REFERENCE])]
                assert -nats[row] == pytest.approx(reference[count + number], abs=1e-3)
            else:
                hypothesis = int(item["errors"][row])
                assert owner[hypothesis] == batches.batches[i][place]
                assert item["others"][row] == pytest.approx(hypothesis / 7)
                assert -nats[row] == pytest.approx(reference[hypothesis], abs=1e-3)
                seen.append(hypothesis)
    assert sorted(seen) == list(range(count))


def test_parts_share_no_speaker() -> None:
    utts = np.array([f"{100 + s}-{s % 3}-{i:04}" for s in range(40) for i in range(1 + s % 7)])
    parts = by_speaker(utts, r"([^-_]+)[-_].*", (0.6, 0.2), seed=3)
    assert sorted(itertools.chain(*parts)) == sorted(utts)
    speakers = [{utt.split("-")[0] for utt in part} for part in parts]
    assert not speakers[0] & speakers[1] and not (speakers[0] | speakers[1]) & speakers[2]
    assert len(parts[0]) / len(utts) == pytest.approx(0.6, abs=0.06)
    assert len(parts[1]) / len(utts) == pytest.approx(0.2, abs=0.06)
    assert parts != by_speaker(utts, r"([^-_]+)[-_].*", (0.6, 0.2), seed=4)
    with pytest.raises(InputError, match="1 speakers are too few"):
        by_speaker(utts, r"(.).*", (0.6, 0.2), seed=1)


def test_a_column_without_weight_cannot_be_trained() -> None:
    with pytest.raises(InputError, match="column to train is 0"):
        Judged(Texts(["a", "a"]), np.zeros(1), np.zeros(1), 0.0, ["u"])


def test_verdict() -> None:
    assert "use the new model" in verdict(-0.01, 0.01)
    assert "keep" in verdict(-0.01, 0.2) and "keep" in verdict(0.01, 0.001)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """N-best lists in which the first pass prefers words that the speakers never say."""
    rng = np.random.default_rng(5)
    rows, references = [], []
    for number in range(120):
        words = list(rng.choice(["the", "cat", "a", "sat"], 4))
        right, place = " ".join(words), int(rng.integers(4))
        never = str(rng.choice(["dog", "mat", "hat", "day", "said", "nothing"]))
        wrong = " ".join([*words[:place], never, *words[place + 1 :]])
        utt = f"s{number // 5}-{number % 5}"
        references.append(f"{utt} {right}")
        scores = [-1.0, -1.0 - rng.random()]
        for rank, (text, value) in enumerate(zip((wrong, right), scores, strict=True), 1):
            rows.append({"utt": utt, "rank": rank, "text": text, "acoustic": value})
    table = pd.DataFrame(rows)
    table["ngram"], table["words"], table["oov"] = 0.0, 4, 0
    write_nbest(table, tmp_path / "lists.parquet")
    (tmp_path / "refs.txt").write_text("\n".join(references) + "\n")
    values = {
        "output": str(tmp_path / "trained"),
        "splits": {
            "dev": {
                "nbest": str(tmp_path / "lists.parquet"),
                "format": "parquet",
                "references": str(tmp_path / "refs.txt"),
            }
        },
        "columns": {"llm": {"model": str(save_model(tmp_path / "model", "llama"))}},
        "system": ["acoustic", "llm", "words"],
        "train": "llm",
        "epochs": 4,
        "learning_rate": 3e-3,
        "batch_tokens": 256,
        "normaliser": "none",
        "cache": None,
    }
    path = tmp_path / "rescorer.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.slow
def test_the_command_trains_compares_and_repeats_its_figures(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-rescorer", str(config), "--resume"]) == 2
    assert "there is no checkpoint to continue from" in capsys.readouterr().err
    assert main(["train-rescorer", str(config)]) == 0
    first = capsys.readouterr()
    printed = first.out
    assert "before training: expected errors of a held-out list 0." in first.err
    assert "step 2 of 32: loss " in first.err
    assert "fewer errors by" in printed and "use the new model" in printed
    rates = [
        float(line.split()[1].rstrip("%,")) for line in printed.splitlines() if "  " in line[:2]
    ]
    assert rates[1] < rates[0]
    model = CausalLM.load(tmp_path / "trained")
    right, wrong = model.score(["the cat sat a", "the dog sat a"]).logprob
    assert right > wrong
    assert main(["train-rescorer", str(config), "--resume"]) == 0
    again = capsys.readouterr()
    assert again.out == printed
    assert "this model is complete and was trained with the same settings" in again.err
    assert main(["train-rescorer", str(config), "learning_rate=1e-3"]) == 2
    assert "`learning_rate` was 0.003 and is 0.001" in capsys.readouterr().err
    assert main(["train-rescorer", str(config), "shares=[0.5, 0.3]"]) == 2
    assert "the content of the lists to train on has changed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_that_only_gets_worse_is_written_as_it_was(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", "llama")
    texts = ["the cat", "the dog", "the cat"]  # two hypotheses and the reference
    owner = np.zeros(3, dtype=np.int64)
    lists, wrong = (
        Judged(Texts(texts, None, owner), np.array(errors), np.zeros(2), 1.0, ["u"])
        for errors in ([0, 3], [3, 0])
    )
    settings = MWERTraining(epochs=4, learning_rate=1e-2)
    figures = train_mwer(model, CPU, lists, wrong, tmp_path / "worse", settings)
    assert figures["best_step"] == 0 and figures["expected"] == figures["expected_before"]
    better = train_mwer(model, CPU, lists, lists, tmp_path / "better", settings)
    assert better["best_step"] > 0 and better["expected"] < better["expected_before"]
    first, same, other = (
        CausalLM.load(tmp_path / name).score(texts).logprob for name in ("model", "worse", "better")
    )
    np.testing.assert_allclose(first, same, atol=1e-4)
    assert other[0] - other[1] > first[0] - first[1]


@pytest.mark.slow
def test_a_continued_run_gives_what_a_run_without_a_break_gives(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", "llama")
    texts = ["the cat", "the dog", "the mat", "the hat", "the cat", "the mat"]
    owner = np.array([0, 0, 1, 1, 0, 1])  # two lists and their references
    judged = Judged(Texts(texts, None, owner), np.array([0, 3, 0, 2]), np.zeros(4), 1.0, ["u", "v"])
    settings = MWERTraining(epochs=5, learning_rate=1e-2, batch_tokens=8, checks=1)

    def run(name: str, *callbacks: TrainerCallback) -> dict[str, float]:
        return train_mwer(
            model, CPU, judged, judged, tmp_path / name, settings, callbacks=callbacks
        )

    whole = run("whole")
    assert whole["steps"] == 10
    with pytest.raises(Killed):
        run("again", KilledBefore(6))
    with pytest.raises(KeyboardInterrupt):
        run("again", CtrlC(7))
    again = run("again")
    assert again == pytest.approx({**whole, "first_step": 7}, rel=1e-5)
    one, two = (CausalLM.load(tmp_path / name).score(texts).logprob for name in ("whole", "again"))
    np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train=other", "must be one of `columns`"),
        ("shares=[0.9, 0.2]", "a sum below 1"),
        ("epochs=0", "above 0"),
        ("precision=float8", "choose one of"),
        ("save_dtype=int", "choose one of"),
        ("splits.dev.nbest=null", "either `manifest`"),
    ],
)
def test_wrong_settings(
    config: Path, change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-rescorer", str(config), change]) == 2
    assert message in capsys.readouterr().err


def test_splits_that_share_names(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load(config.read_text())
    content["splits"]["again"] = content["splits"]["dev"]
    config.write_text(yaml.safe_dump(content))
    assert main(["train-rescorer", str(config)]) == 2
    assert ": 120 utterances have names that another split has too (s0-0)" in (
        capsys.readouterr().err
    )
