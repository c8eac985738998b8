"""What a comparison does, worked out once from its config and handed on to every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asr.options import DecoderOptions
from experiments.comparison.column import Column
from experiments.comparison.experiment import Comparison
from experiments.comparison.system import SystemPlan, resolve


@dataclass(frozen=True)
class ListsPlan:
    """The N-best lists of one first pass and the columns that they need.

    Attributes:
        decoder: how they are decoded; None where they are imported.
        models: language models by column, in the order in which systems need them.
        given: columns that no language model makes: the lists must have them.
    """

    decoder: DecoderOptions | None = None
    models: Mapping[str, Column] = field(default_factory=dict)
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A comparison in which every name is resolved.

    Attributes:
        comparison: its config.
        systems: every system with its first passes and columns.
        lists: the N-best lists that systems choose from, by first pass.
        dev: names of the splits that weights are tuned on.
        baseline: name of the system that the others are tested against.
    """

    comparison: Comparison
    systems: Mapping[str, SystemPlan]
    lists: Mapping[str, ListsPlan]
    dev: tuple[str, ...]
    baseline: str

    @classmethod
    def of(cls, comparison: Comparison) -> Plan:
        """The plan of a comparison."""
        systems = resolve(comparison.systems)
        needed: dict[str, list[str]] = {}
        for plan in systems.values():
            if not plan.system.systems:
                needed.setdefault(plan.system.lists, []).extend(plan.columns)
        lists_plans = {}
        decoded = [name for name in comparison.first_passes if name in needed]
        for lists in dict.fromkeys([*decoded, *needed]):
            columns = needed[lists]
            made = {c: comparison.columns[c] for c in columns if c in comparison.columns}
            given = tuple(dict.fromkeys(c for c in columns if c not in made))
            lists_plans[lists] = ListsPlan(comparison.first_passes.get(lists), made, given)
        return cls(
            comparison,
            systems,
            lists_plans,
            tuple(name for name in comparison.dev if name in comparison.splits),
            comparison.baseline or next(iter(systems)),
        )
