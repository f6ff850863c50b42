"""A process that the supervisor forks: started, watched, replaced when it dies, ended."""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

log = logging.getLogger(__name__)

STOP_SECONDS = 6.0  # longer than a worker takes for its last answers
SHORT_LIFE_SECONDS = 5.0  # who dies younger is replaced more slowly each time
PAUSE_SECONDS = 0.05
PAUSE_MAX_SECONDS = 5.0
CRASHES = {signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT}  # what damaged memory or files lead to


class Child:
    """One kind of work, and the process that does it just now."""

    def __init__(self, name: str, work: Callable[[int], None]) -> None:
        """`work` is done in the child. To the descriptor that it gets, it writes when ready."""
        self.name = name
        self._work = work
        self._pause = 0.0
        self._started = 0.0
        self._answered = -1
        self._last = 0  # the pid of the one that ended
        self.pid = 0  # 0: there is none
        self.due = math.inf  # when one has to be started

    def start(self) -> None:
        """Fork. OSError: this system lets us fork no more; then it is due again after a pause."""
        self._started, self.due = time.monotonic(), math.inf
        self._forget_readiness()
        self._answered, ready = os.pipe()
        pid = -1
        try:
            pid = os.fork()
        except OSError:
            self._postpone()
            raise
        finally:
            if pid:
                os.close(ready)
        if pid == 0:
            os.close(self._answered)
            self._live(ready)
        self.pid = pid

    def is_ready(self, wait: float) -> bool:
        """Return whether it has said that it is, waiting so long for it. To be asked once."""
        answered = self._answered
        came = select.select([answered], [], [], wait)[0] and os.read(answered, 1)
        self._forget_readiness()
        return bool(came)

    def reap(self) -> int | None:
        """Return how it ended, if it did (negative: by that signal); a successor is due then."""
        if not self.pid:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        self._postpone()
        self.pid, self._last = 0, pid
        return os.waitstatus_to_exitcode(status)

    def tell_end(self, code: int) -> None:
        """Log how it ended."""
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        log.error("the %s (pid %d) ended %s; another takes over", self.name, self._last, how)

    def give_up(self) -> int:
        """End one that is not ready, and return how it has ended; another is due after a pause."""
        code = self.kill()
        self._postpone()
        return code

    def kill(self) -> int:
        """End it and return how it has ended (negative: by that signal, perhaps an earlier one)."""
        if not self.pid:
            return 0
        os.kill(self.pid, signal.SIGKILL)
        self._last, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def wait(self) -> None:
        """Wait for its end, for which it has been asked; end it when that takes too long."""
        until = time.monotonic() + STOP_SECONDS
        while self.pid and os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() >= until:
                log.error("the %s (pid %d) does not stop and is killed", self.name, self.pid)
                self.kill()
                return
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        self.pid = 0

    def _forget_readiness(self) -> None:
        if self._answered >= 0:
            os.close(self._answered)
            self._answered = -1

    def _postpone(self) -> None:
        """Let a successor be due: at once, or later when they die young."""
        lived = time.monotonic() - self._started
        if lived > SHORT_LIFE_SECONDS:
            self._pause = 0.0
        else:
            self._pause = min(max(2 * self._pause, PAUSE_SECONDS), PAUSE_MAX_SECONDS)
        self.due = time.monotonic() + self._pause

    def _live(self, ready: int) -> NoReturn:
        """Be the child, and end without what the supervisor would do at its end."""
        status = 1
        try:
            _name_process(f"fastdns-{self.name}")
            self._work(ready)
            status = 0
        except BaseException as error:  # whatever it is, it must not unwind into the supervisor
            log.error("%s: %s: %s", self.name, type(error).__name__, error)
        finally:
            os._exit(status)


def _name_process(name: str) -> None:
    """Let `ps` and `top` show which process is which."""
    # Under this path, also who has given up root may write its own.
    with suppress(OSError):
        Path(f"/proc/self/task/{os.getpid()}/comm").write_text(name)
