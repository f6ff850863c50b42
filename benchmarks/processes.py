"""Processes that the benchmark starts: pinned to a core, measured from /proc, ended by pid."""

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 20
STOP_SECONDS = 5


class BenchmarkError(Exception):
    """The run cannot continue; the text says why in one or a few lines."""


@dataclass(frozen=True)
class Stat:
    """What one line of /proc/PID/stat says."""

    pid: int
    name: str
    parent: int
    ticks: int  # utime + stime
    started: int  # with the pid it names a process for good: pids come back

    @property
    def seconds(self) -> float:
        return self.ticks / TICKS

    @classmethod
    def of(cls, pid: int) -> "Stat | None":
        """Return None for a process that is gone or a zombie."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        before, _, after = text.rpartition(")")  # the name before it may hold anything
        fields = after.split()
        if fields[0] in "ZX":
            return None
        ticks = int(fields[11]) + int(fields[12])
        return cls(pid, before.partition("(")[2], int(fields[1]), ticks, int(fields[19]))


def tree(root: int) -> list[Stat]:
    """Return `root` and all that descend from it."""
    stats = [Stat.of(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()]
    children: dict[int, list[Stat]] = {}
    for stat in stats:
        if stat:
            children.setdefault(stat.parent, []).append(stat)
    first = Stat.of(root)
    found = [first] if first else []
    for stat in found:  # grows while it is walked
        found += children.get(stat.pid, [])
    return found


def pinned(core: int | str, command: list[str]) -> list[str]:
    """Return the command that runs `command` on this core (or "0-3"), under the same pid.

    It dies with us even when we are killed with -9; otherwise its Server or caller ends it.
    """
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", str(core), *command]


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free for UDP and TCP just now."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        ):
            udp.bind(("127.0.0.1", 0))
            try:
                tcp.bind(udp.getsockname())
            except OSError:
                continue
            return udp.getsockname()[1]


def query(name: str, query_id: int) -> bytes:
    """Return the query that load.c would send for `name`: type A, RD, an OPT of 1232 octets."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = query_id.to_bytes(2, "big") + bytes.fromhex("0100 0001 0000 0000 0001")
    return header + labels + bytes.fromhex("00 0001 0001 00 0029 04d0 00000000 0000")


def ask(port: int, name: str, timeout: float = 0.5) -> bytes | None:
    """Return the answer to one query; None when none came in time, or one without records."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(timeout)
        asking.connect(("127.0.0.1", port))
        message = query(name, int.from_bytes(os.urandom(2), "big"))
        try:
            asking.send(message)
            answer = asking.recv(4096)
        except OSError:
            return None
    good = answer[:2] == message[:2] and answer[3] & 15 == 0 and answer[6:8] != b"\0\0"
    return answer if good else None


class Server:
    """A running server on `port` of 127.0.0.1; as a context manager it is ended in any case."""

    def __init__(
        self, name: str, command: list[str], port: int, core: int | str, log: Path
    ) -> None:
        self.name, self.command, self.port, self.log = name, command, port, log

        with log.open("wb") as output:
            self.process = subprocess.Popen(
                pinned(core, command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end them in order
            )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        """End the whole tree: politely by its root, then by force what is left of it."""
        members = tree(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for member in members:
            left = Stat.of(member.pid)
            if left and left.started == member.started:
                os.kill(member.pid, signal.SIGKILL)

    def wait_until_it_answers(self, name: str) -> bytes:
        """Return its first good answer for `name`."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.check()
            if answer := ask(self.port, name):
                return answer
            time.sleep(0.05)
        raise BenchmarkError(f"{self.name} does not answer for {name}\n{self.last_words()}")

    def check(self) -> None:
        """Raise when it has ended."""
        if self.process.poll() is not None:
            status = self.process.returncode
            raise BenchmarkError(f"{self.name} ended with status {status}\n{self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(["  " + " ".join(self.command), *("  | " + line for line in lines)])

    def cpu_seconds(self) -> float:
        """Return utime + stime of the tree until now."""
        return sum(stat.ticks for stat in tree(self.process.pid)) / TICKS

    def cpu_by_name(self) -> dict[str, float]:
        """Return the same apart for processes of one name; one process: all its threads."""
        seconds: dict[str, float] = {}
        for stat in tree(self.process.pid):
            seconds[stat.name] = seconds.get(stat.name, 0.0) + stat.seconds
        return seconds

    def members(self) -> list[int]:
        return [stat.pid for stat in tree(self.process.pid)]

    def memory(self) -> dict[str, int]:
        """Return PSS and RSS of the tree in octets."""
        sums = {"pss": 0, "rss": 0}
        for pid in self.members():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                key, _, rest = line.partition(":")
                if key.lower() in sums:
                    sums[key.lower()] += int(rest.split()[0]) * 1024
        return sums
