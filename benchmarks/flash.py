"""What a day of a household's queries writes to a flash card, by commit_interval.

`benchmarks/flash.py` (root; --plain without a block device needs none). Two days of household.py
are given to the keeper, the one process of the daemon that writes, with its clock set forward from
one thing to do to the next: each commit is made that it would have made, at the moment of the day
at which it would have, into a real database on ext4 on a loop device. The first day fills the
cache; the second is measured:

  counted   what fastdns itself counts (disk_written_bytes_total)
  device    what reaches the block device: data, journal and inodes. After each commit the file
            system is synchronised, since between two real ones it has the time to do it by itself.

What the card's controller makes of it (it erases large blocks) is not seen. Left out are logs (a
few lines a day) and the file that says which process runs (once a start).
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from household import DAY, Household
from processes import BenchmarkError
from run import machine

from fastdns._clock import Moment
from fastdns._control import Control
from fastdns._ring import Ring
from fastdns.config.schema import Cache
from fastdns.config.units import parse_duration, spell_duration
from fastdns.counters import KEEPER_SLOT, WORKER_SLOT, Pages
from fastdns.server import keeper as keeper_module
from fastdns.server.keeper import Keeper, KeeperInheritance
from fastdns.store import sweep
from fastdns.store.store import SMALL_MAP

INTERVALS = "30s,5m,1h"
IMAGE = "512M"
SECTOR = 512
MEMORY = Path("/dev/shm")  # the image lies there, so that no disk of this machine is worn
CLONE_NEWNS = 0x00020000  # <linux/sched.h>
LIBC = ctypes.CDLL(None, use_errno=True)
COUNTED = ("disk_commits_total", "disk_writes_total", "disk_written_bytes_total")


@dataclass(frozen=True)
class Device:
    """A separate file system, mounted on `place`; `name` in /sys/block, None: not visible."""

    place: Path
    name: str | None

    def written(self) -> int | None:
        """Return the octets that were written to it so far."""
        if self.name is None:
            return None
        fields = Path(f"/sys/block/{self.name}/stat").read_text().split()
        return int(fields[6]) * SECTOR

    def synchronise(self) -> None:
        if self.name is None:
            return
        descriptor = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if LIBC.syncfs(descriptor):
                raise OSError(ctypes.get_errno(), "syncfs")
        finally:
            os.close(descriptor)


@contextmanager
def device(directory: Path, is_plain: bool) -> Iterator[Device]:
    """Give an ext4 on a loop device, as Debian makes it; plain: a directory."""
    place = directory / "card"
    place.mkdir()
    if is_plain:
        yield Device(place, None)
        return
    image = directory / "image"
    call("truncate", "-s", IMAGE, str(image))
    # Else the kernel continues to make the file system while it is measured.
    call("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    call("mount", "-o", "loop,noatime", str(image), str(place))
    try:
        loop = call("findmnt", "--noheadings", "--output", "SOURCE", str(place)).strip()
        yield Device(place, Path(loop).name)
    finally:
        call("umount", str(place))


def mount_for_ourselves() -> None:
    """Make mounts of this process and its children end with them, however they end."""
    if LIBC.unshare(CLONE_NEWNS):
        reason = os.strerror(ctypes.get_errno())
        raise BenchmarkError(f"cannot mount a file system ({reason}): be root, or say --plain")
    call("mount", "--make-rprivate", "/")


def call(*command: str) -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PATH": path},
        )
    except FileNotFoundError:
        raise BenchmarkError(f"no {command[0]} on this machine") from None
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Clock:
    """The time of the days in the place of the machine's."""

    def __init__(self) -> None:
        self._began = Moment.now()
        self.seconds = 0.0

    def now(self) -> Moment:
        gone = round(self.seconds * 1000)
        began = self._began
        return Moment(began.wall_ms + gone, began.boot_ms + gone, began.boot)


