"""One self-contained HTML file: data as JSON, style sheet, scripts, a policy without network."""

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
    """The page.

    Texts reach the page as JSON in script elements that are never run, with every `<` escaped, so
    that none can end its element; the page's scripts show them as text nodes only. The content
    security policy allows no network, and no script but the two whose hashes it names.

    Args:
        title: title of the window and first heading.
        data: What the page shows at once.
        explorers: For each run, the explorer's data of each split; parsed when looked at.
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
    # All at once, so that nothing is looked for in what was put in.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], read("page.html"))


def read(name: str) -> str:
    """One of the page's parts."""
    return (FOLDER / name).read_text(encoding="utf-8")


def data_block(name: str, value: Any) -> str:
    """A value as JSON in an element that is not run."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{safe}</script>'


def script_text(source: str) -> str:
    """A script in the form in which a page may hold it.

    Line ends are those that the browser's parser makes of them, on which the hash depends.

    Raises:
        ValueError: It would end its own element.
    """
    if re.search(r"</script|<!--", source, re.IGNORECASE):
        raise ValueError("the script holds </script or <!--, so it cannot be put into a page")
    return "\n" + source.replace("\r\n", "\n").replace("\r", "\n") + "\n"


def policy(scripts: Sequence[str]) -> str:
    """The content security policy: these scripts, styles of the page, audio beside it, no more."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )
