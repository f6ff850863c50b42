"""Who works beside the workers lets them have the processor first."""

from __future__ import annotations

import os
from contextlib import suppress

NICENESS = 10


def give_way() -> None:
    """Run from now on behind those who serve; for who holds a lock that others wait for.

    SCHED_BATCH: waking up never takes the processor from whoever runs. Nice 10: a tenth of it is
    left to us where workers want all, and what is then written at once costs less an entry; with
    less (SCHED_IDLE), the write lock would be held for seconds.
    """
    _step_back(os.SCHED_BATCH)


def run_when_idle() -> None:
    """Run from now on when nobody else wants the processor; for who holds nobody's lock.

    With nice alone a server that wakes up beside us would still wait for milliseconds.
    """
    _step_back(os.SCHED_IDLE)


def _step_back(policy: int) -> None:
    os.nice(NICENESS)
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))
