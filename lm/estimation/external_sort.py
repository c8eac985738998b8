"""Sorting and storing more rows than memory can hold: sorted runs on disk are merged.

The scheme is that of lmplz's streams (Heafield et al. 2013, "Scalable Modified Kneser-Ney Language
Model Estimation"): data is sorted or read in order, never accessed at random. Data that fit into
the workspace's memory are not written to disk: the same code handles this as the case of a single
run.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from weakref import WeakSet

import numpy as np
from numpy.typing import DTypeLike

from lm.errors import InputError
from lm.estimation.radix import Span, combine_rows, rows_up_to, sort_rows

DEFAULT_MEMORY = 2 << 30
LEAST_MEMORY = 1 << 20
PAGE_BYTES, FIRST_PAGE_BYTES = 64 << 20, 1 << 16
BLOCK_BYTES = 32 << 20
ROWS_PER_BLOCK = 200_000


class Workspace:
    """The memory and the temporary folder that the sorters and tapes of one run share.

    Attributes:
        memory: number of bytes that they may use together, memory for sorting included.
        folder: folder to which they write when memory is full, by default the system's folder for
            temporary files. The files have no names, so nothing remains however the program ends.
    """

    def __init__(self, memory: int = DEFAULT_MEMORY, folder: str | Path | None = None) -> None:
        """Makes a workspace; nothing is written before memory is full.

        Raises:
            InputError: The budget is too small to work in, or there is no such folder.
        """
        if memory < LEAST_MEMORY:
            raise InputError(f"{memory} bytes of memory are too few; give {LEAST_MEMORY} or more")
        self.memory = memory
        self.folder = Path(folder or tempfile.gettempdir())
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: there is no such folder; make it first")
        self._stores: WeakSet[Store] = WeakSet()

    def register(self, store: Store) -> None:
        """Includes the memory of a store."""
        self._stores.add(store)

    def make_room(self) -> None:
        """Moves the largest stores to disk until all stores, and a copy of one, fit into memory."""
        while True:
            held = sum(store.held for store in self._stores)
            movable = [store for store in self._stores if store.held and not store.pinned]
            if not movable:
                return
            largest = max(movable, key=lambda store: store.held)
            if held + largest.held <= self.memory:
                return
            largest.spill()

    def block_rows(self, row_bytes: int) -> int:
        """The number of rows to work on at a time."""
        return max(1, min(BLOCK_BYTES, self.memory // 16) // row_bytes)

    def open(self) -> io.FileIO:
        """A new nameless file.

        Raises:
            InputError: The folder cannot be written.
        """
        try:
            return tempfile.TemporaryFile(dir=self.folder, buffering=0)
        except OSError as error:
            raise self.error(error) from error

    def error(self, error: OSError) -> InputError:
        """The error of a temporary folder that cannot be used."""
        return InputError(
            f"{self.folder}: cannot hold temporary files: {error.strerror}; "
            "give another --temp-folder, or more --memory"
        )


class Store:
    """Rows that are held in memory, and can be moved to disk.

    Attributes:
        held: number of bytes in memory.
        pinned: whether the rows are being read and must stay in memory.
    """

    def __init__(self, workspace: Workspace, dtype: DTypeLike, columns: int | None = None) -> None:
        """Makes an empty store of numbers, or of rows with `columns` columns."""
        self.workspace = workspace
        self.dtype = np.dtype(dtype)
        self.shape = () if columns is None else (columns,)
        self.row_bytes = self.dtype.itemsize * (columns or 1)
        self.held = 0
        self.pinned = False
        # Rows are in large pages, not in the blocks that were added: small blocks would leave
        # gaps in the heap, which count as used memory.
        self._pages: list[np.ndarray] = []
        self._filled = 0  # rows in the last page
        self._file: io.FileIO | None = None
        self._written = 0  # bytes
        workspace.register(self)

    def append(self, rows: np.ndarray) -> None:
        """Adds a copy of some rows."""
        while len(rows):
            if not self._pages or self._filled == len(self._pages[-1]):
                size = min(PAGE_BYTES, max(FIRST_PAGE_BYTES, self.held))
                page = np.empty((-(-size // self.row_bytes), *self.shape), self.dtype)
                self._pages.append(page)
                self._filled = 0
            page = self._pages[-1]
            count = min(len(rows), len(page) - self._filled)
            page[self._filled : self._filled + count] = rows[:count]
            self._filled += count
            self.held += count * self.row_bytes
            rows = rows[count:]
        self.workspace.make_room()

    def spill(self) -> None:
        """Moves the rows in memory to disk."""
        raise NotImplementedError

    def _take(self) -> list[np.ndarray]:
        """The rows in memory; the store gives them up."""
        pages, self._pages, self.held = self._pages, [], 0
        if pages:
            pages[-1] = pages[-1][: self._filled]
        return pages or [np.empty((0, *self.shape), self.dtype)]

    def _write(self, rows: np.ndarray) -> None:
        if self._file is None:
            self._file = self.workspace.open()
        left = rows.reshape(-1).view(np.uint8)
        try:
            self._file.seek(self._written)
            while len(left):
                wrote = self._file.write(left.data)
                self._written += wrote
                left = left[wrote:]
        except OSError as error:
            raise self.workspace.error(error) from error

    def _read(self, offset: int, count: int) -> np.ndarray:
        """`count` rows of the file from a byte."""
        assert self._file is not None
        rows = np.empty((count, *self.shape), self.dtype)
        left = rows.reshape(-1).view(np.uint8)
        try:
            self._file.seek(offset)
            while len(left):
                left = left[self._file.readinto(left.data) :]
        except OSError as error:
            raise self.workspace.error(error) from error
        return rows


class Tape(Store):
    """Rows that are written once, in order, and then read."""

    def __len__(self) -> int:
        return (self._written + self.held) // self.row_bytes

    def spill(self) -> None:
        """Moves the rows in memory to disk."""
        for page in self._take():
            self._write(page)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows from `start` up to `stop`."""
        stop = min(stop, len(self))
        if self._file is None:
            return self.array()[start:stop]
        if self.held:
            self.spill()
        return self._read(start * self.row_bytes, max(0, stop - start))

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows, a few at a time."""
        step = self.workspace.block_rows(self.row_bytes)
        for start in range(0, len(self), step):
            yield self.read(start, start + step)

    def array(self) -> np.ndarray:
        """All rows as one array; it is mapped from the disk if they are there."""
        if self._file is not None:
            self.spill()
            return np.memmap(self._file, self.dtype, "r", shape=(len(self), *self.shape))
        if len(self._pages) != 1 or self._filled != len(self._pages[0]):
            held, pages = self.held, self._take()
            self._pages = [np.concatenate(pages) if len(pages) > 1 else pages[0]]
            self._filled, self.held = len(self._pages[0]), held
        return self._pages[0]


class Sorter(Store):
    """Rows of uint64 that are put in any order and come out sorted by their first columns."""

    def __init__(
        self, workspace: Workspace, columns: int, spans: Sequence[Span], combine: bool = False
    ) -> None:
        """An empty sorter.

        Args:
            workspace: The workspace with the memory.
            columns: Number of columns of a row.
            spans: For each of the first columns, which are the key, the bits in use: the lowest,
                and the one after the highest.
            combine: Whether rows with the same key become one row, with the sum of the last
                column.
        """
        super().__init__(workspace, np.uint64, columns)
        self.columns, self.spans, self.combine = columns, tuple(spans), combine
        self._runs: list[tuple[int, int]] = []  # (first byte, rows)

    def spill(self) -> None:
        """Sorts what is in memory and writes it as one more run."""
        rows = self._sorted(self._take())
        if len(rows):
            self._runs.append((self._written, len(rows)))
            self._write(rows)

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, a few at a time. This empties the sorter; no rows can be added."""
        try:
            for rows in self._merge() if self._runs else self._in_memory():
                for start in range(0, len(rows), ROWS_PER_BLOCK):
                    yield rows[start : start + ROWS_PER_BLOCK]
        finally:
            self.held = 0
            self._file, self._runs = None, []

    def _in_memory(self) -> Iterator[np.ndarray]:
        self.pinned = True
        rows = self._sorted(self._take())
        self.held = rows.nbytes
        yield rows

    def _sorted(self, parts: list[np.ndarray]) -> np.ndarray:
        """One sorted array; the list is emptied, so that the memory of its arrays is free."""
        rows = np.concatenate(parts) if len(parts) > 1 else parts[0]
        parts.clear()
        rows = sort_rows(rows, self.spans)
        if self.combine:
            rows = rows[: combine_rows(rows, len(self.spans))]
        return rows

    def _merge(self) -> Iterator[np.ndarray]:
        """Merges runs: all rows up to the lowest last key of the loaded blocks can be returned."""
        self.spill()
        keys = len(self.spans)
        share = max(1, self.workspace.block_rows(self.row_bytes) // len(self._runs))
        starts = [start for start, _ in self._runs]
        left = [rows for _, rows in self._runs]
        heads = [np.empty((0, self.columns), np.uint64) for _ in self._runs]
        while True:
            for run, head in enumerate(heads):
                if not len(head) and left[run]:
                    count = min(share, left[run])
                    heads[run] = self._read(starts[run], count)
                    starts[run] += heads[run].nbytes
                    left[run] -= count
            lasts = [head[-1, :keys] for run, head in enumerate(heads) if left[run]]
            if not lasts:
                yield self._sorted(heads)
                return
            bound = min(lasts, key=lambda key: key.tolist())
            cuts = [rows_up_to(head, bound) for head in heads]
            parts = [head[:cut] for head, cut in zip(heads, cuts, strict=True)]
            heads = [head[cut:] for head, cut in zip(heads, cuts, strict=True)]
            yield self._sorted(parts)
