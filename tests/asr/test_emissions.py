"""Emissions on disk: what goes in comes out, and damage is reported."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from asr.emissions import Emissions, EmissionsMeta, EmissionsWriter
from asr.vocabulary import Vocabulary
from lm.errors import InputError
from tests.support.damage import refusals

VOCABULARY = Vocabulary.from_labels(["<pad>", "|", "A", "B"], blank=0)


def log_probs(frames: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((frames, 4)).astype(np.float32)
    return values - np.logaddexp.reduce(values, axis=1, keepdims=True)


def written(folder: Path, dtype: str = "float32") -> dict[str, np.ndarray]:
    items = {f"utt/{i} ü": log_probs(5 + i, i) for i in range(7)}
    meta = EmissionsMeta(VOCABULARY, 0.02, "tiny", dtype)
    with EmissionsWriter(folder, meta, shard_bytes=200) as writer:
        for utt, values in items.items():
            writer.add(utt, values)
    return items


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 5e-3)])
def test_written_and_read_back(tmp_path: Path, dtype: str, tolerance: float) -> None:
    items = written(tmp_path, dtype)
    found = Emissions.open(tmp_path)
    assert found.meta == EmissionsMeta(VOCABULARY, 0.02, "tiny", dtype)
    assert found.ids == list(items)
    assert len(found) == 7
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for utt, values in found:
        assert values.dtype == np.float32
        assert np.abs(values - items[utt]).max() <= tolerance
    with pytest.raises(InputError, match="no emissions of utterance 'x'"):
        found["x"]


def test_minus_infinity_is_kept(tmp_path: Path) -> None:
    values = np.log(np.array([[0.5, 0.5, 0.0, 0.0]], dtype=np.float32) + 0.0)
    with EmissionsWriter(tmp_path, EmissionsMeta(VOCABULARY, 0.02, "m")) as writer:
        writer.add("u", values)
    assert np.array_equal(Emissions.open(tmp_path)["u"] == -np.inf, values == -np.inf)


def test_wrong_values_are_refused(tmp_path: Path) -> None:
    with EmissionsWriter(tmp_path, EmissionsMeta(VOCABULARY, 0.02, "m")) as writer:
        writer.add("a", log_probs(3))
        for utt, values, message in (
            ("a", log_probs(3), "added before"),
            ("b", log_probs(3)[:, :2], "4 labels"),
            ("c", np.full((2, 4), np.nan), "NaN"),
        ):
            with pytest.raises(InputError, match=message):
                writer.add(utt, values)
    assert Emissions.open(tmp_path).ids == ["a"]


def crash(folder: Path) -> None:
    """A run that ends after its first shard."""
    with (
        pytest.raises(RuntimeError),
        EmissionsWriter(folder, EmissionsMeta(VOCABULARY, 0.02, "m"), 10) as writer,
    ):
        writer.add("a", log_probs(3))
        raise RuntimeError


def test_a_crash_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    crash(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"meta\.json is missing"):
        Emissions.open(tmp_path / "new")


def test_a_crash_keeps_what_was_there_before(tmp_path: Path) -> None:
    items = written(tmp_path / "e")
    crash(tmp_path / "e")
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    for utt, values in Emissions.open(tmp_path / "e"):
        assert np.array_equal(values, items[utt])


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(InputError, match=r"other files \(thesis\.tex\)"),
        EmissionsWriter(tmp_path, EmissionsMeta(VOCABULARY, 0.02, "m")),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_shorter_run_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    written(tmp_path)
    with EmissionsWriter(tmp_path, EmissionsMeta(VOCABULARY, 0.02, "m")) as writer:
        writer.add("only", log_probs(3))
    assert Emissions.open(tmp_path).ids == ["only"]
    assert len(list(tmp_path.glob("*"))) == 2


def test_an_opened_folder_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    items = written(tmp_path)
    sent = pickle.dumps(Emissions.open(tmp_path))
    assert len(sent) < 2000
    for utt, values in pickle.loads(sent):
        assert np.array_equal(values, items[utt])


def test_labels_of_another_model_are_reported(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "meta.json"
    meta = json.loads(path.read_text())
    meta["vocabulary"]["labels"].append("C")
    path.write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"shape \(\d+, 4\), meta\.json has 5 labels"):
        Emissions.open(tmp_path)


def test_damage_is_reported(tmp_path: Path) -> None:
    written(tmp_path)
    shard = next(iter(tmp_path.glob("*.safetensors")))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=shard.name):
        Emissions.open(tmp_path)
    shard.write_bytes(whole)
    meta = json.loads((tmp_path / "meta.json").read_text())
    meta["shards"][shard.name].append("more")
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="says"):
        Emissions.open(tmp_path)
    for content in ("{", "[]", '{"shards": 1}'):
        (tmp_path / "meta.json").write_text(content)
        with pytest.raises(InputError, match="damaged"):
            Emissions.open(tmp_path)


def test_damage_is_reported_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "50%noise"
    written(folder)
    (folder / "meta.json").write_text('{"shards": 1}')
    with pytest.raises(InputError, match=r"50%noise/meta\.json: damaged"):
        Emissions.open(folder)


@pytest.mark.parametrize("name", ["meta.json", "emissions-00001.safetensors"])
def test_damaged_emissions_are_read_as_they_were_or_refused(tmp_path: Path, name: str) -> None:
    items = written(tmp_path, "float32")
    meta = Emissions.open(tmp_path).meta

    def read(path: Path) -> None:
        found = Emissions.open(path.parent)
        assert found.meta == meta
        assert found.ids == list(items)
        for utt, values in found:
            assert np.array_equal(values, items[utt])

    messages = refusals(read, tmp_path / name)
    assert len(messages) > 250
    assert all(message.startswith(str(tmp_path)) for message in messages)


def test_one_damaged_utterance_leaves_the_others(tmp_path: Path) -> None:
    items = written(tmp_path)
    (shard,) = tmp_path.glob("*-00001.safetensors")
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    found, readable = Emissions.open(tmp_path), []
    for utt in found.ids:
        try:
            readable.append(np.array_equal(found[utt], items[utt]))
        except InputError as error:
            assert str(error).startswith(f"{shard}: the emissions of utterance {utt!r} are damaged")
    assert readable == [True] * 6


def test_emissions_of_earlier_versions_have_no_checksums(tmp_path: Path) -> None:
    items = written(tmp_path)
    path = tmp_path / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    del meta["checksum"], meta["checksums"]
    path.write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")
    for utt, values in Emissions.open(tmp_path):
        assert np.array_equal(values, items[utt])
    meta["shards"] = {"../other.safetensors": ["a"]}
    path.write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(InputError, match=r"damaged \(shard '\.\./other"):
        Emissions.open(tmp_path)


def test_an_id_that_cannot_be_written_is_refused_before_the_end(tmp_path: Path) -> None:
    with EmissionsWriter(tmp_path, EmissionsMeta(VOCABULARY, 0.02, "m")) as writer:
        writer.add("a", log_probs(3))
        with pytest.raises(InputError, match=r"utterance 'caf\\udce9': its id is not UTF-8"):
            writer.add("caf\udce9", log_probs(3))
    assert Emissions.open(tmp_path).ids == ["a"]
