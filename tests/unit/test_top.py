"""What `fastdns top` shows after two readings, on terminals of all sizes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fastdns.cli.figures import in_a_few_letters, in_days, in_octets, in_rate, in_share, in_time
from fastdns.cli.top_picture import (
    Block,
    Busiest,
    History,
    Picture,
    Reading,
    UpstreamRates,
    picture,
)
from fastdns.cli.top_screen import layout
from fastdns.counters import Pages

START = 1000.0  # of the daemon, Unix seconds


@pytest.fixture
def pages() -> Pages:
    return Pages.create(None, 4, START)


def read(pages: Pages, at: float) -> Reading:
    """A reading so many seconds after the daemon's start."""
    return Reading.of(pages, START + at, at)


def rows(block: Block) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in block.rows}


def left(shown: Picture) -> list[dict[str, tuple[str, ...]]]:
    return [rows(block) for block in shown.left]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0.0 µs"),
        (0.0000032, "3.2 µs"),
        (0.0000123, "12 µs"),
        (0.00099949, "999 µs"),
        (0.0009996, "1.0 ms"),
        (0.0414, "41 ms"),
        (1.23, "1.2 s"),
        (17.1, "17 s"),
    ],
)
def test_times_are_short(seconds: float | None, text: str) -> None:
    assert in_time(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        (1000 << 20, "1.0 GiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_sizes_are_short(octets: int, text: str) -> None:
    assert in_octets(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.9, "0 s"), (59, "59 s"), (3600, "1 h"), (1e6, "11 d 13 h")],
)
def test_long_times_have_two_units(seconds: float, text: str) -> None:
    assert in_days(seconds) == text


def test_rates_have_a_fraction_only_when_they_are_small() -> None:
    assert [in_rate(rate) for rate in (0, 0.04, 9.94, 9.96, 20123.4)] == [
        *("0", "0.0", "9.9", "10", "20,123")
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0s"), (99, "99s"), (100, "2m"), (5969, "99m"), (5970, "2h"), (7199, "2h")),
        *((86400, "24h"), (358_200, "4d"), (864_000, "10d")),
    ],
)
def test_times_of_narrow_columns_have_two_digits(seconds: int, text: str) -> None:
    assert in_a_few_letters(seconds) == text


def test_small_part_of_a_whole_is_not_nothing() -> None:
    assert in_share(1, 10**6) == "<0.1 %"


def test_rates_with_a_fraction_stand_below_those_without(pages: Pages) -> None:
    block = Block(("a", "queries/s", "share"), [("x", "152", "95 %"), ("y", "7.0", "4 %")])
    assert block.aligned == [("x", "152  ", "95 %"), ("y", "7.0", "4 %")]


def test_share_of_nothing_is_not_known() -> None:
    assert (in_share(0, 0), in_share(0, 5), in_share(5, 5)) == ("-", "0.0 %", "100.0 %")


def test_first_look_shows_rates_since_the_start_of_the_daemon(pages: Pages) -> None:
    pages.counters(2).add("queries_udp_total", 500)
    shown = picture(None, read(pages, 10.0), {}, Busiest())
    assert left(shown)[0] == {"UDP": ("50",), "TCP": ("0",), "all": ("50",)}
    assert shown.details.startswith("since its start: ")


def test_later_looks_show_what_happened_in_between_in_all_processes(pages: Pages) -> None:
    pages.counters(2).add("queries_udp_total", 10**9)
    before = read(pages, 10.0)
    pages.counters(2).add("queries_udp_total", 30)
    pages.counters(3).add("queries_udp_total", 12)
    pages.counters(3).add("queries_tcp_total", 8)
    shown = picture(before, read(pages, 12.0), {}, Busiest())
    assert left(shown)[0] == {"UDP": ("21",), "TCP": ("4.0",), "all": ("25",)}
    assert shown.details.startswith("the last 2.0 s: ")


def test_what_no_tier_could_answer_was_for_an_upstream(pages: Pages) -> None:
    before = read(pages, 0.0)
    for name, count in {
        "cache_hits_total": 700,
        "cache_misses_total": 300,
        "disk_hits_total": 200,
        "disk_misses_total": 100,
        "cache_stale_total": 10,
    }.items():
        pages.counters(2).add(name, count)
    shown = picture(before, read(pages, 1.0), {}, Busiest())
    assert left(shown)[1] == {
        "memory": ("700", "70.0 %"),
        "disk": ("200", "20.0 %"),
        "stale": ("10", "1.0 %"),
        "upstream": ("90", "9.0 %"),
    }


