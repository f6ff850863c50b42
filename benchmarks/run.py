"""Measure fastdns beside the floor, its peers and the plain forwarder: `make bench`.

Server under test on one core, nsd and the load on another. In each round each server is started,
warmed, measured and ended in turn, once with a cache for the names of the zone and once with one
for many; the order moves on by one a round. Restarted, because a server that idles beside the one
under test takes timer wake-ups from its core and lowers its PSS (shared pages are divided), and
because one start's memory layout or hash key would colour every round: so it shows up as spread.
Ratios are taken within a round. The exit status says whether the run went well, not whether the
bars were met.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import access
import browse
import certificate
import disk_hits
import doh
import dot
import handshake
import hits
import keeper
import latency
import memory
import million
import miss
import mixed
import plots
import report
import report_streams
import start
import tcp
import upstream
import workers
from peers import PEERS, Encrypted, Peer, Place, first_line
from processes import BenchmarkError, Server, free_port
from session import Session, Settings
from stock import MOST_ENTRIES, Stocks, make_two

RESULTS = Path(__file__).resolve().parent / "results"
Scenario = Callable[[Session], dict[str, Any] | None]
TMPFS = Path("/dev/shm")
# Of every server; "memory" first, before anything has pressed it.
SMALL: dict[str, Scenario] = {
    "memory": memory.measure,
    "hits": hits.measure,
    "latency": latency.measure,
}
PLAIN: dict[str, Scenario] = {"tcp": tcp.measure}
ENCRYPTED: dict[str, Scenario] = {
    "dot": dot.measure,
    "doh": doh.measure,
    "handshake": handshake.measure,
}
LARGE: dict[str, Scenario] = {"miss": miss.measure, "mixed": mixed.measure}
MILLION: dict[str, Scenario] = {"million": million.measure}
# Of fastdns alone; they start and end it themselves.
OWN = {"workers": workers.measure, "access": access.measure}
DISK = {
    "start": start.measure,
    "disk_hits": disk_hits.measure,
    "keeper": keeper.measure,
    "browse": browse.measure,
}
SCENARIOS = (*SMALL, *PLAIN, *ENCRYPTED, *LARGE, *OWN, *DISK, *MILLION)
FIRST = f"h00000.{upstream.ZONE}"
MOST_IDLE = 4096
MOST_NEW = 1_000_000  # answers that miss and mixed may bring


def measure(
    peer: Peer, program: str, settings: Settings, nsd: Server, wanted: list[str]
) -> dict[str, Any]:
    """Measure the peer in the wanted scenarios, with one start for each size of its cache."""
    measured: dict[str, Any] = {}
    for group, answers in groups_of(peer, settings):
        scenarios = {name: run for name, run in group.items() if name in wanted}
        if not scenarios:
            continue
        pair = certificate.pair() if group is ENCRYPTED else None
        with running(peer, program, settings, nsd, answers, pair=pair) as session:
            answer = session.server.wait_until_it_answers(FIRST)
            check_size(peer, len(answer), len(nsd.wait_until_it_answers(FIRST)))
            if group in (SMALL, PLAIN, ENCRYPTED):
                measured["command"] = shlex.join(session.server.command)
                measured["answer_octets"] = len(answer)
                measured["warm"] = session.warm()
            for name, run in scenarios.items():
                measured[name] = run(session)
    return measured


def groups_of(peer: Peer, settings: Settings) -> Iterator[tuple[dict[str, Scenario], int]]:
    """Yield what the peer takes part in, and how many answers it has to have room for."""
    yield SMALL, settings.names * 2  # some to spare
    if peer.tcp:  # some keep what they give over streams apart
        yield PLAIN, settings.names * 4 + MOST_NEW
    if peer.encrypted:
        yield ENCRYPTED, settings.names * 4 + MOST_NEW
    if peer.forwards:
        yield LARGE, settings.zipf_names + MOST_NEW
    if peer.large:
        yield MILLION, settings.million + settings.million // 2


def check_size(peer: Peer, octets: int, truth: int) -> None:
    """Raise when what makes answers up makes them of another size: that would flatter it."""
    if not peer.forwards and octets != truth:
        raise BenchmarkError(f"{peer.name}: {octets} octets an answer, nsd {truth}")


@contextmanager
def running(
    peer: Peer,
    program: str,
    settings: Settings,
    nsd: Server,
    answers: int,
    *,
    pair: tuple[Path, Path] | None = None,
) -> Iterator[Session]:
    """Start it; with a certificate and its key, for DoT and DoH too."""
    with scratch() as directory, scratch(TMPFS if TMPFS.is_dir() else None) as ram:
        encrypted = Encrypted(free_port(), free_port(), *pair) if pair else None
        place = Place(directory, ram, free_port(), nsd.port, answers, encrypted)
        command = peer.command(program, place)
        log = place.directory / "log"
        with Server(peer.name, command, place.port, settings.server_core, log) as server:
            yield Session(peer, server, settings, directory, nsd, encrypted)


@contextmanager
def scratch(inside: Path | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fastdns-bench-", dir=inside) as name:
        os.chmod(name, 0o755)  # servers that root starts become another user
        yield Path(name)


def measure_own(
    settings: Settings, nsd: Server, stocks: Stocks | None, wanted: list[str]
) -> dict[str, Any]:
    """Run the scenarios of fastdns alone."""
    measured = {}
    for name in wanted:
        if name in OWN:
            with scratch() as directory:
                measured[name] = OWN[name](settings, nsd, directory)
        elif name in DISK and stocks:
            with scratch() as directory:
                measured[name] = DISK[name](stocks, directory)
    return measured


def run_rounds(
    chosen: argparse.Namespace,
    found: dict[Peer, str],
    settings: Settings,
    nsd: Server,
    stocks: Stocks | None,
) -> tuple[list[report.Round], list[str]]:
    """Return the measurements, and in a line each those that failed: the others continue."""
    wanted, rounds, failures = chosen.scenarios, [], []
    for number in range(chosen.rounds):
        shift = number % max(len(found), 1)
        one: report.Round = {}
        for peer in [*list(found)[shift:], *list(found)[:shift]]:
            tell(f"round {number + 1} of {chosen.rounds}: {peer.name}")
            one[peer.name] = {}
            try:
                one[peer.name] = measure(peer, found[peer], settings, nsd, wanted)
            except BenchmarkError as error:
                failures.append(f"round {number + 1}, {peer.name}: {error}")
        if any(peer.name == "fastdns" for peer in found):
            tell(f"round {number + 1} of {chosen.rounds}: fastdns alone")
            one["fastdns"].update(measure_own(settings, nsd, stocks, wanted))
        rounds.append(one)
    tell("")
    return rounds, failures


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
    peers = ", ".join(peer.name for peer in PEERS)
    scenarios = ", ".join(SCENARIOS)
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="each scenario (default 2)")
    parser.add_argument("--names", type=int, default=10_000, help="in the zone (default 10000)")
    parser.add_argument(
        "--rates", default="5000,20000,100000", help="of the scenario latency (default %(default)s)"
    )
    parser.add_argument(
        "--rate", type=int, default=20_000, help="another, beside which fastdns commits (20000)"
    )
    parser.add_argument(
        "--idle", type=int, default=2000, help="DoT connections opened at once (default 2000)"
    )
    parser.add_argument(
        "--entries", type=int, default=1_000_000, help="on disk; 0: leave the disk cache out"
    )
    parser.add_argument("--only", default="", help=f"some of: {peers}; with commas")
    parser.add_argument("--scenarios", default="", help=f"some of: {scenarios}; with commas")
    parser.add_argument("--full", action="store_true", help="the scenario million, too")
    parser.add_argument("--quick", action="store_true", help="one round of a second: a look only")
    parser.add_argument("--json", type=Path, help="where to write (default benchmarks/results/)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 1.0
        chosen.entries = min(chosen.entries, 100_000)
    chosen.only = some_of(parser, "--only", chosen.only, [peer.name for peer in PEERS])
    chosen.scenarios = some_of(parser, "--scenarios", chosen.scenarios, list(SCENARIOS)) or [
        name for name in SCENARIOS if chosen.full or name not in MILLION
    ]
    if not all(text.strip().isdigit() for text in chosen.rates.split(",")):
        parser.error(f"--rates {chosen.rates}: must be numbers with commas: 5000,20000")
    chosen.rates = sorted({chosen.rate, *(int(text) for text in chosen.rates.split(","))})
    if not 1 <= chosen.names <= upstream.MOST_NAMES:
        parser.error(f"--names must be from 1 to {upstream.MOST_NAMES}")
    if not 1 <= chosen.idle <= MOST_IDLE:
        parser.error(f"--idle must be from 1 to {MOST_IDLE}")
    if not 0 <= chosen.entries <= MOST_ENTRIES:
        parser.error(f"--entries must be from 0 to {MOST_ENTRIES}")
    if not (chosen.rounds >= 1 and 0.1 <= chosen.seconds <= 600):
        parser.error("--rounds from 1, --seconds from 0.1 to 600")
    if not all(1 <= rate <= 1_000_000 for rate in (chosen.rate, *chosen.rates)):
        parser.error("--rate and --rates from 1 to 1000000")
    return chosen


def some_of(parser: argparse.ArgumentParser, option: str, text: str, known: list[str]) -> list[str]:
    """Return the known names of a list with commas; end with a line on any other."""
    named = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in named if name not in known]:
        parser.error(f"{option} {', '.join(unknown)}: known are {', '.join(known)}")
    return named


def settings_of(chosen: argparse.Namespace) -> Settings:
    cores = sorted(os.sched_getaffinity(0))
    scale = 10 if chosen.quick else 1
    return Settings(
        names=chosen.names,
        zipf_names=200_000 // scale,
        million=1_000_000 // scale,
        seconds=chosen.seconds,
        rate=chosen.rate,
        rates=tuple(chosen.rates),
        server_core=cores[0],
        load_core=cores[-1],
        idle=chosen.idle,
    )


def where_to_write(chosen: argparse.Namespace, started: datetime) -> Path:
    return chosen.json or RESULTS / f"{started:%Y-%m-%dT%H%M%SZ}{'-quick' * chosen.quick}.json"


def benchmark(chosen: argparse.Namespace) -> list[str]:
    """Run, write and print everything; return what failed."""
    started = datetime.now(UTC)
    found, absent = find_peers(chosen.only)
    settings = settings_of(chosen)
    result: dict[str, Any] = {
        "date": started.isoformat(timespec="seconds"),
        "command": shlex.join(["benchmarks/run.py", *sys.argv[1:]]),
        "machine": machine(),
        "settings": {**asdict(settings), "rounds": chosen.rounds, "entries": chosen.entries},
        "versions": {peer.name: peer.version(program) for peer, program in found.items()},
        "not_installed": absent,
    }
    began = time.monotonic()
    with (
        scratch() as directory,
        upstream.start(directory / "nsd", settings.load_core, chosen.names) as nsd,
    ):
        result["versions"]["nsd"] = first_line("-v")(nsd.command[0])
        stocks = None
        on_disk = chosen.entries and set(DISK) & set(chosen.scenarios)
        if on_disk and any(peer.name == "fastdns" for peer in found):
            tell(f"putting {chosen.entries:,} entries on disk")
            stocks = make_two(directory, chosen.entries, settings, nsd)
        rounds, failures = run_rounds(chosen, found, settings, nsd, stocks)
    servers = [peer.name for peer in found]
    bars = report.bars(rounds, chosen.rate, chosen.entries)
    result |= {
        "seconds": round(time.monotonic() - began, 1),
        "no_hits": report.no_hits(rounds, servers),
        "failures": failures,
        "bars": [bar.summary() for bar in [*bars, *report_streams.bars(rounds)]],
        "ratios": report.ratios(rounds, servers),
        "rounds": rounds,
    }
    path = where_to_write(chosen, started)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")

    print(f"{result['machine']['cpu']}, {result['machine']['kernel']}, {result['date']}")
    print(
        f"{result['command']}: {chosen.rounds} rounds, {chosen.names:,} names; medians; "
        f"{result['seconds'] / 60:.1f} minutes"
    )
    if settings.server_core == settings.load_core:
        print("one CPU only: server and load share it, so queries a second and latency mislead")
    print("\n" + report.table(rounds, servers, settings.rates) + "\n")
    print(report.own_table(rounds))
    print("\n".join(result["no_hits"]))
    for name in absent:
        print(f"  {name} is not installed: left out (make bench-peers installs it)")
    print(report_streams.table(rounds, servers))
    print("\n".join(bar.line() for bar in bars))
    print("\n".join(f"failed: {failure}" for failure in failures))
    print(f"written to {path}")
    print(plots.draw(result, path.with_suffix("")))
    return failures


def leave(*_: object) -> NoReturn:
    tell("")
    raise SystemExit("stopped")


def main() -> None:
    chosen = options()
    for number in (signal.SIGTERM, signal.SIGINT):  # so that what was started is ended then too
        signal.signal(number, leave)
    try:
        failures = benchmark(chosen)
    except BenchmarkError as error:
        tell("")
        raise SystemExit(f"benchmark: {error}") from None
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
