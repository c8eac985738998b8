"""A file of scores, safe for several processes and robust against damage.

It is an SQLite database. Each call opens its own connection and makes one short transaction, so
processes and threads can share a file. SQLite's write-ahead log needs a file on a local disk.
"""

from __future__ import annotations

import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np

from lm.errors import InputError
from lm.scorer import Scores

Result = TypeVar("Result")

# This number is raised whenever a change of the code changes scores by more than rounding.
SCORES_VERSION = 1
# This number marks the file as ours; another layout gets another number.
APPLICATION_ID = 0x53505343
LAYOUT = """
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY, scope TEXT NOT NULL, version INTEGER NOT NULL, used REAL NOT NULL
);
CREATE TABLE scores (
    scope INTEGER NOT NULL, key BLOB NOT NULL, logprob REAL NOT NULL, tokens INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
"""
BUSY_SECONDS = 60.0


class _Damaged(sqlite3.Error):
    """The file is not a cache, or no longer one."""


@dataclass(frozen=True)
class Scope:
    """One model's part of a cache.

    Attributes:
        number: identifier below 2 ** 63; the same in every file.
        scope: name of the model and its settings.
        current: whether this version of the code still uses the scores.
        scores: number of scores.
        size: approximate size in bytes.
        used: time at which they were last looked up or added to, in seconds since 1970.
    """

    number: int
    scope: str
    current: bool
    scores: int
    size: int
    used: float


