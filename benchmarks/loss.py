"""New names while 5 % of the packets to and from the upstream are lost, with one and with two.

Every question must be answered, 99 of 100 within three round trips and 50 ms. A good miss is one
over the same round trip without loss.
"""

import argparse

from trials import NAP, Bench, Figure, Outcome, Scenario, main

FOUND_OUT_SECONDS = 1.0  # the round trip is known
SLACK_MS, MOST_TIMES = 50.0, 1.5
LEAST_PERCENT = 99.99  # a question may be lost five times in a row


def measure(bench: Bench) -> list[Figure]:
    trip, percent = bench.options.round_trip_ms, bench.options.percent
    figures = []
    for count in (1, 2):
        case = f"{count} upstream{'s' * (count > 1)}"
        good = new_names(bench, count, f".=delay:{trip}")
        lossy = new_names(bench, count, f".=delay:{trip},loss:{percent}")
        good_us, lossy_us = good.cpu_us("new"), lossy.cpu_us("new")
        figures += [
            Figure(f"{case}, none lost: answered", good.answered("new", 0), "%", 100, True, True),
            Figure(f"{case}, none lost: p99", good.latency_ms("new", "p99"), "ms"),
            Figure(f"{case}, none lost: CPU a query", good_us, "µs"),
            Figure(f"{case}: answered", lossy.answered("new"), "%", 100, True, True),
            Figure(f"{case}: NOERROR", lossy.answered("new", 0), "%", LEAST_PERCENT, True),
            Figure(f"{case}: p99", lossy.latency_ms("new", "p99"), "ms", 3 * trip + SLACK_MS),
            Figure(f"{case}: slowest", lossy.latency_ms("new", "max"), "ms"),
            Figure(f"{case}: CPU a query", lossy_us, "µs"),
            Figure(f"{case}: times a good miss", lossy_us / good_us, "", MOST_TIMES),
        ]
    return figures


def new_names(bench: Bench, count: int, rule: str) -> Outcome:
    """Ask for new names while all `count` upstreams follow the rule."""
    chosen = bench.options
    rate = ["--rate", str(chosen.rate), "--timeout-ms", "5000", *NAP]
    with bench.upstream(rule) as one, bench.upstream(rule) as other:
        servers = (one, other)[:count]
        with bench.serve(*servers) as serving:
            serving.run(FOUND_OUT_SECONDS, new=[*serving.new_names("new.demo"), *rate])
            return serving.run(chosen.seconds, new=[*serving.new_names("new.demo"), *rate])


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--round-trip-ms", type=int, default=20, help="(20)")
    parser.add_argument("--percent", type=int, default=5, help="lost each way (5)")


if __name__ == "__main__":
    main(Scenario("loss", __doc__, measure, more))
