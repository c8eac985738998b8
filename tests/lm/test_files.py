"""A file is complete, or it is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lm.errors import InputError
from lm.files import output_file, output_folder, whole_file, whole_folder, write_text


def test_a_file_appears_at_the_end_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.parquet"
    with whole_file(path) as temporary:
        assert temporary.suffix == ".parquet" and temporary.parent == path.parent
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert os.listdir(path.parent) == ["table.parquet"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_there_stays_when_writing_fails(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(error), whole_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    folder = tmp_path / "folder"
    with whole_folder(folder) as new:
        (new / "a").write_text("old")
    with pytest.raises(error), whole_folder(folder) as new:
        (new / "b").write_text("half")
        raise error
    assert os.listdir(folder) == ["a"] and sorted(os.listdir(tmp_path)) == ["a.txt", "folder"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as first, whole_file(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last


def test_links_modes_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o600
    write_text("/dev/null", "nothing")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(IsADirectoryError), whole_file(tmp_path):
        pass


def test_a_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with whole_folder(tmp_path / "model") as new:
            (new / name).write_text(name)
    assert os.listdir(tmp_path / "model") == ["b"] and os.listdir(tmp_path) == ["model"]


def test_a_file_is_replaced_and_not_written_over(tmp_path: Path) -> None:
    """Who has the old file open reads it to its end: at no moment is there half a file."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_places_are_checked_before_the_work(tmp_path: Path) -> None:
    assert output_file(tmp_path / "new" / "a.txt").parent.is_dir()
    assert output_folder(tmp_path / "model").is_dir()
    assert os.listdir(tmp_path / "model") == []
    assert output_file("/dev/null") == Path("/dev/null")
    (tmp_path / "file").write_text("")
    for place, check in (("file/a.txt", output_file), ("file/model", output_folder)):
        with pytest.raises(InputError, match=f"^{tmp_path / place}: cannot be written"):
            check(tmp_path / place)
    with pytest.raises(InputError, match="this is a folder"):
        output_file(tmp_path)
    with pytest.raises(InputError, match="this is a file"):
        output_folder(tmp_path / "file")
