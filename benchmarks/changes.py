"""The longest wait of a hit while the cache is changed: `rm`, `flush`, other upstreams.

With many entries in the cache and hits at a fixed rate a thousand names are removed at once, then
half of the names by `flush --under`, then the configuration gets another upstream and is reloaded,
then the file that names the upstreams is edited. Every question must be answered. After a change of
the upstreams a name is asked for again, once: that hit is as slow as a miss.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tools
from processes import BenchmarkError, pinned
from trials import NAP, Bench, Figure, Scenario, Serving, main

REMOVED = 1000  # names
EVENT_AFTER = 0.5  # seconds that a load has run
MOST_SECONDS = 120.0
LOST_AFTER_MS = 5000
MORE_MS = 5.0  # than without a change
PREFIX, DIGITS = "x", 8
KEPT, FLUSHED = "kept.demo", "flushed.demo"
# What so many `fastdns cache rm` do one after the other, without the time between them.
REMOVE = """\
import sys
from itertools import chain
from fastdns._control import CHANGE_NAME
from fastdns.cli.cache.change import locked, writing
from fastdns.cli.cache.site import find_site
from fastdns.machine.priority import lower_priority
lower_priority()
state, *names = sys.argv[1:]
wire = [b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\\0"
        for name in names]
site = find_site(None, state)
site.take_in()
with locked(site.path):
    with writing(site.path) as store:
        keys = [store.keys_of(name) for name in wire]
        store.delete(chain(*keys))
    for name in wire:
        site.control.post(CHANGE_NAME, name, 0)
"""


def measure(bench: Bench) -> list[Figure]:
    chosen = bench.options
    half = chosen.entries // 2
    if not bench.subject.is_fastdns:
        raise BenchmarkError("it has no such commands")
    file = bench.directory / "ip"
    with bench.upstream() as first, bench.upstream() as second:
        ports = [f"127.0.0.1:{one.port}" for one in (first, second)]
        file.write_text(f"{ports[0]}\n")
        file.chmod(0o644)
        with bench.serve(f"file:{file}", answers=chosen.entries * 2) as serving:
            for domain in (KEPT, FLUSHED):
                serving.warm(*names(half, domain))
            serving.take_in()
            quiet = watch(serving, chosen, half)
            figures = [
                Figure("no change: answered", quiet[0], "%", 100, at_least=True, must=True),
                Figure("no change: longest wait", quiet[1], "ms"),
            ]

            def reload() -> None:
                text = serving.config.read_text().replace(
                    "servers = [", f'servers = ["{ports[1]}", '
                )
                serving.config.write_text(text)
                run(serving, "reload", "--state", str(serving.state))

            def edit() -> None:
                fresh = file.with_suffix(".new")
                fresh.write_text(f"# edited\n{ports[0]}\n{ports[1]}\n")
                os.replace(fresh, file)

            def flush() -> None:
                run(serving, "cache", "flush", "--under", FLUSHED, "--state", str(serving.state))

            changes: dict[str, Callable[[], None]] = {
                f"{min(REMOVED, half):,} rm": lambda: remove(serving, min(REMOVED, half)),
                "flush of half": flush,
                "edit": edit,
                "reload": reload,
            }
            for name, change in changes.items():
                answered, longest, took = watch(serving, chosen, half, change)
                figures += [
                    Figure(f"{name}: answered", answered, "%", 100, at_least=True, must=True),
                    Figure(f"{name}: longest wait", longest, "ms", quiet[1] + MORE_MS),
                    Figure(f"{name}: took", took, "s"),
                ]
    return figures


def names(count: int, domain: str) -> list[str]:
    """Return the options of load.c for the names of one half."""
    return [
        *("--prefix", PREFIX, "--digits", str(DIGITS)),
        *("--names", str(count), "--domain", domain),
    ]


def watch(
    serving: Serving,
    chosen: argparse.Namespace,
    half: int,
    change: Callable[[], None] | None = None,
) -> tuple[float, float, float]:
    """Return the effect on hits during the change, and a load longer.

    That is: how many were answered, in %, the longest wait in ms, and how many seconds it took.
    """
    options = [*names(half, KEPT), "--rate", str(chosen.rate), *NAP]
    options += ["--timeout-ms", str(LOST_AFTER_MS)]
    sent, good, longest = 0, 0, 0.0
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        changing = pool.submit(timed, change) if change else None
        done = False
        while not done:
            done = changing is None or changing.done()  # then this load sees the rest of it
            load = tools.load(serving.server.port, serving.core, chosen.seconds, *options)
            serving.server.check()
            sent += load["sent"]
            good += load["rcodes"].get("0", 0) - load["empty"]
            longest = max(longest, load["latency_us"]["max"] / 1000)
            if load["lost"]:
                longest = max(longest, LOST_AFTER_MS)
            if time.monotonic() > began + MOST_SECONDS:
                raise BenchmarkError(f"a change takes more than {MOST_SECONDS:g} s")
        return 100 * good / sent, longest, changing.result() if changing else 0.0


def timed(change: Callable[[], None]) -> float:
    time.sleep(EVENT_AFTER)
    began = time.monotonic()
    change()
    return time.monotonic() - began


def run(serving: Serving, *arguments: str) -> None:
    """Run a command of fastdns; it leaves the loads their core."""
    execute(serving, [*serving.subject.program, *arguments])


def remove(serving: Serving, count: int) -> None:
    beside = Path(serving.subject.program[0]).with_name("python")
    python = str(beside) if beside.exists() else sys.executable
    removed = [f"{PREFIX}{number:0{DIGITS}}.{FLUSHED}" for number in range(count)]
    execute(serving, [python, "-c", REMOVE, str(serving.state), *removed])


def execute(serving: Serving, command: list[str]) -> None:
    idle = pinned(serving.core, ["chrt", "--idle", "0", *command])
    done = subprocess.run(idle, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no word"]
        raise BenchmarkError(f"{command[0]} ends with {done.returncode}: {words[-1]}")


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entries", type=int, default=1_000_000, help="in the cache (1000000)")


if __name__ == "__main__":
    main(Scenario("changes", __doc__, measure, more))
