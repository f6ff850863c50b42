"""Measure fastdns beside the floor, its peers and the plain forwarder: `make bench`.

Server under test on one core, nsd and load.c on another. In each round each server is started,
warmed, measured and ended in turn; the order moves on by one a round. Restarted, because a server
that idles beside the one under test takes timer wake-ups from its core and lowers its PSS (shared
pages are divided), and because one start's memory layout or hash key would colour every round: so
it shows up as spread. Ratios are taken within a round. The exit status says whether the run went
well, not whether the bars were met.
"""

import argparse
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import browse
import disk_hits
import hits
import keeper
import latency
import miss
import report
import start
import upstream
from peers import PEERS, Peer, Place, first_line
from processes import BenchmarkError, Server, free_port
from session import Session, Settings
from stock import MOST_ENTRIES, Stocks, make_two

RESULTS = Path(__file__).resolve().parent / "results"
SCENARIOS = {"hits": hits.measure, "latency": latency.measure, "miss": miss.measure}
DISK_SCENARIOS = {
    "start": start.measure,
    "disk_hits": disk_hits.measure,
    "keeper": keeper.measure,
    "browse": browse.measure,
}


def measure(
    peer: Peer, program: str, settings: Settings, nsd: Server, octets: int
) -> dict[str, Any]:
    """Start the peer, warm it, measure it in every scenario, end it."""
    with tempfile.TemporaryDirectory(prefix="fastdns-bench-") as name:
        os.chmod(name, 0o755)  # servers that root starts become another user
        place = Place(Path(name), free_port(), nsd.port)
        command = peer.command(program, place)
        log = place.directory / "log"
        with Server(peer.name, command, place.port, settings.server_core, log) as server:
            answer = server.wait_until_it_answers(f"h00000.{upstream.ZONE}")
            if not peer.forwards and len(answer) != octets:
                raise BenchmarkError(f"{peer.name}: {len(answer)} octets an answer, nsd {octets}")
            session = Session(peer, server, settings)
            measured: dict[str, Any] = {
                "command": shlex.join(command),
                "answer_octets": len(answer),
                "warm": session.warm(),
                "memory": server.memory(),
            }
            for scenario, run in SCENARIOS.items():
                measured[scenario] = run(session)
            return measured


def measure_disk(stocks: Stocks) -> dict[str, Any]:
    """Run the scenarios of fastdns alone: they start and end it themselves."""
    measured = {}
    for scenario, run in DISK_SCENARIOS.items():
        with tempfile.TemporaryDirectory(prefix="fastdns-bench-") as name:
            os.chmod(name, 0o755)
            measured[scenario] = run(stocks, Path(name))
    return measured


def run_rounds(
    count: int, found: dict[Peer, str], settings: Settings, nsd: Server, stocks: Stocks | None
) -> list[report.Round]:
    octets = len(nsd.wait_until_it_answers(f"h00000.{upstream.ZONE}"))
    rounds = []
    for number in range(count):
        shift = number % max(len(found), 1)
        order = [*list(found)[shift:], *list(found)[:shift]]
        one = {}
        for peer in order:
            tell(f"round {number + 1} of {count}: {peer.name}")
            one[peer.name] = measure(peer, found[peer], settings, nsd, octets)
        if stocks:
            tell(f"round {number + 1} of {count}: the disk cache of fastdns")
            one.setdefault("fastdns", {}).update(measure_disk(stocks))
        rounds.append(one)
    tell("")
    return rounds


