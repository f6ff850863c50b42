"""One server under test, running and about to be measured: what every scenario is given."""

from dataclasses import dataclass
from typing import Any

import tools
import upstream
from peers import Peer
from processes import BenchmarkError, Server

WARM_SECONDS = 60


@dataclass(frozen=True)
class Settings:
    names: int
    seconds: float
    rate: int
    server_core: int
    load_core: int  # nsd's too: hits leave it idle


@dataclass(frozen=True)
class Session:
    peer: Peer
    server: Server
    settings: Settings

    @property
    def seconds(self) -> float:
        return self.settings.seconds * self.peer.share

    def names(self) -> list[str]:
        """Return the options of load.c for the names of nsd's zone."""
        return ["--names", str(self.settings.names), "--domain", upstream.ZONE]

    def load(self, seconds: float, *options: str) -> dict[str, Any]:
        """Run load.c; raise when the server ended or its answers were not all good ones."""
        result = tools.load(self.server.port, self.settings.load_core, seconds, *options)
        self.server.check()
        bad = {rcode: count for rcode, count in result["rcodes"].items() if rcode != "0"}
        if bad or result["empty"] or not result["answered"]:
            raise BenchmarkError(f"{self.peer.name}: wrong answers, or none: {result}")
        return result

    def load_with_cpu(self, *options: str) -> dict[str, Any]:
        """Run load.c for the session's seconds; add what that cost the server's tree."""
        members, before = self.server.members(), self.server.cpu_seconds()
        result = self.load(self.seconds, *options)
        spent = self.server.cpu_seconds() - before
        if self.server.members() != members:
            raise BenchmarkError(f"{self.peer.name} replaced a process while it was measured")
        result["cpu_seconds"] = spent
        result["cpu_us"] = spent / result["answered"] * 1e6
        result["busy"] = spent / result["seconds"]
        result["lost_share"] = result["lost"] / result["sent"]
        return result

    def warm(self) -> dict[str, Any]:
        """Have every name asked until it was answered, so that from then on each is a hit."""
        result = self.load(WARM_SECONDS, *self.names(), "--each-once", "--window", "32")
        if result["answered"] < self.settings.names:
            raise BenchmarkError(f"{self.peer.name} did not get warm: {result}")
        return result
