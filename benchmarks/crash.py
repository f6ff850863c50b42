"""Kill fastdns with -9, the whole process tree, at random moments under load.

`benchmarks/crash.py --times 200`. After each kill the daemon must start, and answer from its disk
cache, while its upstream is silent, everything that a client had received more than a second before
the kill: of the last run every name, of the earlier ones a sample; none of a run in which answers
came faster than the keeper took them, which fastdns counts and does not promise. The answers must
have the true address and a TTL reduced by the time between. Then it must answer new names when its
upstream answers. At the end every entry is exported and compared. Exit status 0: nothing was lost
or wrong.
"""

import argparse
import json
import math
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

import truth
from processes import BenchmarkError, Stat, free_port, tree
from truth import Truth

from fastdns.counters import Pages

WINDOW = 64
RATE = 6000  # names a second, which a keeper takes that has other things beside it
ASK_AGAIN_SECONDS = 1.0
CHECK_SECONDS = 30.0  # for all that is asked after a start, the start included
PROMISED_SECONDS = 1.0  # what a client has had for longer outlives a kill
SLACK_SECONDS = 5  # of a TTL, on a machine that has other things to do
YOUNG_SHARE = 8  # one life of so many ends while the daemon starts
SHOWN = 5
CONFIG = """\
[cache]
disk = "2GiB"
commit_interval = "1s"
prefetch = false
"""


def name_of(number: int) -> bytes:
    """Return the number's name in wire form; neighbours lie apart in the database."""
    digest = blake2b(number.to_bytes(4, "big"), digest_size=4).hexdigest()
    return truth.wire_name(f"{digest}-{number}.{truth.ZONE}")


@dataclass
class Findings:
    """The results; `wrong`, `gone` and `troubles` have a line for each fault."""

    kills: int = 0
    kills_while_starting: int = 0
    asked_after_starts: int = 0
    failed_under_load: int = 0
    lives_that_shed: int = 0
    slowest_start_ms: float = 0.0
    wrong: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.wrong or self.gone or self.troubles)