@pytest.mark.parametrize("up", [0.0, -50.0])
def test_clock_that_was_set_back_turns_no_rate_around(pages: Pages, up: float) -> None:
    pages.counters(2).add("queries_udp_total", 1)
    shown = picture(None, read(pages, up), {}, Busiest())
    assert left(shown)[0]["UDP"] == ("1,000",)
    assert "up 0 s" in shown.about


def test_rcodes_that_there_have_been_are_listed(pages: Pages) -> None:
    pages.counters(2).add("responses_refused_total")
    before = read(pages, 0.0)
    pages.counters(2).add("responses_nxdomain_total", 5)
    responses = picture(before, read(pages, 1.0), {}, Busiest()).right[-1]
    assert rows(responses) == {
        "NOERROR": ("0", "0.0 %"),
        "NXDOMAIN": ("5.0", "100.0 %"),
        "SERVFAIL": ("0", "0.0 %"),
        "REFUSED": ("0", "0.0 %"),
    }


def test_upstreams_that_are_dead_stand_first_and_alarm(pages: Pages) -> None:
    pages.counters(2).show_upstreams(
        [("a", True, 0.01, 5, 0), ("b\x1b", False, None, 1234, 34), ("c", True, None, 0, 0)]
    )
    upstreams = picture(None, read(pages, 1.0), {"a": 5.0}, Busiest()).upstreams
    assert upstreams.rows == [
        ("b\\u001b", "dead", "-", "0", "1,234", "34"),
        ("a", "alive", "10 ms", "5.0", "5", "0"),
        ("c", "not asked", "-", "0", "0", "0"),
    ]
    assert upstreams.alarming == {0}


