"""Scenario "workers": hits answered by one worker and by two, and the memory of each further one.

Servers and loads share all cores if there are fewer than four: two workers then cannot answer twice
as much, because the loads take their part. So the machine's own limit, from the cost of a query on
either side, is shown beside the ratio; and, if cgroups are available, the ratio again with a
quarter of a core for each worker, so that the loads have enough.
"""

import os
from pathlib import Path
from typing import Any

import tools
import upstream
from peers import PEERS, Peer, Place
from processes import BenchmarkError, Server, free_port, tree
from quota import limited
from session import KEEPER, Session, Settings

COUNTS = (1, 2)
LOADS = 2
FLOWS = ("--sockets", "32")  # each load's, for the kernel to spread over the workers
WINDOW = ("--window", "1024")
GRANTED = 0.25  # of a core
WORKER = "fastdns-worker"


def measure(settings: Settings, nsd: Server, directory: Path) -> dict[str, Any]:
    one, two = (serve(count, settings, nsd, directory / str(count)) for count in COUNTS)
    ratio, most = two["qps"] / one["qps"], allowed(one)
    found = {
        "one": one,
        "two": two,
        "ratio": ratio,
        "allowed": most,
        "share": ratio / most,
        "further_pss": two["memory"]["pss"] - one["memory"]["pss"],
    }
    if one["granted"] and two["granted"]:
        found["granted_ratio"] = two["granted"]["qps"] / one["granted"]["qps"]
    return found


def cores() -> tuple[list[int], list[int]]:
    """Return the cores of the server and those of the loads: the same ones when there are few."""
    every = sorted(os.sched_getaffinity(0))
    half = len(every) // 2
    return (every[:half], every[half:]) if half >= max(COUNTS) else (every, every)


def allowed(one: dict[str, Any]) -> float:
    """Return how many times one worker's hits two can answer here at most.

    From the CPU of a query on both sides: a core has a million microseconds a second.
    """
    server, load = one["cpu_us"], one["load_us"]
    servers, loads = cores()
    if servers == loads:
        most = len(servers) / (server + load)
    else:
        most = min(len(servers) / server, min(len(loads), LOADS) / load)
    first, second = (min(count / server, most) for count in COUNTS)
    return second / first


def serve(count: int, settings: Settings, nsd: Server, directory: Path) -> dict[str, Any]:
    """Start fastdns with so many workers; have all ask for all names; return what that cost."""
    directory.mkdir(mode=0o755)
    [peer] = [peer for peer in PEERS if peer.name == "fastdns"]
    place = Place(directory, directory, free_port(), nsd.port, settings.names * 2)
    command = peer.command(program_of(peer), place, workers=count)
    on = ",".join(map(str, cores()[0]))
    with Server("fastdns", command, place.port, on, directory / "log") as server:
        server.wait_until_it_answers(f"h00000.{upstream.ZONE}")
        session = Session(peer, server, settings, directory, nsd)
        session.warm()
        session.load(0.5, *session.names(), *FLOWS)  # until every worker has every name in memory
        found = load(session) | {"memory": server.memory(), "granted": None}
        workers = [stat.pid for stat in tree(server.process.pid) if stat.name == WORKER]
        with limited(workers, GRANTED) as is_limited:
            if is_limited:
                found["granted"] = load(session)
    return found


def load(session: Session) -> dict[str, Any]:
    """Return what two loads at once get, and what that cost all but the keeper."""
    server, seconds = session.server, session.seconds
    by = ",".join(map(str, cores()[1]))
    before = {stat.pid: stat for stat in tree(server.process.pid)}
    running = [
        tools.start_load(server.port, by, seconds, *session.names(), *FLOWS, *WINDOW, *seed)
        for seed in (("--seed", str(number + 1)) for number in range(LOADS))
    ]
    results = [tools.finish_load(one, seconds) for one in running]
    spent = {
        stat.pid: stat.seconds - before[stat.pid].seconds
        for stat in tree(server.process.pid)
        if stat.pid in before and stat.name != KEEPER
    }
    answered = sum(result["answered"] for result in results)
    if not answered or any(set(result["rcodes"]) != {"0"} for result in results):
        raise BenchmarkError(f"fastdns: wrong answers, or none: {results}\n{server.last_words()}")
    return {
        "qps": sum(result["qps"] for result in results),
        "cpu_us": sum(spent.values()) / answered * 1e6,
        "load_us": sum(result["load_cpu_seconds"] for result in results) / answered * 1e6,
        "lost": sum(result["lost"] for result in results),
        "processes_seconds": sorted(spent.values(), reverse=True),
    }


def program_of(peer: Peer) -> str:
    program = peer.program()
    if program is None:
        raise BenchmarkError("fastdns is not installed: make dev")
    return program
