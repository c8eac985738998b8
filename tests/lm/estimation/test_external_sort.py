"""Sorters and tapes: against NumPy's sorting, in memory and in many runs on disk."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from lm.errors import InputError
from lm.estimation.external_sort import LEAST_MEMORY, Sorter, Tape, Workspace
from lm.estimation.radix import sort_rows


def _rows(number: int, key_bits: list[int], seed: int = 0) -> np.ndarray:
    """Random rows with keys of that many low bits each and one more column."""
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, 1 << bits, number, dtype=np.uint64) for bits in key_bits]
    return np.stack([*columns, np.arange(number, dtype=np.uint64)], axis=1)


@pytest.mark.parametrize("key_bits", [[1], [5], [40], [63], [51, 17], [30, 1, 22]])
def test_sorts_as_numpy_does(key_bits: list[int]) -> None:
    rows = _rows(5000, key_bits)
    keys = [rows[:, column] for column in reversed(range(len(key_bits)))]
    expected = rows[np.lexsort(keys)]  # stable, like ours
    assert np.array_equal(sort_rows(rows.copy(), [(0, bits) for bits in key_bits]), expected)
    shifted = rows.copy()
    shifted[:, 0] <<= np.uint64(1)
    spans = [(1, key_bits[0] + 1), *[(0, bits) for bits in key_bits[1:]]]
    assert np.array_equal(sort_rows(shifted, spans)[:, 1:], expected[:, 1:])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_sorts_few_rows(number: int) -> None:
    rows = _rows(number, [20])
    assert np.array_equal(sort_rows(rows.copy(), [(0, 20)]), rows[np.argsort(rows[:, 0])])


@pytest.mark.parametrize("memory", [LEAST_MEMORY, 1 << 30])
@pytest.mark.parametrize(("bits", "other"), [(10, 3), (24, 20), (1, 1)])
def test_sorter_combines_equal_keys(tmp_path: Path, memory: int, bits: int, other: int) -> None:
    workspace = Workspace(memory, tmp_path)
    sorter = Sorter(workspace, 3, [(0, bits), (0, other)], combine=True)
    chunks = [_rows(7_001, [bits, other], seed) for seed in range(20)]
    for chunk in chunks:
        chunk[:, 2] %= np.uint64(5)
        sorter.append(chunk.copy())
    got = np.concatenate(list(sorter.blocks()))
    rows = np.concatenate(chunks)
    expected, inverse = np.unique(rows[:, :2], axis=0, return_inverse=True)
    assert np.array_equal(got[:, :2], expected)
    assert np.array_equal(got[:, 2], np.bincount(inverse.ravel(), rows[:, 2]).astype(np.uint64))


def test_an_empty_sorter_has_no_rows() -> None:
    sorter = Sorter(Workspace(), 2, [(0, 8)])
    sorter.append(np.empty((0, 2), np.uint64))
    assert sum(map(len, sorter.blocks())) == 0


@pytest.mark.parametrize("memory", [LEAST_MEMORY, 1 << 30])
@pytest.mark.parametrize(("dtype", "columns"), [(np.int32, None), (np.float64, 3)])
def test_a_tape_gives_back_what_was_written(
    tmp_path: Path, memory: int, dtype: type[np.generic], columns: int | None
) -> None:
    tape = Tape(Workspace(memory, tmp_path), dtype, columns)
    rng = np.random.default_rng(0)
    shape = (30_000,) if columns is None else (30_000, columns)
    chunks = [rng.integers(0, 1000, shape).astype(dtype) for _ in range(12)]
    for chunk in chunks:
        tape.append(chunk)
    whole = np.concatenate(chunks)
    assert len(tape) == len(whole)
    assert np.array_equal(tape.read(29_990, 60_020), whole[29_990:60_020])
    assert np.array_equal(tape.read(359_000, 999_999), whole[359_000:])
    assert len(tape.read(5, 5)) == 0
    assert np.array_equal(np.concatenate(list(tape.blocks())), whole)
    assert np.array_equal(tape.array(), whole)


def test_stores_share_the_memory(tmp_path: Path) -> None:
    """The memory that is held, with that for sorting the largest, stays within the budget."""
    workspace = Workspace(LEAST_MEMORY, tmp_path)
    stores: list[Sorter | Tape] = [Sorter(workspace, 2, [(0, 32)]) for _ in range(3)]
    stores.append(Tape(workspace, np.uint64, 2))
    for seed in range(200):
        rows = _rows(300 + seed, [32], seed)
        store = stores[seed % 4]
        store.append(rows)
        held = [store.held for store in stores]
        assert sum(held) + max(held) <= LEAST_MEMORY
    assert max(held) > LEAST_MEMORY // 10
    assert list(tmp_path.iterdir()) == []  # the files have no names


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: there is no such folder"):
        Workspace(1 << 20, tmp_path / "absent")
    with pytest.raises(InputError, match="1000 bytes"):
        Workspace(1000)
    folder = tmp_path / "gone"
    folder.mkdir()
    sorter = Sorter(Workspace(LEAST_MEMORY, folder), 2, [(0, 32)])
    folder.rmdir()
    with pytest.raises(InputError, match=r"gone: cannot hold temporary files: .*--temp-folder"):
        sorter.append(_rows(100_000, [32]))


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """A limit on the size of files fails writing as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    tape = Tape(Workspace(LEAST_MEMORY, tmp_path), np.float64)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(InputError, match=r"cannot hold temporary files: .*--temp-folder"):
            tape.append(np.zeros(500_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