@dataclass(frozen=True)
class ScoreCache:
    """A file of scores.

    Whenever a file turns out to be damaged, it is renamed with a warning, and a new file is made.
    If the file cannot be read or written, there is a warning as well, and work continues without
    it.

    Attributes:
        path: the file.
        version: version of the scores; those of other versions are not used.
    """

    path: Path
    version: int = SCORES_VERSION

    @classmethod
    def open(cls, path: str | Path) -> ScoreCache:
        """The cache of that file, which is made if it is not there.

        Raises:
            InputError: The file is a database of something else.
        """
        cache = cls(Path(path))
        cache._try(lambda connection: None, None)
        return cache

    def find(self, scope: str, keys: Sequence[bytes]) -> Scores:
        """The scores of N texts.

        Args:
            scope: Model and settings.
            keys: N digests of texts.

        Returns:
            Their scores; log-prob NaN and 0 tokens where there are none.
        """
        none = Scores(np.full(len(keys), np.nan), np.zeros(len(keys), dtype=np.int64))
        return self._try(lambda connection: _found(connection, scope, self.version, keys), none)

    def add(self, scope: str, keys: Sequence[bytes], scores: Scores) -> None:
        """Keeps scores; those in the file stay, and values that are no log-probs are not kept.

        Args:
            scope: Model and settings.
            keys: N digests of texts.
            scores: N scores.
        """
        rows = [
            (key, logprob, count)
            for key, logprob, count in zip(
                keys, scores.logprob.tolist(), scores.tokens.tolist(), strict=True
            )
            if logprob < np.inf  # NaN is not
        ]
        self._try(lambda connection: _add(connection, scope, self.version, rows), None)

    def scopes(self) -> list[Scope]:
        """The scopes in the file, the last used first.

        Raises:
            InputError: The file cannot be read.
        """
        return self._must(lambda connection: _scopes(connection, self.version))

    def remove(self, numbers: Sequence[int]) -> None:
        """Removes scopes by their numbers, and makes the file as small as it can be.

        Raises:
            InputError: The file cannot be written.
        """
        self._must(lambda connection: _remove(connection, numbers))

    def _try(self, action: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        """Does something with the file, or warns and gives the other result."""
        try:
            return self._do(action)
        except (sqlite3.Error, OSError) as error:
            self._warn(
                f"cannot be used ({error}), so scores are not kept: check its folder and its disk"
            )
            return otherwise

    def _must(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Does something with the file.

        Raises:
            InputError: It cannot be used.
        """
        try:
            return self._do(action)
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"{self.path}: the cache cannot be used ({error}); check the file, or name another"
            ) from error

    def _do(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Does something with the file; once more with a new one if it is damaged."""
        if not self.path.exists():
            self._make()
        file = self._file()
        try:
            with self._connected() as connection:
                return action(connection)
        except _Damaged as damage:
            self._set_aside(file, str(damage))
        with self._connected() as connection:
            return action(connection)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection; damage of the file is raised as `_Damaged`."""
        try:
            with closing(
                sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            ) as connection:
                self._check(connection)
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA temp_store = MEMORY")
                yield connection
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise _Damaged(str(error)) from error
            raise

    def _check(self, connection: sqlite3.Connection) -> None:
        """Makes sure that the file is a cache."""
        if connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
            return
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise InputError(
                f"{self.path}: this is a database of something else; name another file"
            )
        raise _Damaged("it is empty")

    def _make(self) -> None:
        """Makes the file unless another process is faster; it appears when it is complete."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            with closing(sqlite3.connect(temporary)) as connection:
                connection.executescript(LAYOUT)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("PRAGMA journal_mode = WAL")
            # Unlike a renaming, this does not replace a file that another process has made
            # meanwhile.
            os.link(temporary, self.path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)

    def _file(self) -> int:
        """The number of the file that has the name now."""
        return self.path.stat().st_ino

    def _set_aside(self, file: int, reason: str) -> None:
        """Renames a damaged file, unless another process has done so, and makes a new one."""
        if self.path.exists() and self._file() == file:
            number = 1
            while (aside := Path(f"{self.path}.damaged-{number}")).exists():
                number += 1
            # The logs are renamed first: SQLite would take them for those of a new file.
            for ending in ("-wal", "-shm", ""):
                log = Path(f"{self.path}{ending}")
                if log.exists():
                    os.rename(log, f"{aside}{ending}")
            self._warn(
                f"is damaged ({reason}): it was renamed to {aside.name}, and a new one is made"
            )
        if not self.path.exists():
            self._make()

    def _warn(self, says: str) -> None:
        warnings.warn(f"{self.path}: the cache of scores {says}", stacklevel=2)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction during which no other process writes; an error undoes it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _number(scope: str, version: int) -> int:
    """A scope's number, which depends on nothing else: rows mean the same in every file."""
    name = f"{version} {scope}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1


def _found(
    connection: sqlite3.Connection, scope: str, version: int, keys: Sequence[bytes]
) -> Scores:
    """The scores that are there; log-prob NaN and 0 tokens for the others."""
    logprob, tokens = np.full(len(keys), np.nan), np.zeros(len(keys), dtype=np.int64)
    number = _number(scope, version)
    used = "UPDATE scopes SET used = ? WHERE id = ?"
    if connection.execute(used, (time.time(), number)).rowcount:
        connection.execute("CREATE TEMP TABLE wanted (place INTEGER PRIMARY KEY, key BLOB)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO wanted VALUES (?, ?)", enumerate(keys))
        connection.execute("COMMIT")
        rows = connection.execute(
            "SELECT place, logprob, tokens FROM wanted JOIN scores USING (key) WHERE scope = ?",
            (number,),
        )
        try:
            for place, found, count in rows:
                logprob[place], tokens[place] = found, count
        except (TypeError, ValueError) as error:
            raise _Damaged(str(error)) from error
    return Scores(logprob, tokens)


def _add(
    connection: sqlite3.Connection,
    scope: str,
    version: int,
    rows: Sequence[tuple[bytes, float, int]],
) -> None:
    """Adds rows of key, log-prob and tokens."""
    number = _number(scope, version)
    with _transaction(connection):
        connection.execute(
            "INSERT INTO scopes VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET used = excluded.used",
            (number, scope, version, time.time()),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?)", ((number, *row) for row in rows)
        )


def _scopes(connection: sqlite3.Connection, current: int) -> list[Scope]:
    """What is in the file, the last used first."""
    counts = dict(connection.execute("SELECT scope, count(*) FROM scores GROUP BY scope"))
    pages, page = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    share = pages * page / max(1, sum(counts.values()))
    rows = connection.execute("SELECT id, scope, version, used FROM scopes ORDER BY used DESC")
    return [
        Scope(
            number,
            scope,
            version == current,
            counts.get(number, 0),
            round(share * counts.get(number, 0)),
            used,
        )
        for number, scope, version, used in rows
    ]


def _remove(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Removes scopes with their scores."""
    with _transaction(connection):
        for number in numbers:
            connection.execute("DELETE FROM scores WHERE scope = ?", (number,))
            connection.execute("DELETE FROM scopes WHERE id = ?", (number,))
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
