"""One running server under test: the argument of every scenario."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tools
import upstream
from inside import Inside
from peers import Encrypted, Peer
from processes import BenchmarkError, Server

WARM_SECONDS = 300  # at most
REST_SECONDS = 0.5  # a keeper that spends nothing for so long has nothing left to do
KEEPER = "fastdns-keeper"
COUNTED = ("ring_shed_total", "shed_total", "disk_writes_total", "disk_spared_total")


@dataclass(frozen=True)
class Settings:
    names: int
    zipf_names: int  # of the scenario mixed
    million: int  # names of the scenario million
    seconds: float
    rate: int  # beside which fastdns commits, lists …
    rates: tuple[int, ...]  # of the scenario latency
    server_core: int
    load_core: int  # nsd's too: hits leave it idle
    idle: int  # DoT connections that are opened at once


@dataclass(frozen=True)
class Session:
    peer: Peer
    server: Server
    settings: Settings
    directory: Path
    upstream: Server
    encrypted: Encrypted | None = None  # where it offers DoT and DoH

    @property
    def seconds(self) -> float:
        return self.settings.seconds * self.peer.share

    def names(self) -> list[str]:
        """Return the options of load.c for the names of nsd's zone."""
        return ["--names", str(self.settings.names), "--domain", upstream.ZONE]

    def load(
        self,
        seconds: float,
        *options: str,
        program: str = "load",
        most_bad: float = 0.0,
        port: int | None = None,
    ) -> dict[str, Any]:
        """Run load.c; raise if the server ended or more than `most_bad` answers were not good."""
        running = self.start_load(seconds, *options, program=program, port=port)
        return self.finish_load(running, seconds, most_bad)

    def start_load(
        self, seconds: float, *options: str, program: str, port: int | None, nice: int = 0
    ) -> subprocess.Popen[str]:
        """Start load.c; with --wait its connections are open when this returns."""
        core = self.settings.load_core
        port = port or self.server.port
        running = tools.start_load(port, core, seconds, *options, program=program, nice=nice)
        if "--wait" in options:
            tools.wait_until_open(running)
        return running

    def finish_load(
        self, running: subprocess.Popen[str], seconds: float, most_bad: float
    ) -> dict[str, Any]:
        result = tools.finish_load(running, seconds)
        self.server.check()
        bad = sum(count for rcode, count in result["rcodes"].items() if rcode != "0")
        result["bad"] = bad + result["empty"]
        if not result["answered"] or result["bad"] > result["answered"] * most_bad:
            raise BenchmarkError(f"{self.peer.name}: wrong answers, or none: {result}")
        result["lost_share"] = result["lost"] / result["sent"]
        return result

    def load_with_cpu(
        self,
        *options: str,
        program: str = "load",
        most_bad: float = 0.0,
        port: int | None = None,
    ) -> dict[str, Any]:
        """Run load.c for the session's seconds; add what that cost the server's tree.

        Beside it what that cost the upstream: of a hit, nothing. For fastdns: its keeper apart,
        too, and how many answers did not reach that one.
        """
        inside = Inside(self.directory / "state" / "run") if self.peer.keeper else None
        if inside:
            inside.take_in()  # what waited was no part of this
        totals = inside.totals() if inside else {}
        running = self.start_load(self.seconds, *options, program=program, port=port)
        members, before = self.server.members(), self.server.cpu_by_name()
        upstream_before = self.upstream.cpu_seconds()
        result = self.finish_load(running, self.seconds, most_bad)
        after = self.server.cpu_by_name()
        if self.server.members() != members:
            raise BenchmarkError(f"{self.peer.name} replaced a process while it was measured")
        spent = sum(after.values()) - sum(before.values())
        result["cpu_seconds"] = spent
        result["cpu_us"] = spent / result["answered"] * 1e6
        result["busy"] = spent / result["seconds"]
        asked = self.upstream.cpu_seconds() - upstream_before
        result["upstream_us"] = asked / result["answered"] * 1e6
        if inside:
            workers = spent - (after[KEEPER] - before[KEEPER])
            inside.take_in()  # what it has put off was asked of it here all the same
            keeper = self.server.cpu_by_name()[KEEPER] - before[KEEPER]
            now_totals = inside.totals()
            result["workers_us"] = workers / result["answered"] * 1e6
            result["keeper_us"] = keeper / result["answered"] * 1e6
            for name in COUNTED:
                result[name] = now_totals[name] - totals[name]
        return result

    def warm(self, *names: str) -> dict[str, Any]:
        """Have every name asked until it was answered, so that from then on each is a hit."""
        names = names or tuple(self.names())
        result = self.load(WARM_SECONDS, *names, "--each-once", "--window", "32", most_bad=0.01)
        if result["answered"] - result["bad"] < int(names[names.index("--names") + 1]):
            raise BenchmarkError(f"{self.peer.name} did not get warm: {result}")
        return result

    def wait_for_keeper(self) -> None:
        """Wait until fastdns has written the earlier answers: that is not part of a hit."""
        if not self.peer.keeper:
            return
        Inside(self.directory / "state" / "run").take_in()
        deadline = time.monotonic() + WARM_SECONDS
        spent = self.server.cpu_by_name()[KEEPER]
        while time.monotonic() < deadline:
            time.sleep(REST_SECONDS)
            before, spent = spent, self.server.cpu_by_name()[KEEPER]
            if spent - before < REST_SECONDS / 50:
                return
        raise BenchmarkError(f"{self.peer.name}: the keeper does not come to rest")
