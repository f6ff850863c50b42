"""What the scenarios of bad times share: servers, bad upstreams, loads side by side.

A scenario is a file with a function that measures one server and returns its figures; `main` runs
it for this fastdns, for another one (`--before PROGRAM`) and for dnsdist (`--dnsdist`) in turn and
prints a table. The server has one core, the loads and the upstreams have another. The exit status
is 1 if this fastdns left questions unanswered that it must answer; a figure that misses its limit
is reported, and changes nothing.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import isnan, nan
from pathlib import Path
from statistics import median
from string import ascii_uppercase
from typing import Any

import tools
from inside import Inside
from peers import own_command
from processes import BenchmarkError, Server, free_port, pinned
from run import RESULTS, leave, machine, tell
from session import KEEPER

NAP = ("--nap-us", "100")  # several loads and the upstreams share a core
NEW = ("--prefix", "m", "--digits", "9", "--names", "1000000000", "--sequential")
NEW_PART = 10_000_000  # of those names, for each load of new ones
TRUE_NAME = "h00000.hits.demo"
WARM_SECONDS = 120
CONFIG = """\
[upstream]
servers = [{servers}]
[cache]
memory = "{memory}MiB"
disk = "{disk}MiB"
"""
DNSDIST = """\
setSecurityPollSuffix("")  -- it would ask the Internet whether its version is safe
setLocal("127.0.0.1:{port}", {{maxInFlight=64}})
setACL({{"127.0.0.0/8"}})
setMaxUDPOutstanding(65535)
setUDPMultipleMessagesVectorSize(100)
{servers}
setServerPolicy(firstAvailable)
getPool(""):setCache(newPacketCache({answers}, {{maxTTL=86400}}))
"""


@dataclass(frozen=True)
class Figure:
    """One measured number; `must`: it tells of answers that have to come, not of how fast."""

    label: str
    value: float
    unit: str = ""
    bar: float | None = None
    at_least: bool = False
    must: bool = False

    @property
    def met(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    @property
    def limit(self) -> str:
        return "" if self.bar is None else f"{'>=' if self.at_least else '<='} {self.bar:.4g}"


@dataclass(frozen=True)
class Ratio:
    """A figure of this fastdns over the same one of another server: at most this."""

    label: str
    other: str
    most: float

    def of(self, found: dict[str, list[list[Figure]]]) -> Figure | None:
        """Return the median over the rounds, each within itself: a machine's mood changes."""
        ours, theirs = (self._values(found.get(name, [])) for name in ("fastdns", self.other))
        ratios = [own / other for own, other in zip(ours, theirs, strict=False) if other]
        if not ratios:
            return None
        return Figure(f"{self.label}, times {self.other}'s", median(ratios), "", self.most)

    def _values(self, rounds: list[list[Figure]]) -> list[float]:
        return [one.value for figures in rounds for one in figures if one.label == self.label]


