"""A daemon keeps its lists up to date by itself: no restart, no reload, no query lost over it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fastdns._block_set import BlockSet
from fastdns.config.names import parse_name

from ..support.client import ask, data, eventually
from ..support.commands import fastdns
from ..support.daemon import Fastdns
from ..support.download_server import DownloadServer, missing, text, unchanged_if_known
from ..support.false_upstream import FalseUpstream

GOOD = b"0.0.0.0 ads.test\n"
Start = Callable[..., Fastdns]


def configured(*lists: str, more: str = "") -> str:
    return f"[block]\nlists = {json.dumps(lists)}\n{more}"


def compiled(daemon: Fastdns) -> Path:
    return daemon.state_dir / "lists" / "compiled"


def blocks(daemon: Fastdns, name: str) -> bool:
    """Whether the compiled file has a name."""
    path = compiled(daemon)
    return path.exists() and bool(BlockSet(path.read_bytes()).find(parse_name(name)))


def wait_until_blocked(daemon: Fastdns, name: str) -> None:
    eventually(lambda: blocks(daemon, name), bool)


@pytest.fixture
def start(start_fastdns: Start, resolver: FalseUpstream) -> Start:
    def started(*lists: str, **more: object) -> Fastdns:
        return start_fastdns(upstream=[resolver], config=configured(*lists, **more))

    return started


def test_lists_are_there_soon_after_a_start(start: Start, web: DownloadServer) -> None:
    url = web.on("/hosts", text(GOOD))

    daemon = start(url)

    wait_until_blocked(daemon, "ads.test.")
    daemon.wait_for_log(rf"block list {url}: 1 entry")
    daemon.wait_for_log("block lists in use: 1 name of 1 list$")
    eventually(lambda: daemon.processes("fastdns-lists"), lambda left: not left)
    assert data(ask(daemon, "www.shop.demo")) == ["192.0.2.1"]


def test_lists_stay_in_use_when_their_files_are_removed(start: Start, web: DownloadServer) -> None:
    daemon = start(web.on("/hosts", text(b"0.0.0.0 ads.demo\n")))
    wait_until_blocked(daemon, "ads.demo.")
    daemon.wait_for_log("block lists in use: 1 name of 1 list$")
    seen = len(daemon.log)

    shutil.rmtree(compiled(daemon).parent)

    daemon.wait_for_log(rf"{compiled(daemon)} is gone; the former ones stay in use", after=seen)
    assert data(ask(daemon, "ads.demo")) == ["0.0.0.0"]


def test_a_restart_downloads_nothing_and_compiles_nothing(
    tmp_path: Path, resolver: FalseUpstream, web: DownloadServer
) -> None:
    url = web.on("/hosts", text(GOOD))
    daemon = Fastdns(tmp_path / "state", upstream=[resolver], config=configured(url))
    with daemon:
        daemon.wait_for_log("block lists: compiled")
        eventually(lambda: daemon.processes("fastdns-lists"), lambda left: not left)
    before = compiled(daemon).stat()

    with Fastdns(tmp_path / "state", upstream=[resolver], config=configured(url)) as again:
        assert data(ask(again, "www.shop.demo")) == ["192.0.2.1"]
        assert again.reload().returncode == 0
        eventually(lambda: again.processes("fastdns-lists"), lambda left: not left)

    assert compiled(daemon).stat().st_mtime_ns == before.st_mtime_ns
    assert len(web.requests("/hosts")) == 1


def test_a_boot_without_a_network_compiles_the_copies(
    tmp_path: Path, resolver: FalseUpstream, web: DownloadServer
) -> None:
    url = web.on("/hosts", text(GOOD))
    with Fastdns(tmp_path / "state", upstream=[resolver], config=configured(url)) as daemon:
        daemon.wait_for_log("block lists: compiled")
    compiled(daemon).unlink()
    web.on("/hosts", web.silence)

    with Fastdns(tmp_path / "state", upstream=[resolver], config=configured(url)) as again:
        wait_until_blocked(again, "ads.test.")


def test_a_reload_fetches_a_new_list_and_drops_a_former_one(
    start: Start, web: DownloadServer
) -> None:
    first, second = web.on("/1", text(GOOD)), web.on("/2", text(b"second.test\n"))
    daemon = start(first)
    wait_until_blocked(daemon, "ads.test.")

    daemon.configure(configured(second))
    assert daemon.reload().returncode == 0

    wait_until_blocked(daemon, "second.test.")
    assert not blocks(daemon, "ads.test.")
    assert len(web.requests("/1")) == 1
    eventually(lambda: len(list(compiled(daemon).parent.glob("*.gz"))), lambda left: left == 1)


def test_a_list_that_is_missing_is_named_in_the_log_and_the_others_are_used(
    start: Start, web: DownloadServer
) -> None:
    bad, good = web.on("/bad", missing), web.on("/good", text(GOOD))

    daemon = start(bad, good)

    daemon.wait_for_log(rf"WARNING: block list {bad} answers 404 Not Found; there is no copy of it")
    wait_until_blocked(daemon, "ads.test.")


def test_status_names_each_list_that_could_not_be_renewed_and_why(
    start: Start, web: DownloadServer
) -> None:
    never, once = web.on("/never", missing), web.on("/once", text(GOOD))
    daemon = start(never, once)
    daemon.wait_for_log("block lists: compiled")
    web.on("/once", missing)
    configuration = str(daemon.state_dir.with_suffix(".toml"))
    state = ("--state", str(daemon.state_dir))
    assert fastdns("lists", "update", "-c", configuration, *state).returncode == 1

    done = fastdns("status", "--json", *state)

    first, second = json.loads(done.stdout)["warnings"]
    assert first == (
        f"block list {never}: there is no copy of it; last try: it answers 404 Not Found"
    )
    assert second.startswith(f"block list {once}: its copy of ")
    assert second.endswith(" stays in use; last try: it answers 404 Not Found")


def test_a_stop_ends_a_download_at_once(start: Start, web: DownloadServer) -> None:
    daemon = start(web.on("/hosts", web.silence))
    (child,) = eventually(lambda: daemon.processes("fastdns-lists"), bool)
    eventually(lambda: web.requests("/hosts"), bool)

    assert os.getpriority(os.PRIO_PROCESS, child) == 19
    assert os.sched_getscheduler(child) == os.SCHED_IDLE
    daemon.stop()

    assert not Path(f"/proc/{child}").exists()
    about = [line for line in daemon.log if "lists" in line]
    assert len(about) == 1, about  # that there are none yet


def test_a_supervisor_that_is_killed_leaves_no_download(start: Start, web: DownloadServer) -> None:
    daemon = start(web.on("/hosts", web.silence))
    (child,) = eventually(lambda: daemon.processes("fastdns-lists"), bool)
    eventually(lambda: web.requests("/hosts"), bool)

    os.kill(daemon.pid, signal.SIGKILL)
    daemon.process.wait()

    eventually(lambda: Path(f"/proc/{child}").exists(), lambda there: not there)
    daemon.kill()


def test_a_child_that_dies_is_named_and_comes_again_later(
    start: Start, web: DownloadServer
) -> None:
    daemon = start(web.on("/hosts", web.silence))
    (child,) = eventually(lambda: daemon.processes("fastdns-lists"), bool)

    os.kill(child, signal.SIGKILL)

    daemon.wait_for_log(rf"the lists \(pid {child}\) ended by SIGKILL; it is started again later")
    assert not daemon.processes("fastdns-lists")
    assert data(ask(daemon, "www.shop.demo")) == ["192.0.2.1"]


def test_a_daemon_that_listens_everywhere_asks_itself_for_the_name_of_the_server(
    start_fastdns: Start, resolver: FalseUpstream, web: DownloadServer
) -> None:
    """Only the daemon knows this name: it is its owner's."""
    web.on("/hosts", text(GOOD))
    url = web.url("/hosts", "web.owners.test")
    more = '[local]\nrecords = ["web.owners.test. A 127.0.0.1"]\n'

    daemon = start_fastdns(
        upstream=[resolver], config=configured(url, more=more), listen=["0.0.0.0:0"]
    )

    wait_until_blocked(daemon, "ads.test.")


