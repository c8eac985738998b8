"""Emissions on disk: CTC log-probs of many utterances, written once, read by every decoder."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from asr.vocabulary import Vocabulary
from lm.errors import InputError
from lm.files import whole_folder
from lm.text.json_values import parse_json

META = "meta.json"
# Files of a folder of emissions, those that a crash left included.
OWN_FILE = re.compile(r"meta\.json(\.part)?|emissions-\d+\.safetensors(\.part)?")
SHARD_BYTES = 256 << 20
DTYPES = {"float16": np.float16, "float32": np.float32}
STORED = {"float16": "F16", "float32": "F32"}  # as safetensors names them


@dataclass(frozen=True)
class EmissionsMeta:
    """What is known about emissions.

    Attributes:
        vocabulary: Labels of the V columns.
        frame_seconds: Time from one frame to the next, seconds.
        model: Name of the acoustic model.
        dtype: Precision of the stored log-probs, `float16` or `float32`.
    """

    vocabulary: Vocabulary
    frame_seconds: float
    model: str
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(
                f"emissions cannot be stored as {self.dtype!r}; choose {' or '.join(DTYPES)}"
            )


class EmissionsWriter:
    """Writes a folder of emissions; a context manager.

    The folder takes its place when the block ends without an error; until then an older one stays
    as it is.

    Raises:
        InputError: The folder has other files, which would be removed.
    """

    def __init__(
        self, folder: str | Path, meta: EmissionsMeta, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.folder = Path(folder)
        self.meta = meta
        self.shard_bytes = shard_bytes
        self._contexts = ExitStack()
        self._waiting: dict[str, np.ndarray] = {}
        self._bytes = 0
        self._shards: dict[str, list[str]] = {}
        self._checksums: dict[str, list[int]] = {}
        self._known: set[str] = set()

    def __enter__(self) -> EmissionsWriter:
        others = [p.name for p in self.folder.glob("*") if not OWN_FILE.fullmatch(p.name)]
        if others:
            raise InputError(
                f"{self.folder}: the folder has other files ({min(others)}), and emissions replace "
                "a whole folder; give a new or an empty one"
            )
        self._temporary = self._contexts.enter_context(whole_folder(self.folder))
        self._contexts.push(self._finish)
        return self

    def add(self, utt: str, log_probs: np.ndarray) -> None:
        """Adds an utterance's log-probs, (T, V) natural log.

        Raises:
            InputError: The utterance was added before, its id cannot be written, or the shape or
                the values are wrong.
        """
        try:
            utt.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"utterance {utt!r}: its id is not UTF-8; rename it") from error
        columns = len(self.meta.vocabulary.labels)
        if utt in self._known:
            raise InputError(f"utterance {utt}: its emissions were added before")
        if log_probs.ndim != 2 or log_probs.shape[1] != columns:
            raise InputError(
                f"utterance {utt}: the emissions have shape {log_probs.shape}, the vocabulary has "
                f"{columns} labels"
            )
        if np.isnan(log_probs).any():
            raise InputError(f"utterance {utt}: the emissions contain NaN")
        stored = np.ascontiguousarray(log_probs, dtype=DTYPES[self.meta.dtype])
        self._known.add(utt)
        self._waiting[utt] = stored
        self._bytes += stored.nbytes
        if self._bytes >= self.shard_bytes:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        name = f"emissions-{len(self._shards):05d}.safetensors"
        # Utterance ids are anything; tensors are named by their position instead.
        tensors = {str(i): array for i, array in enumerate(self._waiting.values())}
        save_file(tensors, self._temporary / name)
        self._shards[name] = list(self._waiting)
        self._checksums[name] = [checksum(array) for array in self._waiting.values()]
        self._waiting, self._bytes = {}, 0

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        """Writes the last shard and `meta.json` unless there was an error."""
        if kind is not None:
            return
        self._flush()
        content = {**asdict(self.meta), "shards": self._shards, "checksums": self._checksums}
        # Tuples are lists in JSON.
        content = json.loads(json.dumps(content))
        text = json.dumps({**content, "checksum": meta_checksum(content)}, ensure_ascii=False)
        (self._temporary / META).write_text(text, encoding="utf-8")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._contexts.__exit__(kind, error, trace)


@dataclass(frozen=True)
class Emissions:
    """A folder of emissions, opened; other processes are sent little more than its path.

    Attributes:
        folder: Path of the folder.
        meta: What is known about the emissions.
        places: Shard, tensor name and checksum by utterance; folders of earlier versions have no
            checksums.
    """

    folder: Path
    meta: EmissionsMeta
    places: dict[str, tuple[str, str, int | None]]

    @classmethod
    def open(cls, folder: str | Path) -> Emissions:
        """Opens a folder that `EmissionsWriter` wrote.

        Raises:
            InputError: It is not such a folder, it is incomplete, or a shard is damaged.
        """
        folder = Path(folder)
        path = folder / META
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{folder}: no emissions here ({META} is missing); `secondpass emit` writes them"
            ) from error
        except UnicodeDecodeError as error:
            raise _damaged(path, str(error)) from error
        content = parse_json(text, f"{path}: damaged", "run `secondpass emit` again")
        try:
            written = content.pop("checksum", None)
            expected = meta_checksum(content)
            shards, checksums = dict(content.pop("shards")), content.pop("checksums", None)
            meta = _meta(content)
            places = _places(shards, checksums)
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise _damaged(path, str(error)) from error
        for shard, utts in shards.items():
            _check_shard(folder / shard, len(utts), meta)
        if len(places) != sum(map(len, shards.values())):
            raise _damaged(path, "an utterance occurs twice")
        if written not in (None, expected) or (written is None) != (checksums is None):
            raise _damaged(path, "its checksum is another")
        return cls(folder, meta, places)

    @property
    def ids(self) -> list[str]:
        """All utterances, in the order in which they were written."""
        return list(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        for utt in self.places:
            yield utt, self[utt]

    def __getitem__(self, utt: str) -> np.ndarray:
        """Log-probs of an utterance, (T, V) float32 natural log."""
        if utt not in self.places:
            raise InputError(f"{self.folder}: no emissions of utterance {utt!r}")
        shard, name, expected = self.places[utt]
        path = self.folder / shard
        try:
            stored: np.ndarray = _opened(path, path.stat().st_mtime_ns).get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path}: missing or damaged ({error}); run `secondpass emit` again"
            ) from error
        if expected is not None and checksum(stored) != expected:
            raise InputError(
                f"{path}: the emissions of utterance {utt!r} are damaged; run `secondpass emit` "
                "again"
            )
        return stored.astype(np.float32)


def _damaged(path: Path, reason: str) -> InputError:
    """Why a `meta.json` cannot be used."""
    return InputError(f"{path}: damaged ({' '.join(reason.split())}); run `secondpass emit` again")


def checksum(array: np.ndarray) -> int:
    """CRC-32 of an array's bytes and its shape."""
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, sum(array.shape))


