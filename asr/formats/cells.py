"""Cells of tables that spreadsheets open: a text must not become a formula."""

from __future__ import annotations

import re

# A cell that begins with one of these is a formula for Excel, LibreOffice and Google Sheets (OWASP,
# "CSV Injection"). An apostrophe before it makes it text. A cell that has apostrophes there already
# gets one more, so that the cell without its first apostrophe is always the original.
FORMULA = re.compile(r"'*[=+\-@\t\r]")


def safe_cell(cell: str) -> str:
    """A cell of text as spreadsheets show it as text."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def original_cell(cell: str) -> str:
    """A cell as it was before `safe_cell`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
