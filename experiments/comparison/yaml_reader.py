"""YAML as configs need it: nothing is dropped or changed silently, and errors name the line.

PyYAML follows YAML 1.1 and takes the last of equal keys. Here a key occurs once in a mapping and is
the text that is written; `yes`, `no`, `on` and `off` are texts, as in YAML 1.2 (a setting that is
true or false takes them as such); and numbers such as `010` or `1:30`, which YAML 1.1 reads as 8
and 90, are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml
from yaml.events import AliasEvent, Event
from yaml.nodes import MappingNode, Node, ScalarNode

from lm.errors import InputError

DEEPEST = 50  # mappings and lists inside each other
MOST = 100_000  # values, those counted again that an alias repeats
TEXT = "tag:yaml.org,2002:str"
MERGE = "tag:yaml.org,2002:merge"
KIND = "tag:yaml.org,2002:"


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; keys of mappings are strings.

    Args:
        text: The text.
        where: Name of the text for messages, which name the line after it.

    Raises:
        InputError: It is not YAML, a key occurs twice in a mapping, or the text is too deep or,
            with its aliases repeated, too long.
    """
    loader = None
    try:
        loader = Loader(text, where)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = _line(error.problem_mark or error.context_mark)
        reason = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        remedy = "; indent with spaces, not tabs" if "'\\t'" in reason else ""
        raise InputError(f"{where}, line {line}: not valid YAML: {reason}{remedy}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    finally:
        if loader is not None:
            loader.dispose()


class Loader(yaml.SafeLoader):
    """Reads one text."""

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text)
        self._where = where
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """A value, with a limit for its depth and its size.

        Raises:
            InputError: A limit is passed.
        """
        event = self.peek_event()
        if self._depth == DEEPEST:
            raise self._error(event, f"lists or mappings are in each other {DEEPEST} deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if isinstance(event, AliasEvent):
            if id(node) not in self._sizes:  # it has not ended yet
                raise self._error(event, f"the alias *{event.anchor} is inside what it stands for")
            return node
        inside = node.value if not isinstance(node, ScalarNode) else []
        parts = [part for pair in inside for part in (pair if isinstance(pair, tuple) else (pair,))]
        size = 1 + sum(self._sizes[id(part)] for part in parts)
        if size > MOST:
            raise self._error(event, f"there are more than {MOST:,} values with the aliases")
        self._sizes[id(node)] = size
        if isinstance(node, MappingNode):
            self._check_keys(node)
        elif isinstance(node, ScalarNode) and re.search("[\ud800-\udfff]", node.value):
            raise self._error(event, "half of a surrogate pair is no character")
        return node

    def _check_keys(self, node: MappingNode) -> None:
        """Makes texts of a mapping's keys.

        Raises:
            InputError: A key is no single value, or it occurs twice.
        """
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = _line(key.start_mark)
            if not isinstance(key, ScalarNode):
                raise InputError(f"{self._where}, line {line}: a key must be a name")
            if key.value in lines:
                raise InputError(
                    f"{self._where}, line {line}: `{key.value}` is given twice, first in line "
                    f"{lines[key.value]}; keep one of them"
                )
            lines[key.value] = line
            if key.tag != MERGE:
                key.tag = TEXT

    def _error(self, event: Event, message: str) -> InputError:
        return InputError(f"{self._where}, line {_line(event.start_mark)}: {message}")


def _line(mark: Any) -> int:
    """The number of a place's line, from 1; PyYAML knows it of all that it reads from a text."""
    return int(mark.line) + 1 if mark is not None else 1


def _resolve(kind: str, pattern: str, first: Iterable[str]) -> None:
    """Says which plain texts are values of a kind: a pattern, and how such texts begin."""
    Loader.add_implicit_resolver(KIND + kind, re.compile(rf"(?:{pattern})\Z"), list(first))


Loader.yaml_implicit_resolvers = {}
_resolve("null", "~|null|Null|NULL|", ["~", "n", "N", ""])
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", "[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)", "-+0123456789")
_resolve(
    "float",
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+0123456789.",
)
_resolve("merge", "<<", "<")
