"""A system: one row of the table, as a config describes it and with all names resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lm.errors import InputError
from lm.ranges import FINITE, check_ranges
from lm.rerank.methods import Method


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        lists: name of the first pass whose N-best lists it chooses from.
        columns: columns whose weights are tuned on dev (`acoustic` has weight 1); without any,
            the first pass's own best hypothesis is taken.
        weights: fixed weights instead of tuned ones.
        choose: `map` takes the hypothesis with the best weighted sum, `mbr` the one with the least
            expected word errors, `vote` each word by itself (the result may be in no list).
        systems: names of other systems whose N-best lists are pooled, to choose from all of them;
            instead of `lists`.
    """

    lists: str = ""
    columns: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None
    choose: Method = "map"
    systems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self, {"weights": FINITE})
        if self.columns and self.weights:
            raise InputError("a system has either `columns` to tune or fixed `weights`, not both")
        if bool(self.lists) == bool(self.systems):
            raise InputError("a system picks from `lists`, or from those of other `systems`")
        if self.systems and (self.columns or self.weights):
            raise InputError("a system of other `systems` uses their weights and has none itself")
        if self.systems and self.choose == "map":
            raise InputError("a system of other `systems` needs `choose: vote` or `choose: mbr`")
        if self.choose != "map" and not (self.systems or self.columns or self.weights):
            raise InputError(f"`choose: {self.choose}` needs `columns` or `weights`")


@dataclass(frozen=True)
class SystemPlan:
    """A system with all that it refers to.

    Attributes:
        name: its name.
        system: its settings.
        parts: by name, the first pass of each system that it chooses from: its own, or those of
            the systems that it consists of.
        columns: every column that the parts weigh.
    """

    name: str
    system: System
    parts: Mapping[str, str]
    columns: tuple[str, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that it may need, see `SplitData.seconds`."""
        found = ["emit"]
        for lists in dict.fromkeys(self.parts.values()):
            found += [f"decode.{lists}", *(f"rescore.{lists}.{c}" for c in self.columns)]
        return tuple(found)


def resolve(systems: Mapping[str, System]) -> dict[str, SystemPlan]:
    """Systems with all that they refer to, in the same order.

    Raises:
        InputError: A system consists of one that does not exist, or that has no weights.
    """
    found = {}
    for name, system in systems.items():
        for part in system.systems:
            _check_part(name, part, systems)
        parts = {part: systems[part].lists for part in system.systems or (name,)}
        weighed = [
            column
            for part in parts
            for column in systems[part].columns or tuple(systems[part].weights or ())
        ]
        found[name] = SystemPlan(name, system, parts, tuple(dict.fromkeys(weighed)))
    return found


def _check_part(name: str, part: str, systems: Mapping[str, System]) -> None:
    if part not in systems or systems[part].systems:
        raise InputError(
            f"system {name!r} is made of {part!r}, which is no system with lists of its own "
            f"({', '.join(n for n, s in systems.items() if s.lists)})"
        )
    if not (systems[part].columns or systems[part].weights):
        raise InputError(
            f"system {name!r} is made of {part!r}, which has neither `columns` nor `weights`, "
            "so no posteriors"
        )
