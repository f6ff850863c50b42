"""Sizes and durations, as users write them and as messages show them."""

from __future__ import annotations

import pytest

from fastdns.config.units import (
    in_seconds,
    parse_duration,
    parse_size,
    spell_duration,
    spell_size,
)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("64MiB", 64 << 20),
        ("500KiB", 500 << 10),
        ("1GiB", 1 << 30),
        ("2TiB", 2 << 40),
        ("64M", 64 << 20),
        ("64m", 64 << 20),
        ("1g", 1 << 30),
        ("64mib", 64 << 20),
        ("64 MiB", 64 << 20),
        ("64MB", 64_000_000),
        ("1KB", 1000),
        ("1gb", 1_000_000_000),
        ("1.5GiB", 3 << 29),
        ("67108864", 64 << 20),
        (67108864, 64 << 20),
    ],
)
def test_size_is_read_as_users_of_unbound_and_systemd_mean_it(text: object, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("64MX", '"64MX"'),
        ("", '""'),
        ("MiB", '"MiB"'),
        ("-1MiB", '"-1MiB"'),
        ("1e3", '"1e3"'),
        ("٣MiB", '"٣MiB"'),
        ("9" * 100, f'"{"9" * 79}…"'),
        (-1, "-1"),
        (3.9, "3.9"),
        (True, "true"),
        ([], "a list"),
    ],
)
def test_what_is_no_size_is_refused(value: object, shown: str) -> None:
    with pytest.raises(ValueError, match="is not a size") as refusal:
        parse_size(value)
    assert str(refusal.value) == f'{shown} is not a size (try "64MiB")'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("1d", 86400), ("0s", 0)],
)
def test_duration_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("5", '"5" has no unit (try "5s")'),
        (5, '5 has no unit (try "5s")'),
        (1.5, '1.5 has no unit (try "1.5s")'),
        (-5, '-5 has no unit (try "30s")'),
        (float("nan"), 'nan has no unit (try "30s")'),
        ("5 minutes", '"5 minutes" is not a duration (try "5m")'),
        ("-5s", '"-5s" is not a duration (try "30s")'),
        ("5M", '"5M" is not a duration (try "30s")'),
        (True, 'true is not a duration (try "30s")'),
    ],
)
def test_what_is_no_duration_is_refused(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=r"no unit|not a duration") as refusal:
        parse_duration(value)
    assert str(refusal.value) == problem


@pytest.mark.parametrize("text", ["64MiB", "1KiB", "3GiB", "1TiB", "64000001", "0"])
def test_size_is_spelled_as_it_would_be_written(text: str) -> None:
    assert spell_size(parse_size(text)) == text


@pytest.mark.parametrize("text", ["1d", "2h", "5m", "59s", "1.5s", "0.2s", "0s", "0.001s"])
def test_duration_is_spelled_as_it_would_be_written(text: str) -> None:
    assert spell_duration(parse_duration(text)) == text


def test_ttl_is_shown_in_seconds_however_long() -> None:
    assert in_seconds(60) == "60s"
    assert in_seconds(2.0**31) == "2147483648s"
