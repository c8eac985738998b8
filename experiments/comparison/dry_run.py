"""What a comparison would do: its stages, and which of them are read back from an earlier run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console, JustifyMethod
from rich.table import Table

from asr.nbest import read_nbest
from experiments.comparison.inputs import SplitInput
from experiments.comparison.pipeline import decode_recipe, emit_recipe
from experiments.comparison.plan import Plan
from experiments.comparison.second_pass import Models, column_recipe
from experiments.comparison.stages import Recipe, Stage


@dataclass(frozen=True)
class Step:
    """One stage as it is planned.

    Attributes:
        split: name of the split.
        stage: `emit`, `decode.NAME` or `rescore.NAME.COLUMN`.
        systems: names of the systems that need it.
        reused: whether it is read back from an earlier run.
        seconds: wall time that it took; if it must run, that of the last stage of this name with
            other inputs or settings; None where it is not known.
    """

    split: str
    stage: str
    systems: tuple[str, ...]
    reused: bool
    seconds: float | None


def steps_of(
    plan: Plan, inputs: Mapping[str, SplitInput], stages: Path, models: Models
) -> list[Step]:
    """The stages of every split in the order in which they run. Nothing is run.

    Args:
        plan: the comparison.
        inputs: what each split starts from.
        stages: folder of the stages.
        models: its hashes of files are used; no model is loaded.
    """
    return [step for given in inputs.values() for step in _steps(plan, given, stages, models)]


def _steps(plan: Plan, given: SplitInput, root: Path, models: Models) -> Iterator[Step]:
    users = {
        stage: tuple(name for name, system in plan.systems.items() if stage in system.stages)
        for system in plan.systems.values()
        for stage in system.stages
    }

    def step(stage: str, recipe: Recipe) -> tuple[Step, Stage | None]:
        found = recipe.finished(root)
        seconds = recipe.last_seconds(root) if found is None else found.seconds
        return Step(given.name, stage, users[stage], found is not None, seconds), found

    tables: dict[str, pd.DataFrame | None] = dict.fromkeys(plan.lists, given.table)
    acoustic = plan.comparison.acoustic
    if given.table is None and acoustic is not None:
        fingerprints = models.fingerprints
        emission = emit_recipe(given.name, given.utterances, acoustic, fingerprints)
        yield step("emit", emission)[0]
        for lists, needs in plan.lists.items():
            assert needs.decoder is not None
            recipe = decode_recipe(given.name, lists, needs.decoder, emission.key, fingerprints)
            shown, found = step(f"decode.{lists}", recipe)
            yield shown
            if found is not None:
                tables[lists] = read_nbest(found.folder / "nbest.parquet")
    for lists, needs in plan.lists.items():
        for name, column in needs.models.items():
            stage = f"rescore.{lists}.{name}"
            table = tables[lists]
            if table is None:  # its texts are not known before it is decoded
                recipe = Recipe(f"rescore-{given.name}-{lists}-{name}", {})
                seconds = recipe.last_seconds(root)
                yield Step(given.name, stage, users[stage], False, seconds)
            else:
                recipe = column_recipe(given.name, lists, table, name, column, models)
                yield step(stage, recipe)[0]


def print_steps(steps: list[Step], title: str) -> None:
    """Prints the stages of every split, and how long they took where that is known."""
    console = Console(width=None if Console().is_terminal else 140)
    for split in dict.fromkeys(step.split for step in steps):
        table = Table(title=f"{title}: {split}")
        for heading in ("stage", "what is done", "seconds", "systems"):
            side: JustifyMethod = "right" if heading == "seconds" else "left"
            table.add_column(heading, justify=side, overflow="fold")
        for step in (step for step in steps if step.split == split):
            done = "reuse" if step.reused else "run"
            table.add_row(step.stage, done, seconds_text(step), ", ".join(step.systems))
        console.print(table)
    running = [step for step in steps if not step.reused]
    unknown = sum(step.seconds is None for step in running)
    known = sum(step.seconds for step in running if step.seconds is not None)
    print(
        f"{len(steps) - len(running)} stages are reused, {len(running)} run"
        + (f": about {known:.0f} s" if len(running) > unknown else "")
        + (f"; the time of {unknown} is not known" if unknown else "")
        + ". Weights are tuned and words are counted in every run. Nothing was run now."
    )


def seconds_text(step: Step) -> str:
    """The seconds of a stage: as they were measured, or as an estimate."""
    if step.seconds is None:
        return "?"
    return f"{step.seconds:.1f}" if step.reused else f"about {step.seconds:.0f}"
