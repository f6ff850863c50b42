"""What a test process leaves behind that was interrupted or killed: ended and removed by another.

Run as a program, this reads lines: `+` and a process that leads a group, `-` and one that ended,
`/` and a directory. At the end of the input, which is that of the test process, it clears up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_watcher: subprocess.Popen[str] | None = None


def started(pid: int) -> None:
    _tell(f"+{pid}")


def ended(pid: int) -> None:
    _tell(f"-{pid}")


def made(directory: Path) -> None:
    _tell(str(directory))


def _tell(line: str) -> None:
    global _watcher  # noqa: PLW0603 - one a process
    if _watcher is None:
        _watcher = subprocess.Popen(
            [sys.executable, "-S", "-E", __file__],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert _watcher.stdin is not None
    _watcher.stdin.write(f"{line}\n")
    _watcher.stdin.flush()


def clear_up() -> None:
    left: set[int] = set()
    directories = []
    for line in sys.stdin:
        text = line.rstrip("\n")
        if text.startswith("/"):
            directories.append(text)
        elif text.startswith("+"):
            left.add(int(text))
        else:
            left.discard(-int(text))
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    clear_up()
