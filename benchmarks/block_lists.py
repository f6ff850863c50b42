"""A block list of a million names: what fastdns, unbound and dnsmasq need for it.

Each server is started without the list and with it: CPU until it answers a blocked name, the time
until then, and memory (PSS of the process tree), all in excess of the start without it. fastdns
compiles the list beforehand, once for each change of it; unbound and dnsmasq read it at every
start. The names are made of words, with labels as real lists have them; `--list FILE` takes real
ones (domains, one a line).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from peers import own_command
from processes import BenchmarkError, Server, ask, free_port, pinned

WORDS = """
ad ads adserver analytics api app beacon best bid buy cdn click cloud collect count data deal event
free game get go hit img info link log mail media metric mobile net news offer online page pixel
play pop promo push ref sale shop site smart stat static stats sync tag target top track tracker
traffic trk video view web win world zone
"""
ENDS = "com net org info de ru xyz top club online site co.uk com.br com.cn io pro"
START_SECONDS = 120.0
CORE = 0


def names(count: int) -> list[str]:
    """Return different names, each time the same ones."""
    chosen, words, ends = random.Random(1), WORDS.split(), ENDS.split()
    found: dict[str, None] = {}
    while len(found) < count:
        labels = [chosen.choice(words) + chosen.choice(("", "-", "")) + chosen.choice(words)]
        labels[0] += str(chosen.randrange(100000))
        labels = [chosen.choice(words)] * (chosen.random() < 0.4) + labels
        found[".".join([*labels, chosen.choice(ends)])] = None
    return list(found)


@dataclass
class Need:
    """What a server needs, in seconds and bytes."""

    server: str
    compile_cpu: float
    file: int
    start_cpu: float  # more than without the list
    start: float
    memory: int


def fastdns(directory: Path, blocked: Path | None, port: int) -> list[str]:
    config = directory / "fastdns.toml"
    lists = f'[block]\nlists = ["file:{blocked}"]\n' if blocked else ""
    config.write_text(f"{lists}[upstream]\nservers = ['127.0.0.1:{free_port()}']\n")
    state = directory / "state"
    return [
        *(*own_command(), "serve", "-c", str(config), "--state", str(state)),
        *("--listen", f"127.0.0.1:{port}", "--workers", "1"),
    ]


def unbound(directory: Path, blocked: Path | None, port: int) -> list[str]:
    lines = [
        *("server:", "  num-threads: 1", f"  port: {port}", "  interface: 127.0.0.1"),
        *('  username: ""', '  chroot: ""', "  use-syslog: no", '  pidfile: ""'),
        f"  directory: {directory}",
    ]
    if blocked:
        lines += (f'  local-zone: "{name}." always_null' for name in blocked.read_text().split())
    (directory / "unbound.conf").write_text("\n".join([*lines, ""]))
    return ["unbound", "-d", "-c", str(directory / "unbound.conf")]


def dnsmasq(directory: Path, blocked: Path | None, port: int) -> list[str]:
    lines = (f"address=/{name}/#" for name in blocked.read_text().split()) if blocked else ()
    (directory / "dnsmasq.conf").write_text("\n".join([*lines, ""]))
    return [
        *("dnsmasq", "--keep-in-foreground", f"--conf-file={directory / 'dnsmasq.conf'}"),
        *("--pid-file=", "--user=", "--log-facility=-", "--listen-address=127.0.0.1"),
        *("--bind-interfaces", f"--port={port}", "--no-resolv", "--no-hosts", "--no-poll"),
    ]


PEERS: dict[str, Callable[[Path, Path | None, int], list[str]]] = {
    "fastdns": fastdns,
    "unbound": unbound,
    "dnsmasq": dnsmasq,
}


@contextmanager
def started(
    peer: str, directory: Path, blocked: Path | None, name: str
) -> Iterator[tuple[Server, float]]:
    """Start a server; yield it when it answers the name, with the seconds that took."""
    port = free_port()
    command = PEERS[peer](directory, blocked, port)
    began = time.monotonic()
    with Server(peer, command, port, CORE, directory / "log") as server:
        while not (ask(port, name) if blocked else has_bound(port)):
            server.check()
            if time.monotonic() > began + START_SECONDS:
                raise BenchmarkError(f"{peer} does not answer\n{server.last_words()}")
            time.sleep(0.001)
        yield server, time.monotonic() - began


def has_bound(port: int) -> bool:
    """Whether a UDP socket of 127.0.0.1 has this port."""
    return any(f":{port:04X} " in line for line in Path("/proc/net/udp").read_text().splitlines())


def measure(peer: str, blocked: Path, name: str) -> Need:
    compile_cpu, file = 0.0, 0
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        directory = Path(scratch)
        with started(peer, directory, None, "localhost") as (server, seconds):
            settle(server)
            plain = server.cpu_seconds(), seconds, server.memory()["pss"]
        if peer == "fastdns":
            compile_cpu, file = compiled(directory, blocked)
        with started(peer, directory, blocked, name) as (server, seconds):
            settle(server)
            now = server.cpu_seconds(), seconds, server.memory()["pss"]
    cpu, took, memory = (b - a for a, b in zip(plain, now, strict=True))
    return Need(peer, compile_cpu, file, cpu, took, int(memory))


def settle(server: Server) -> None:
    """Wait until it has nothing to do any more: what a start leaves for later counts as well."""
    before = -1.0
    while (now := server.cpu_seconds()) != before:
        before = now
        time.sleep(0.5)


def compiled(directory: Path, blocked: Path) -> tuple[float, int]:
    """Compile the list as an update does; return its CPU and the size of the file."""
    fastdns(directory, blocked, 0)
    command = [*own_command(), "lists", "update", "-c", str(directory / "fastdns.toml")]
    before = os.times()
    done = subprocess.run(
        pinned(CORE, [*command, "--state", str(directory / "state")]),
        capture_output=True,
        text=True,
        check=False,
    )
    after = os.times()
    if done.returncode:
        raise BenchmarkError(f"fastdns lists update: {done.stderr}")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return cpu, (directory / "state" / "lists" / "compiled").stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=1_000_000, help="names of the list")
    parser.add_argument("--list", type=Path, help="take these instead: domains, one a line")
    parser.add_argument("--peers", default=",".join(PEERS), help="of " + ", ".join(PEERS))
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        blocked = Path(scratch) / "blocked"
        found = chosen.list.read_text().split() if chosen.list else names(chosen.names)
        blocked.write_text("\n".join([*found, ""]))
        needs = [measure(peer, blocked, found[-1]) for peer in chosen.peers.split(",")]
    if chosen.json:
        print(json.dumps([asdict(need) for need in needs]))
        return
    print(f"{len(found):,} names; in excess of a start without the list:")
    print("          compile CPU     file   start CPU    start   memory")
    for need in needs:
        print(
            f"{need.server:10}{need.compile_cpu:9.1f} s{need.file / 2**20:6.1f} MiB"
            f"{need.start_cpu:8.2f} s{need.start * 1000:9.0f} ms{need.memory / 2**20:6.1f} MiB"
        )


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(str(error))