class Worker:
    """Shows how often it has asked an upstream, at times of its own."""

    def __init__(self, pages: Pages, slot: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._counters = pages.counters(slot)
        self._monkeypatch = monkeypatch

    def show(self, at: float, queries: int) -> None:
        with self._monkeypatch.context() as patch:
            patch.setattr("time.monotonic", lambda: at)
            self._counters.show_upstreams([("u", True, None, queries, 0)])


def test_rate_of_an_upstream_is_over_the_time_between_what_its_worker_has_shown(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, rates = Worker(pages, 2, monkeypatch), UpstreamRates()
    worker.show(9.9, 990)
    assert rates.after(read(pages, 10.0)) == {"u": 99.0}  # since the start
    worker.show(10.9, 1090)
    assert rates.after(read(pages, 11.0)) == {"u": pytest.approx(100)}
    assert rates.after(read(pages, 11.95)) == {"u": pytest.approx(100)}  # nothing new was shown
    worker.show(11.96, 1196)
    worker.show(12.9, 1290)
    assert rates.after(read(pages, 13.0)) == {"u": pytest.approx(100)}


def test_rates_of_an_upstream_are_added_up_and_those_of_a_silent_worker_fade(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Worker(pages, 2, monkeypatch), Worker(pages, 3, monkeypatch)
    rates = UpstreamRates()
    first.show(1.0, 0)
    second.show(1.5, 0)
    rates.after(read(pages, 2.0))
    first.show(2.0, 10)
    second.show(3.5, 10)
    assert rates.after(read(pages, 4.0)) == {"u": 15.0}
    second.show(5.5, 10)
    assert rates.after(read(pages, 6.0)) == {"u": 0.0}


def full_picture(pages: Pages) -> Picture:
    counters = pages.counters(2)
    for rcode in ("noerror", "nxdomain", "servfail", "refused", "formerr", "notimp", "other"):
        counters.add(f"responses_{rcode}_total", 10**12)
    for name in ("queries_udp_total", "cache_hits_total", "disk_entries", "disk_bytes"):
        counters.add(name, 10**13)
    counters.show_upstreams([(f"[2001:db8::{n}]:53", n != 3, 0.1, n, n) for n in range(16)])
    names = [(f"{'long.' * 40}example.", "TYPE65280", 1e6 - n) for n in range(50)]
    return picture(None, read(pages, 5.0), {}, Busiest(names))


@pytest.mark.parametrize("width", [1, 2, 10, 39, 75, 76, 80, 120, 300])
def test_everything_fits_into_the_width(pages: Pages, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=100)
    console.print(layout(full_picture(pages), width, 100))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= 100


@pytest.mark.parametrize("height", [*range(17, 30), 40, 60, 80])
def test_rows_that_find_no_room_are_left_out(pages: Pages, height: int) -> None:
    console = Console(file=io.StringIO(), width=80, height=height)
    console.print(layout(full_picture(pages), 80, height))
    lines = console.file.getvalue().splitlines()
    assert len(lines) <= max(height, 19)
    headings = [line.split()[0] for line in lines if line.strip()]
    if height >= 21:
        assert "upstreams" in headings
        assert "[2001:db8::3]:53" in headings  # the dead one
    if height >= 24:
        assert "busiest" in headings


def test_refused_queries_have_a_row_once_there_were_any(pages: Pages) -> None:
    before = read(pages, 10)
    assert "refused" not in left(picture(None, before, {}, Busiest()))[0]
    pages.counters(2).add("queries_refused_total", 30)
    shown = picture(before, read(pages, 20), {}, Busiest())
    assert left(shown)[0]["refused"] == ("3.0",)


def test_encrypted_transports_have_rows_and_connections_once_there_were_any(pages: Pages) -> None:
    shown = picture(None, read(pages, 10.0), {}, Busiest())
    assert list(left(shown)[0]) == ["UDP", "TCP", "all"]
    pages.counters(2).add("queries_tls_total", 20)
    pages.counters(3).add("queries_https_total", 10)
    pages.counters(3).add("https_connections", 2)
    shown = picture(None, read(pages, 10.0), {}, Busiest())
    assert left(shown)[0] == {
        "UDP": ("0",),
        "TCP": ("0",),
        "TLS": ("2.0",),
        "HTTPS": ("1.0",),
        "all": ("3.0",),
    }
    assert shown.details.endswith("0 TCP connections, 2 HTTPS connections")


def test_blocked_queries_have_a_row_once_there_were_any(pages: Pages) -> None:
    before = read(pages, 0.0)
    assert "blocked" not in left(picture(None, before, {}, Busiest()))[0]
    pages.counters(1).add("blocked_lists_total", 20)
    pages.counters(2).add("blocked_rules_total", 10)
    shown = picture(before, read(pages, 10.0), {}, Busiest())
    assert left(shown)[0]["blocked"] == ("3.0",)


def test_history_is_a_bar_for_each_interval_the_last_on_the_right(pages: Pages) -> None:
    history = History()
    before = read(pages, 10)
    assert picture(None, before, {}, Busiest(), history).history == ""
    for second, queries in ((11, 400), (12, 0), (13, 4)):
        pages.counters(2).add("queries_udp_total", queries)
        after = read(pages, second)
        shown = picture(before, after, {}, Busiest(), history).history
        before = after
    assert shown.lstrip() == "█ ▁  at most 400 queries/s"
    for second in range(14, 100):
        shown = picture(before, read(pages, second), {}, Busiest(), history).history
    assert shown.endswith("  at most 0 queries/s")


def test_many_servfail_alarm(pages: Pages) -> None:
    counters = pages.counters(2)
    counters.add("responses_noerror_total", 96)
    counters.add("responses_servfail_total", 4)
    assert not picture(None, read(pages, 5), {}, Busiest()).right[2].alarming
    counters.add("responses_servfail_total", 4)
    responses = picture(None, read(pages, 5), {}, Busiest()).right[2]
    assert [responses.rows[number][0] for number in responses.alarming] == ["SERVFAIL"]


def test_caches_are_shown_beside_their_limits_when_these_are_known(pages: Pages) -> None:
    pages.counters(2).add("cache_bytes", 3 << 20)
    limits = {"cache": 64 << 20, "disk": 0}
    shown = picture(None, Reading.of(pages, START + 5, 5, limits), {}, Busiest())
    assert rows(shown.right[1]) == {
        "memory": ("0", "3.0 MiB", "64 MiB"),
        "disk": ("0", "0 B", "-"),
    }
