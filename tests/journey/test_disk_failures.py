"""The disk fails: garbage, no room, no right, files gone. Answers go on, and it comes back.

Those about a full file system run the daemon in a mount namespace with a tmpfs of 2 MiB, for which
the kernel has to grant namespaces.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import lmdb
import pytest

from fastdns._clock import Moment
from fastdns.counters import Pages
from fastdns.store.warm import ENTRIES_AT_ONCE

from .support import impatient, raw
from .support.cache import Disk, answer, cache_key
from .support.client import ask, data, eventually, exchange_tcp, make_query
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream
from .test_keeper import OFTEN, SELDOM, counter, is_gone, names

Start = Callable[[str], tuple[Fastdns, Disk]]
Again = Callable[..., Fastdns]
ROOT = os.geteuid() == 0
PAGE = 4096
WARM_LOOK_UPS = 32  # after which a worker looks itself, and has no thread look


def overwrite(path: Path, where: str) -> None:
    """Do to a file what `dd conv=notrunc` does; `cut` takes its second half away."""
    size = path.stat().st_size
    if where == "cut":
        os.truncate(path, size // 2 // PAGE * PAGE)
        return
    begin, length = {
        "start": (0, 4 * PAGE),
        "middle": (size // 4, size // 2),
        "end": (size * 3 // 4, size // 4),
        "all": (0, size),
    }[where]
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(random.Random(where).randbytes(length))


def replace_by(path: Path, what: str) -> None:
    """Put something else where data.mdb was."""
    if what == "directory":
        path.unlink()
        path.mkdir(mode=0o755)
        (path / "something").write_text("here")
    elif what == "text":
        path.write_text("This is no database.\n" * 1000)
    elif what == "few octets":
        path.write_bytes(path.read_bytes()[:5000])
    elif what == "another format":
        rewrite(path, b"about", b"format", b"2")
    elif what == "another program's":
        path.unlink()
        with lmdb.open(str(path.parent), max_dbs=4) as env, env.begin(write=True) as other:
            other.put(b"key", b"value", db=env.open_db(b"others", txn=other))
        give_to_daemon(path)
        give_to_daemon(path.with_name("lock.mdb"))


def rewrite(path: Path, database: bytes, key: bytes, value: bytes) -> None:
    with (
        lmdb.open(str(path.parent), map_size=0, max_dbs=2) as env,
        env.begin(write=True, db=env.open_db(database)) as transaction,
    ):
        transaction.put(key, value)


def give_to_daemon(path: Path) -> None:
    owner = path.parent.stat()
    if ROOT:
        os.chown(path, owner.st_uid, owner.st_gid)


def ask_twice(daemon: Fastdns, name: str) -> dns.message.Message:
    """As a resolver in libc does: the worker that reads a page that is gone dies with a query."""
    try:
        return ask(daemon, name, timeout=2)
    except TimeoutError:
        return ask(daemon, name)


def assert_works(daemon: Fastdns, disk: Disk, upstream: FalseUpstream) -> None:
    """Answers are given and kept on disk."""
    name = upstream.new_name()
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    eventually(lambda: disk.take_in() and disk.holds(name), bool, 15)


@pytest.fixture
def start(start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream) -> Start:
    """Start a daemon with this configuration; return it and its disk."""

    def start(config: str) -> tuple[Fastdns, Disk]:
        daemon = start_fastdns(upstream=[upstream], config=config)
        return daemon, Disk(daemon)

    return start


@pytest.fixture
def start_filled(start: Start) -> Start:
    """Start a daemon as `start` does, and have names(2000) on its disk."""

    def start_filled(config: str) -> tuple[Fastdns, Disk]:
        daemon, disk = start(config)
        disk.put(*names(2000))
        assert disk.take_in()
        return daemon, disk

    return start_filled


@pytest.fixture
def disk(start_filled: Start) -> Disk:
    """The disk, with names(2000) on it, of a daemon that was stopped."""
    daemon, disk = start_filled(SELDOM)
    daemon.stop()
    return disk


@pytest.fixture
def again(disk: Disk, upstream: FalseUpstream) -> Again:
    """That daemon (of the fixture `disk`) once more, to be entered in a `with` block."""

    def again(config: str = SELDOM) -> Fastdns:
        return Fastdns(disk.place.parent, upstream=[upstream], config=config)

    return again


# Damage


@pytest.mark.parametrize("where", ["start", "middle", "end", "all", "cut"])
def test_damaged_file_is_put_aside_at_the_start(
    disk: Disk, again: Again, upstream: FalseUpstream, where: str
) -> None:
    overwrite(disk.data, where)
    damaged = disk.data.read_bytes()
    with again() as fresh:
        told = fresh.wait_for_log("moved to", 10)
        assert f"{disk.data}.damaged" in told.string
        assert Path(f"{disk.data}.damaged").read_bytes()[:PAGE] == damaged[:PAGE]
        assert_works(fresh, disk, upstream)
        assert len([line for line in fresh.log if "moved to" in line]) == 1
        assert counter(fresh, "disk_set_aside_total") == 1
        assert not disk.control().suspect


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("directory", "is not a file"),
        ("text", "not"),
        ("few octets", "cut off"),
        ("another format", "another format"),
        ("another program's", "another program's"),
    ],
)
def test_what_is_no_cache_of_ours_is_put_aside_at_the_start(
    disk: Disk, again: Again, upstream: FalseUpstream, what: str, reason: str
) -> None:
    replace_by(disk.data, what)
    with again() as fresh:
        assert reason in fresh.wait_for_log("moved to").string
        assert Path(f"{disk.data}.damaged").exists()
        assert_works(fresh, disk, upstream)
        assert counter(fresh, "disk_set_aside_total") == 1


def test_file_in_place_of_the_directory_is_put_aside(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    shutil.rmtree(disk.place)
    disk.place.write_text("a file")
    with again() as fresh:
        fresh.wait_for_log("moved to")
        assert_works(fresh, disk, upstream)


@pytest.mark.parametrize("where", ["start", "middle", "end", "all", "cut"])
def test_damage_while_running_ends_in_a_new_cache(
    start_filled: Start, upstream: FalseUpstream, where: str
) -> None:
    daemon, disk = start_filled(OFTEN)
    generation = disk.control().generation
    overwrite(disk.data, where)
    for name in names(2000, "again.test"):  # touches every page
        disk.put(name)
    disk.take_in()
    disk.put(*names(2000))
    daemon.wait_for_log("moved to", 15)
    assert_works(daemon, disk, upstream)
    assert disk.control().generation > generation
    assert counter(daemon, "disk_set_aside_total") == 1


def test_only_the_newest_damaged_file_is_kept(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    for content in ("first", "second"):
        replace_by(disk.data, "text")
        disk.data.write_text(content * 2000)
        with again() as fresh:
            fresh.wait_for_log("moved to")
    assert Path(f"{disk.data}.damaged").read_text().startswith("second")
    assert sorted(path.name for path in disk.place.iterdir()) == [
        "data.mdb",
        "data.mdb.damaged",
        "lock.mdb",
        "lock.mdb.damaged",
        "writer",
    ]


def test_suspicion_of_a_worker_is_looked_into(start_filled: Start, upstream: FalseUpstream) -> None:
    """A sound cache stays, one whose entries fail their checksums goes."""
    daemon, disk = start_filled(SELDOM)
    control, generation = disk.control(), disk.control().generation
    control.suspect = True
    disk.take_in()
    daemon.wait_for_log("has none")
    eventually(lambda: control.suspect, lambda suspect: not suspect)
    assert control.generation > generation
    assert disk.holds(*names(2000))
    assert counter(daemon, "disk_set_aside_total") == 0
    with disk.data.open("r+b") as file:  # another address in every answer
        content = file.read().replace(bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)))
        file.seek(0)
        file.write(content)
    control.suspect = True
    disk.take_in()
    daemon.wait_for_log("moved to")
    eventually(lambda: control.suspect, lambda suspect: not suspect)
    assert_works(daemon, disk, upstream)


def flip_a_bit(disk: Disk, name: str) -> None:
    """Have this name's answer hold another address, behind everybody's back."""
    wire = dns.name.from_text(name).to_wire()
    with disk.data.open("r+b") as file:
        content, at = file.read(), -1
        while (at := content.find(wire, at + 1)) >= 0:  # LMDB may have left an older copy
            file.seek(content.index(bytes((192, 0, 2, 1)), at) + 3)
            file.write(b"\x03")


@pytest.mark.parametrize("dies", ["the worker", "the daemon"])
def test_flipped_bit_is_one_entry_lost(start: Start, upstream: FalseUpstream, dies: str) -> None:
    """It is asked for again and written anew; everything else stays."""
    daemon, disk = start(OFTEN)
    names = [upstream.new_name() for _ in range(40)]
    for name in names:
        assert data(ask(daemon, name)) == ["192.0.2.1"]
    assert disk.take_in()
    with ExitStack() as stack:
        if dies == "the worker":
            flip_a_bit(disk, names[7])
            before = daemon.worker
            os.kill(before, signal.SIGKILL)
            eventually(lambda: daemon.worker != before, bool)
        else:
            daemon.stop()
            flip_a_bit(disk, names[7])
            daemon = Fastdns(daemon.state_dir, upstream=[upstream], config=OFTEN)
            stack.enter_context(daemon)
        asked = len(upstream.queries)
        for name in names:
            assert data(ask(daemon, name)) == ["192.0.2.1"]
        assert [str(one.name) for one in upstream.queries[asked:]] == [names[7]]
        eventually(lambda: disk.take_in() and disk.holds(*names), bool)
        assert counter(daemon, "disk_damaged_total") == 1
        assert counter(daemon, "disk_set_aside_total") == 0
        assert not disk.control().suspect
        assert not any("moved to" in line for line in daemon.log)


def test_cache_over_which_a_worker_crashed_is_looked_into(
    start_filled: Start, upstream: FalseUpstream
) -> None:
    daemon, disk = start_filled(SELDOM)
    os.kill(daemon.worker, signal.SIGBUS)
    daemon.wait_for_log("has none")
    assert disk.holds(*names(2000))
    assert_works(daemon, disk, upstream)


def test_cache_over_which_keepers_crash_again_and_again_is_put_aside(
    start_filled: Start, upstream: FalseUpstream
) -> None:
    """Though nothing is found in it: LMDB's list of free pages is not shown to anybody."""
    daemon, disk = start_filled(SELDOM)
    os.kill(daemon.keeper, signal.SIGSEGV)
    daemon.wait_for_log("has none")
    assert disk.holds(*names(2000))
    os.kill(daemon.keeper, signal.SIGSEGV)
    daemon.wait_for_log("moved to")
    assert_works(daemon, disk, upstream)


