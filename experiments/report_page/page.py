"""Makes one HTML file with the data as JSON, the style sheet and the scripts.

Its content security policy forbids all use of the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

FOLDER = resources.files("experiments.report_page")
SCRIPTS = ("dom.js", "align.js", "plots.js", "sections.js", "explorer.js", "detail.js", "page.js")


def html_page(title: str, data: dict[str, Any], explorers: Sequence[Sequence[Any]]) -> str:
    """The text of the page.

    The data are JSON in script elements that are never run. Every `<` in them is escaped, so that
    no text can end its element, and the page's scripts show texts only as text nodes. The content
    security policy forbids the network and all scripts except two, which it names by their hashes.

    Args:
        title: Title of the window and first heading.
        data: What the page shows when it is opened.
        explorers: Explorer data of each run and split; the page parses them when they are shown.
    """
    plots = script_text(get_plotlyjs())
    ours = script_text("\n".join(read(name) for name in SCRIPTS))
    blocks = [data_block("data", data)]
    for i, splits in enumerate(explorers):
        blocks += [data_block(f"explorer-{i}-{j}", part) for j, part in enumerate(splits)]
    parts = {
        "title": escape(title),
        "policy": escape(policy([plots, ours])),
        "style": read("page.css"),
        "data": "\n".join(blocks),
        "plotly": plots,
        "script": ours,
    }
    # One pass over the template, so that names in the inserted texts are not replaced.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], read("page.html"))


def read(name: str) -> str:
    """The text of one of the page's files."""
    return (FOLDER / name).read_text(encoding="utf-8")


def data_block(name: str, value: Any) -> str:
    """A value as JSON in a script element that is not run."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{safe}</script>'


def script_text(source: str) -> str:
    """A script as it is put into the page.

    Line ends are `\\n`, as after the browser's parser, because the hash depends on them.

    Raises:
        ValueError: The script has a text that would end its element.
    """
    if re.search(r"</script|<!--", source, re.IGNORECASE):
        raise ValueError("the script holds </script or <!--, so it cannot be put into a page")
    return "\n" + source.replace("\r\n", "\n").replace("\r", "\n") + "\n"


def policy(scripts: Sequence[str]) -> str:
    """The content security policy: only these scripts, the page's styles and local audio."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )
