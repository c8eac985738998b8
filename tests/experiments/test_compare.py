"""`secondpass compare` from end to end, on a small LibriSpeech-layout corpus with tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from asr.evaluation.wer import word_errors
from asr.nbest import read_nbest
from experiments.cli import main
from experiments.comparison.config import load_config
from experiments.comparison.experiment import Comparison
from experiments.comparison.plan import Plan
from experiments.demo.bundled import CONFIG as DEMO
from experiments.results import load_results
from lm.errors import InputError
from tests.support.checkpoints import tiny_gpt2, tiny_wav2vec2
from tests.support.data import PROJECT

CONFIGS = PROJECT / "experiments" / "configs"
TEXTS = ("THE SHIP WILL SAIL AT NOON", "NO ONE KNEW THE WAY", "SHE SENT THE MAIL", "WAIT HERE")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny checkpoints of wav2vec2-base-960h's and GPT-2's classes, and an ARPA."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text("\n".join(TEXTS * 3) + "\n")
    arpa = folder / "lm.arpa"
    command = ["ngram", str(folder / "text.txt"), "-o", str(arpa), "--order", "3"]
    assert main([*command, "--discount-fallback"]) == 0
    return {
        "acoustic": tiny_wav2vec2(folder / "wav2vec2"),
        "gpt2": tiny_gpt2(folder / "gpt2", [t.lower() for t in TEXTS]),
        "arpa": arpa,
    }


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two speakers' noise with transcripts, in LibriSpeech's layout."""
    rng = np.random.default_rng(0)
    for split, speaker in (("dev-clean", "12"), ("test-clean", "34")):
        chapter = tmp_path / "speech" / split / speaker / "5"
        chapter.mkdir(parents=True)
        lines = []
        for i, text in enumerate(TEXTS):
            utt = f"{speaker}-5-{i:04d}"
            sound = rng.standard_normal(16_000 + 1_600 * i) * 0.1
            soundfile.write(chapter / f"{utt}.flac", sound, 16_000)
            lines.append(f"{utt} {text}\n")
        (chapter / f"{speaker}-5.trans.txt").write_text("".join(lines))
    return tmp_path / "speech"


