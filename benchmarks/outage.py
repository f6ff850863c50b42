"""New names, stale names and hits while both upstreams are silent and known to be dead.

Every question must be answered: a new name by SERVFAIL with an extended error, a stale name from
the cache. Hits must not become slower. A good miss is one from before the outage.
"""

import os
import socket
import time

from processes import query
from trials import NAP, Bench, Figure, Scenario, Serving, hit_names, hits, main

HITS_SHARE = 4  # one hit beside so many new names
STALE_NAMES = ["--prefix", "s", "--names", "500", "--domain", "short.demo"]
STALE_TTL = 1
FOUND_OUT_SECONDS = 10.0
AT_ONCE_SECONDS = 0.5
ERROR_CODES = {22, 23}  # RFC 8914: No Reachable Authority, Network Error
MOST_US, MOST_MS = 15.0, 1.0


def measure(bench: Bench) -> list[Figure]:
    chosen = bench.options
    hit_rate = max(chosen.rate // HITS_SHARE, 1)
    rate = ["--rate", str(chosen.rate), "--timeout-ms", "4500", *NAP]
    stale = [*STALE_NAMES, "--rate", "1000", "--timeout-ms", "2500", *NAP]
    rule = f"short.demo=ttl:{STALE_TTL}"
    with (
        bench.upstream(rule) as first,
        bench.upstream(rule) as second,
        bench.serve(first, second) as serving,
    ):
        serving.warm(*hit_names())
        quiet = serving.run(chosen.seconds, hits=hits(hit_rate))
        hit_us = quiet.cpu_us("hits")
        good = serving.run(
            chosen.seconds, new=[*serving.new_names("new.demo"), *rate], hits=hits(hit_rate)
        )
        serving.warm(*STALE_NAMES)
        first.silence()
        second.silence()
        time.sleep(STALE_TTL)
        found_out = wait_until_known_dead(serving)
        out = serving.run(
            chosen.seconds, new=[*serving.new_names("new.demo"), *rate], hits=hits(hit_rate)
        )
        old = serving.run(1.0, stale=stale)
        told = extended_error(ask(serving, "unknown.demo")) in ERROR_CODES
    quiet_p99 = quiet.latency_ms("hits", "p99")
    figures = [
        Figure("until known dead", found_out, "s"),
        Figure("new: answered", out.answered("new"), "%", 100, at_least=True, must=True),
        Figure("new: SERVFAIL", out.answered("new", 2), "%"),
        Figure("new: p99", out.latency_ms("new", "p99"), "ms"),
        Figure("new: slowest", out.latency_ms("new", "max"), "ms", AT_ONCE_SECONDS * 1000),
        Figure("new: CPU a query", out.cpu_us("new", hit_us), "µs", MOST_US),
        Figure("a good miss: CPU a query", good.cpu_us("new", hit_us), "µs"),
        Figure("stale: answered", old.answered("stale", 0), "%", 100, at_least=True, must=True),
        Figure("hits: answered", out.answered("hits", 0), "%", 100, at_least=True, must=True),
        Figure("hits: p99", out.latency_ms("hits", "p99"), "ms", quiet_p99 + MOST_MS),
        Figure("hits: p99, alone before the outage", quiet_p99, "ms"),
        Figure("hits: p99, beside good misses", good.latency_ms("hits", "p99"), "ms"),
    ]
    if serving.subject.is_fastdns:
        figures.append(Figure("new: with an extended error", told, "", 1, at_least=True, must=True))
    return figures


def wait_until_known_dead(serving: Serving) -> float:
    """Return the seconds until a new name is answered at once; the most we wait, if none is."""
    began = time.monotonic()
    number = 0
    while (now := time.monotonic()) < began + FOUND_OUT_SECONDS:
        number += 1
        if ask(serving, f"dead{number}.demo") and time.monotonic() - now < AT_ONCE_SECONDS:
            return time.monotonic() - began
        serving.server.check()
    return FOUND_OUT_SECONDS


def ask(serving: Serving, name: str) -> bytes:
    """Return the answer, whatever it says; b"" when none comes."""
    message = query(name, int.from_bytes(os.urandom(2), "big"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.connect(("127.0.0.1", serving.server.port))
        try:
            asking.send(message)
            return asking.recv(4096)
        except OSError:
            return b""


def extended_error(answer: bytes) -> int | None:
    """Return the code of the first extended error (RFC 8914) of an answer without other options."""
    mark = answer.rfind(b"\0\0\x29")  # the OPT, which is last
    options = answer[mark + 11 :]
    if mark < 0 or options[:2] != b"\0\x0f":
        return None
    return int.from_bytes(options[4:6], "big")


if __name__ == "__main__":
    main(Scenario("outage", __doc__, measure))
