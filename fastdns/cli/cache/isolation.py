"""A damaged data.mdb may kill its reader (SIGBUS, SIGSEGV, abort); its parent then says so."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
from types import FrameType

from ...errors import REMEDY
from ..output import fail

_BY_DAMAGE = {signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


_note: mmap.mmap | None = None  # shared with the child


def leave_note(text: str) -> None:
    """End the line about a death with this: how far the work had come."""
    if _note is not None:
        written = text.encode()[: len(_note) - 1]
        _note[: len(written) + 1] = written + b"\0"


def go_on_in_child() -> None:
    """Return in a child process; this one waits for it and ends as it ends, with a line if killed.

    Nothing may be open yet that a fork must not share, such as LMDB.
    """
    global _note  # noqa: PLW0603 - the child and we share it, and nothing else
    try:
        _note = mmap.mmap(-1, mmap.PAGESIZE)
        child = os.fork()
    except OSError:
        return  # no more processes: then no line will be printed
    if child == 0:
        # The content of a damaged file should not be saved again in a core file.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        return

    def pass_on(signum: int, _frame: FrameType | None) -> None:
        os.kill(child, signum)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    killed_by = signal.Signals(os.WTERMSIG(status))
    if killed_by in _BY_DAMAGE:
        how_far = _note[:].partition(b"\0")[0].decode()
        sys.exit(
            fail(
                f"the disk cache is damaged: reading it ended with {killed_by.name}{how_far} "
                f"({REMEDY})"
            )
        )
    sys.exit(128 + killed_by)
