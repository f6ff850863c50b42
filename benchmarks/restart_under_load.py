"""The effect of a reload, a restart, a takeover and a killed worker on hits at a fixed rate.

Each event happens several times, in the middle of a separate load that ends later. A query is lost
if no answer came within five seconds; the slowest answer counts from when its query was due.
Restarts are those of a service manager: the daemon is stopped, then started with the sockets that
it had stored; queries wait in them meanwhile. The exit status is 1 if a query was lost that should
not be, or an answer took too long.
"""

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import tools
import upstream
from inside import Inside
from peers import own_command
from processes import BenchmarkError, free_port, pinned, query, tree
from run import FIRST, RESULTS, leave, machine, some_of, tell

from fastdns.machine.receive_buffer import granted_receive_buffer

TESTS = Path(__file__).resolve().parents[1] / "tests"
LOAD_SECONDS = 3.0
WARM_SECONDS = 1.0
EVENT_AFTER = 0.7  # the load has begun, and what a start puts off is done
LOAD = ("--sockets", "32", "--timeout-ms", "5000")
PATIENCE = 20.0
WORST_MS = 500.0
BATCH = 64  # what a worker may have taken from its socket and not answered when it is killed
SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
DEFAULT_RMEM_MAX = 212_992  # of Linux, where nothing sets it
WORKER = "fastdns-worker"


class Daemon:
    """fastdns, each start of it a separate process, with all logs in one file."""

    def __init__(self, directory: Path, workers: int, cores: str, upstream_port: int) -> None:
        self.port = free_port()
        self.state = directory / "state"
        self.command = pinned(
            cores,
            [
                *(*own_command(), "serve", "--workers", str(workers), "--state", str(self.state)),
                *("--listen", f"127.0.0.1:{self.port}"),
                *("--upstream", f"127.0.0.1:{upstream_port}"),
            ],
        )
        self.log = directory / "log"
        self.log.touch()
        self.manager: Any = None  # what restarts it, when that is systemd's part

    def start(self, *more: str, by: Any = subprocess.Popen) -> None:
        """Return when it says that it is ready. `by` starts a command, as Popen does."""
        seen = self.log.stat().st_size
        with self.log.open("ab") as output:
            self.process = by([*self.command, *more], stdin=subprocess.DEVNULL, stderr=output)
        until(lambda: b" ready on " in self.log.read_bytes()[seen:], "is not ready", self)

    def check(self) -> None:
        if self.process.poll() is not None:
            raise BenchmarkError(
                f"fastdns ended with status {self.process.returncode}{self.tail()}"
            )

    def end(self) -> None:
        """Raise when it does not end in order."""
        self.process.send_signal(signal.SIGTERM)
        if status := self.process.wait(PATIENCE):
            raise BenchmarkError(f"fastdns ended with status {status}{self.tail()}")

    def workers(self) -> set[int]:
        return {stat.pid for stat in tree(self.process.pid) if stat.name == WORKER}

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "".join(f"\n  | {line}" for line in lines)

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.manager:
            self.manager.close()


def until(done: Callable[[], bool], what: str, daemon: Daemon) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        daemon.check()
        if time.monotonic() > deadline:
            raise BenchmarkError(f"fastdns {what} after {PATIENCE:g} s{daemon.tail()}")
        time.sleep(0.002)


# ---- the four events: each begins with a daemon that is ready, and ends with one


