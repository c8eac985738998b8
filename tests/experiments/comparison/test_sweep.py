"""Grids over settings: which lists are grids, and what is run at their points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from experiments.comparison.sweep import load_points
from lm.errors import InputError


@dataclass(frozen=True)
class Inner:
    width: int = 1
    names: tuple[str, ...] = ()
    history: int | str = "exact"
    maybe: float | None = None
    pair: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outer:
    title: str
    one: Inner = field(default_factory=Inner)
    many: Mapping[str, Inner] = field(default_factory=dict)
    other: Inner | None = None
    weights: Mapping[str, float] | None = None


def points(tmp_path: Path, data: object, *overrides: str) -> list:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_points(Outer, path, overrides)


def test_without_a_list_there_is_one_point(tmp_path: Path) -> None:
    (point,) = points(tmp_path, {"title": "a", "one": {"names": ["x", "y"], "pair": ["a", "b"]}})
    assert point.values == {}
    assert point.config.one == Inner(names=("x", "y"), pair=("a", "b"))


def test_all_combinations_in_order(tmp_path: Path) -> None:
    data = {"title": "a", "one": {"width": [1, 2]}, "many": {"b.c": {"maybe": [0.5, None]}}}
    found = points(tmp_path, data, "other.history=[exact, 4]", "weights.lm=[0.1, 0.2]")
    assert len(found) == 16
    assert list(found[0].values) == ["one.width", "many.b.c.maybe", "other.history", "weights.lm"]
    values = [tuple(point.values.values()) for point in found]
    assert values[:3] == [(1, 0.5, "exact", 0.1), (1, 0.5, "exact", 0.2), (1, 0.5, 4, 0.1)]
    assert len(set(values)) == 16
    for point in found:
        config = point.config
        assert tuple(point.values.values()) == (
            config.one.width,
            config.many["b.c"].maybe,
            config.other.history,
            config.weights["lm"],
        )


def test_lists_of_lists_and_of_mappings(tmp_path: Path) -> None:
    one = {"names": [["x"], ["x", "y"], []], "pair": [["a", "b"], ["c", "d"]]}
    found = points(tmp_path, {"title": "a", "one": one, "weights": [{"lm": 0.5, "am": 1}, None]})
    assert len(found) == 12
    assert [tuple(point.values.values()) for point in found[:3]] == [
        ("x", "a, b", "lm=0.5, am=1"),
        ("x", "a, b", None),
        ("x", "c, d", "lm=0.5, am=1"),
    ]
    assert found[-1].config.one == Inner(names=(), pair=("c", "d"))
    assert found[0].config.weights == {"lm": 0.5, "am": 1.0}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"title": "a", "one": {"width": []}}, "`one.width` is an empty list"),
        ({"title": "a", "one": {"width": [1, 2, 1]}}, "`one.width` has a value twice"),
        ({"title": "a", "one": {"width": [1, "x"]}}, "`one.width` is 'x'"),
        ({"title": "a", "one": {"widht": [1, 2]}}, "`one.width`"),
        ({"one": {"width": [1, 2]}}, "`title` is missing"),
    ],
)
def test_errors_are_those_of_a_single_value(tmp_path: Path, data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        points(tmp_path, data)
