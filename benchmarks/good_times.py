"""Hits and good misses as fast as possible: CPU for each query, compared with another fastdns.

`--before PROGRAM --dnsdist --rounds 5` gives the ratios that a change must keep. The names of the
hits are 10,000, and a million with `--full`.
"""

import argparse

from trials import Bench, Figure, Ratio, Scenario, hit_names, main

FEW, MANY = 10_000, 1_000_000
BEFORE = "before"
RATIOS = (
    Ratio("hit: CPU a query", BEFORE, 1.02),
    Ratio("hit of a million: CPU a query", BEFORE, 1.02),
    Ratio("miss: CPU a query, without the keeper", BEFORE, 0.95),
    Ratio("miss: CPU a query, without the keeper", "dnsdist", 0.9),
    Ratio("miss: CPU a query", BEFORE, 1.0),
)


def measure(bench: Bench) -> list[Figure]:
    figures = hits(bench, FEW, "hit")
    if bench.options.full:
        figures += hits(bench, MANY, "hit of a million")
    with bench.upstream() as upstream, bench.serve(upstream) as serving:
        serving.run(1.0, new=[*serving.new_names("new.demo")])
        new = serving.run(bench.options.seconds, new=[*serving.new_names("new.demo")])
    workers = (new.cpu_seconds - new.keeper_seconds) * 1e6 / new.loads["new"]["answered"]
    return [
        *figures,
        Figure("miss: answered", new.answered("new", 0), "%", 99.9, at_least=True, must=True),
        Figure("miss: CPU a query", new.cpu_us("new"), "µs"),
        Figure("miss: CPU a query, without the keeper", workers, "µs"),
    ]


def hits(bench: Bench, names: int, case: str) -> list[Figure]:
    with bench.upstream() as upstream, bench.serve(upstream, answers=2 * names) as serving:
        serving.warm(*hit_names(names))
        serving.take_in()
        seen = serving.run(bench.options.seconds, hits=hit_names(names))
    return [
        Figure(f"{case}: answered", seen.answered("hits", 0), "%", 99.9, at_least=True, must=True),
        Figure(f"{case}: CPU a query", seen.cpu_us("hits"), "µs"),
    ]


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="a million names, too")


if __name__ == "__main__":
    main(Scenario("good_times", __doc__, measure, more, RATIOS))