def reload(daemon: Daemon) -> None:
    before = daemon.workers()
    command = [*own_command(), "reload", "--state", str(daemon.state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        raise BenchmarkError(f"fastdns reload ends with {done.returncode}: {words[-1]}")
    until(lambda: not before & daemon.workers(), "has a worker from before the reload", daemon)


def restart(daemon: Daemon) -> None:
    daemon.end()
    daemon.start(by=daemon.manager.start)


def takeover(daemon: Daemon) -> None:
    old = daemon.process
    try:
        daemon.start("--takeover")
    except BenchmarkError:
        daemon.process = old  # it is this one that has to be ended
        raise
    try:
        status = old.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        old.kill()
        raise BenchmarkError(f"the one taken over from does not end{daemon.tail()}") from None
    if status:
        raise BenchmarkError(f"the one taken over from ended with {status}{daemon.tail()}")


def kill(daemon: Daemon) -> None:
    before = daemon.workers()
    killed = min(before)
    os.kill(killed, signal.SIGKILL)

    def replaced() -> bool:
        now = daemon.workers()
        return killed not in now and len(now) == len(before)

    until(replaced, "has not replaced a worker", daemon)


EVENTS: dict[str, tuple[Callable[[Daemon], None], int]] = {  # what is done, what may be lost each
    "reload": (reload, 0),
    "restart": (restart, 0),
    "takeover": (takeover, 0),
    "kill": (kill, BATCH),
}


def first_start(daemon: Daemon, event: str, directory: Path) -> None:
    if event != "restart":
        daemon.start()
        return
    daemon.manager = manager_in(directory)
    daemon.start(by=daemon.manager.start)
    until(lambda: bool(daemon.manager.stored), "has stored no socket (FDSTORE=1)", daemon)


def manager_in(directory: Path) -> Any:
    """Return what stands in for systemd, in the tests as well."""
    sys.path.insert(0, str(TESTS))
    try:
        from journey.support.manager import ServiceManager  # noqa: PLC0415
    except ModuleNotFoundError:
        raise BenchmarkError(f"restart: {TESTS}/journey/support/manager.py is missing") from None
    return ServiceManager(directory)


# ---- the measurement


def trial(
    daemon: Daemon, event: Callable[[Daemon], None], names: list[str], rate: int, core: int
) -> dict[str, Any]:
    """Return what a load saw in whose middle the event happened."""
    options = [*names, *LOAD, "--rate", str(rate)]
    running = tools.start_load(daemon.port, core, LOAD_SECONDS, *options)
    try:
        time.sleep(EVENT_AFTER)
        began = time.monotonic()
        event(daemon)
        took = time.monotonic() - began
        if running.poll() is not None:
            raise BenchmarkError(f"it took {took:.1f} s, longer than the load{daemon.tail()}")
        result = tools.finish_load(running, LOAD_SECONDS)
    finally:
        running.kill()
    if set(result["rcodes"]) != {"0"} or result["empty"]:
        raise BenchmarkError(f"wrong answers, or none: {result}{daemon.tail()}")
    return {
        "took_ms": took * 1000,
        "queries": result["sent"],
        "lost": result["lost"] + result["refused"],
        "worst_ms": result["latency_us"]["max"] / 1000,
        "p99_ms": result["latency_us"]["p99"] / 1000,
        "load_late_ms": result["latest_send_us"] / 1000,
    }


def warm(daemon: Daemon, names: list[str], core: int) -> None:
    """Make every worker and the disk hold every name: from then on each is a hit."""
    result = tools.load(daemon.port, core, 60, *names, "--each-once", "--window", "32")
    if result["rcodes"].get("0", 0) < int(names[1]):
        raise BenchmarkError(f"fastdns did not get warm: {result}{daemon.tail()}")
    inside = Inside(daemon.state / "run")
    inside.take_in()
    tools.load(daemon.port, core, WARM_SECONDS, *names, *LOAD)
    inside.take_in()


def measure(
    event: str, chosen: argparse.Namespace, directory: Path, nsd_port: int
) -> list[dict[str, Any]]:
    """Return the trials of one event, all on one daemon or on what follows it."""
    *others, core = sorted(os.sched_getaffinity(0))
    cores = ",".join(map(str, others or [core]))  # the load spins: beside it there is no room
    names = ["--names", str(chosen.names), "--domain", upstream.ZONE]
    happen, _ = EVENTS[event]
    found = []
    with Daemon(directory, chosen.workers, cores, nsd_port) as daemon:
        first_start(daemon, event, directory)
        warm(daemon, names, core)
        for number in range(chosen.times):
            tell(f"{event} {number + 1} of {chosen.times}")
            found.append(trial(daemon, happen, names, chosen.rate, core))
        daemon.end()
    return found


def packets_held(octets: int) -> int:
    """Return how many of the load's queries wait in a socket with a buffer of this size."""
    message = query(FIRST, 0)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        try:
            holder.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, octets)
        except PermissionError:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets)
        holder.bind(("127.0.0.1", 0))
        holder.setblocking(False)
        sender.connect(holder.getsockname())
        for _ in range(octets // 100):  # the kernel counts several hundred octets for each
            sender.send(message)
        held = 0
        try:
            while holder.recv(512):
                held += 1
        except BlockingIOError:
            return held


# ---- what is shown


def summary(event: str, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the most that was lost and the worst answer, and whether both are allowed."""
    lost, worst = (max(one[key] for one in trials) for key in ("lost", "worst_ms"))
    may_lose = EVENTS[event][1]
    return {
        "times": len(trials),
        "queries": sum(one["queries"] for one in trials),
        "lost": sum(one["lost"] for one in trials),
        "most_lost": lost,
        "may_lose": may_lose,
        "median_worst_ms": median(one["worst_ms"] for one in trials),
        "worst_ms": worst,
        "median_took_ms": median(one["took_ms"] for one in trials),
        "met": lost <= may_lose and worst < WORST_MS,
    }


def table(events: dict[str, Any]) -> str:
    heads = ("event", "times", "queries", "lost", "may lose", "worst ms", "median", "took ms", "")
    lines = ["".join(f"{head:>10}" for head in heads).rstrip()]
    for event, found in events.items():
        if "failed" in found:
            lines.append(f"{event:>10}  failed: {found['failed']}")
            continue
        cells = (
            *(event, str(found["times"]), f"{found['queries']:,}", f"{found['lost']:,}"),
            f"{found['may_lose'] * found['times']:,}",
            *(f"{found[key]:.1f}" for key in ("worst_ms", "median_worst_ms", "median_took_ms")),
            "met" if found["met"] else "missed",
        )
        lines.append("".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="restart_under_load.py", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--times", type=int, default=10, help="of each event (default 10)")
    parser.add_argument("--rate", type=int, default=20_000, help="queries a second (20000)")
    parser.add_argument("--workers", type=int, default=2, help="of fastdns (default 2)")
    parser.add_argument("--names", type=int, default=10_000, help="in the zone (default 10000)")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(EVENTS)}; with commas")
    parser.add_argument("--json", type=Path, help="where to write (default benchmarks/results/)")
    chosen = parser.parse_args()
    chosen.only = some_of(parser, "--only", chosen.only, list(EVENTS)) or list(EVENTS)
    if not (1 <= chosen.times <= 1000 and 1 <= chosen.rate <= 200_000 and chosen.workers >= 1):
        parser.error("--times from 1 to 1000, --rate from 1 to 200000, --workers from 1")
    if not 1 <= chosen.names <= upstream.MOST_NAMES:
        parser.error(f"--names must be from 1 to {upstream.MOST_NAMES}")
    return chosen


def benchmark(chosen: argparse.Namespace) -> bool:
    """Run, write and print everything; return whether all bars were met."""
    started = datetime.now(UTC)
    events: dict[str, Any] = {}
    trials: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fastdns-restart-") as name:
        os.chmod(name, 0o755)  # root's daemon becomes another user
        place = Path(name)
        core = max(os.sched_getaffinity(0))
        with upstream.start(place / "nsd", core, chosen.names) as nsd:
            nsd.wait_until_it_answers(FIRST)
            for event in chosen.only:
                (place / event).mkdir(mode=0o755)
                try:
                    trials[event] = measure(event, chosen, place / event, nsd.port)
                    events[event] = summary(event, trials[event])
                except BenchmarkError as error:
                    events[event] = {"failed": str(error), "met": False}
    tell("")
    rmem_max = int(Path("/proc/sys/net/core/rmem_max").read_text())
    held, held_by_default = packets_held(granted_receive_buffer()), packets_held(DEFAULT_RMEM_MAX)
    result = {
        "date": started.isoformat(timespec="seconds"),
        "command": shlex.join(["benchmarks/restart_under_load.py", *sys.argv[1:]]),
        "machine": machine(),
        "settings": {"rate": chosen.rate, "workers": chosen.workers, "names": chosen.names},
        "rmem_max": rmem_max,
        "queries_held_by_a_socket": held,
        "queries_held_with_default_rmem_max": held_by_default,
        "events": events,
        "trials": trials,
    }
    path = chosen.json or RESULTS / f"{started:%Y-%m-%dT%H%M%SZ}-restart.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")

    print(f"{result['machine']['cpu']}, {result['machine']['kernel']}, {result['date']}")
    print(f"{result['command']}: {chosen.workers} workers, {chosen.rate:,} hits a second\n")
    print(table(events))
    print(
        f"\nnet.core.rmem_max is {rmem_max:,}. A socket of fastdns's, started by this user, holds "
        f"{held:,} of these queries:\n{held / chosen.rate * chosen.workers:.2f} s of this load, "
        f"spread over {chosen.workers} of them. With the default net.core.rmem_max of "
        f"{DEFAULT_RMEM_MAX:,} it holds {held_by_default:,}. Bars: worst under {WORST_MS:g} ms."
    )
    print(f"written to {path}")
    return all(found["met"] for found in events.values())


def main() -> None:
    chosen = options()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    try:
        met = benchmark(chosen)
    except BenchmarkError as error:
        tell("")
        raise SystemExit(f"benchmark: {error}") from None
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