def meta_checksum(content: Mapping[str, Any]) -> int:
    """CRC-32 of what `meta.json` says."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _meta(content: dict[str, Any]) -> EmissionsMeta:
    """What `meta.json` says, without the shards.

    Raises:
        TypeError: A value has another type.
    """
    vocabulary = content.pop("vocabulary")
    labels, special = tuple(vocabulary.pop("labels")), tuple(vocabulary.pop("special"))
    blank, delimiter = vocabulary["blank"], vocabulary["word_delimiter"]
    meta = EmissionsMeta(Vocabulary(labels=labels, special=special, **vocabulary), **content)
    texts = (*labels, meta.model, "" if delimiter is None else delimiter)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a label or a name is no string")
    if not all(isinstance(number, int) for number in (blank, *special)):
        raise TypeError("the number of a label is no whole number")
    if not isinstance(meta.frame_seconds, int | float) or not 0 < meta.frame_seconds < np.inf:
        raise TypeError(f"frame_seconds {meta.frame_seconds!r}")
    return meta


def _places(
    shards: Mapping[str, list[str]], checksums: Mapping[str, list[int]] | None
) -> dict[str, tuple[str, str, int | None]]:
    """Where each utterance is, see `Emissions.places`.

    Raises:
        TypeError, ValueError, KeyError: The shards are not as `EmissionsWriter` writes them.
    """
    places: dict[str, tuple[str, str, int | None]] = {}
    for shard, utts in shards.items():
        if not OWN_FILE.fullmatch(shard) or not all(isinstance(utt, str) for utt in utts):
            raise ValueError(f"shard {shard!r}")
        sums = [None] * len(utts) if checksums is None else checksums[shard]
        for i, utt in enumerate(utts):
            places[utt] = (shard, str(i), sums[i] if i < len(sums) else None)
    return places


@lru_cache(maxsize=8)
def _opened(path: Path, changed: int) -> Any:
    """A memory-mapped shard. It is kept: to open it takes longer than to decode an utterance."""
    return safe_open(path, framework="numpy")


def _check_shard(path: Path, utterances: int, meta: EmissionsMeta) -> None:
    """Checks by a shard's header, without its data, that it has what `meta.json` says."""
    columns = len(meta.vocabulary.labels)
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            slices = {name: file.get_slice(name) for name in names}
            shapes = {name: part.get_shape() for name, part in slices.items()}
            types = {part.get_dtype() for part in slices.values()}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: missing or damaged ({error}); run `secondpass emit` again"
        ) from error
    if shapes.keys() != {str(i) for i in range(utterances)}:
        raise InputError(
            f"{path}: the file has {len(shapes)} utterances, {META} says {utterances}; run "
            "`secondpass emit` again"
        )
    if types - {STORED[meta.dtype]}:
        raise InputError(
            f"{path}: log-probs of type {min(types)}, {META} says {meta.dtype}; run `secondpass "
            "emit` again"
        )
    wrong = [shape for shape in shapes.values() if len(shape) != 2 or shape[1] != columns]
    if wrong:
        raise InputError(
            f"{path}: log-probs of shape {tuple(wrong[0])}, {META} has {columns} labels; run "
            "`secondpass emit` again"
        )
