"""The scenarios over streams: table and bars, beside the cheaper of dnsdist and unbound."""

from dataclasses import dataclass
from statistics import median

from report import MIB, Bar, Round, figure, figures


@dataclass(frozen=True)
class Row:
    """One thing that is measured; `limit` is of the ratio, or of the figure when none is beside."""

    text: str
    path: str
    limit: float | None
    unit: str = "µs"
    beside: tuple[str, ...] = ("dnsdist", "unbound")  # the cheaper of these
    scale: float = 1.0

    @property
    def own_path(self) -> str:
        """Return where fastdns has that figure: its keeper is no part of a miss."""
        return self.path.replace("cpu_us", "workers_us") if "/miss" in self.path else self.path

    def path_of(self, server: str) -> str:
        return self.own_path if server == "fastdns" else self.path

    def numbers(self, rounds: list[Round]) -> list[float]:
        """Return what the limit is for: fastdns' figure, or that over the least of the peers'."""
        if not self.beside:
            return [self.scale * number for number in figures(rounds, "fastdns", self.path)]
        found = []
        for one in rounds:
            mine = figure(one, "fastdns", self.own_path)
            theirs = (figure(one, peer, self.path) for peer in self.beside)
            least = min((number for number in theirs if number), default=None)
            if mine is not None and least:
                found.append(mine / least)
        return found

    def bar(self, rounds: list[Round]) -> Bar | None:
        if self.limit is None:
            return None
        unit = "times" if self.beside else self.unit
        return Bar(self.text, unit, self.limit, self.numbers(rounds))


def cpu(text: str, path: str, limit: float | None) -> Row:
    return Row(f"{text}, CPU", f"{path}/cpu_us", limit)


def p99(text: str, name: str, limit: float | None) -> Row:
    return Row(text, f"handshake/{name}/latency_us/p99", limit, beside=("dnsdist",))


def memory(text: str, path: str, limit: float) -> Row:
    return Row(text, path, limit, "MiB", beside=(), scale=1 / MIB)


ROWS = (
    cpu("TCP hit 8x1", "tcp/8x1", 0.75),
    cpu("TCP hit 64x1", "tcp/64x1", None),
    cpu("TCP hit 8x16", "tcp/8x16", 0.25),
    cpu("TCP miss 8x1", "tcp/miss 8x1", 0.6),
    cpu("TCP miss 8x16", "tcp/miss 8x16", 0.6),
    cpu("DoT hit 8x1", "dot/8x1", 0.9),
    cpu("DoT hit 64x1", "dot/64x1", 0.8),
    cpu("DoT hit 8x16", "dot/8x16", 0.35),
    cpu("DoT miss 8x1", "dot/miss 8x1", 0.6),
    cpu("DoT miss 8x16", "dot/miss 8x16", 0.6),
    cpu("DoH hit 8x1", "doh/8x1", 0.85),
    cpu("DoH hit 64x1", "doh/64x1", None),
    cpu("DoH hit 8x16", "doh/8x16", 0.65),  # 0.5 of dnsdist 1.9's, which is without h2o
    cpu("DoH miss 8x1", "doh/miss 8x1", 0.7),
    cpu("DoH miss 8x16", "doh/miss 8x16", 0.7),
    cpu("TLS 1.3 connection", "handshake/1.3 full", 1.05),
    cpu("TLS 1.3 resumed", "handshake/1.3 resumed", 1.05),
    cpu("TLS 1.2 connection", "handshake/1.2 full", 1.05),
    cpu("TLS 1.2 resumed", "handshake/1.2 resumed", 1.05),
    p99("UDP hits' p99, quiet", "quiet", None),
    p99("beside 200 slow connections", "slow", 2.0),
    p99("beside 500 handshakes/s", "handshakes", 2.0),
    p99("beside 10,000 resets/s", "resets", 2.0),
    memory("idle DoT connections", "dot/idle/more_pss", 60.0),
    memory("left when they have gone", "dot/idle/left_pss", 6.0),
)


def bars(rounds: list[Round]) -> list[Bar]:
    return [bar for bar in (row.bar(rounds) for row in ROWS) if bar]


def table(rounds: list[Round], servers: list[str]) -> str:
    """Return a line for each row that was measured: the servers' medians, the ratio and its bar."""
    measured = [row for row in ROWS if any(figures(rounds, s, row.path_of(s)) for s in servers)]
    shown = [s for s in servers if any(figures(rounds, s, row.path_of(s)) for row in measured)]
    if not measured:
        return ""
    lines = [f"{'':36}" + "".join(f"{server:>10}" for server in shown)]
    for row in measured:
        cells = ""
        for server in shown:
            numbers = figures(rounds, server, row.path_of(server))
            cells += f"{format(median(numbers) * row.scale, '.2f') if numbers else '-':>10}"
        lines.append(f"{row.text + ', ' + row.unit:36}{cells}  {verdict(row, rounds)}".rstrip())
    return "\n".join(lines) + "\n"


def verdict(row: Row, rounds: list[Round]) -> str:
    """Return "0.62 (0.60 to 0.70) of the cheaper one's, at most 0.75: met"."""
    numbers = row.numbers(rounds)
    if not numbers:
        return ""
    low, middle, high = (f"{f(numbers):.2f}" for f in (min, median, max))
    whose = {0: "", 1: "of dnsdist's"}.get(len(row.beside), "of the cheaper's")
    text = f"{middle} ({low} to {high}) {whose}".rstrip()
    bar = row.bar(rounds)
    return f"{text}, at most {bar.limit:g}: {'met' if bar.met else 'missed'}" if bar else text
