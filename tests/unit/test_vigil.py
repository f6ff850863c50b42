"""Who hangs, by the signs of life that each shows."""

from __future__ import annotations

from fastdns.server.vigil import LOOK_SECONDS, SILENT_SECONDS, Vigil


def look(vigil: Vigil, signs: dict[str, float], times: int) -> tuple[list[str], float]:
    """What is told at the last of so many looks in time, and when that was."""
    found: list[str] = []
    for _ in range(times):
        now = vigil.due
        found = vigil.silent(signs, now)
    return found, now


ENOUGH = int(SILENT_SECONDS / LOOK_SECONDS) + 2


def test_who_shows_no_sign_for_long_is_told_and_nobody_else() -> None:
    vigil = Vigil()
    assert look(vigil, {"hung": 0.0, "well": 1e12}, ENOUGH)[0] == ["hung"]


def test_who_is_new_has_time_to_show_the_first_sign() -> None:
    vigil = Vigil()
    look(vigil, {"old": 1e12}, ENOUGH)
    assert look(vigil, {"old": 1e12, "new": 0.0}, 1)[0] == []


def test_nobody_is_told_between_two_looks() -> None:
    vigil = Vigil()
    _, now = look(vigil, {"hung": 0.0}, ENOUGH)
    assert vigil.silent({"hung": 0.0}, now + LOOK_SECONDS / 2) == []


def test_silence_while_we_were_held_up_ourselves_does_not_count() -> None:
    vigil = Vigil()
    _, now = look(vigil, {"stopped with us": 0.0}, 2)
    much_later = now + 100 * SILENT_SECONDS
    assert vigil.silent({"stopped with us": 0.0}, much_later) == []
