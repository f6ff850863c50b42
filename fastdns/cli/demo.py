"""`fastdns demo`: shows in seconds what a cache gains, without network or root, and cleans up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import attrs
import click
from dnslib import DNSRecord
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..config.places import decide
from ..counters import Pages
from ..errors import FastdnsError
from .demo_server import ZONE
from .figures import in_time
from .output import emit

START_TIMEOUT = 10.0
STOP_TIMEOUT = 5.0
ANSWER_TIMEOUT = 5.0
READY = re.compile(r"ready on 127\.0\.0\.1:(\d+)")


@attrs.frozen
class Latency:
    """Median and 99th percentile of a pass over all names, in milliseconds."""

    median_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Summarize the times of one pass."""
        in_order = sorted(seconds)
        return cls(
            median_ms=round(statistics.median(in_order) * 1e3, 3),
            p99_ms=round(in_order[(len(in_order) - 1) * 99 // 100] * 1e3, 3),
        )


@attrs.frozen
class Outcome:
    """The results of the demo."""

    names: int
    delay_ms: int
    first: Latency
    cached: Latency
    ratio: float
    cache_hits: int
    cache_misses: int
    cache_entries: int


@contextlib.contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[int]:
    """Run one of the demo's servers while the block lasts; yields its port."""
    with (
        log.open("wb") as errors,
        # In a separate session: Ctrl-C reaches only the demo, which then ends the servers in order.
        subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield wait_until_ready(command[0], process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def environment() -> dict[str, str]:
    """Make the servers import this same fastdns, whatever is in the current directory."""
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, path))}


def wait_until_ready(name: str, process: subprocess.Popen[bytes], log: Path) -> int:
    """Return the port from the line in which the server says that it is ready."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        exited = process.poll() is not None
        said = log.read_text(errors="replace")
        if ready := READY.search(said):
            return int(ready[1])
        last_line = said.strip().rpartition("\n")[2] or "it printed nothing"
        if exited:
            raise FastdnsError(f"{name} did not start: {last_line}")
        if time.monotonic() > deadline:
            raise FastdnsError(f"{name} is not ready after {START_TIMEOUT:g} s: {last_line}")
        time.sleep(0.01)


def ask_all(port: int, queries: Sequence[bytes], progress: Progress, title: str) -> list[float]:
    """Ask each query once, one after the other, and return the seconds each took."""
    task = progress.add_task(title, total=len(queries))
    seconds = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(ANSWER_TIMEOUT)
        for number, query in enumerate(queries, start=1):
            seconds.append(ask(client, query))
            if number % 50 == 0:
                progress.update(task, completed=number, refresh=True)
    progress.update(task, completed=len(queries), refresh=True)
    return seconds


def ask(client: socket.socket, query: bytes) -> float:
    """Return the seconds until the answer to this query came, which must be a good one."""
    start = time.perf_counter()
    try:
        client.send(query)
        reply = client.recv(4096)
    except TimeoutError:
        raise FastdnsError(f"fastdns gave no answer in {ANSWER_TIMEOUT:g} s") from None
    except OSError as error:
        raise FastdnsError(f"fastdns does not answer any more: {error.strerror}") from None
    elapsed = time.perf_counter() - start
    rcode = reply[3] & 15
    if reply[:2] != query[:2] or rcode != 0:
        raise FastdnsError(f"fastdns gave a wrong answer (RCODE {rcode})")
    return elapsed


def measure(names: int, delay_ms: int) -> Outcome:
    """Start both servers, ask every name twice, and leave nothing behind."""
    queries = [DNSRecord.question(f"host-{number}.{ZONE}").pack() for number in range(names)]
    # Drawn between two queries, never by a thread beside them: that would distort the figures.
    progress = Progress(
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        disable=not sys.stderr.isatty(),
    )
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastdns-demo-")))
        # Started by root, the daemon drops root, and must still find its directory.
        place.chmod(0o711)
        empty = place / "fastdns.toml"  # else it would use the machine's own configuration
        empty.touch()
        state = place / "state"
        upstream_port = stack.enter_context(
            running(["fastdns.cli.demo_server", str(delay_ms / 1e3)], place / "upstream.log")
        )
        serve = ["fastdns", "serve", "-c", str(empty), "--state", str(state), "--workers", "1"]
        serve += ["--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{upstream_port}"]
        port = stack.enter_context(running(serve, place / "fastdns.log"))
        if not progress.disable:  # rich writes an empty line into a pipe even when disabled
            stack.enter_context(progress)
        first = Latency.of(ask_all(port, queries, progress, "first answers"))
        cached = Latency.of(ask_all(port, queries, progress, "cached answers"))
        totals = Pages.attach(decide(flag=state).counters).totals()
    return Outcome(
        names=names,
        delay_ms=delay_ms,
        first=first,
        cached=cached,
        ratio=round(first.median_ms / cached.median_ms, 1),
        cache_hits=totals["cache_hits_total"],
        cache_misses=totals["cache_misses_total"],
        cache_entries=totals["cache_entries"],
    )


def show(outcome: Outcome) -> None:
    """Print the table: drawn on a terminal, aligned columns in a pipe."""
    rows = [
        (title, in_time(latency.median_ms / 1e3), in_time(latency.p99_ms / 1e3))
        for title, latency in (
            ("first answer", outcome.first),
            ("cached answer", outcome.cached),
        )
    ]
    rows.append(("ratio of the medians", f"{outcome.ratio:,.0f}", ""))
    title = f"{outcome.names} names, asked twice; the upstream takes {outcome.delay_ms} ms"
    cache = (
        f"cache: {outcome.cache_hits} hits, {outcome.cache_misses} misses, "
        f"{outcome.cache_entries} entries"
    )
    if sys.stdout.isatty():
        table = Table("")
        table.add_column("median", justify="right")
        table.add_column("p99", justify="right")
        for row in rows:
            table.add_row(*row)
        Console().print(title, table, cache, sep="\n")
        return
    lines = [f"{name:<20} {one:>12} {two:>12}" for name, one, two in [("", "median", "p99"), *rows]]
    emit("".join(f"{line.rstrip()}\n" for line in (title, *lines, cache)))


def end(signum: int, _frame: FrameType | None) -> NoReturn:
    """Exit by an exception, so that everything is cleaned up."""
    raise SystemExit(128 + signum)


@click.command()
@click.option(
    "--names",
    type=click.IntRange(1, 10_000),
    default=300,
    show_default=True,
    help="Number of names to ask.",
)
@click.option(
    "--delay",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Milliseconds that the upstream takes to answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def demo(names: int, delay: int, as_json: bool) -> None:
    """Measure what the cache gains: ask names twice, compare the times.

    Starts a small authoritative server and fastdns in front of it, on free ports of the
    loopback interface. Needs no network and no root, and leaves nothing behind.
    """
    signal.signal(signal.SIGTERM, end)
    try:
        outcome = measure(names, delay)
    except OSError as error:  # no room for temporary files, or no more processes
        raise FastdnsError(f"the demo did not start: {error}") from None
    if as_json:
        emit(json.dumps(attrs.asdict(outcome)) + "\n")
    else:
        show(outcome)
