"""One client floods a domain with new names: the effect on other clients.

The flooded domain answers well, or slowly, or never, or SERVFAIL at once, or with unrelated
records; or every upstream is silent. Meanwhile other clients ask for cached names and for new names
of another domain. None of their answers may be lost; if every upstream is silent their new names
get SERVFAIL.
"""

import argparse

from trials import CLIENTS, NAP, Bench, Figure, Scenario, hit_names, hits, main

KINDS = {  # the rules of every upstream
    "answered": "",
    "slow": "flood.demo=delay:200",
    "silent": "flood.demo=silent",
    "servfail": "flood.demo=servfail",
    "strangers": "flood.demo=strangers",
    "dead": "",
}
HITS, NEW = 2000, 500  # a second, of the other clients
LEAST_PERCENT, MOST_MS = 99.9, 5.0


def measure(bench: Bench) -> list[Figure]:
    chosen = bench.options
    return [
        figure
        for kind in chosen.kinds
        for upstreams in chosen.upstreams
        for workers in chosen.workers
        for figure in flooded(bench, kind, upstreams, workers)
    ]


def flooded(bench: Bench, kind: str, upstreams: int, workers: int) -> list[Figure]:
    chosen = bench.options
    rules = [rule for rule in (KINDS[kind],) if rule]
    flood = ["--rate", str(chosen.rate), "--sockets", "8", "--timeout-ms", "500", *NAP]
    others = ["--rate", str(NEW), *CLIENTS, "--timeout-ms", "5000", *NAP]
    with bench.upstream(*rules) as one, bench.upstream(*rules) as other:
        servers = (one, other)[:upstreams]
        with bench.serve(*servers, workers=workers) as serving:
            serving.warm(*hit_names())
            serving.run(0.5, hits=hits(HITS))  # every worker has every name in memory
            if kind == "dead":
                one.silence()
                other.silence()
            seen = serving.run(
                chosen.seconds,
                flood=[*serving.new_names("flood.demo"), *flood],
                new=[*serving.new_names("new.demo"), *others],
                hits=hits(HITS),
            )
    case = f"{kind}, {upstreams} upstream{'s' * (upstreams > 1)}, {workers} worker"
    case += "s" * (workers > 1)
    new = seen.answered("new", 2 if kind == "dead" else 0)
    return [
        Figure(f"{case}: hits answered", seen.answered("hits", 0), "%", 100, True, must=True),
        Figure(f"{case}: hits' p50", seen.latency_ms("hits", "p50"), "ms"),
        Figure(f"{case}: hits' p99", seen.latency_ms("hits", "p99"), "ms", MOST_MS),
        Figure(f"{case}: others' new names answered", new, "%", LEAST_PERCENT, True, must=True),
        Figure(f"{case}: others' new names' p99", seen.latency_ms("new", "p99"), "ms"),
        Figure(f"{case}: of the flood answered", seen.answered("flood"), "%"),
        Figure(f"{case}: CPU", seen.cpu_seconds / chosen.seconds * 100, "% of a core"),
        Figure(f"{case}: waited for CPU", seen.waited_seconds / chosen.seconds * 100, "%"),
    ]


def more(parser: argparse.ArgumentParser) -> None:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    def kinds(text: str) -> list[str]:
        if unknown := [kind for kind in text.split(",") if kind not in KINDS]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(KINDS)}")
        return text.split(",")

    parser.add_argument("--kinds", type=kinds, default=list(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--upstreams", type=numbers, default=[1, 2], help="how many (1,2)")
    parser.add_argument("--workers", type=numbers, default=[1, 2], help="how many (1,2)")


if __name__ == "__main__":
    main(Scenario("flood", __doc__, measure, more, by_case=True))
