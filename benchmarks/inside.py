"""A running fastdns from its run_dir: its counters, and requests to its keeper."""

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from processes import BenchmarkError

from fastdns.counters import Pages

TAKE_IN_SECONDS = 60.0


@dataclass(frozen=True)
class Inside:
    run_dir: Path

    def totals(self) -> dict[str, int]:
        return Pages.attach(self.run_dir / "counters").totals()

    def take_in(self) -> float:
        """Have the keeper commit all that waits; return the seconds that took."""
        began = time.monotonic()
        with socket.socket(socket.AF_UNIX) as keeper:
            keeper.settimeout(TAKE_IN_SECONDS)
            self._connect(keeper)
            keeper.sendall(b"take-in\n")
            answer = keeper.recv(4096)
        if not answer.startswith(b"ok"):
            raise BenchmarkError(f"the keeper says {answer!r}")
        return time.monotonic() - began

    def _connect(self, keeper: socket.socket) -> None:
        """Connect to the keeper, which has its socket a moment after workers answer."""
        deadline = time.monotonic() + TAKE_IN_SECONDS
        while True:
            try:
                keeper.connect(str(self.run_dir / "keeper"))
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return
