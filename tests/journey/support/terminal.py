"""A terminal: a command on a pty, and its screen as somebody in front of it would see it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Sequence

WAIT_SECONDS = 10.0
# A sequence of which the rest is still to come is not one yet.
PIECE = re.compile(
    r"\x1b\[([?0-9;]*)([A-Za-z])|((?!\x1b(?:\[[?0-9;]*)?\Z)[\x00-\x1f\x7f])|([^\x00-\x1f\x7f]+)"
)


class Page:
    """What lies on a screen: rows of characters and a cursor."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.column = self.row = 0
        self.scrolled = 0
        self.clear()

    def clear(self) -> None:
        self.lines = [[" "] * self.columns for _ in range(self.rows)]

    @property
    def is_full(self) -> bool:
        return (self.column, self.row) == (self.columns, self.rows - 1)

    def text(self) -> str:
        return "\n".join("".join(line).rstrip() for line in self.lines)

    def put(self, text: str) -> None:
        for character in text:
            if self.column == self.columns:  # the last column wraps only now
                self.column = 0
                self.feed()
            self.lines[self.row][self.column] = character
            self.column += 1

    def feed(self) -> None:
        if self.row < self.rows - 1:
            self.row += 1
            return
        self.scrolled += 1
        self.lines = [*self.lines[1:], [" "] * self.columns]


class Terminal:
    """Runs a command in a `with` block: `press` keys, `resize` it, see what `wait_for` finds.

    It knows what rich sends for a screen that is drawn in place; anything else is a problem, and so
    is a screen that scrolls while it is an alternate one.
    """

    def __init__(
        self, command: Sequence[str], columns: int = 80, rows: int = 24, **environment: str
    ) -> None:
        self._command = command
        usual = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self._environment = usual | {"TERM": "xterm", "LC_ALL": "C.UTF-8"} | environment
        self._size = columns, rows
        self._main = self._page = Page(columns or 80, rows or 24)
        self._changed = threading.Condition()
        self._over = False
        self._bells = 0
        self._pending = ""
        self.alternate = False
        self.cursor = True
        self.problems: list[str] = []

    def __enter__(self) -> Terminal:
        self._ours, self._theirs = pty.openpty()
        self._set_size()
        self._usual_mode = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *self._command],  # it becomes the command's own terminal
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.hang_up()

    def text(self) -> str:
        with self._changed:
            return self._page.text()

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size; what lay on it is gone, and has to be drawn again."""
        with self._changed:
            self._size = columns, rows
            if self.alternate:
                self._page = Page(columns, rows)
            else:
                self._main = self._page = Page(columns, rows)
            self._set_size()

    def hang_up(self) -> None:
        """Close the window."""
        if not self._over:
            self._over = True
            os.close(self._theirs)
            self._reader.join()

    def wait_for(self, wanted: str | Callable[[str], object], timeout: float = WAIT_SECONDS) -> str:
        """Wait until a pattern, or what a function looks for, is on the screen; return the text."""
        holds = re.compile(wanted, re.M).search if isinstance(wanted, str) else wanted
        with self._changed:
            came = self._changed.wait_for(lambda: holds(self._page.text()), timeout)
            assert came, f"no {wanted!r} within {timeout} s on\n{self._page.text()}"
            return self._page.text()

    def wait_until_full(self) -> list[str]:
        """Wait until the last cell of the screen has been drawn; return the lines of the screen."""
        with self._changed:
            full = self._changed.wait_for(lambda: self._page.is_full, WAIT_SECONDS)
            assert full, f"not drawn to its end:\n{self._page.text()}"
            return self._page.text().split("\n")

    def wait_until_left(self, timeout: float = WAIT_SECONDS) -> tuple[int, str]:
        """Wait for the end; the terminal has to be as it was. Return status and standard error."""
        _, errors = self.process.communicate(timeout=timeout)
        self.assert_as_before()
        return self.process.returncode, errors

    def assert_as_before(self) -> None:
        """Assert that the terminal is as the command found it."""
        os.write(self._theirs, b"\a")  # behind all that was written
        with self._changed:
            assert self._changed.wait_for(lambda: self._bells, WAIT_SECONDS)
            self._bells = 0
            assert not self.problems, self.problems
            assert not self.alternate, "still on the alternate screen"
            assert self.cursor, "still without a cursor"
        assert termios.tcgetattr(self._theirs) == self._usual_mode

    def _set_size(self) -> None:
        columns, rows = self._size
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        poll = select.poll()  # select() ends at descriptor 1024
        poll.register(self._ours, select.POLLIN)
        while not self._over:
            if not poll.poll(50):
                continue
            try:
                octets = os.read(self._ours, 65536)
            except OSError:  # nobody is left on the other side
                break
            with self._changed:
                self._take(octets.decode("utf-8", "surrogateescape"))
                self._changed.notify_all()
        os.close(self._ours)

    def _take(self, text: str) -> None:
        text = self._pending + text
        at = 0
        while match := PIECE.match(text, at):
            at = match.end()
            parameters, final, control, words = match.groups()
            if words:
                self._page.put(words)
            elif control:
                self._control(control)
            else:
                self._sequence(parameters, final)
        self._pending = text[at:]
        if self.alternate and self._page.scrolled:
            self.problems.append("the alternate screen scrolled")
            self._page.scrolled = 0

    def _control(self, character: str) -> None:
        if character == "\r":
            self._page.column = 0
        elif character == "\n":
            self._page.feed()
        elif character == "\a":
            self._bells += 1
        else:
            self.problems.append(f"control character {character!r}")

    def _sequence(self, parameters: str, final: str) -> None:
        if parameters == "?1049" and final in "hl":
            self.alternate = final == "h"
            columns, rows = self._size
            self._page = Page(columns or 80, rows or 24) if self.alternate else self._main
        elif parameters == "?25" and final in "hl":
            self.cursor = final == "h"
        elif final == "H" and not parameters:
            self._page.row = self._page.column = 0
        elif final != "m":
            self.problems.append(f"escape sequence [{parameters}{final}")
