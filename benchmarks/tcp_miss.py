"""New names on TCP connections that stay open: 32 at once on one, one by one on 32, on one.

Good misses over UDP, of the same server in the same run, stand beside them.
"""

from processes import BenchmarkError
from trials import NAP, Bench, Figure, Scenario, main

MOST_US = 25.0
# One by one each query pays for every wake-up: what it costs over UDP is what to compare with.
WAYS = {
    "32 at once": ("1", "32", MOST_US),
    "32 connections": ("32", "1", MOST_US),
    "one by one": ("1", "1", None),
}


def measure(bench: Bench) -> list[Figure]:
    chosen = bench.options
    if not bench.subject.is_fastdns:
        raise BenchmarkError("it asks its upstream over TCP, too, and bad_upstream.c has UDP only")
    with bench.upstream() as upstream, bench.serve(upstream) as serving:
        udp = ["--rate", str(chosen.rate), *NAP]
        good = serving.run(chosen.seconds, new=[*serving.new_names("new.demo"), *udp])
        alone = serving.run(chosen.seconds, new=[*serving.new_names("new.demo"), "--window", "1"])
        figures = [
            Figure("over UDP: CPU a query", good.cpu_us("new"), "µs"),
            Figure("over UDP, one by one: CPU a query", alone.cpu_us("new"), "µs"),
        ]
        for way, (connections, pipeline, most_us) in WAYS.items():
            tcp = ["--connections", connections, "--pipeline", pipeline]
            names = serving.new_names("new.demo")
            new = serving.run(chosen.seconds, new=[*names, *tcp], program="load_stream")
            figures += [
                Figure(f"{way}: answered", new.answered("new", 0), "%", 100, True, must=True),
                Figure(f"{way}: answers a second", new.loads["new"]["qps"]),
                Figure(f"{way}: CPU a query", new.cpu_us("new"), "µs", most_us),
                Figure(f"{way}: p99", new.latency_ms("new", "p99"), "ms"),
            ]
    return figures


if __name__ == "__main__":
    main(Scenario("tcp_miss", __doc__, measure))
