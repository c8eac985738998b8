"""Files and folders that appear under their name only when they are complete.

After a crash, a full disk or Ctrl-C the old file or folder is there, never half of the new one.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lm.errors import InputError


def cache_home() -> Path:
    """The folder for files that can be made again: `secondpass` in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secondpass"


# The file of the scores that are kept between runs, unless a command or a config names another.
SCORES = Path(os.environ.get("SECONDPASS_SCORES") or cache_home() / "scores.sqlite")


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name to write to; the file gets its own name when the block ends.

    The folder of the file is made. A symbolic link stays a link: the file that it points to is
    replaced. An existing file keeps its permissions. Something that is not an ordinary file, such
    as `/dev/stdout` or a pipe, is written directly.

    Args:
        path: The file to write. The temporary name has the same ending, because some libraries
            choose the format or the compression by the ending.

    Yields:
        A path in the same folder that does not exist yet.

    Raises:
        OSError: The folder cannot be made, or the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise IsADirectoryError(21, "this is a folder; give the name of a file", str(path))
        yield target
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Gives a temporary folder to write to; it takes the place of `path` when the block ends.

    Its files are flushed to the disk. A folder that was there before is removed at the end.

    Args:
        path: The folder to write; its parents are made.

    Yields:
        A new, empty folder beside it.

    Raises:
        OSError: The folder cannot be made or replaced.
    """
    target = Path(os.path.realpath(path))
    temporary, old = _beside(target), _beside(target)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file() and not file.is_symlink():
                with file.open("rb") as content:
                    os.fsync(content.fileno())
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file as a whole.

    Raises:
        OSError: The file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def output_file(path: str | Path, inputs: Iterable[str | Path | None] = ()) -> Path:
    """The path of a file that a command will write, checked before the work starts.

    The folder of the file is made.

    Args:
        path: The file.
        inputs: Files that the command reads and that must stay.

    Raises:
        InputError: The path is a folder or one of the inputs, or its folder cannot be made or
            written.
    """
    path = Path(path)
    for given in inputs:
        if given is not None and _same(path, Path(given)):
            raise InputError(f"{path}: the command reads this file; give another name for -o")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give the name of a file to write")
    if path.is_file() or not path.exists():  # not a device, and not a pipe
        _try_to_write(Path(os.path.realpath(path)).parent, path)
    return path


def output_folder(path: str | Path) -> Path:
    """The path of a folder that a command will write, made and checked before the work starts.

    Raises:
        InputError: The path is a file, or the folder cannot be made or written.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: this is a file; give the name of a folder to write")
    _try_to_write(path, path)
    return path


def _same(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file."""
    return path.exists() and other.exists() and path.samefile(other)


def _try_to_write(folder: Path, named: Path) -> None:
    """Makes a folder and a file in it, which is removed again.

    Raises:
        InputError: That fails; the message names the place as the user gave it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = _beside(folder / "trial")
        trial.touch()
        trial.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{named}: cannot be written ({reason}); give another place") from error


def _beside(path: Path) -> Path:
    """A hidden name that is not in use, in the same folder and with the same ending."""
    return path.with_name(f".{secrets.token_hex(4)}.{path.name}")
