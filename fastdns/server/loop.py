"""The supervisor's event loop: signals, descriptors and time, in one poll."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS_AT_ONCE = 4096


class Loop:
    """Calls the registered functions. It has no hub and no thread, so it may be forked at any time.

    It also knows which descriptors only the supervisor may have, so that children close them.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._actions: dict[int, Callable[[], None]] = {}
        self._on_signal: dict[int, Callable[[], None]] = {}
        self._own: set[int] = set()
        # Python writes the number of each signal with a handler there.
        signals, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._signals = signals
        self.keep(waker)
        self.watch(signals, self._hear_signals)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)

    def on_signal(self, number: signal.Signals, action: Callable[[], None]) -> None:
        """Call this in the next turn after the signal came."""
        self._on_signal[number] = action
        signal.signal(number, _noted)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])  # whatever the parent process set

    def watch(self, descriptor: int, action: Callable[[], None]) -> None:
        """Call this when the descriptor is readable, or its other end is closed."""
        self._poll.register(descriptor, select.POLLIN)
        self._actions[descriptor] = action
        self.keep(descriptor)

    def keep(self, descriptor: int) -> None:
        """Only the supervisor may have this one: children close it."""
        self._own.add(descriptor)

    def forget(self, descriptor: int) -> None:
        """Stop watching and keeping it; its opener closes it."""
        self._own.discard(descriptor)
        if self._actions.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def turn(self, seconds: float) -> None:
        """Wait up to so long for any event, and handle it."""
        for descriptor, _ in self._poll.poll(max(seconds, 0.0) * 1000):
            action = self._actions.get(descriptor)
            if action is not None:  # an earlier action may have ended it
                action()

    @contextmanager
    def signals_held(self) -> Iterator[None]:
        """Hold signals back inside the block; around a fork, so that a child takes none."""
        held = signal.pthread_sigmask(signal.SIG_BLOCK, self._on_signal)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def leave(self) -> None:
        """In a child: drop everything that is the supervisor's, including its signal handlers."""
        signal.set_wakeup_fd(-1)
        for number in self._on_signal:
            signal.signal(number, signal.SIG_DFL)
        for descriptor in self._own:
            with suppress(OSError):
                os.close(descriptor)

    def _hear_signals(self) -> None:
        with suppress(BlockingIOError):
            for number in dict.fromkeys(os.read(self._signals, SIGNALS_AT_ONCE)):
                action = self._on_signal.get(number)
                if action is not None:
                    action()


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: Python has written the number, and that is enough."""
