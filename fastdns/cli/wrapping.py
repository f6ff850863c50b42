"""Long lines, broken at words. Not in output.py, because a daemon must not load its imports."""

from __future__ import annotations

import shutil
import sys
import textwrap

NARROWEST = 20  # columns of a text
WIDEST = 100  # a longer line is hard to read


def wrapped(text: str, indent: int = 0) -> str:
    """Break a text that begins after so many columns for a terminal, at words; not for a pipe."""
    if not sys.stdout.isatty():
        return text
    width = max(min(shutil.get_terminal_size().columns, WIDEST) - indent, NARROWEST)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return f"\n{'':{indent}}".join(lines)