def test_file_that_is_shorter_than_lmdb_has_given_out_pages_is_no_damage(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    """LMDB does not write pages that one transaction took and gave back."""
    reached = shorten(disk)
    assert disk.data.stat().st_size < reached
    with again() as fresh:
        eventually(lambda: disk.data.stat().st_size >= reached, bool)
        assert_works(fresh, disk, upstream)
        assert disk.holds(*names(2000))
        assert counter(fresh, "disk_set_aside_total") == 0


def shorten(disk: Disk) -> int:
    """Have LMDB leave the file shorter than the pages it has given out; return where those end."""
    rng = random.Random(1)
    with lmdb.open(str(disk.place), map_size=0, max_dbs=2) as env:
        about = env.open_db(b"about")
        for number in range(5000):
            with env.begin(write=True, db=about) as transaction:
                transaction.put(b"large%d" % (number % 7), bytes(rng.randrange(20) * PAGE))
                transaction.delete(b"large%d" % rng.randrange(7))
            reached: int = (env.info()["last_pgno"] + 1) * PAGE
            if disk.data.stat().st_size < reached:
                break
        return reached


# Files that go


@pytest.mark.parametrize("what", ["data.mdb", "lock.mdb", "everything", "the directory"])
def test_files_that_somebody_removed_come_back(
    start_filled: Start, upstream: FalseUpstream, what: str
) -> None:
    daemon, disk = start_filled(OFTEN)
    generation = disk.control().generation
    if what == "the directory":
        shutil.rmtree(disk.place)
    elif what == "everything":
        for path in disk.place.iterdir():
            path.unlink()
    else:
        (disk.place / what).unlink()
    eventually(lambda: disk.control().generation, lambda seen: seen > generation, 15)
    assert_works(daemon, disk, upstream)
    assert disk.holds("n0.example.test") == (what == "lock.mdb")


def test_file_that_somebody_exchanged_is_used(
    start: Start, start_filled: Start, upstream: FalseUpstream
) -> None:
    other, theirs = start(OFTEN)
    theirs.put("theirs.test")
    other.stop()
    daemon, disk = start_filled(OFTEN)
    os.replace(theirs.data, disk.data)
    eventually(lambda: disk.holds("theirs.test"), bool)
    eventually(lambda: disk.take_in() and any("replaced" in line for line in daemon.log), bool, 15)
    assert_works(daemon, disk, upstream)
    assert disk.holds("theirs.test")


# No right


def forbid(directory: Path) -> None:
    if ROOT:
        os.chown(directory, 0, 0)
    directory.chmod(0o555)


def allow(directory: Path, owner: os.stat_result) -> None:
    directory.chmod(0o700)
    if ROOT:
        os.chown(directory, owner.st_uid, owner.st_gid)


def test_directory_that_cannot_be_written_is_waited_for(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    owner = disk.place.stat()
    for path in disk.place.iterdir():
        path.unlink()
    forbid(disk.place)
    with again(OFTEN) as fresh:
        told = fresh.wait_for_log("kept in memory only")
        assert str(disk.place) in told.string
        assert data(ask(fresh, upstream.new_name())) == ["192.0.2.1"]
        disk.put("meanwhile.test")
        time.sleep(2.5)  # more tries, of which nothing is said
        assert len([line for line in fresh.log if "kept in memory only" in line]) == 1
        assert counter(fresh, "disk_errors_total") > 1
        allow(disk.place, owner)
        fresh.wait_for_log("works again", 10)
        assert disk.holds("meanwhile.test") or disk.take_in()
        assert disk.holds("meanwhile.test")
        assert_works(fresh, disk, upstream)


# No room


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
        assert len([line for line in daemon.log if "No space" in line]) <= 2
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
            disk.put(*names(25, f"part{part}.test"))
            assert disk.take_in()
        daemon.fill(leaving)
        disk.put(*names(200, "later.test"), padding=500)
        daemon.wait_for_log("No space left on device", 10)
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        # Something little can be written into free pages of the file; what waits cannot.
        disk.take_in()
        eventually(daemon.errors, lambda errors: errors > 2, 15)
        assert len([line for line in daemon.log if "kept in memory only" in line]) == 1
        assert not any("works again" in line for line in daemon.log), daemon.tail()
        daemon.empty()
        daemon.wait_for_log("works again", 10)
        everything = [*names(25, "part0.test"), *names(200, "later.test")]
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


# A map at its limit


def test_cache_at_its_limit_keeps_what_is_used_most(start: Start, upstream: FalseUpstream) -> None:
    daemon, disk = start('[cache]\ndisk = "1MiB"\n')
    used = names(50, "used.test")
    disk.put(*used)
    for name in used:
        assert disk.ring().put_hits_of(cache_key(name), 5)
    assert disk.take_in()
    ring, control = disk.ring(), disk.control()
    for batch in range(30):
        for name in names(300, f"batch{batch}.test"):
            assert ring.put(cache_key(name), answer(name), control.epoch, Moment.now())
        eventually(disk.take_in, bool, 10)
    eventually(lambda: counter(daemon, "disk_bytes"), lambda octets: octets <= 0.8 * 2**20)
    assert disk.data.stat().st_size <= 2**20
    assert counter(daemon, "disk_swept_total") > 3000
    assert counter(daemon, "disk_entries") == len(disk.entries())
    assert disk.holds(*used)
    assert disk.holds("n299.batch29.test")
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    assert not any("kept in memory only" in line for line in daemon.log)


def test_smallest_cache_is_used_as_far_as_a_large_one(start: Start) -> None:
    """A thousand answers are as much as it holds, and the sweep must not take them all at once."""
    daemon, disk = start('[cache]\ndisk = "1MiB"\n')
    ring, control = disk.ring(), disk.control()
    for _ in range(3):
        for name in names(1000, "padded.test"):
            ring.put(cache_key(name), answer(name, padding=750), control.epoch, Moment.now())
        eventually(disk.take_in, bool, 10)
        eventually(lambda: ring.used, lambda used: used == 0, 10)
        eventually(lambda: counter(daemon, "disk_bytes"), lambda octets: octets <= 0.8 * 2**20)
        assert counter(daemon, "disk_bytes") > 0.65 * 2**20


def ask_giants(daemon: Fastdns, disk: Disk, upstream: FalseUpstream, count: int) -> None:
    """Have the keeper take in so many answers of 60,000 octets."""
    giant = raw.rr(raw.TO_QUESTION, raw.TXT, (b"\xff" + b"x" * 255) * 234, ttl=3600)

    def behave(asked: Asked) -> None:
        if asked.tcp:
            asked.send(raw.reply_to(asked.wire, giant, raw.opt(), counts=(1, 1, 0, 1)))
        else:
            asked.answer(flags=dns.flags.TC)

    for number in range(count):
        query = make_query(upstream.new_name(behave), "TXT").to_wire()
        assert len(exchange_tcp(daemon, query)) > len(giant)
        if number % 10 == 9:  # the ring has not room for all
            eventually(disk.take_in, bool)


@pytest.mark.parametrize(("size", "refuses"), [(4, True), (16, False)])
def test_cache_that_giant_answers_have_filled_goes_on_also_after_a_restart(
    start: Start, upstream: FalseUpstream, size: int, refuses: bool
) -> None:
    """Of a map, one value may have a 256th: of 4 MiB, 16 KiB."""
    config = f'[cache]\ndisk = "{size}MiB"\n'
    daemon, disk = start(config)
    ask_giants(daemon, disk, upstream, 300)
    assert_works(daemon, disk, upstream)
    assert (counter(daemon, "disk_refused_total") == 300) == refuses
    daemon.stop()
    with Fastdns(daemon.state_dir, upstream=[upstream], config=config) as again:
        assert_works(again, disk, upstream)
        ask_giants(again, disk, upstream, 100)
        assert_works(again, disk, upstream)
        assert counter(again, "disk_set_aside_total") == 0
        assert disk.data.stat().st_size <= 1.1 * size * 2**20


def test_smaller_cache_is_brought_down_to_its_size(start: Start, upstream: FalseUpstream) -> None:
    daemon, disk = start(SELDOM)
    for batch in range(4):
        disk.put(*names(2000, f"batch{batch}.test"), padding=500)
        assert disk.take_in()
    disk.put("used.test")
    assert disk.ring().put_hits_of(cache_key("used.test"), 100)
    daemon.stop()
    assert disk.data.stat().st_size > 4 * 2**20
    with Fastdns(daemon.state_dir, upstream=[upstream], config='[cache]\ndisk = "2MiB"\n') as fresh:
        eventually(lambda: disk.data.stat().st_size, lambda octets: octets <= 2 * 2**20, 20)
        assert_works(fresh, disk, upstream)
        assert disk.holds("used.test")
        assert len(disk.entries()) > 500
        assert counter(fresh, "disk_set_aside_total") == 0
        assert not (disk.place / "data.mdb.new").exists()


def fill_while_somebody_reads(daemon: Fastdns, disk: Disk, domain: str, until: str) -> None:
    """Fill the map while a reader that was stopped keeps the old pages, until the log says that."""
    with lmdb.open(str(disk.place), map_size=0, max_dbs=2, readonly=True) as env, env.begin():
        for batch in range(20):
            for name in names(200, f"batch{batch}.{domain}"):
                disk.ring().put(cache_key(name), answer(name), 0, Moment.now())
            disk.take_in()
            if any(until in line for line in daemon.log):
                break
        daemon.wait_for_log(until)


def test_map_that_a_stopped_reader_keeps_full_is_written_anew_and_used_again(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon, disk = start('[cache]\ndisk = "1MiB"\n')
    disk.put(*names(500))
    assert disk.take_in()
    fill_while_somebody_reads(daemon, disk, "first.test", "written anew")
    assert_works(daemon, disk, upstream)
    # Not twice within an hour: that would wear the disk.
    fill_while_somebody_reads(daemon, disk, "again.test", "MAP_FULL")
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    daemon.wait_for_log("works again", 15)
    assert_works(daemon, disk, upstream)


# Pages that lead round in a circle


def send_round(data: Path, *, only_top: bool = False) -> None:
    """Have LMDB search the branch pages, or those above branch pages, without an end.

    It takes their keys for keys of one length, and their number, which is less than none, for one
    that overflows: BRANCH and LEAF2 in the flags, `lower` before the end of the page's head.
    """
    octets = data.read_bytes()

    def is_branch(page: int) -> bool:
        return bool(octets[page * PAGE + 10] & 1)

    def first_child(page: int) -> int:
        (at,) = struct.unpack_from("=H", octets, page * PAGE + 16)
        return int.from_bytes(octets[page * PAGE + at :][:4], sys.byteorder)

    with data.open("r+b") as file:
        for page in range(2, len(octets) // PAGE):
            if is_branch(page) and (not only_top or is_branch(first_child(page))):
                (flags,) = struct.unpack_from("=H", octets, page * PAGE + 10)
                file.seek(page * PAGE + 10)
                file.write(struct.pack("=HH", flags | 0x20, 2))


def test_keys_out_of_order_are_found_at_the_start(
    disk: Disk, again: Again, upstream: FalseUpstream
) -> None:
    with disk.data.open("r+b") as file:
        at = disk.data.stat().st_size // 2 // PAGE * PAGE + 10
        while not (flags := os.pread(file.fileno(), 1, at)[0]) & 2:
            at += PAGE
        os.pwrite(file.fileno(), bytes([flags | 0x20]), at)
    with again() as daemon:
        daemon.wait_for_log("moved to")
        assert not any("defect" in line for line in daemon.log)
        assert_works(daemon, disk, upstream)


HANG_SECONDS = 60.0  # until a hang is seen: others may leave the keeper a tenth of a processor


def impatient_daemon(disk: Disk, upstream: FalseUpstream) -> Fastdns:
    daemon = Fastdns(disk.place.parent, upstream=[upstream], config=SELDOM)
    at = daemon.command.index("-m")
    daemon.command[at : at + 2] = [impatient.__file__]
    return daemon


@pytest.mark.parametrize("who", ["worker", "keeper"])
def test_file_that_sends_look_ups_round_in_a_circle_is_put_aside_at_the_first_hang(
    disk: Disk, upstream: FalseUpstream, who: str
) -> None:
    with impatient_daemon(disk, upstream) as daemon:
        for name in names(WARM_LOOK_UPS):
            ask(daemon, name)
        send_round(disk.data)
        if who == "worker":
            with suppress(TimeoutError):
                ask(daemon, "n1000.example.test", timeout=0.5)
        else:
            disk.put("new.example.test")
            disk.take_in(0.5)
        daemon.wait_for_log(f"{who}.* hangs", HANG_SECONDS)
        daemon.wait_for_log("run in a loop; moved to")
        eventually(lambda: ask_twice(daemon, "n7.example.test"), bool)
        assert_works(daemon, disk, upstream)
        assert sum(f"{who} (pid" in line and "hangs for" in line for line in daemon.log) == 1
        assert counter(daemon, "disk_set_aside_total") == 1
        assert (disk.place / "data.mdb.damaged").exists()


def test_thread_that_goes_round_in_a_circle_ends_with_its_worker(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon, disk = start(SELDOM)
    for part in range(3):  # more than are looked at in one go after a start, in order
        disk.put(*names(ENTRIES_AT_ONCE // 2, f"part{part}.test"))
        assert disk.take_in()
    daemon.stop()
    send_round(disk.data, only_top=True)
    with impatient_daemon(disk, upstream) as again:
        first = again.worker
        # By a sweep of the keeper's:
        again.wait_for_log("run in a loop; moved to", HANG_SECONDS)
        again.wait_for_log("goes round in a circle", HANG_SECONDS)
        assert data(ask(again, upstream.new_name())) == ["192.0.2.1"]
        again.wait_for_log(rf"worker \(pid {first}\) hangs")
        eventually(lambda: is_gone(first), bool)
        assert_works(again, disk, upstream)
        assert counter(again, "disk_set_aside_total") == 1, again.tail()


# Death at any moment


def test_keeper_killed_at_random_moments_loses_nothing_and_damages_nothing(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon, disk = start(OFTEN)
    ring, control, rng = disk.ring(), disk.control(), random.Random(3)
    put = []
    for round_ in range(7):
        keeper = daemon.keeper
        for name in names(300, f"round{round_}.test"):
            ring.put(cache_key(name), answer(name), control.epoch, Moment.now())
            put.append(name)
        time.sleep(rng.uniform(0, 0.02))
        asker = os.fork()
        if asker == 0:
            disk.take_in(1.0)
            os._exit(0)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(asker, 0)
        eventually(lambda keeper=keeper: is_gone(keeper), bool)
    eventually(lambda: disk.take_in(1.0), bool, 15)
    assert disk.holds(*put)
    assert len(disk.entries()) == len(put)
    assert counter(daemon, "disk_set_aside_total") == 0
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
