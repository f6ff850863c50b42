"""The health of a daemon in one line, and its problems."""

from __future__ import annotations

import time

import pytest

from fastdns.cli.figures import in_a_word
from fastdns.cli.health import summary, warnings
from fastdns.counters import KEEPER_SLOT, WORKER_SLOT, Pages

GOOD = ("good", True, 0.01, 5, 0)
DEAD = ("dead", False, None, 5, 5)
SILENT = ("silent", True, None, 4, 2)
UNASKED = ("unasked", True, None, 0, 0)
ASKED_NOW = ("asked", True, None, 1, 0)


@pytest.fixture
def pages() -> Pages:
    pages = Pages.create(None, 3, time.time())
    pages.counters(KEEPER_SLOT).heartbeat()
    return pages


@pytest.mark.parametrize(
    ("upstreams", "told"),
    [
        ([GOOD], "1 upstream alive, nothing wrong"),
        ([GOOD, UNASKED, ASKED_NOW], "3 upstreams alive, nothing wrong"),
        ([GOOD, DEAD], "1 of 2 upstreams alive"),
        ([GOOD, SILENT], "1 of 2 upstreams alive"),
        ([DEAD, SILENT], "none of 2 upstreams alive"),
    ],
)
def test_summary_counts_only_upstreams_that_answer(
    pages: Pages, upstreams: list[tuple[str, bool, float | None, int, int]], told: str
) -> None:
    pages.counters(WORKER_SLOT).show_upstreams(upstreams)
    assert summary(pages, pages.totals()) == f"0 queries, {told}"


def test_summary_counts_other_warnings(pages: Pages) -> None:
    pages.counters(WORKER_SLOT).show_upstreams([GOOD, DEAD])
    pages.counters(WORKER_SLOT).add("shed_total")
    assert summary(pages, pages.totals()).endswith("1 of 2 upstreams alive, 1 other warning")
    pages.counters(WORKER_SLOT).show_upstreams([GOOD])
    assert summary(pages, pages.totals()).endswith("1 upstream alive, 1 warning")


@pytest.mark.parametrize("name", ["tls_failed_total", "http_errors_total"])
def test_what_any_port_scanner_causes_is_no_warning(pages: Pages, name: str) -> None:
    pages.counters(WORKER_SLOT).add(name)
    assert pages.totals()[name] == 1
    assert list(warnings(pages, pages.totals())) == []


def test_upstream_that_has_never_replied_is_named_before_it_counts_as_dead(pages: Pages) -> None:
    pages.counters(WORKER_SLOT).show_upstreams([GOOD, SILENT])
    assert [in_a_word(one) for one in pages.upstreams()] == ["alive", "no reply yet"]
    assert list(warnings(pages, pages.totals())) == [
        "upstream silent has not replied to any query yet"
    ]


def test_figures_of_one_moment_stay_as_they_were(pages: Pages) -> None:
    worker = pages.counters(WORKER_SLOT)
    worker.add("queries_udp_total", 5)
    worker.show_upstreams([GOOD])
    read = pages.at_one_moment()
    worker.add("queries_udp_total", 5)
    worker.observe_hit(0.001)
    worker.show_upstreams([GOOD, DEAD])
    assert read.total("queries_udp_total") == 5
    assert sum(read.latency()[0]) == 0
    assert [one.name for one in read.upstreams()] == ["good"]
    assert (read.pid, read.started_at) == (pages.pid, pages.started_at)
