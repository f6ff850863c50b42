"""rich for commands that switch to the owner of state_dir: everything is imported before.

A process that has dropped root may not be able to read the files of rich.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console

cell_len("…")  # imports the widths of characters, which rich loads for the first unusual one


def plain_console(*, screen: bool = False) -> Console:
    """Return a console for plain text: markup and emoji would be imported when used.

    A screen is a terminal, whatever rich makes of the environment.
    """
    certain = True if screen else None
    return Console(
        force_terminal=certain,
        force_interactive=certain,
        emoji=False,
        markup=False,
        highlight=False,
    )
