"""How old an entry is: by the clock of this boot, else by the wall clock, else unknown."""

from __future__ import annotations

import pytest

from fastdns._clock import PLAUSIBLE_MS, Moment, age_of

BOOT = 77
NOW = Moment(PLAUSIBLE_MS + 90_000, 60_000, BOOT)


@pytest.mark.parametrize(
    ("wall", "boot_clock", "boot", "age"),
    [
        (PLAUSIBLE_MS, 20_000, BOOT, 40_000),  # whatever the wall clock has been set to since
        (PLAUSIBLE_MS, 20_000, BOOT + 1, 90_000),
        (PLAUSIBLE_MS, 20_000, 0, 90_000),  # no boot is known
        (PLAUSIBLE_MS, 60_001, BOOT, None),  # to come
        (PLAUSIBLE_MS + 90_001, 20_000, BOOT + 1, None),
        (PLAUSIBLE_MS - 1, 20_000, BOOT + 1, None),  # a clock that was never set
    ],
)
def test_age_is_told_by_the_clock_of_the_boot_else_by_the_wall_clock(
    wall: int, boot_clock: int, boot: int, age: int | None
) -> None:
    assert age_of(wall, boot_clock, boot, NOW) == age
