"""rich for commands that look as the owner of state_dir: nothing of it is left to be imported.

Who has given up root may not be able to read where rich lies.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console

cell_len("…")  # has the widths of characters imported, which are when the first unusual one is met


def plain_console(*, screen: bool = False) -> Console:
    """Return a console for plain text: markup and emoji would be imported when they are met.

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
