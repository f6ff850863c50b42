"""Which processes hang, by their heartbeats."""

from __future__ import annotations

from fastdns.server.watchdog import LOOK_SECONDS, SILENT_SECONDS, WorkerWatchdog


def look(check: WorkerWatchdog, signs: dict[str, float], times: int) -> tuple[list[str], float]:
    """What is told at the last of so many looks in time, and when that was."""
    found: list[str] = []
    for _ in range(times):
        now = check.due
        found = check.silent(signs, now)
    return found, now


ENOUGH = int(SILENT_SECONDS / LOOK_SECONDS) + 2


def test_who_shows_no_sign_for_long_is_told_and_nobody_else() -> None:
    check = WorkerWatchdog()
    assert look(check, {"hung": 0.0, "well": 1e12}, ENOUGH)[0] == ["hung"]


def test_who_is_new_has_time_to_show_the_first_sign() -> None:
    check = WorkerWatchdog()
    look(check, {"old": 1e12}, ENOUGH)
    assert look(check, {"old": 1e12, "new": 0.0}, 1)[0] == []


def test_nobody_is_told_between_two_looks() -> None:
    check = WorkerWatchdog()
    _, now = look(check, {"hung": 0.0}, ENOUGH)
    assert check.silent({"hung": 0.0}, now + LOOK_SECONDS / 2) == []


def test_silence_while_we_were_held_up_ourselves_does_not_count() -> None:
    check = WorkerWatchdog()
    _, now = look(check, {"stopped with us": 0.0}, 2)
    much_later = now + 100 * SILENT_SECONDS
    assert check.silent({"stopped with us": 0.0}, much_later) == []
