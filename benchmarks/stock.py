"""A daemon's disk cache with any number of entries, and the daemon if it should run."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lmdb
import upstream
from inside import Inside
from peers import PEERS, own_command
from processes import BenchmarkError, Server, free_port, pinned, query
from session import KEEPER, Session, Settings

from fastdns._answer import Limits, Reading
from fastdns._clock import Moment
from fastdns._entry import pack, peek
from fastdns._key import disk_key

PREFIX, DIGITS = "s", 7
FIRST = f"h00000.{upstream.ZONE}"
MAP_OCTETS = 1 << 30
MOST_ENTRIES = 4_000_000  # that fit below where the sweep begins
TTL = 86400
CONFIG = """\
[cache]
memory = "128MiB"
disk = "1GiB"
commit_interval = "{commit_interval}"
"""


def stored_name(number: int) -> str:
    return f"{PREFIX}{number:0{DIGITS}}.{upstream.STORED_ZONE}"


def stored_address(number: int) -> bytes:
    return bytes((10, number >> 16, number >> 8 & 255, number & 255))


@dataclass(frozen=True)
class Stock:
    """The state directory of one daemon with `entries` names of the stored zone on its disk."""

    directory: Path
    entries: int
    settings: Settings
    upstream: Server

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def cache(self) -> Path:
        return self.state / "cache"

    def serve(self, commit_interval: str = "1h") -> "Daemon":
        config = self.directory / "fastdns.toml"
        config.write_text(CONFIG.format(commit_interval=commit_interval))
        port = free_port()
        command = [
            *(*own_command(), "serve", "--workers", "1", "-c", str(config)),
            *("--state", str(self.state), "--listen", f"127.0.0.1:{port}"),
            *("--upstream", f"127.0.0.1:{self.upstream.port}"),
        ]
        return Daemon(self, command, port)

    def copy(self, directory: Path) -> "Stock":
        """Return one like it that may be changed; the daemon must not run."""
        subprocess.run(["cp", "-a", "--reflink=auto", self.directory, directory], check=True)
        return Stock(directory, self.entries, self.settings, self.upstream)

    def last_page(self) -> int:
        """Return the number of the map's last page that was ever used."""
        with lmdb.open(str(self.cache), readonly=True, max_dbs=2) as environment:
            return environment.info()["last_pgno"]

    def command(self, core: int | str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of fastdns that reads this daemon; its output is discarded."""
        command = [*own_command(), *arguments, "--state", str(self.state)]
        return subprocess.Popen(
            pinned(core, command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def time_command(self, core: int, *arguments: str) -> float:
        """Return the seconds from its exec to its end."""
        began = time.monotonic()
        process = self.command(core, *arguments)
        _, errors = process.communicate(timeout=600)
        took = time.monotonic() - began
        if process.returncode:
            raise BenchmarkError(f"fastdns {' '.join(arguments)}: {errors.decode().strip()}")
        return took


@dataclass(frozen=True)
class Stocks:
    """What the scenarios of the disk cache work on; they leave both as they are."""

    many: Stock
    few: Stock


class Daemon(Server):
    """fastdns on a stock."""

    def __init__(self, stock: Stock, command: list[str], port: int) -> None:
        super().__init__(
            "fastdns", command, port, stock.settings.server_core, stock.directory / "log"
        )
        self.stock = stock
        self.inside = Inside(stock.state / "run")
        [peer] = [peer for peer in PEERS if peer.name == "fastdns"]
        self.session = Session(peer, self, stock.settings, stock.directory, stock.upstream)

    def totals(self) -> dict[str, int]:
        return self.inside.totals()

    def take_in(self) -> float:
        """Have the keeper commit all that waits; return the seconds that took."""
        self.check()
        return self.inside.take_in()

    def cpu_by_role(self) -> dict[str, float]:
        """Return the CPU seconds of the keeper and of all others until now."""
        seconds = self.cpu_by_name()
        if KEEPER not in seconds:
            raise BenchmarkError(f"there is no keeper\n{self.last_words()}")
        return {"keeper": seconds[KEEPER], "others": sum(seconds.values()) - seconds[KEEPER]}

    def wait_until_idle(self) -> None:
        """Return when the work after a start has ended."""
        deadline = time.monotonic() + 60
        spent = -1.0
        while (now_spent := self.cpu_seconds()) > spent:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"still at work a minute after its start\n{self.last_words()}")
            spent = now_spent
            time.sleep(0.5)


def make_two(directory: Path, entries: int, settings: Settings, nsd: Server) -> Stocks:
    """Return a stock of that many entries and one of a hundredth."""
    many = make(directory / "many", entries, settings, nsd)
    return Stocks(many, make(directory / "few", max(entries // 100, 1), settings, nsd))


def make(directory: Path, entries: int, settings: Settings, nsd: Server) -> Stock:
    """Have fastdns make its database; put the entries beside the one answer that it keeps there.

    That answer also says under which fingerprint of its upstreams the daemon will look for them.
    """
    directory.mkdir()
    directory.chmod(0o755)
    stock = Stock(directory, entries, settings, nsd)
    with stock.serve() as daemon:
        daemon.wait_until_it_answers(FIRST)
        daemon.take_in()
    with lmdb.open(str(stock.cache), map_size=MAP_OCTETS, max_dbs=2, meminit=False) as environment:
        database = environment.open_db(b"entries", create=False)
        with environment.begin(db=database) as transaction, transaction.cursor() as cursor:
            if not cursor.first():
                raise BenchmarkError("fastdns has put nothing on disk")
            origin = peek(cursor.value())[5]
        for first in range(0, entries, 100_000):
            numbers = range(first, min(first + 100_000, entries))
            with environment.begin(db=database, write=True) as transaction:
                transaction.cursor().putmulti(values(numbers, origin, nsd.port), append=True)
    return stock


def values(numbers: range, origin: int, port: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield what the database holds of each number, in the order of its keys."""
    limits, moment, reading = Limits(0, TTL, TTL, 5, False), Moment.now(), Reading()
    record = b"\xc0\x0c\0\1\0\1" + TTL.to_bytes(4, "big") + b"\0\4"
    for number in numbers:
        question = query(stored_name(number), 0)[12:-11]  # without header and OPT
        key = question + b"\0\0\0"
        reply = b"\0\0\x85\x80\0\1\0\1\0\0\0\0" + question + record + stored_address(number)
        if not reading.read(reply, 0, key):
            raise BenchmarkError(f"not an answer: {reply.hex()}")
        answer = reading.answer(limits)
        value = pack(answer, moment, origin=origin, upstream=f"127.0.0.1:{port}", rtt_us=1000)
        yield disk_key(key), value


def write_names(path: Path, names: list[str]) -> list[str]:
    """Write a file of names; return the options that make load.c ask each of them once."""
    path.write_text("".join(f"{name}\n" for name in names))
    return ["--file", str(path), "--each-once"]