class Ledger:
    """When a client first had the answer for each name (0.0: never), and judges later ones."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.since = array("d")

    def new_names(self) -> Iterator[int]:
        while True:
            self.since.append(0.0)
            yield len(self.since) - 1

    def judge(self, number: int, message: bytes, now: float) -> bool:
        """Return False for a failure; a wrong answer goes into the findings."""
        if message[3] & 15:
            return False
        name = name_of(number)
        expected = truth.reply_to(truth.query(name, 0))
        assert expected is not None
        ttl_at = truth.HEADER + len(name) + 4 + 6
        ttl = int.from_bytes(message[ttl_at : ttl_at + 4], "big")
        left = truth.TTL - (now - (self.since[number] or now))
        same = message[6:8] == expected[6:8] and (
            message[truth.HEADER : ttl_at] == expected[truth.HEADER : ttl_at]
            and message[ttl_at + 4 : len(expected)] == expected[ttl_at + 4 :]
        )
        if not same or abs(ttl - left) > SLACK_SECONDS:
            self.findings.wrong.append(f"{name!r}, TTL {ttl} (not {left:.0f}): {message.hex()}")
        self.since[number] = self.since[number] or now
        return True


class Client:
    """Asks many names at once, each until an answer comes."""

    def __init__(self, port: int, on_answer: Callable[[int, bytes, float], None]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", port))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._on_answer = on_answer
        self._flying: dict[int, tuple[int, float]] = {}  # id → number, when it was sent
        self._next_id = random.randrange(65536)

    def run(self, numbers: Iterable[int], until: float, rate: float = math.inf) -> list[int]:
        """Ask at most so many a second; return those that had no answer when the time was up."""
        more = iter(numbers)
        began, sent = time.monotonic(), 0
        look_again = 0.0
        while (now := time.monotonic()) < until:
            while (
                len(self._flying) < WINDOW
                and sent <= (now - began) * rate
                and (number := next(more, None)) is not None
            ):
                self._next_id = (self._next_id + 1) & 0xFFFF
                self._send(self._next_id, number, now)
                sent += 1
            if not self._flying and rate == math.inf:
                break
            if now >= look_again:
                self._ask_again(now)
                look_again = now + 0.02
            if self._poll.poll(5):
                self._receive()
        left = [number for number, _ in self._flying.values()]
        return left + list(more) if isinstance(numbers, list) else left

    def close(self) -> None:
        self._socket.close()

    def _send(self, query_id: int, number: int, now: float) -> None:
        self._flying[query_id] = (number, now)
        try:
            self._socket.send(truth.query(name_of(number), query_id))
        except OSError:  # nobody listens yet, or no buffer is free
            self._flying[query_id] = (number, now - ASK_AGAIN_SECONDS + 0.02)

    def _ask_again(self, now: float) -> None:
        for query_id, (number, sent) in list(self._flying.items()):
            if now - sent > ASK_AGAIN_SECONDS:
                self._send(query_id, number, now)

    def _receive(self) -> None:
        while True:
            try:
                message = self._socket.recv(4096)
            except OSError:
                return
            number, _ = self._flying.get(int.from_bytes(message[:2], "big"), (None, 0.0))
            if number is None:
                continue
            name = name_of(number)
            if message[truth.HEADER : truth.HEADER + len(name)] == name:
                del self._flying[int.from_bytes(message[:2], "big")]
                self._on_answer(number, message, time.monotonic())


class Daemon:
    """`fastdns serve` on a state directory that outlives it."""

    def __init__(self, directory: Path, upstream: int) -> None:
        self.port = free_port()
        self.state = directory / "state"
        self.log = directory / "log"
        config = directory / "fastdns.toml"
        config.write_text(CONFIG)
        self._command = [
            *(sys.executable, "-m", "fastdns", "serve", "-c", str(config)),
            *("--state", str(self.state), "--listen", f"127.0.0.1:{self.port}"),
            *("--upstream", f"127.0.0.1:{upstream}"),
        ]

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stderr=output, start_new_session=True
            )

    def kill(self) -> None:
        """Kill the tree in one call, and return when nothing of it runs."""
        members = tree(self.process.pid)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for member in members:
            while (left := Stat.of(member.pid)) and left.started == member.started:
                time.sleep(0.001)

    def has_shed(self) -> bool:
        """Return whether this run of it has answers that it could not send towards the disk."""
        try:
            return Pages.attach(self.state / "run" / "counters").total("ring_shed_total") > 0
        except FileNotFoundError:  # a short life
            return False

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fastdns", *arguments, "--state", str(self.state)],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def check(self) -> None:
        if (status := self.process.poll()) is not None:
            raise BenchmarkError(f"fastdns ended with status {status}\n{self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join("  | " + line for line in lines)


class Crashes:
    """Lives and deaths of one daemon."""

    def __init__(self, daemon: Daemon, upstream: Truth, chosen: argparse.Namespace) -> None:
        self.daemon, self.upstream, self.chosen = daemon, upstream, chosen
        self.random = random.Random(chosen.seed)
        self.findings = Findings()
        self.ledger = Ledger(self.findings)
        self.promised: list[int] = []  # names that have to be there after the next start
        self.latest = 0  # where those of the last life begin

    def live(self) -> None:
        """Start, check, serve under load, die at a random moment."""
        young = self.findings.kills and self.random.randrange(YOUNG_SHARE) == 0
        self.upstream.silent = True
        began = time.monotonic()
        self.daemon.start()
        if young:
            time.sleep(self.random.uniform(0.0, 0.6))
            self.findings.kills_while_starting += 1
        else:
            self.check(began)
            self.upstream.silent = False
            first = len(self.ledger.since)
            length = self.random.uniform(0.05, self.chosen.seconds)
            self.load(time.monotonic() + length)
            if length > 1 and not any(self.ledger.since[first:]):
                self.findings.troubles.append(f"life {self.findings.kills + 1}: no new name")
            latest = time.monotonic() - PROMISED_SECONDS
            self.latest = len(self.promised)
            if self.daemon.has_shed():
                self.findings.lives_that_shed += 1
            else:
                self.promised += [
                    number
                    for number in range(first, len(self.ledger.since))
                    if 0 < self.ledger.since[number] < latest
                ]
        self.daemon.check()
        self.daemon.kill()
        self.findings.kills += 1

    def check(self, began: float) -> None:
        """Ask, while the upstream is mute, what was promised."""
        older, wanted = self.promised[: self.latest], self.promised[self.latest :]
        wanted += self.random.sample(older, min(len(older), self.chosen.sample))
        first = True

        def take(number: int, message: bytes, now: float) -> None:
            nonlocal first
            if first:
                first = False
                took = (now - began) * 1000
                self.findings.slowest_start_ms = max(self.findings.slowest_start_ms, took)
            if not self.ledger.judge(number, message, now):
                self.findings.gone.append(f"{name_of(number)!r}: RCODE {message[3] & 15}")

        client = Client(self.daemon.port, take)
        left = client.run(wanted, began + CHECK_SECONDS)
        client.close()
        self.daemon.check()
        self.findings.asked_after_starts += len(wanted)
        self.findings.gone += [f"{name_of(number)!r}: no answer" for number in left]

    def load(self, until: float) -> None:
        """Ask new names and, one time in three, known ones."""

        def numbers() -> Iterator[int]:
            new = self.ledger.new_names()
            while True:
                known = self.promised and self.random.randrange(3) == 0
                yield self.random.choice(self.promised) if known else next(new)

        def take(number: int, message: bytes, now: float) -> None:
            if not self.ledger.judge(number, message, now):
                self.findings.failed_under_load += 1

        client = Client(self.daemon.port, take)
        client.run(numbers(), until, RATE)
        client.close()

    def compare_all(self) -> int:
        """Start once more; compare every entry on disk, and ask a new name. Return how many."""
        self.upstream.silent = True
        began = time.monotonic()
        self.daemon.start()
        try:
            self.check(began)
            verified = self.daemon.command("cache", "verify")
            if verified.returncode:
                self.findings.troubles.append(f"cache verify: {verified.stdout}{verified.stderr}")
            exported = self.daemon.command("cache", "export", "-")
            if exported.returncode:
                self.findings.troubles.append(f"cache export: {exported.stderr}")
            lines = exported.stdout.splitlines()
            for line in lines:
                self.compare(json.loads(line))
            self.upstream.silent = False
            first = len(self.ledger.since)
            self.load(time.monotonic() + 0.5)
            if not any(self.ledger.since[first:]):
                self.findings.troubles.append("new names are not answered at the end")
        finally:
            self.daemon.kill()
        if "Traceback" in self.daemon.log.read_text(errors="replace"):
            self.findings.troubles.append(f"a traceback in {self.daemon.log}")
        return len(lines)

    def compare(self, entry: dict[str, Any]) -> None:
        """Compare one line of the export with the truth."""
        name = entry["name"].rstrip(".")
        data = [record["data"] for record in entry["records"]]
        if entry["type"] != "A" or data != [truth.address_text(name)]:
            self.findings.wrong.append(f"on disk: {entry}")


def tell(text: str) -> None:
    """Show progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=200, help="kills (default 200)")
    parser.add_argument("--seconds", type=float, default=3.0, help="the longest life under load")
    parser.add_argument("--sample", type=int, default=3000, help="old names asked after a start")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    chosen = parser.parse_args()
    if not (chosen.times >= 1 and chosen.sample >= 1 and 0.1 <= chosen.seconds <= 600):
        parser.error("--times and --sample from 1, --seconds from 0.1 to 600")
    return chosen


