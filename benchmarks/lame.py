"""New names while the first of two upstreams answers SERVFAIL, or REFUSED, to everything.

Every question must be answered, by the second one. A good miss is one that two upstreams answer.
"""

from trials import NAP, Bench, Figure, Outcome, Scenario, main

GOOD, MOST_TIMES = "a good miss", 2.0
FOUND_OUT_SECONDS = 1.0  # the first upstream's state is known


def measure(bench: Bench) -> list[Figure]:
    good = new_names(bench)
    figures = [
        Figure(f"{GOOD}: answered", good.answered("new", 0), "%", 100, at_least=True, must=True),
        Figure(f"{GOOD}: CPU a query", good.cpu_us("new"), "µs"),
    ]
    for rcode in ("servfail", "refused"):
        lame = new_names(bench, f".={rcode}")
        figures += [
            Figure(
                f"{rcode}: answered", lame.answered("new", 0), "%", 100, at_least=True, must=True
            ),
            Figure(f"{rcode}: CPU a query", lame.cpu_us("new"), "µs"),
            Figure(
                f"{rcode}: times a good miss",
                lame.cpu_us("new") / good.cpu_us("new"),
                "",
                MOST_TIMES,
            ),
            Figure(f"{rcode}: p99", lame.latency_ms("new", "p99"), "ms"),
        ]
    return figures


def new_names(bench: Bench, *rules: str) -> Outcome:
    """Ask for new names while the first of two upstreams follows these rules."""
    chosen = bench.options
    rate = ["--rate", str(chosen.rate), "--timeout-ms", "2500", *NAP]
    with (
        bench.upstream(*rules) as first,
        bench.upstream() as second,
        bench.serve(first, second) as serving,
    ):
        serving.run(FOUND_OUT_SECONDS, new=[*serving.new_names("new.demo"), *rate])
        return serving.run(chosen.seconds, new=[*serving.new_names("new.demo"), *rate])


if __name__ == "__main__":
    main(Scenario("lame", __doc__, measure))
