"""`fastdns cache stats`: the sums of a cache, as JSON, as lines and as tables."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from .support import stock
from .support.client import ask, eventually
from .support.commands import cache, on_terminal
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream


def test_stats_sums_up_as_json(state: Path) -> None:
    found = json.loads(cache(state, "stats", "--json").stdout)
    assert found["path"] == str(state / "cache")
    assert [found[name] for name in ("entries", "fresh", "stale", "expired")] == [7, 5, 1, 1]
    assert (found["negative"], found["negative_share"]) == (1, round(1 / 7, 4))
    assert (found["hits"], found["damaged"]) == (49, 0)
    assert 90_000 <= found["oldest_seconds"] < 90_060
    assert found["map_bytes"] == stock.MAP_OCTETS
    assert 0 < found["live_bytes"] <= found["file_bytes"]
    histogram = {one["from"]: one["entries"] for one in found["ttl_histogram"]}
    assert histogram == {0: 1, 60: 2, 300: 1, 900: 1, 3600: 0, 21600: 0, 86400: 0}
    assert found["origins"] == [
        {"origin": "0000000000000001", "view": 0, "group": None, "entries": 7}
    ]


def test_stats_prints_a_name_and_a_value_a_line_into_a_pipe(state: Path) -> None:
    lines = dict(line.split(maxsplit=1) for line in cache(state, "stats").stdout.splitlines())
    assert (lines["entries"], lines["stale"], lines["ttl_from_60"]) == ("7", "1", "2")


def test_stats_says_dates_and_ages_to_people_and_seconds_to_programs(
    state: Path, start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    lines = dict(line.split(maxsplit=1) for line in cache(state, "stats").stdout.splitlines())
    assert re.fullmatch(r"900\d\d \(1 d 1 h\)", lines["oldest_seconds"])

    daemon = start_fastdns(upstream=[upstream])
    used = daemon.state_dir
    ask(daemon, upstream.new_name())  # from when on it has written

    def written_since() -> float | None:
        return json.loads(cache(used, "stats", "--json").stdout)["written_since"]

    since = eventually(written_since, bool)
    # A minute says nothing of a day.
    assert json.loads(cache(used, "stats", "--json").stdout)["written_bytes_per_day"] is None
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
    lines = dict(line.split(maxsplit=1) for line in cache(used, "stats").stdout.splitlines())
    assert re.fullmatch(rf"{date} \(\d+ s ago\)", lines["written_since"])
    status, seen = on_terminal(used, "stats")
    assert status == 0
    assert date[:10] in seen


def test_stats_says_it_in_words_on_a_terminal(state: Path) -> None:
    status, seen = on_terminal(state, "stats")
    assert status == 0
    assert re.search(r"entries +7: 5 fresh, 1 stale, 1 expired\r", seen)
    assert re.search(r"negative +1 of them \(14\.3 %\)", seen)
    assert re.search(r"disk +[\d.]+ KiB of 64 MiB used", seen)
    assert re.search(r"oldest entry +1 d 1 h\r", seen)
    assert re.search(r"under 1 min +1 #", seen)
    assert re.search(r"1 d or longer +0\r", seen)


def test_stats_tells_how_much_of_cache_disk_is_used_after_it_was_lowered(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    """LMDB's file remembers the largest map that it ever had."""

    def told() -> dict[str, float]:
        found: dict[str, float] = json.loads(cache(daemon.state_dir, "stats", "--json").stdout)
        assert found["map_use"] == round(found["live_bytes"] / found["map_bytes"], 4)
        return found

    daemon = start_fastdns(upstream=[upstream], config='[cache]\ndisk = "8MiB"\n')
    ask(daemon, upstream.new_name())
    assert told()["map_bytes"] == 8 << 20
    daemon.configure('[cache]\ndisk = "2MiB"\n')
    assert daemon.reload().returncode == 0
    assert told()["map_bytes"] == 2 << 20
    daemon.stop()
    assert told()["map_bytes"] == 2 << 20
    with Fastdns(daemon.state_dir, upstream=[upstream], config='[cache]\ndisk = "1MiB"\n'):
        assert told()["map_bytes"] == 1 << 20
    lines = cache(daemon.state_dir, "export", "-").stdout.splitlines()
    assert len(lines) == 1


def test_import_fills_a_cache_no_further_than_to_a_limit_that_was_lowered(
    start_fastdns: Callable[..., Fastdns], tmp_path: Path
) -> None:
    daemon = start_fastdns(upstream=["127.0.0.1:9"], config='[cache]\ndisk = "8MiB"\n')
    daemon.configure('[cache]\ndisk = "1MiB"\n')
    assert daemon.reload().returncode == 0
    daemon.stop()
    stock.fill(
        tmp_path / "other",
        [stock.entry(f"n{number}.demo", "A", "192.0.2.1") for number in range(9000)],
    )
    lines = cache(tmp_path / "other", "export", "-").stdout
    done = cache(daemon.state_dir, "import", "-", text_in=lines, status=1)
    assert "is full (cache.disk sets its size)" in done.stderr


def test_stats_of_an_empty_cache_shows_no_zeros(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    status, seen = on_terminal(daemon.state_dir, "stats")
    assert status == 0
    lines = [line.split(maxsplit=1)[0] for line in seen.splitlines() if line.strip()]
    assert [word for word in lines if word != "written"] == ["disk", "entries", "disk", "file"]
