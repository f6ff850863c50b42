"""Progress of long work, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

SHORT = 0.5  # seconds of work without progress


def on_terminal() -> bool:
    """Return True if anything is drawn: output or progress."""
    return _is_terminal(sys.stdout) or _is_terminal(sys.stderr)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


@contextmanager
def progress(
    title: str, total: int | None, *, beside_output: bool = False
) -> Iterator[Callable[[int], None]]:
    """Return a function that is called with each step, and draws if standard error is a terminal.

    `beside_output`: lines go to standard output meanwhile; on the same terminal they are enough.
    """
    if not _is_terminal(sys.stderr) or (beside_output and _is_terminal(sys.stdout)):
        yield lambda _steps: None
        return
    begin = time.monotonic()
    done = 0
    draw: Callable[[int], None] | None = None

    def advance(steps: int) -> None:
        nonlocal done, draw
        done += steps
        if draw is None and time.monotonic() - begin > SHORT:
            draw = stack.enter_context(_bar(title, total))
            steps = done
        if draw is not None:
            draw(steps)

    with ExitStack() as stack:
        yield advance


@contextmanager
def _bar(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console  # noqa: PLC0415 - short work and pipes do not pay for it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True, emoji=False), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)


def import_all() -> None:
    """Import now what drawing needs: later its files may not be readable."""
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.emoji import Emoji  # noqa: PLC0415
    from rich.progress import Progress  # noqa: F401, PLC0415
    from rich.table import Table  # noqa: F401, PLC0415

    Emoji.replace(":memo:")  # an address has colons
    cell_len("\u2501")  # makes rich import its tables of characters
