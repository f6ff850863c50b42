"""fastdns with a third kind of process, which does nothing: there are two unless workers = 1."""

from __future__ import annotations

import os
import sys

from fastdns.cli import main
from fastdns.server.processes import OTHERS
from fastdns.server.roles import Role


class Idle(Role):
    name = "idle"

    @property
    def count(self) -> int:
        return 1 if self.context.settings.config.worker_count == 1 else 2

    @property
    def basis(self) -> object:
        return self.context.settings.config.log_level

    def work(self, order: int, ready: int) -> None:
        os.write(ready, b"1")
        os.read(order, 1)


if __name__ == "__main__":
    OTHERS.append(Idle)
    sys.exit(main())