def tell(text: str) -> None:
    """Show progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def find_peers(only: list[str]) -> tuple[dict[Peer, str], list[str]]:
    """Return the wanted peers with their programs, and the names of those not installed."""
    wanted = [peer for peer in PEERS if not only or peer.name in only]
    programs = {peer: peer.program() for peer in wanted}
    found = {peer: program for peer, program in programs.items() if program}
    return found, [peer.name for peer in wanted if peer not in found]


def machine() -> dict[str, Any]:
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cpus": os.cpu_count(),
        "memory_octets": memory,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average": os.getloadavg(),
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.partition("\n")[0])
    names = ", ".join(peer.name for peer in PEERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="each scenario (default 5)")
    parser.add_argument("--names", type=int, default=10_000, help="in the zone (default 10000)")
    parser.add_argument("--rate", type=int, default=20_000, help="of the scenario latency")
    parser.add_argument(
        "--entries", type=int, default=1_000_000, help="on disk; 0: leave the disk cache out"
    )
    parser.add_argument("--only", default="", help=f"some of: {names}; with commas")
    parser.add_argument("--quick", action="store_true", help="one round of a second: a look only")
    parser.add_argument("--json", type=Path, help="where to write (default benchmarks/results/)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 1.0
        chosen.entries = min(chosen.entries, 100_000)
    chosen.only = [name.strip() for name in chosen.only.split(",") if name.strip()]
    unknown = set(chosen.only) - {peer.name for peer in PEERS}
    if unknown:
        parser.error(f"--only {', '.join(sorted(unknown))}: known are {names}")
    if not 1 <= chosen.names <= upstream.MOST_NAMES:
        parser.error(f"--names must be from 1 to {upstream.MOST_NAMES}")
    if not 0 <= chosen.entries <= MOST_ENTRIES:
        parser.error(f"--entries must be from 0 to {MOST_ENTRIES}")
    if not (chosen.rounds >= 1 and 0.1 <= chosen.seconds <= 600 and 1 <= chosen.rate <= 1_000_000):
        parser.error("--rounds from 1, --seconds from 0.1 to 600, --rate from 1 to 1000000")
    return chosen


def where_to_write(chosen: argparse.Namespace, started: datetime) -> Path:
    return chosen.json or RESULTS / f"{started:%Y-%m-%dT%H%M%SZ}{'-quick' * chosen.quick}.json"


def benchmark(chosen: argparse.Namespace) -> None:
    started = datetime.now(UTC)
    found, absent = find_peers(chosen.only)
    cores = sorted(os.sched_getaffinity(0))
    settings = Settings(chosen.names, chosen.seconds, chosen.rate, cores[0], cores[-1])
    result: dict[str, Any] = {
        "date": started.isoformat(timespec="seconds"),
        "command": shlex.join(["benchmarks/run.py", *sys.argv[1:]]),
        "machine": machine(),
        "settings": {**vars(settings), "rounds": chosen.rounds, "entries": chosen.entries},
        "versions": {peer.name: peer.version(program) for peer, program in found.items()},
        "not_installed": absent,
    }
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="fastdns-bench-") as directory,
        upstream.start(Path(directory) / "nsd", settings.load_core, chosen.names) as nsd,
    ):
        os.chmod(directory, 0o755)  # the daemons on the stocks become another user
        result["versions"]["nsd"] = first_line("-v")(nsd.command[0])
        stocks = None
        if chosen.entries and ("fastdns" in chosen.only or not chosen.only):
            tell(f"putting {chosen.entries:,} entries on disk")
            stocks = make_two(Path(directory), chosen.entries, settings, nsd)
        rounds = run_rounds(chosen.rounds, found, settings, nsd, stocks)
    servers = [peer.name for peer in found]
    bars = report.bars(rounds, chosen.rate, chosen.entries)
    result |= {
        "seconds": round(time.monotonic() - began, 1),
        "bars": [
            {
                "bar": bar.text,
                **(report.spread(bar.numbers) or {}),
                "limit": bar.limit,
                "met": bar.met,
            }
            for bar in bars
        ],
        "ratios_to_floor": report.ratios(rounds, servers),
        "rounds": rounds,
    }
    path = where_to_write(chosen, started)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")

    print(f"{result['machine']['cpu']}, {result['machine']['kernel']}, {result['date']}")
    print(f"{result['command']}: {chosen.rounds} rounds, {chosen.names:,} names; medians")
    if len(cores) == 1:
        print("one CPU only: server and load share it, so queries a second and latency mislead")
    print("\n" + report.table(rounds, servers) + "\n")
    print(report.disk_table(rounds))
    for name in absent:
        print(f"  {name} is not installed: left out")
    print("\n".join(bar.line() for bar in bars))
    print(f"\nwritten to {path}")


def leave(*_: object) -> NoReturn:
    tell("")
    raise SystemExit("stopped")


def main() -> None:
    chosen = options()
    for number in (signal.SIGTERM, signal.SIGINT):  # so that what was started is ended then too
        signal.signal(number, leave)
    try:
        benchmark(chosen)
    except BenchmarkError as error:
        tell("")
        raise SystemExit(f"benchmark: {error}") from None


if __name__ == "__main__":
    main()
