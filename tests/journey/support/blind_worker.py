"""fastdns whose workers never look around, and whose supervisor takes 2 s of silence for a hang."""

from __future__ import annotations

import sys

import gevent

from fastdns.cli import main
from fastdns.server import watchdog
from fastdns.server.worker import Worker

if __name__ == "__main__":
    watchdog.LOOK_SECONDS, watchdog.SILENT_SECONDS = 0.2, 2.0
    Worker._look_around = lambda _: gevent.sleep(3600)
    sys.exit(main())