def crash(chosen: argparse.Namespace) -> Findings:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fastdns-crash-") as name, Truth() as upstream:
        os.chmod(name, 0o755)  # a daemon that root starts becomes another user
        daemon = Daemon(Path(name), upstream.port)
        crashes = Crashes(daemon, upstream, chosen)
        findings = crashes.findings
        try:
            while findings.kills < chosen.times:
                tell(f"kill {findings.kills + 1} of {chosen.times}: {len(findings.gone)} gone")
                crashes.live()
            tell("comparing all that is on disk")
            entries = crashes.compare_all()
        finally:
            tell("")
            if daemon.process.poll() is None:
                daemon.kill()
        report(findings, chosen, crashes, entries, time.monotonic() - began)
        if not findings.good:
            print(daemon.last_words(), file=sys.stderr)
    return findings


def report(
    findings: Findings, chosen: argparse.Namespace, crashes: Crashes, entries: int, seconds: float
) -> None:
    """Print what was found: a line of JSON, or one to read and the first of the faults."""
    figures = asdict(findings) | {
        "names": len(crashes.ledger.since),
        "promised": len(crashes.promised),
        "entries": entries,
        "seed": chosen.seed,
        "seconds": round(seconds, 1),
    }
    for faults in ("wrong", "gone", "troubles"):
        figures[faults] = len(figures[faults])
    if chosen.json:
        print(json.dumps(figures))
    else:
        print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items()))
    for faults in (findings.wrong, findings.gone, findings.troubles):
        for line in faults[:SHOWN]:
            print(f"  {line}", file=sys.stderr)


def leave(*_: object) -> NoReturn:
    raise SystemExit("stopped")


def main() -> None:
    chosen = options()
    for number in (signal.SIGTERM, signal.SIGINT):  # so that the daemon is ended then too
        signal.signal(number, leave)
    try:
        findings = crash(chosen)
    except BenchmarkError as error:
        tell("")
        raise SystemExit(f"crash: {error}") from None
    raise SystemExit(not findings.good)


if __name__ == "__main__":
    main()
