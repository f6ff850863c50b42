"""The log: bounded, and without losing what still holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from fastdns.server import log as log_module
from fastdns.server.log import LINES_A_MINUTE, STATES_A_MINUTE, RateLimit, States


class Kept(logging.Handler):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.addFilter(RateLimit())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    logger = logging.getLogger("fastdns-test")
    logger.propagate = False
    logger.addHandler(kept)
    yield kept
    logger.removeHandler(kept)


LOG = logging.getLogger("fastdns-test")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the log, in a list."""
    now = [6000.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: now[0])
    return now


def test_same_wording_is_logged_ten_times_a_minute(kept: Kept, clock: list[float]) -> None:
    for number in range(30):
        LOG.warning("upstream %s is dead", number)
    assert len(kept.lines) == LINES_A_MINUTE
    assert kept.lines[-1].endswith("(similar lines are left out for up to a minute)")

    clock[0] += 60
    LOG.warning("upstream %s is dead", 1)
    assert kept.lines[-1] == "upstream 1 is dead"


def test_lines_of_other_things_do_not_hide_one(kept: Kept, clock: list[float]) -> None:
    for number in range(30):
        LOG.warning("%s", f"list:{number}: 100 %s is not a domain")
    LOG.warning("%s", "hosts: cannot be read")

    assert kept.lines[-1] == "hosts: cannot be read"
    for _ in range(30):
        LOG.warning("%s", "100 %s")
    assert len(kept.lines) == 31 + LINES_A_MINUTE
    assert kept.lines[-1] == "100 %s (similar lines are left out for up to a minute)"


def test_state_is_logged_once_while_it_holds(kept: Kept, clock: list[float]) -> None:
    states = States(LOG, logging.WARNING, ["known"])
    states.update(["known", "bad"])
    states.update(["known", "bad"])
    assert (kept.lines, states.seconds) == (["bad"], None)

    states.update([])
    states.update(["bad"])
    assert kept.lines == ["bad", "bad"]


def test_state_without_room_in_its_minute_is_logged_in_the_next(
    kept: Kept, clock: list[float]
) -> None:
    states = States(LOG, logging.WARNING)
    storm = [f"bad {number}" for number in range(STATES_A_MINUTE)]
    states.update(storm)
    clock[0] += 10
    states.update(["hosts: cannot be read", "is over soon"])
    assert kept.lines == storm
    assert states.seconds == 50

    clock[0] += 50
    assert states.seconds == 0
    states.update(["hosts: cannot be read"])
    assert kept.lines == [*storm, "hosts: cannot be read"]
    assert states.seconds is None
