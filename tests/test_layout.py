"""The layout: which package imports which, no circles, and maps that name every module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from experiments.cli import COMMANDS
from tests.support.data import PROJECT

PACKAGES = ("asr", "lm", "experiments")
NO_COMMANDS = {"cli", "results", "breakdown", "__init__", "__main__"}
FOLDERS = sorted(
    path.parent.relative_to(PROJECT).as_posix()
    for package in PACKAGES
    for path in (PROJECT / package).rglob("__init__.py")
)


def module_name(path: Path) -> str:
    """A file's name as it is imported."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The modules that import statements name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are written with their full names"
            yield node.module
            # A module may be imported from its package.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def first_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, without those for types alone."""
    for node in body:
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from first_statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from first_statements([*node.body, *handlers, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.With):
            yield from first_statements(node.body)
        else:
            yield node


MODULES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for package in PACKAGES
    for path in sorted((PROJECT / package).rglob("*.py"))
}


@pytest.mark.parametrize(
    ("package", "forbidden"), [("lm", ("asr", "experiments")), ("asr", ("experiments",))]
)
def test_nothing_imports_upwards(package: str, forbidden: tuple[str, ...]) -> None:
    found = {
        (name, imported)
        for name, tree in MODULES.items()
        if name.split(".")[0] == package
        for imported in imports(ast.walk(tree))
        if imported.split(".")[0] in forbidden
    }
    assert not found


def test_imports_make_no_circle() -> None:
    graph = {
        name: set(imports(first_statements(tree.body))) & MODULES.keys() - {name}
        for name, tree in MODULES.items()
    }
    assert sum(map(len, graph.values())) > len(graph)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_map_of_a_folder_names_what_is_in_it(folder: str) -> None:
    path = PROJECT / folder
    text = ast.get_docstring(MODULES[folder.replace("/", ".")]) or ""
    modules = {file.stem for file in path.glob("*.py")} - {"__init__", "__main__"}
    folders = {f"{file.parent.name}/" for file in path.glob("*/__init__.py")}
    named = set(re.findall(r"^ *(\w+/?)(?=  )", text, re.M))
    assert named == modules | folders
    assert text.splitlines()[0].endswith((".", ":"))


def test_every_file_in_front_of_experiments_is_a_command() -> None:
    files = {path.stem for path in (PROJECT / "experiments").glob("*.py")} - NO_COMMANDS
    assert files == {name.replace("-", "_") for name in COMMANDS}
