"""The damaged copies that the tests of readers are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lm.errors import InputError
from tests.support.damage import damaged_copies, refusals

CONTENT = b'{"id": "a", "text": "one two"}\n{"id": "b", "text": "three"}\n'


def test_copies_differ_from_the_file_and_depend_on_the_seed_alone() -> None:
    first = list(damaged_copies(CONTENT, seed=1))
    assert len(first) == 300
    assert CONTENT not in first
    assert len(set(first)) > 200
    assert first == list(damaged_copies(CONTENT, seed=1))
    assert first != list(damaged_copies(CONTENT, seed=2))
    assert any(CONTENT.startswith(copy) for copy in first)
    assert any(len(copy) > len(CONTENT) for copy in first)
    assert any(len(copy) == len(CONTENT) for copy in first)


def test_an_empty_file_gets_content() -> None:
    assert all(list(damaged_copies(b"", 20)))


def test_a_reader_that_refuses_what_it_cannot_read_passes(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}: {error}".replace("\n", " ")) from error

    path = tmp_path / "a.jsonl"
    path.write_bytes(CONTENT)
    messages = refusals(read, path)
    assert 50 < len(messages) < 300
    assert all(str(path) in message for message in messages)
    assert path.read_bytes() == CONTENT


def test_a_reader_that_ends_in_another_error_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"id": "a"}')
    with pytest.raises(AssertionError, match=r"(JSONDecodeError|UnicodeDecodeError): .* for b'"):
        refusals(lambda file: json.loads(file.read_text(encoding="utf-8")), path)
    assert path.read_bytes() == b'{"id": "a"}'
