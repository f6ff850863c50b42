"""Scenario "access": what the access rules and the rate limit cost a hit of an admitted client.

The same program with these rules: everybody may ask, for which one comparison is enough; the
default rules; ten thousand more prefixes all over the address space; and a limit, for clients that
are counted and for exempt ones. They take turns, and the least of each counts: a difference below
the spread of the turns means none.
"""

from pathlib import Path
from typing import Any

import upstream
from peers import PEERS, Place
from processes import BenchmarkError, Server, free_port
from session import Session, Settings

TURNS = 2
SPREAD = [f"{number % 125 + 1}.{number // 125}.128.0/17" for number in range(10_000)]
RULES = {
    "everybody": 'allow = ["0.0.0.0/0", "::/0"]',
    "default": 'allow = ["loopback", "lan"]',
    "prefixes": f"allow = {['127.0.0.0/8', *SPREAD]}",
    # More than anybody can ask: every query is counted, and answered.
    "limit": 'allow = ["0.0.0.0/0", "::/0"]\nrate_limit = 1000000\nrate_exempt = []',
    "exempt": 'allow = ["0.0.0.0/0", "::/0"]\nrate_limit = 1000000',
}


def measure(settings: Settings, nsd: Server, directory: Path) -> dict[str, Any]:
    turns: dict[str, list[float]] = {name: [] for name in RULES}
    for turn in range(TURNS):
        for name, rules in RULES.items():
            turns[name].append(hit(rules, settings, nsd, directory / f"{name}{turn}"))
    least = {name: min(costs) for name, costs in turns.items()}
    return {
        name: {"cpu_us": cost, "ratio": cost / least["everybody"], "turns": turns[name]}
        for name, cost in least.items()
    }


def hit(rules: str, settings: Settings, nsd: Server, directory: Path) -> float:
    """Return the microseconds of CPU of a hit under these rules."""
    directory.mkdir(mode=0o755)
    [peer] = [peer for peer in PEERS if peer.name == "fastdns"]
    program = peer.program()
    if program is None:
        raise BenchmarkError("fastdns is not installed: make dev")
    place = Place(directory, directory, free_port(), nsd.port, settings.names * 2)
    command = peer.command(program, place)
    with (directory / "fastdns.toml").open("a") as config:
        config.write(f"[access]\n{rules}\n")
    log = directory / "log"
    with Server("fastdns", command, place.port, settings.server_core, log) as server:
        server.wait_until_it_answers(f"h00000.{upstream.ZONE}")
        session = Session(peer, server, settings, directory, nsd)
        session.warm()
        return float(session.load_with_cpu(*session.names())["cpu_us"])