def test_a_command_beside_a_daemon_fetches_at_once(start: Start, web: DownloadServer) -> None:
    url = web.on("/hosts", unchanged_if_known(GOOD, '"1"'))
    daemon = start(url)
    wait_until_blocked(daemon, "ads.test.")
    web.on("/hosts", unchanged_if_known(GOOD + b"new.test\n", '"2"'))
    config = str(daemon.state_dir.with_suffix(".toml"))

    done = fastdns("lists", "update", "-c", config, "--state", str(daemon.state_dir))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{url}: 2 entries\n"
    assert blocks(daemon, "new.test.")
    owner = daemon.state_dir.stat().st_uid
    assert {one.stat().st_uid for one in (daemon.state_dir / "lists").iterdir()} == {owner}


def test_a_reload_without_lists_removes_all_of_them(start: Start, web: DownloadServer) -> None:
    daemon = start(web.on("/hosts", text(GOOD)))
    wait_until_blocked(daemon, "ads.test.")

    daemon.configure(configured())
    assert daemon.reload().returncode == 0

    eventually((daemon.state_dir / "lists").exists, lambda there: not there)
    eventually(lambda: daemon.processes("fastdns-lists"), lambda left: not left)


def test_without_lists_there_is_no_process_and_no_directory(start: Start) -> None:
    daemon = start()

    assert data(ask(daemon, "www.shop.demo")) == ["192.0.2.1"]
    assert not daemon.processes("fastdns-lists")
    assert not (daemon.state_dir / "lists").exists()
