"""A process that the supervisor forks, and a post, which must always have one."""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn

from setproctitle import setproctitle

from .loop import Loop

log = logging.getLogger(__name__)

READY_SECONDS = 10.0  # a child that takes longer to get ready has failed
STOP_SECONDS = 5.0  # longer than a worker takes for its last answers
KILL_SECONDS = 0.5  # that a child may take to end after it was killed
SHORT_LIFE_SECONDS = 1.0  # a child that dies younger is replaced more slowly each time
PAUSE_SECONDS = 0.05
PAUSE_MAX_SECONDS = 5.0
CRASHES = {signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT}  # the signals of damaged memory or files


class Child:
    """One process: the order it gets, what it answers, how it ends."""

    def __init__(self, name: str, work: Callable[[int, int], None], loop: Loop) -> None:
        """Fork. OSError: this system allows no more processes, or no descriptor is left.

        `work` runs in the child, with two descriptors. The first one becomes readable when there is
        an order, and ends when the child must end, because the supervisor wants it or is gone. The
        child writes a byte to the second one when it is ready to work.
        """
        self.name = name
        self.pid = 0
        self.began_at = time.monotonic()
        self.is_ready = False
        self.is_stuck = False  # it was killed and does not end
        self.late_at = math.inf  # when it takes too long to be ready, or to end
        self.code: int | None = None  # how it ended (negative: by that signal), if it has
        self.settled: Callable[[], None] = _nothing  # called when it is ready, or never will be
        self._loop = loop
        with ExitStack() as failed:
            order, self._order = _pipe(failed)
            self._answered, ready = _pipe(failed)
            os.set_blocking(self._answered, False)
            loop.keep(self._order)
            failed.callback(loop.forget, self._order)
            with loop.signals_held():
                self.pid = os.fork()
                if self.pid == 0:
                    self._live(work, order, ready)
            failed.pop_all()
        os.close(order)
        os.close(ready)
        loop.watch(self._answered, self._hear)

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    def tell(self, order: str) -> None:
        """Send it a line. BrokenPipeError: it is gone."""
        os.write(self._order, f"{order}\n".encode())
        self.began_at = time.monotonic()
        self.late_at = self.began_at + READY_SECONDS

    @property
    def is_settled(self) -> bool:
        """Whether it is ready, or never will be."""
        return self.is_ready or self.code is not None

    def await_ready(self, seconds: float) -> bool:
        """Return whether it is ready, after waiting at most so long, or until it has failed."""
        if self._answered >= 0:
            poll = select.poll()
            poll.register(self._answered, select.POLLIN)
            if poll.poll(seconds * 1000):
                self._hear()
        return self.is_ready

    def release(self, seconds: float = STOP_SECONDS) -> None:
        """Let it end by itself, within so many seconds."""
        if self._order >= 0:
            self._loop.forget(self._order)
            os.close(self._order)
            self._order = -1
            self.late_at = time.monotonic() + seconds

    def kill(self) -> None:
        """Kill it."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def reap_killed(self) -> bool:
        """Kill it, and return whether it has ended.

        A process that waits for a device in the kernel ends when the device answers, not before: it
        is reaped later, like any other.
        """
        self.kill()
        until = time.monotonic() + KILL_SECONDS
        while self.code is None and not self.reap() and time.monotonic() < until:
            time.sleep(KILL_SECONDS / 100)
        if self.code is None:
            self.late_at, self.is_stuck = math.inf, True
            log.error("the %s was killed but does not end: it waits for a device", self)
        return self.code is not None

    def reap(self) -> bool:
        """Return True once, when it has ended; `code` says how."""
        if self.code is not None:
            return False
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return False
        if self._answered >= 0:
            self._hear()  # it may have been ready before it ended
        if self._answered >= 0:
            self._settle()  # another child holds the other end
        self.code = os.waitstatus_to_exitcode(status)
        self.release()
        return True

    def await_end(self) -> None:
        """Wait for its end after a release; kill it if that takes too long.

        One that cannot be killed is left to the process that reaps it after us.
        """
        with self._loop.signals_held():
            while self.code is None and not self.reap() and not self.is_stuck:
                if time.monotonic() >= self.late_at:
                    log.error("the %s takes too long to end and is killed", self)
                    self.reap_killed()
                    break
                signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            signal.raise_signal(
                signal.SIGCHLD
            )  # one that we have taken may have been for another child

    def tell_end(self, further: str = "another one takes over") -> None:
        """Log how it ended, and what happens now."""
        code = self.code or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        log.error("the %s ended %s; %s", self, how, further)

    @property
    def is_running(self) -> bool:
        """Whether it is runnable now, and waits for nothing."""
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return status.rpartition(") ")[2].startswith("R")

    @property
    def cpu_seconds(self) -> float:
        """How much CPU time it has used."""
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return 0.0
        user, system = status.rpartition(") ")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def has_crashed(self) -> bool:
        """Whether it ended by a signal that damaged memory or files cause."""
        return self.code is not None and -self.code in CRASHES

    def _hear(self) -> None:
        """Note that it is ready, or that it closed its pipe without being ready."""
        try:
            self.is_ready = bool(os.read(self._answered, 1))
        except BlockingIOError:
            return
        if self.is_ready and self._order >= 0:
            self.late_at = math.inf
        self._settle()

    def _settle(self) -> None:
        self._loop.forget(self._answered)
        os.close(self._answered)
        self._answered = -1
        self.settled()

    def _live(self, work: Callable[[int, int], None], order: int, ready: int) -> NoReturn:
        """Run as the child, and end without what the supervisor does at its end."""
        status = 1
        try:
            name_process(self.name)
            os.close(self._answered)
            self._loop.leave()
            work(order, ready)
            status = 0
        except BaseException as error:  # whatever it is, it must not unwind into the supervisor
            log.error("%s: %s: %s", self.name, type(error).__name__, error)
        finally:
            os._exit(status)


class Post:
    """One kind of work, and the process that does it now."""

    def __init__(self) -> None:
        self.child: Child | None = None
        self.successor: Child | None = None  # that will replace a child which still serves
        self.due = math.inf  # when a process must be started for it
        self.basis: object = None  # the arguments that its process was forked with
        self._pause = 0.0

    def take(self, child: Child) -> None:
        """Let this child do the work."""
        self.child, self.due = child, math.inf

    def vacate(self, lived: float) -> None:
        """A process must be started: at once, or later if the last ones died young."""
        self.child = None
        if lived > SHORT_LIFE_SECONDS:
            self._pause = 0.0
        else:
            self._pause = min(max(2 * self._pause, PAUSE_SECONDS), PAUSE_MAX_SECONDS)
        self.due = time.monotonic() + self._pause


def name_process(name: str, number: int | None = None) -> None:
    """Let `ps`, `top`, `htop` and `systemctl status` show which process is which."""
    os.environ["SPT_NOENV"] = "1"  # setproctitle: leave /proc/PID/environ as it is
    setproctitle(f"fastdns: {name}" if number is None else f"fastdns: {name} {number}")
    # The name without arguments is for programs: ours find each other by it. Under this path, a
    # process that has dropped root can also write its own.
    with suppress(OSError):
        descriptor = os.open(f"/proc/self/task/{os.getpid()}/comm", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"fastdns-{name}".encode())
        finally:
            os.close(descriptor)


def _pipe(failed: ExitStack) -> tuple[int, int]:
    """Return both ends of a pipe, which is closed again if the block fails."""
    ends = os.pipe()
    for end in ends:
        failed.callback(os.close, end)
    return ends


def _nothing() -> None:
    """Do nothing."""
