"""The terminal during `fastdns top`: drawing, keys and signals, and restoring it."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from types import FrameType
from typing import Any

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .console import plain_console
from .top_picture import Block, Picture

WIDEST = 100  # of the tables: on a wider screen, words and figures are too far apart
HISTORY_HEIGHT = 32  # of a terminal that has room for the history
AIRY_HEIGHT = 28  # from this on there is room for an empty line
HISTORY_WIDTH = 78
TWO_COLUMNS = 76  # from this width on
NARROW_COLUMNS = 4  # of the upstreams, on less
USUAL_SIZE = (80, 24)  # of a terminal that does not say
ENDING = (signal.SIGTERM, signal.SIGHUP)
OTHER_KEYS = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)  # arrows and the like
CAUGHT = (signal.SIGINT, signal.SIGTSTP, signal.SIGWINCH, *ENDING)


class Wake(Enum):
    """Why a wait has ended."""

    TIME = auto()
    CHANGED = auto()  # the screen does not show what was drawn
    LEAVE = auto()


class Screen:
    """The whole terminal, in a `with` block: in any case it is restored at the end.

    While the process is stopped by Ctrl-Z the shell has the terminal.
    """

    def __init__(self) -> None:
        self.status = 0  # of the process, once it must exit
        self._live = Live(
            console=plain_console(screen=True),
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._keys: int | None = None
        if sys.stdin is not None and sys.stdin.isatty():
            self._keys = sys.stdin.fileno()
        self._mode: list[Any] = []
        self._caught: list[int] = []
        self._handlers: dict[int, Any] = {}
        self._bell = self._ringer = self._former_ringer = -1

    def __enter__(self) -> Screen:
        # A signal wakes the waiting code, even if it comes before the wait.
        self._bell, self._ringer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._former_ringer = signal.set_wakeup_fd(self._ringer, warn_on_full_buffer=False)
        for number in CAUGHT:
            self._handlers[number] = signal.signal(number, self._note)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._give_back()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._former_ringer)
            os.close(self._bell)
            os.close(self._ringer)

    def draw(self, picture: Picture) -> None:
        """Draw it over the old content, as large as the terminal is now."""
        console = self._live.console
        try:
            console.size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            console.size = (0, 0)
        if 0 in console.size:
            console.size = USUAL_SIZE
        self._live.update(layout(picture, *console.size), refresh=True)

    def wait(self, until: float) -> Wake:
        """Wait until that moment of time.monotonic(), a key or a relevant signal."""
        while True:
            while self._caught:
                wake = self._handle_signal(self._caught.pop(0))
                if wake is not Wake.TIME:
                    return wake
            left = until - time.monotonic()
            if left <= 0:
                return Wake.TIME
            sources = [self._bell] if self._keys is None else [self._bell, self._keys]
            ready, _, _ = select.select(sources, [], [], left)
            if self._bell in ready:
                os.read(self._bell, 512)
            if self._keys in ready and self._is_to_leave(self._keys):
                return Wake.LEAVE

    def _is_to_leave(self, keys: int) -> bool:
        try:
            typed = os.read(keys, 512)
        except OSError:  # the terminal is gone
            typed = b""
        if not typed:
            self.status = 128 + signal.SIGHUP
            return True
        return b"q" in OTHER_KEYS.sub(b"", typed).lower()

    def _handle_signal(self, number: int) -> Wake:
        if number == signal.SIGWINCH:
            return Wake.CHANGED
        if number == signal.SIGTSTP:
            self._stop()
            return Wake.CHANGED
        if number in ENDING:
            self.status = 128 + number
        return Wake.LEAVE

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._caught.append(number)
        if number in ENDING:  # the second one ends us even if the terminal accepts no more output
            signal.signal(number, signal.SIG_DFL)

    def _stop(self) -> None:
        """Stop as the terminal asks, and continue when the shell says so."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._note)
        self._take()

    def _take(self) -> None:
        if self._keys is not None:
            self._mode = termios.tcgetattr(self._keys)
            tty.setcbreak(
                self._keys, termios.TCSANOW
            )  # keys at once and without echo; Ctrl-C still sends a signal
        self._live.start()

    def _give_back(self) -> None:
        try:
            self._live.stop()
        finally:
            if self._mode and self._keys is not None:
                with suppress(termios.error):  # the terminal may be gone
                    termios.tcsetattr(self._keys, termios.TCSANOW, self._mode)


def layout(picture: Picture, width: int, height: int) -> RenderableType:
    """Lay it out for a terminal of that size; the least useful parts are left out first."""
    upstreams = picture.upstreams
    head = _head(picture)
    if picture.history and height >= HISTORY_HEIGHT and width >= HISTORY_WIDTH:
        head.append(Text(picture.history, style="dim", no_wrap=True, overflow="ellipsis"))
    if height >= AIRY_HEIGHT:
        head.append(Text(""))
    if width >= TWO_COLUMNS:
        sides = Table.grid(expand=True, padding=(0, 3, 0, 0))
        sides.add_column(ratio=1)
        sides.add_column(ratio=1)
        sides.add_row(_stack(picture.left), _stack(picture.right))
        upper: RenderableType = sides
        upper_height = max(_height(picture.left), _height(picture.right))
    else:
        upper = _stack([*picture.left, *picture.right])
        upper_height = _height([*picture.left, *picture.right])
        upstreams = upstreams.first_columns(NARROW_COLUMNS)
    room = height - len(head) - upper_height - 1  # one line is empty
    lower = []
    for block, share in ((upstreams, 2), (picture.busiest, 1)):  # half of the room, then the rest
        if room >= 2:
            lower.append(block.first_rows(max(room // share, 2)))
            room -= lower[-1].height + 1
    return Constrain(Group(*head, upper, Text(""), _stack(lower)), WIDEST)


def _head(picture: Picture) -> list[Text]:
    """Two lines: a title; how to quit, or the problem."""
    about = Text(picture.about, style="bold")
    details = Text(f"{picture.details}; q quits", style="dim")
    if picture.notice:
        details = Text(picture.notice, style="bold red")
    for line in (about, details):
        line.no_wrap, line.overflow = True, "ellipsis"
    return [about, details]


def _height(blocks: Sequence[Block]) -> int:
    return sum(block.height for block in blocks) + max(len(blocks) - 1, 0)


def _stack(blocks: Sequence[Block]) -> RenderableType:
    """One below the other, with an empty line between."""
    parts: list[RenderableType] = []
    for block in blocks:
        if parts:
            parts.append(Text(""))
        parts += _drawn(block)
    return Group(*parts)


def _drawn(block: Block) -> list[RenderableType]:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True, header_style="bold")
    for number, heading in enumerate(block.headings):
        table.add_column(
            Text(heading),
            justify="left" if number < block.words else "right",
            ratio=None if number else 1,
            no_wrap=True,
            overflow="ellipsis",
        )
    for number, row in enumerate(block.aligned):
        style = "bold red" if number in block.alarming else None
        table.add_row(*map(Text, row), style=style)
    note = Text(block.note, style="dim", no_wrap=True, overflow="ellipsis")
    return [table, note] if block.note else [table]
