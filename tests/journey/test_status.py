"""`fastdns status`: the state of a daemon on one screen, whatever is wrong with it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from .support.client import ask, eventually
from .support.commands import fastdns
from .support.daemon import Fastdns, address_of
from .support.false_upstream import FalseUpstream, silence


def status(daemon: Fastdns) -> dict[str, str]:
    """Return the lines of the screen by the word they begin with; the first two by number."""
    done = fastdns("status", "--state", str(daemon.state_dir))
    assert (done.returncode, done.stderr) == (0, "")
    first, second, _, *lines = done.stdout.splitlines()
    named = (re.match("(.{12}) (.*)", line) for line in lines)
    return {"1": first, "2": second} | {m[1].strip(): m[2] for m in named if m and m[1].strip()}


def test_status_of_a_sound_daemon_fits_on_a_screen(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name()
    for _ in range(4):
        ask(daemon, name)
    seen = status(daemon)
    assert re.fullmatch(r"fastdns \S+, pid \d+, up \d+ s, 1 worker", seen["1"])
    wanted = r"4 queries, 75 % from the cache, p50 [\d.]+ [µm]s, 1 upstream alive, nothing wrong"
    assert re.fullmatch(wanted, seen["2"])
    assert seen["listens on"] == "{}:{}".format(*daemon.addresses[0])
    assert re.fullmatch(
        rf"{address_of(upstream)}  alive, round trip [\d.]+ [µm]s", seen["upstreams"]
    )
    assert re.fullmatch(r"1 entry in memory, [\d.]+ [KM]iB of \d+ MiB", seen["cache"])
    assert seen["warnings"] == "none"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:]{8} \(\d+ s ago\)", seen["started"])
    assert "last reload" not in seen


def test_status_names_a_dead_upstream(start_fastdns: Callable[..., Fastdns]) -> None:
    with FalseUpstream(silence) as dead, FalseUpstream() as good:
        daemon = start_fastdns(upstream=[dead, good])

        def seen_after_a_query() -> dict[str, str]:
            ask(daemon, good.new_name())
            return status(daemon)

        seen = eventually(seen_after_a_query, lambda seen: "not answer" in seen["warnings"])
    assert "1 of 2 upstreams alive" in seen["2"]
    assert "nothing wrong" not in seen["2"]
    assert seen["warnings"] == f"upstream {address_of(dead)} does not answer"


def test_status_tells_of_a_reload_that_was_refused(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config="workers = 1")
    assert daemon.reload().returncode == 0
    assert re.fullmatch(r"\S+ [\d:]+ \(\d+ s ago\)", status(daemon)["last reload"])
    daemon.configure("cache = 5")
    assert daemon.reload().returncode == 2
    seen = status(daemon)
    assert re.fullmatch(r"\S+ [\d:]+ \(\d+ s ago\), refused", seen["last reload"])
    assert re.fullmatch("not reloaded: .*: cache: .*", seen["warnings"])
    assert "nothing wrong" not in seen["2"]


def test_status_names_lists_and_local_files_that_cannot_be_read(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream, tmp_path: Path
) -> None:
    hosts, listed = tmp_path / "hosts", tmp_path / "list"
    for file in (hosts, listed):
        file.write_text("")
    config = (
        f'[local]\nhosts = ["{hosts}"]\n[[forward]]\nname = "ads"\nanswer = "nxdomain"\n'
        f'domains = ["file:{listed}"]\n'
    )
    daemon = start_fastdns(upstream=[upstream], config=config)
    assert status(daemon)["warnings"] == "none"
    hosts.unlink()
    seen = status(daemon)
    assert seen["warnings"] == f"{hosts}: cannot be read: No such file or directory"
    assert "1 warning" in seen["2"]
    listed.unlink()
    done = fastdns("status", "--json", "--state", str(daemon.state_dir))
    assert len(json.loads(done.stdout)["warnings"]) == 2


def test_status_says_how_much_is_blocked_where_something_may_be(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config='[block]\ndeny = ["ads.example"]')
    assert status(daemon)["blocked"] == "0 of 0 queries"
    ask(daemon, "www.ads.example.")
    for _ in range(3):
        ask(daemon, upstream.new_name())
    assert status(daemon)["blocked"] == "1 of 4 queries (25.0 %)"
    done = fastdns("status", "--json", "--state", str(daemon.state_dir))
    assert json.loads(done.stdout)["blocked"] == 1


def test_status_warns_while_blocking_is_paused(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config='[block]\ndeny = ["ads.example"]')
    place = ("--state", str(daemon.state_dir))
    assert fastdns("pause", "2d", *place).returncode == 0
    seen = status(daemon)
    wanted = r"blocking is paused until [\d-]{10} [\d:]{5} \(fastdns resume ends the pause\)"
    assert re.fullmatch(wanted, seen["warnings"])
    assert "1 warning" in seen["2"]
    assert fastdns("pause", *place).returncode == 0
    assert status(daemon)["warnings"] == "blocking is paused (fastdns resume ends the pause)"
    assert fastdns("resume", *place).returncode == 0
    assert status(daemon)["warnings"] == "none"


def test_status_names_processes_that_hang(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    hung = {"worker": daemon.workers[0], "keeper": daemon.keeper}
    for pid in hung.values():
        os.kill(pid, signal.SIGSTOP)

    def warned() -> list[str]:
        done = fastdns("status", "--json", "--state", str(daemon.state_dir))
        told = json.loads(done.stdout)
        assert ("nothing wrong" in told["summary"]) is (not told["warnings"])
        return sorted(told["warnings"])

    keeper, worker = eventually(warned, lambda told: len(told) == 2)
    begins = "the {} (pid {}) has not responded for "
    assert worker.startswith(begins.format("worker", hung["worker"]))
    assert keeper.startswith(begins.format("keeper", hung["keeper"]))
    assert worker.endswith(f"kill -9 {hung['worker']} (another one takes over)")
    for pid in hung.values():
        os.kill(pid, signal.SIGCONT)


def test_status_answers_for_a_supervisor_that_hangs(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        done = fastdns("status", "--json", "--state", str(daemon.state_dir))
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    told = json.loads(done.stdout)
    assert told["pid"] == daemon.pid
    [warning] = told["warnings"]
    assert warning.startswith("the supervisor does not answer at ")


def test_status_without_a_daemon_says_so(tmp_path: Path) -> None:
    done = fastdns("status", "--state", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fastdns: no daemon runs with state_dir ")