@pytest.fixture
def command(
    models: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The shipped LibriSpeech config with tiny models in place of the hub's."""
    monkeypatch.setenv("LIBRISPEECH", str(corpus))
    monkeypatch.setenv("ARPA", str(models["arpa"]))
    return [
        *("compare", str(CONFIGS / "librispeech.yaml"), "--out", str(tmp_path / "out")),
        *("--workers", "1", f"acoustic.model={models['acoustic']}"),
        *(f"columns.gpt2.model={models['gpt2']}", "resamples=200"),
        *("first_passes.beam.beam_width=8", "first_passes.ngram.beam_width=8"),
    ]


def test_every_stage_of_the_librispeech_config(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    results = load_results(tmp_path / "out")
    systems = results.systems
    assert list(systems["system"].unique()) == ["greedy", "beam", "beam+ngram", "beam+ngram+gpt2"]
    assert list(systems["split"].unique()) == ["dev", "test"]
    assert (systems["oracle_wer"] <= systems["wer"]).all()
    assert systems["audio_seconds"].gt(4).all()
    # Counts of the details add up to the summary's, and are what jiwer says of the texts.
    details = results.utterances
    for row in systems.itertuples():
        own = details[(details["system"] == row.system) & (details["split"] == row.split)]
        errors = own[["substitutions", "deletions", "insertions"]].to_numpy().sum()
        assert errors / row.ref_words == pytest.approx(row.wer)
        again = sum(word_errors(r, h).errors for r, h in zip(own["ref"], own["hyp"], strict=True))
        assert again == errors
    assert systems[systems["system"] == "greedy"][["delta_wer", "p_value"]].isna().all(axis=None)
    # The raw scores times the weights are the total.
    weights = json.loads(systems[systems["system"] == "beam+ngram+gpt2"]["weights"].iloc[0])
    own = details[details["system"] == "beam+ngram+gpt2"]
    total = sum(own[name] * weight for name, weight in weights.items())
    assert np.allclose(total, own["total"])
    assert set(weights) == {"acoustic", "ngram", "gpt2", "words"}
    assert results.meta["config"]["acoustic"]["model"].endswith("wav2vec2")
    assert len(results.meta["inputs"]) >= 4
    assert all(Path(path).is_file() for path in details["audio"])
    assert details["unknown"].eq(0).all()  # the n-gram model was made of these texts
    report = (tmp_path / "out" / "report.html").read_text()
    assert all(Path(path).name in report for path in details["audio"])


def test_unknown_words_by_speaker_and_by_sclite(
    command: list[str], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in corpus.glob("test-clean/*/*/*.trans.txt"):
        path.write_text(path.read_text().replace("SHIP", "SHEEP"))
    assert main([*command, "intervals=speakers", "alignment=sclite"]) == 0
    assert "no interval can be given of fewer than two speakers" in capsys.readouterr().out
    results = load_results(tmp_path / "out")
    rows = results.utterances[results.utterances["split"] == "test"]
    unknown = rows["ref"].str.split().map(lambda words: "SHEEP" in [w.upper() for w in words])
    assert unknown.any() and (rows["unknown"] == unknown).all()
    # One speaker a split: nothing is known of others.
    assert results.systems[["wer_low", "wer_high"]].isna().all(axis=None)
    assert all("sclite" in line for line in results.systems["signature"])


def test_finished_stages_are_reused_until_they_change(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    stages = tmp_path / "out" / "stages"
    before = {p: p.stat().st_mtime_ns for p in stages.glob("*/stage.json")}
    first = pd.read_parquet(tmp_path / "out" / "systems.parquet")
    assert main(command) == 0
    assert {p: p.stat().st_mtime_ns for p in stages.glob("*/stage.json")} == before
    pd.testing.assert_frame_equal(first, pd.read_parquet(tmp_path / "out" / "systems.parquet"))
    assert main([*command, "first_passes.beam.nbest=3"]) == 0
    added = {p.parent.name.rsplit("-", 1)[0] for p in stages.glob("*/stage.json")} - {
        p.parent.name.rsplit("-", 1)[0] for p in before
    }
    assert added == set()
    new = [p for p in stages.glob("*/stage.json") if p not in before]
    assert sorted(p.parent.name.rsplit("-", 1)[0] for p in new) == [
        "decode-dev-beam",
        "decode-test-beam",
    ]
    for path in new:
        assert read_nbest(path.parent / "nbest.parquet").groupby("utt").size().max() <= 3


def test_bad_utterances_are_listed_and_left_out_of_every_system(
    command: list[str], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter = corpus / "test-clean" / "34" / "5"
    (chapter / "34-5-0001.flac").write_bytes(b"no audio")
    (chapter / "34-5-0002.flac").unlink()
    assert main(command) == 1
    failed = [json.loads(line) for line in (tmp_path / "out" / "errors.jsonl").open()]
    assert {f["utt"] for f in failed} == {"34-5-0001", "34-5-0002"}
    assert all(f["split"] == "test" and f["utt"] in f["error"] for f in failed)
    systems = load_results(tmp_path / "out").systems
    assert set(systems[systems["split"] == "test"]["utterances"]) == {2}
    assert "left out of every system: 2" in capsys.readouterr().out


def test_another_baseline_turns_the_differences_round(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    before = load_results(tmp_path / "out").systems.set_index(["split", "system"])
    assert main([*command, "baseline=beam"]) == 0
    after = load_results(tmp_path / "out").systems.set_index(["split", "system"])
    for split in ("dev", "test"):
        forth, back = before.loc[(split, "beam")], after.loc[(split, "greedy")]
        assert back["delta_wer"] == -forth["delta_wer"]
        assert back["delta_low"] == pytest.approx(-forth["delta_high"])
        assert pd.isna(after.loc[(split, "beam"), "p_value"])
    assert after["wer"].equals(before["wer"])


def test_weights_come_from_dev_alone(command: list[str], corpus: Path, tmp_path: Path) -> None:
    assert main(command) == 0
    before = load_results(tmp_path / "out").systems.set_index(["system", "split"])["weights"]
    transcripts = corpus / "test-clean" / "34" / "5" / "34-5.trans.txt"
    transcripts.write_text("".join(f"34-5-{i:04d} A B C\n" for i in range(4)))
    assert main(command) == 0
    after = load_results(tmp_path / "out").systems.set_index(["system", "split"])["weights"]
    assert before.equals(after)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["systems.beam.list=ngram"], "`systems.beam.lists`"),
        (["systems.beam.lists=bem"], "no first pass"),
        (["systems.greedy.columns=[gpt3]"], "no column"),
        (["dev=[develop]"], "dev split 'develop'"),
        (["baseline=beem"], "baseline 'beem'"),
        (["acoustic.model=nowhere/at/all"], "nowhere/at/all"),
        (["normaliser=wisper"], "whisper"),
        (["splits.test.manifest=missing.jsonl"], "missing.jsonl"),
        (["first_passes.ngram.lm=missing.arpa"], "missing.arpa"),
    ],
)
def test_wrong_settings_are_one_line(
    command: list[str], change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *change]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("secondpass compare: ")
    assert message in error


def test_hypotheses_and_pieces_are_those_of_the_tables(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    results = load_results(tmp_path / "out")
    details = results.utterances
    for row in details[details["system"] == "beam+ngram+gpt2"].itertuples():
        own = results.hypotheses
        own = own[(own["split"] == row.split) & (own["lists"] == "ngram") & (own["utt"] == row.utt)]
        assert row.oracle_errors == own["errors"].min()
        chosen = own[own["text"] == row.chosen].iloc[0]
        assert chosen["errors"] == row.substitutions + row.deletions + row.insertions
        assert chosen["gpt2"] == row.gpt2
    pieces = results.pieces
    assert set(pieces["column"]) == {"gpt2"} and set(pieces["split"]) <= {"dev", "test"}
    # Tokens add up to the score of that text; only where systems differ.
    scores = results.hypotheses.set_index(["split", "utt", "text"])["gpt2"].dropna()
    for key, part in pieces.groupby(["split", "utt", "text"]):
        if key in scores.index:
            assert part["logprob"].sum() == pytest.approx(float(scores[[key]].iloc[0]), abs=1e-3)
    differ = details.groupby(["split", "utt"])["chosen"].nunique()
    assert set(map(tuple, pieces[["split", "utt"]].drop_duplicates().to_numpy())) == set(
        differ[differ > 1].index
    )


def test_weights_are_cross_validated(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    assert "as tuned / cross-validated" not in capsys.readouterr().out  # one speaker
    assert main([*command, "folds=0"]) == 0
    meta = load_results(tmp_path / "out").meta
    assert meta["tuned"]["beam+ngram"]["validated_errors"] is None


@pytest.mark.slow
def test_a_sweep_shares_stages_and_keeps_every_point(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swept = [*command, "first_passes.ngram.beam_width=[2, 8]", "systems.beam.lists=[beam, greedy]"]
    assert main(swept) == 0
    assert "WER %" in capsys.readouterr().out
    results = load_results(tmp_path / "out")
    assert results.swept == ["sweep.first_passes.ngram.beam_width", "sweep.systems.beam.lists"]
    assert len(results.systems) == 4 * 4 * 2
    made = [
        p.parent.name for p in (tmp_path / "out" / "stages").glob("decode-*-ngram-*/stage.json")
    ]
    assert len(made) == 4  # two widths of two splits
    assert len(list((tmp_path / "out" / "stages").glob("emit-*/stage.json"))) == 2
    for number, (_, point) in enumerate(results.systems.groupby(results.swept, sort=False)):
        own = load_results(tmp_path / "out" / "points" / f"{number:03}")
        assert own.systems["wer"].tolist() == point["wer"].tolist()
        assert len(own.hypotheses)
    assert main(["compare", "--from", str(tmp_path / "out")]) == 2
    assert "give one of its points" in capsys.readouterr().err


@pytest.mark.slow
def test_results_are_made_again(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    again = ["compare", "--from", str(tmp_path / "out"), "--workers", "1"]
    assert main(again) == 0
    assert "All 8 rows agree" in capsys.readouterr().out
    assert (tmp_path / "out-again" / "systems.parquet").is_file()
    assert main(again) == 2  # nothing is read back
    assert "stages of another run" in capsys.readouterr().err
    # Numbers that nobody can get again, and an input that is no longer the same.
    path = tmp_path / "out" / "systems.parquet"
    systems = pd.read_parquet(path)
    systems.loc[0, "substitutions"] += 1
    systems.to_parquet(path)
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    meta["inputs"]["acoustic"] = "0123"
    (tmp_path / "out" / "meta.json").write_text(json.dumps(meta))
    assert main([*again, "--out", str(tmp_path / "third")]) == 1
    printed = capsys.readouterr().out
    assert "1 of 8 rows differ" in printed and "substitutions" in printed
    assert "input acoustic: 0123 then" in printed
    assert main([*again, "resamples=3"]) == 2
    assert main(["compare", "--from", str(tmp_path / "none")]) == 2


@pytest.mark.slow
def test_signatures_say_what_a_number_depends_on(
    command: list[str], models: dict[str, Path], tmp_path: Path
) -> None:
    assert main(command) == 0
    first = load_results(tmp_path / "out").systems.set_index(["system", "split"])["signature"]
    full = first["beam+ngram+gpt2"].iloc[0]
    for part in ("beam 8", "weights acoustic 1", "wer librispeech", "seed 1", "torch ", "gpt2 "):
        assert part in full
    assert "\n" not in full and str(tmp_path) not in full and str(models["gpt2"]) not in full
    assert "weights" not in first["greedy"].iloc[0]
    assert main([*command, "first_passes.ngram.alpha=0.7"]) == 0
    second = load_results(tmp_path / "out").systems.set_index(["system", "split"])["signature"]
    assert second["greedy"].iloc[0] == first["greedy"].iloc[0]
    assert second["beam+ngram"].iloc[0] != first["beam+ngram"].iloc[0]


def test_older_results_are_read(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    folder = tmp_path / "out"
    meta = json.loads((folder / "meta.json").read_text())
    for name in ("hypotheses", "pieces"):
        (folder / f"{name}.parquet").unlink()
    (folder / "meta.json").write_text(json.dumps(meta | {"schema": 1}))
    systems = pd.read_parquet(folder / "systems.parquet")
    systems.drop(columns=["ser", "nce"]).to_parquet(folder / "systems.parquet", index=False)
    assert load_results(folder).systems[["ser", "nce"]].isna().all(axis=None)
    results = load_results(folder)
    assert results.hypotheses.empty and results.pieces.empty and len(results.systems) == 8
    (folder / "meta.json").write_text(json.dumps(meta | {"schema": 99}))
    with pytest.raises(InputError, match="schema 99, but this version reads 1, 2"):
        load_results(folder)


def test_columns_that_only_some_decoders_have() -> None:
    wanted = "systems.beam+ngram.columns=[acoustic, ctc]"
    with pytest.raises(InputError, match="weighs 'ctc', which is no column"):
        load_config(Comparison, DEMO, [wanted])
    found = load_config(Comparison, DEMO, [wanted, "first_passes.ngram.exact=true"])
    assert "ctc" in Plan.of(found).lists["ngram"].given