class Days:
    """One keeper, and what a worker would tell it."""

    def __init__(self, run_dir: Path, place: Path, interval: float, size: int) -> None:
        self.clock = Clock()
        keeper_module.Moment = sweep.Moment = self.clock
        self._pages = Pages.create(None, WORKER_SLOT + 1, time.time())
        self._ring = Ring.open(None)
        self._zero = self._now = time.monotonic()  # of the keeper's clock
        self._lifeline = os.pipe()
        self.keeper = Keeper(
            KeeperInheritance(
                place=place,
                size=size,
                stale=int(Cache().stale),
                commit_interval=interval,
                socket=run_dir / "keeper",
                rings=[self._ring],
                control=Control.open(None, place),
                counters=self._pages.counters(KEEPER_SLOT),
                wakeup=os.eventfd(0, os.EFD_NONBLOCK),
                worker_slots=[],
                lifeline=self._lifeline[0],
            ),
            crashes=0,
        )

    def total(self, counter: str) -> int:
        return self._pages.total(counter)

    def live(self, household: Household, first: int, last: int, card: Device) -> None:
        """Let these days pass."""
        for stored in household.days(first, last):
            self._go_on(stored.at, household, card)
            self.clock.seconds = stored.at
            if not self._ring.put(stored.key, stored.answer, 0, self.clock.now()):
                raise BenchmarkError("the ring is full")
        self._go_on(last * DAY, household, card)

    def _go_on(self, until: float, household: Household, card: Device) -> None:
        """Have the keeper do all that is due by then."""
        keeper = self.keeper
        while (due := max(keeper._next_at(), self._now)) <= self._zero + until:
            self._now = due
            self.clock.seconds = due - self._zero
            if due >= keeper._commit_at:
                for key, hits in household.hits.items():
                    self._ring.put_hits_of(key, hits)
                household.hits.clear()
            commits = self.total("disk_commits_total")
            keeper._tick(due)
            if self.total("disk_commits_total") > commits:
                card.synchronise()


def measure(
    directory: Path, card: Device, interval: float, disk: int, chosen: argparse.Namespace
) -> dict[str, Any]:
    """Return the figures of the second day."""
    place = (card.place if disk else directory) / "cache"
    days = Days(directory, place, interval, disk or SMALL_MAP)
    household = Household(chosen.queries, chosen.names)
    days.live(household, 0, 1, card)
    asked, before = household.asked, {name: days.total(name) for name in COUNTED}
    on_device = card.written()
    days.live(household, 1, 2, card)
    card.synchronise()
    figures: dict[str, Any] = {name: days.total(name) - before[name] for name in COUNTED}
    now = card.written()
    return figures | {
        "queries": household.asked - asked,
        "entries": days.total("disk_entries"),
        "device_bytes": None if now is None or on_device is None else now - on_device,
    }


def apart(
    directory: Path, card: Device, interval: float, disk: int, chosen: argparse.Namespace
) -> dict[str, Any]:
    """Do it in a separate process, whose end closes all files."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            figures = measure(directory, card, interval, disk, chosen)
            os.write(writable, json.dumps(figures).encode())
            status = 0
        except (BenchmarkError, OSError) as error:
            print(f"flash: {error}", file=sys.stderr)
        finally:
            os._exit(status)
    os.close(writable)
    try:
        with open(readable, "rb") as answer:
            text = answer.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        status = os.waitpid(child, 0)[1]
    if status:
        raise BenchmarkError("no figures")
    return json.loads(text)


def report(cases: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| configuration | commits | answers written | counted by fastdns | reached the device |",
        "|---|---|---|---|---|",
    ]
    for case in cases:
        device_bytes = case["device_bytes"]
        on_device = "-" if device_bytes is None else in_mib(device_bytes)
        counted = in_mib(case["disk_written_bytes_total"])
        lines.append(
            f"| {case['configuration']} | {case['disk_commits_total']:,} | "
            f"{case['disk_writes_total']:,} | {counted} | {on_device} |"
        )
    return "\n".join(lines)


def in_mib(octets: int) -> str:
    mib = octets / (1 << 20)
    return f"{mib:,.0f} MiB" if mib >= 10 or not mib else f"{mib:.1f} MiB"


def all_cases(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the figures of each interval, and of a cache that is on no disk."""
    if not chosen.plain:
        mount_for_ourselves()
    disk = int(Cache().disk)
    for interval, size in [
        *((one, disk) for one in chosen.intervals),
        (Cache().commit_interval, 0),
    ]:
        shown = f'`commit_interval = "{spell_duration(interval)}"`' if size else '`disk = "0"`'
        print(f"flash: {shown}", file=sys.stderr)
        with (
            tempfile.TemporaryDirectory(
                prefix="fastdns-flash-", dir=MEMORY if MEMORY.is_dir() else None
            ) as directory,
            device(Path(directory), chosen.plain) as card,
        ):
            figures = apart(Path(directory), card, interval, size, chosen)
        yield {"configuration": shown} | figures


def intervals(text: str) -> list[float]:
    try:
        return [parse_duration(one) for one in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=40_000, help="a day")
    parser.add_argument("--names", type=int, default=4_000, help="that are asked again and again")
    parser.add_argument("--intervals", type=intervals, default=INTERVALS, help=INTERVALS)
    parser.add_argument("--plain", action="store_true", help="look at no block device")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    return parser.parse_args()


def main() -> int:
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        cases = list(all_cases(chosen))
    except BenchmarkError as error:
        print(f"flash: {error}", file=sys.stderr)
        return 1
    result = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "cases": cases}
    command = " ".join(["benchmarks/flash.py", *sys.argv[1:]])
    print(f"`{command}` on {result['date']}; {cases[0]['queries']:,} queries a day\n")
    print(report(cases))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