class BadUpstream:
    """bad_upstream.c, running on `core`; its rules as that file has them."""

    def __init__(self, core: int, *rules: str) -> None:
        command = pinned(core, [str(tools.build("bad_upstream")), *rules])
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{shlex.join(command)} ended")
        self.port = int(line)

    def silence(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    def speak(self) -> None:
        self._process.send_signal(signal.SIGUSR2)

    def end(self) -> dict[str, int]:
        """Return what it counted."""
        self._process.terminate()
        output, _ = self._process.communicate(timeout=10)
        return json.loads(output)

    def __enter__(self) -> "BadUpstream":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.end()


@dataclass(frozen=True)
class Subject:
    """A server that is measured: a fastdns, or dnsdist."""

    name: str
    program: tuple[str, ...]

    @property
    def is_fastdns(self) -> bool:
        return self.name != "dnsdist"

    def command(
        self, directory: Path, port: int, servers: list[str], workers: int, answers: int
    ) -> list[str]:
        """Write its configuration, with room for so many answers; return how it is started."""
        if self.is_fastdns:
            memory, disk = (answers * octets >> 20 for octets in (320, 640))
            config = directory / "fastdns.toml"
            config.write_text(
                CONFIG.format(
                    servers=", ".join(f'"{server}"' for server in servers),
                    memory=max(memory, 64),
                    disk=max(disk, 256),
                )
            )
            return [
                *(*self.program, "serve", "--workers", str(workers), "-c", str(config)),
                *("--state", str(directory / "state"), "--listen", f"127.0.0.1:{port}"),
            ]
        config = directory / "dnsdist.conf"
        lines = (
            f'newServer({{address="{server}", checkName="check.demo."}})' for server in servers
        )
        config.write_text(
            DNSDIST.format(port=port, servers="\n".join(lines), answers=max(answers, 1_000_000))
        )
        return [*self.program, "--supervised", "--disable-syslog", "-C", str(config)]


@dataclass(frozen=True)
class Outcome:
    """What loads that ran side by side saw, and what they cost the server's process tree."""

    loads: dict[str, dict[str, Any]]
    cpu_seconds: float
    keeper_seconds: float  # of them
    waited_seconds: float  # of its processes, ready to run, for a core that others had

    def answered(self, name: str, *rcodes: int) -> float:
        """Return the share of queries, in %, that had an answer (with one of these RCODEs)."""
        load = self.loads[name]
        counts = load["rcodes"]
        good = sum(counts.get(str(rcode), 0) for rcode in rcodes) if rcodes else load["answered"]
        return 100 * good / load["sent"]

    def latency_ms(self, name: str, of: str) -> float:
        return self.loads[name]["latency_us"][of] / 1000

    def cpu_us(self, name: str, beside_us: float = 0.0) -> float:
        """Return the CPU of one answer; a query of the other loads takes `beside_us`.

        NaN when there was no answer: `summary` leaves such a figure out.
        """
        if not self.loads[name]["answered"]:
            return nan
        others = sum(load["sent"] for other, load in self.loads.items() if other != name)
        spent = self.cpu_seconds * 1e6 - others * beside_us
        return spent / self.loads[name]["answered"]


class Serving:
    """A server under test that runs, and the loads that it is put under."""

    def __init__(self, subject: Subject, server: Server, directory: Path, core: int) -> None:
        self.subject, self.server, self.directory, self.core = subject, server, directory, core
        self.config = directory / "fastdns.toml"
        self.state = directory / "state"
        self._next_new = 0

    def new_names(self, domain: str) -> list[str]:
        """Return the options of load.c for names that nobody has asked before."""
        first = self._next_new
        self._next_new += NEW_PART
        return [*NEW, "--first", str(first), "--domain", domain]

    def warm(self, *names: str) -> None:
        """Have every name asked until it was answered."""
        options = (*names, "--each-once", "--window", "64")
        result = tools.load(self.server.port, self.core, WARM_SECONDS, *options)
        self.server.check()
        good = result["rcodes"].get("0", 0) - result["empty"]
        if good < int(names[names.index("--names") + 1]):
            raise BenchmarkError(f"{self.subject.name} did not get warm: {result}")

    def run(self, seconds: float, program: str = "load", **loads: list[str]) -> Outcome:
        """Run these loads side by side."""
        self.take_in()
        members, before = self.server.members(), self.server.cpu_by_name()
        waited = self.waited()
        port, running = self.server.port, {}
        try:
            for name, options in loads.items():
                running[name] = tools.start_load(
                    port, self.core, seconds, *options, program=program
                )
            results = {name: tools.finish_load(one, seconds) for name, one in running.items()}
        finally:
            for one in running.values():
                one.kill()
        self.server.check()
        self.take_in()
        after = self.server.cpu_by_name()
        if self.server.members() != members:
            raise BenchmarkError(f"{self.subject.name} replaced a process while it was measured")
        spent = {name: after[name] - before[name] for name in after}
        waited = self.waited() - waited
        return Outcome(results, sum(spent.values()), spent.get(KEEPER, 0.0), waited)

    def waited(self) -> float:
        """Return the seconds that its processes were ready to run and did not, until now."""
        delays = (
            Path(f"/proc/{pid}/schedstat").read_text().split()[1] for pid in self.server.members()
        )
        return sum(map(int, delays)) / 1e9

    def take_in(self) -> None:
        """Have fastdns' keeper do now what it has put off: the query before it caused that."""
        if KEEPER in self.server.cpu_by_name():
            Inside(self.state / "run").take_in()


@dataclass(frozen=True)
class Bench:
    """What a scenario is given: the server to measure, the options, a place, the cores."""

    subject: Subject
    options: argparse.Namespace
    directory: Path
    server_core: int
    load_core: int

    def upstream(self, *rules: str) -> BadUpstream:
        return BadUpstream(self.load_core, *rules)

    @contextmanager
    def serve(
        self, *servers: BadUpstream | str, workers: int = 1, answers: int = 0
    ) -> Iterator[Serving]:
        """Run the server with these upstreams; it answers when the block begins."""
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            os.chmod(name, 0o755)  # root's daemon becomes another user
            directory = Path(name)
            named = [one if isinstance(one, str) else f"127.0.0.1:{one.port}" for one in servers]
            port = free_port()
            command = self.subject.command(directory, port, named, workers, answers)
            log = directory / "log"
            with Server(self.subject.name, command, port, self.server_core, log) as server:
                server.wait_until_it_answers(TRUE_NAME)
                yield Serving(self.subject, server, directory, self.load_core)


def hits(rate: int, names: int = 1000) -> list[str]:
    """Return the options of load.c for names that are in the cache, from eight clients."""
    return [*hit_names(names), "--rate", str(rate), *CLIENTS, *NAP, "--timeout-ms", "2000"]


def hit_names(names: int = 1000) -> list[str]:
    return ["--names", str(names), "--domain", "hits.demo"]


CLIENTS = ("--source", "127.0.1.1", "--sockets", "8")


# ---- the run


def subjects(chosen: argparse.Namespace) -> list[Subject]:
    found = [Subject("fastdns", tuple(own_command()))]
    if chosen.before:
        found.append(Subject("before", (chosen.before,)))
    if chosen.dnsdist:
        found.append(Subject("dnsdist", ("dnsdist",)))
    for subject in found:
        if not shutil.which(subject.program[0]):
            raise BenchmarkError(f"{subject.program[0]} is not installed, or no program")
    return found


def parser_of(name: str, text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"{name}.py", description=text.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=20_000, help="queries a second (20000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (5)")
    parser.add_argument("--rounds", type=int, default=1, help="(1); medians are shown")
    parser.add_argument("--before", default="", help="another fastdns to measure beside this one")
    parser.add_argument("--dnsdist", action="store_true", help="measure dnsdist, too")
    parser.add_argument("--json", type=Path, help="where to write (default benchmarks/results/)")
    return parser


def measure_all(
    chosen: argparse.Namespace, measure: Callable[[Bench], list[Figure]]
) -> tuple[dict[str, list[list[Figure]]], list[str]]:
    """Return the figures of each subject's rounds, and in a line each what could not be had."""
    cores = sorted(os.sched_getaffinity(0))
    found: dict[str, list[list[Figure]]] = {}
    failures = []
    for number in range(chosen.rounds):
        for subject in subjects(chosen):
            tell(f"round {number + 1} of {chosen.rounds}: {subject.name}")
            with tempfile.TemporaryDirectory(prefix="fastdns-bench-") as name:
                os.chmod(name, 0o755)
                bench = Bench(subject, chosen, Path(name), cores[0], cores[-1])
                try:
                    found.setdefault(subject.name, []).append(measure(bench))
                except BenchmarkError as error:
                    failures.append(f"{subject.name}: {error}")
    tell("")
    return found, failures


def summary(rounds: list[list[Figure]]) -> dict[str, Figure]:
    """Return the median of each figure; of one that must hold, the worst."""
    found: dict[str, Figure] = {}
    for label in dict.fromkeys(figure.label for figures in rounds for figure in figures):
        every = (figure for figures in rounds for figure in figures if figure.label == label)
        same = [figure for figure in every if not isnan(figure.value)]
        if not same:
            continue
        values = [figure.value for figure in same]
        value = median(values)
        if same[0].must:
            value = min(values) if same[0].at_least else max(values)
        found[label] = Figure(**{**asdict(same[0]), "value": value})
    return found


def table(figures: dict[str, dict[str, Figure]]) -> str:
    """Return a line for each figure: every subject's, the bar, and whether fastdns meets it."""
    labels = list(dict.fromkeys(label for found in figures.values() for label in found))
    width = max(map(len, labels), default=0) + 8
    head = "".join(f"{name:>10}" for name in figures)
    lines = [f"{'':{width}}{head}   bar"]
    for label in labels:
        one = next(found[label] for found in figures.values() if label in found)
        values = (found.get(label) for found in figures.values())
        cells = "".join(f"{value.value:10.2f}" if value else f"{'-':>10}" for value in values)
        own = figures.get("fastdns", {}).get(label)
        verdict = "missed" if own and own.met is False else ""
        title = f"{label}, {one.unit}" if one.unit else label
        lines.append(f"{title:{width}}{cells}   {one.limit:<10}{verdict}".rstrip())
    return "\n".join(lines)


def cases(found: dict[str, Figure]) -> str:
    """Return a line for each case of one subject: what stands before ": " in the labels."""
    rows: dict[str, dict[str, Figure]] = {}
    for label, one in found.items():
        case, _, what = label.partition(": ")
        rows.setdefault(case, {})[what] = one
    heads = list(dict.fromkeys(what for row in rows.values() for what in row))
    width = max(map(len, rows), default=0)
    lines = [f"{letter} = {head}" for letter, head in zip(ascii_uppercase, heads, strict=False)]
    lines.append(" " * width + "".join(f"{letter:>11}" for letter in ascii_uppercase[: len(heads)]))
    limits = [next(row[head].limit for row in rows.values() if head in row) for head in heads]
    lines.append(f"{'bar':{width}}" + "".join(f"{limit:>11}" for limit in limits))
    for case, row in rows.items():
        cells = (
            f"{row[head].value:10.2f}{' ' if row[head].met is not False else '!'}"
            if head in row
            else f"{'-':>10} "
            for head in heads
        )
        lines.append(f"{case:{width}}" + "".join(cells))
    return "\n".join(lines)


def line_of(one: Figure) -> str:
    return f"{one.label}: {one.value:.2f} {one.unit} ({one.limit})".replace("  ", " ")


@dataclass(frozen=True)
class Scenario:
    """A command: what it measures, and how that is shown."""

    name: str
    text: str
    measure: Callable[[Bench], list[Figure]]
    more: Callable[[argparse.ArgumentParser], None] = lambda _: None  # options of its own
    ratios: tuple[Ratio, ...] = ()
    by_case: bool = False  # a table for each subject, a line for each case


def benchmark(chosen: argparse.Namespace, scenario: Scenario) -> bool:
    """Run, write and print everything; return whether all was answered that has to be."""
    started = datetime.now(UTC)
    found, failures = measure_all(chosen, scenario.measure)
    figures = {subject: summary(rounds) for subject, rounds in found.items()}
    own = figures.get("fastdns", {})
    for ratio in scenario.ratios:
        if one := ratio.of(found):
            own[one.label] = one
    unanswered = [one.label for one in own.values() if one.must and one.met is False]
    missed = [one.label for one in own.values() if not one.must and one.met is False]
    result = {
        "date": started.isoformat(timespec="seconds"),
        "command": shlex.join([f"benchmarks/{scenario.name}.py", *sys.argv[1:]]),
        "machine": machine(),
        "figures": {
            subject: {label: {**asdict(one), "met": one.met} for label, one in of_it.items()}
            for subject, of_it in figures.items()
        },
        "unanswered": unanswered,
        "missed": missed,
        "failures": failures,
        "rounds": {
            subject: [[asdict(one) for one in figures] for figures in rounds]
            for subject, rounds in found.items()
        },
    }
    path = chosen.json or RESULTS / f"{started:%Y-%m-%dT%H%M%SZ}-{scenario.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")

    print(f"{result['machine']['cpu']}, {result['machine']['kernel']}, {result['date']}")
    print(f"{result['command']}\n")
    if scenario.by_case:
        print("".join(f"{subject}\n{cases(of_it)}\n\n" for subject, of_it in figures.items()))
    else:
        print(table(figures) + "\n")
    print("".join(f"failed: {failure}\n" for failure in failures), end="")
    for title, labels in (("not answered as it has to be", unanswered), ("bars missed", missed)):
        print(f"{title}: {'none' if not labels else ''}")
        print("".join(f"  {line_of(own[label])}\n" for label in labels), end="")
    print(f"written to {path}")
    return not unanswered and not any(line.startswith("fastdns:") for line in failures)


def main(scenario: Scenario) -> None:
    """Run a scenario as a command."""
    parser = parser_of(scenario.name, scenario.text)
    scenario.more(parser)
    chosen = parser.parse_args()
    if not (1 <= chosen.rate <= 200_000 and 0.2 <= chosen.seconds <= 600 and chosen.rounds >= 1):
        parser.error("--rate from 1 to 200000, --seconds from 0.2 to 600, --rounds from 1")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    try:
        good = benchmark(chosen, scenario)
    except BenchmarkError as error:
        tell("")
        raise SystemExit(f"benchmark: {error}") from None
    raise SystemExit(0 if good else 1)
