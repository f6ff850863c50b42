"""A full file system, which no answer depends on.

The daemon runs in a mount namespace with a tmpfs of 2 MiB, so the kernel must allow namespaces.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fastdns.counters import Pages

from ..support.cache import Disk
from ..support.client import ask, data, eventually
from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream
from ..test_keeper import OFTEN, names
from .damage import PAGE, ROOT, ask_twice, assert_works, overwrite


@pytest.fixture
def needs_namespace() -> None:
    if not ROOT:
        pytest.skip("a mount namespace takes root")
    tried = subprocess.run(
        ["unshare", "-m", "true"], capture_output=True, text=True, timeout=10, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"this test needs a mount namespace of its own: {tried.stderr.strip()}")


class OnSmallDisk(Fastdns):
    """A daemon whose directories lie on a tmpfs of its own."""

    def __init__(self, place: Path, *, full: bool = False, **knobs: object) -> None:
        place.mkdir()
        super().__init__(place / "state", **knobs)
        # What was written there is out of sight below the tmpfs.
        hidden = place / "state.toml"
        self.command[self.command.index(str(hidden))] = str(hidden.rename(f"{place}.toml"))
        self.place = place
        enter = f"mount -t tmpfs -o size=2m,mode=755 tmpfs {place} && mkdir {place}/state && "
        if full:
            enter += f"head -c 100m /dev/zero 2>/dev/null > {place}/filler; "
        self.command = ["unshare", "-m", "sh", "-c", f'{enter} exec "$@"', "sh", *self.command]

    def start(self) -> OnSmallDisk:
        super().start()
        # The same directories, seen from outside of the namespace.
        self.inside = Path(f"/proc/{self.pid}/root{self.place}")
        return self

    def disk(self) -> Disk:
        return Disk(self, state_dir=self.inside / "state")

    def fill(self, leaving: int = 0) -> None:
        """Take all room but so many pages."""
        with (self.inside / "filler").open("ab", buffering=0) as filler:
            with suppress(OSError):
                while True:
                    filler.write(bytes(PAGE))
            filler.truncate(filler.tell() - leaving * PAGE)

    def errors(self) -> int:
        return Pages.attach(self.inside / "state/run/counters").total("disk_errors_total")

    def empty(self) -> None:
        (self.inside / "filler").unlink()


Small = Callable[..., OnSmallDisk]


@pytest.fixture
def small_disk(needs_namespace: None, tmp_path: Path, upstream: FalseUpstream) -> Small:
    """A daemon on such a disk, maybe full from its start, to be entered in a `with` block."""

    def small_disk(*, full: bool = False) -> OnSmallDisk:
        return OnSmallDisk(tmp_path / "small", full=full, upstream=[upstream], config=OFTEN)

    return small_disk


def test_daemon_starts_on_a_full_file_system_and_uses_it_when_there_is_room(
    small_disk: Small, upstream: FalseUpstream
) -> None:
    with small_disk(full=True) as daemon:
        for _ in range(3):
            assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        daemon.wait_for_log("No space left on device")
        assert len([line for line in daemon.log if "No space" in line]) <= 3
        assert len(daemon.process_ids()) == 4
        daemon.empty()
        daemon.wait_for_log("works again", 10)
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        assert (daemon.inside / "state/cache/data.mdb").exists()
    assert not any("ended by" in line for line in daemon.log), daemon.tail()


@pytest.mark.parametrize("leaving", [0, 2])
def test_file_system_that_fills_up_costs_no_answers_and_comes_back(
    small_disk: Small, upstream: FalseUpstream, leaving: int
) -> None:
    """A write that fits in part is an error of its own to LMDB, which is not the one to be told."""
    with small_disk() as daemon:
        disk = daemon.disk()
        for part in range(4):  # each of which leaves some free pages in the file
            disk.put(*names(25, f"part{part}.demo"))
            assert disk.take_in()
        daemon.fill(leaving)
        disk.put(*names(200, "later.demo"), padding=500)
        daemon.wait_for_log("No space left on device", 10)
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        # Something little can be written into free pages of the file; what waits cannot.
        disk.take_in()
        eventually(daemon.errors, lambda errors: errors > 2, 15)
        assert len([line for line in daemon.log if "kept in memory only" in line]) == 1
        assert not any("works again" in line for line in daemon.log), daemon.tail()
        daemon.empty()
        daemon.wait_for_log("works again", 10)
        everything = [*names(25, "part0.demo"), *names(200, "later.demo")]
        eventually(lambda: disk.take_in() and disk.holds(*everything), bool, 10)
    assert not any("ended by" in line for line in daemon.log), daemon.tail()


@pytest.mark.parametrize("where", ["start", "middle", "cut"])
def test_damage_on_a_full_file_system_is_survived(
    small_disk: Small, upstream: FalseUpstream, where: str
) -> None:
    with small_disk() as daemon:
        disk = daemon.disk()
        disk.put(*names(500))
        assert disk.take_in()
        daemon.fill()
        overwrite(disk.data, where)
        for _ in range(3):
            assert data(ask_twice(daemon, upstream.new_name())) == ["192.0.2.1"]
        disk.put(*names(500))
        disk.take_in()
        daemon.wait_for_log("moved to|is truncated", 15)
        assert data(ask_twice(daemon, upstream.new_name())) == ["192.0.2.1"]
        daemon.empty()
        assert_works(daemon, disk, upstream)
