"""Priorities of the processes that work beside the workers, which come first."""

from __future__ import annotations

import os
from contextlib import suppress

NICENESS = 10
LAST = 19


def lower_priority() -> None:
    """Run behind the workers from now on; for a process with a lock that others wait for.

    SCHED_BATCH: waking up never takes the processor from a running process. Nice 10: a tenth of it
    is left to us if workers want all, and larger batches then cost less for each entry; with less
    (SCHED_IDLE), the write lock would be held for seconds.
    """
    _set_priority(os.SCHED_BATCH)


def run_when_idle() -> None:
    """Run only if no other process wants the processor; for a process without a shared lock.

    With nice alone, a server that wakes up beside us would still wait for milliseconds.
    """
    _set_priority(os.SCHED_IDLE)


def run_in_background() -> None:
    """The same, for work that nobody waits for: also where the system has no such class.

    The kernel takes the class for the disk from the one for the processor.
    """
    _set_priority(os.SCHED_IDLE, LAST)


def _set_priority(policy: int, niceness: int = NICENESS) -> None:
    os.nice(niceness)
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))
